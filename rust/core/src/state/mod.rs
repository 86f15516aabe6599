//! What a keeper hands to the image that takes its place: everything it holds, as bytes and inherited descriptors.
//!
//! The bytes: a header (magic, version, oldest version that can read it, length, checksum), then one MessagePack map.
//! Fields unknown to the reader are ignored, missing ones have defaults: images one version apart understand each
//! other. Whoever adds a field to the keeper, a worker or the output has to say what becomes of it: the
//! functions named `restore` name every field, so that the compiler asks. Descriptors go into the [`Luggage`].

mod descriptors;
pub mod paths;
#[cfg(test)]
mod tests;

pub use descriptors::{Fd, Inherited, Luggage};

use serde::de::DeserializeOwned;
use serde::Serialize;

/// The version of the state that this build writes.
pub const VERSION: u32 = 1;
/// The oldest build that can read what this one writes, by its [`VERSION`]: fields may come and go without a change of it.
pub const READABLE_FROM: u32 = 1;
/// The oldest state that this build can read.
pub const OLDEST: u32 = 1;

const MAGIC: [u8; 8] = *b"procq\0st";
/// Bytes of the header.
pub const HEADER: usize = 8 + 4 + 4 + 8 + 4;

/// Why a state cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Somebody else's bytes, or only some of them.
    #[error("the state is damaged: {0}")]
    Damaged(&'static str),
    /// Too far apart.
    #[error("the state has version {found}, this procq reads {OLDEST} to {VERSION}")]
    Version {
        /// What was found.
        found: u32,
    },
    /// The checksum is right, the content is not what is expected.
    #[error("the state cannot be read: {0}")]
    Content(#[from] rmp_serde::decode::Error),
}

/// The state as bytes.
///
/// # Errors
/// A path in it is no text.
pub fn encode<T: Serialize>(state: &T) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let mut bytes = vec![0; HEADER];
    state.serialize(&mut rmp_serde::Serializer::new(&mut bytes).with_struct_map())?;
    seal(&mut bytes);
    Ok(bytes)
}

/// Writes the header of `bytes`, whose first [`HEADER`] are its place, over what stands there.
pub fn seal(bytes: &mut [u8]) {
    let (header, body) = bytes.split_at_mut(HEADER);
    let length = body.len() as u64;
    let mut fields = [&MAGIC[..], &VERSION.to_le_bytes(), &READABLE_FROM.to_le_bytes(), &length.to_le_bytes()].concat();
    let sum = checksum(&fields, body);
    fields.extend_from_slice(&sum.to_le_bytes());
    header.copy_from_slice(&fields);
}

/// The inverse.
///
/// # Errors
/// It is damaged, or from a version that is too far away.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    let (header, body) = bytes.split_at_checked(HEADER).ok_or(Unreadable::Damaged("it is cut short"))?;
    let (fields, sum) = header.split_at(HEADER - 4);
    if fields[..8] != MAGIC {
        return Err(Unreadable::Damaged("it does not begin as one"));
    }
    if number(&fields[16..24]) != body.len() as u64 {
        return Err(Unreadable::Damaged("its length is wrong"));
    }
    if number(sum) != u64::from(checksum(fields, body)) {
        return Err(Unreadable::Damaged("its checksum is wrong"));
    }
    let (found, readable_from) = (number(&fields[8..12]) as u32, number(&fields[12..16]) as u32);
    if found < OLDEST || readable_from > VERSION {
        return Err(Unreadable::Version { found });
    }
    Ok(rmp_serde::from_slice(body)?)
}

/// Of everything but itself.
fn checksum(fields: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(fields);
    hasher.update(body);
    hasher.finalize()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
