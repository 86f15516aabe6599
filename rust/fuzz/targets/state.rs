//! What an image of the keeper hands to the next one, spoilt: with a checksum that fits, so that what is behind it is read as well.
//! Nothing may panic, and what is read must be written as something that is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use procq_core::keeper::Saved;
use procq_core::state::{decode, encode, seal, HEADER};

fuzz_target!(|content: &[u8]| {
    assert!(decode::<Saved>(content).is_err(), "nobody guesses a checksum");
    let mut bytes = [&[0; HEADER], content].concat();
    seal(&mut bytes);
    if let Ok(saved) = decode::<Saved>(&bytes) {
        let again = encode(&saved).expect("what was read can be written");
        assert!(decode::<Saved>(&again).is_ok());
    }
});
