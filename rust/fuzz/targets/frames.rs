//! Bytes from a peer that is not what it says: every kind of message, cut anywhere. Nothing may panic, and what decodes must encode to
//! something that decodes to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use procq_core::proto::messages::{Command, Event, Reply, Request};
use procq_core::proto::{encode, Decoder};
use serde::de::DeserializeOwned;
use serde::Serialize;

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (cut, bytes) = input;
    check::<Command>(cut, &bytes);
    check::<Event>(cut, &bytes);
    check::<Request>(cut, &bytes);
    check::<Reply>(cut, &bytes);
});

fn check<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(cut: u8, bytes: &[u8]) {
    let mut decoder = Decoder::default();
    for piece in bytes.chunks(usize::from(cut).max(1)) {
        decoder.feed(piece);
        while let Ok(Some(message)) = decoder.take::<T>() {
            let mut again = Vec::new();
            if encode(&message, &mut again).is_ok() {
                let mut decoder = Decoder::default();
                decoder.feed(&again);
                assert_eq!(decoder.take::<T>().ok().flatten().as_ref(), Some(&message));
            }
        }
    }
}
