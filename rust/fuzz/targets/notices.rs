//! What a worker says, which may be anything: nothing may panic, texts stay bounded and cannot steer a terminal, and a line
//! that is right counts whatever stands around it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use procq_core::notify::{Said, LONGEST_STATUS};

fuzz_target!(|input: (Vec<u8>, u64)| {
    let (text, jobs) = input;
    let said = Said::parse(&text);
    for text in said.status.iter().chain(&said.job) {
        assert!(text.len() <= LONGEST_STATUS && !text.chars().any(char::is_control));
    }
    let line = format!("\nX_PROCQ_JOBS={jobs}\n");
    let again = Said::parse(&[&text, line.as_bytes()].concat());
    assert_eq!(again, Said { jobs: Some(jobs), ..again.clone() });
    assert_eq!(again.ready, said.ready);
});
