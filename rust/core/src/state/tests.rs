use super::*;

/// What is written before the content, as another version would have written it.
fn written_by(version: u32, readable_from: u32) -> Vec<u8> {
    let mut bytes = encode(&vec![1, 2, 3]).unwrap();
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    bytes[12..16].copy_from_slice(&readable_from.to_le_bytes());
    let (header, body) = bytes.split_at(HEADER);
    let sum = checksum(&header[..HEADER - 4], body);
    bytes[HEADER - 4..HEADER].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn versions_that_are_too_far_apart_are_told_from_damage() {
    assert_eq!(decode::<Vec<u8>>(&written_by(VERSION, READABLE_FROM)).unwrap(), [1, 2, 3]);
    assert_eq!(
        decode::<Vec<u8>>(&written_by(VERSION + 1, VERSION)).unwrap(),
        [1, 2, 3],
        "a newer one that we can read"
    );
    let found = VERSION + 2;
    assert!(
        matches!(decode::<Vec<u8>>(&written_by(found, VERSION + 1)), Err(Unreadable::Version { found: f }) if f == found)
    );
    assert!(matches!(decode::<Vec<u8>>(&written_by(OLDEST - 1, 0)), Err(Unreadable::Version { .. })));
}
