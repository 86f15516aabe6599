//! Paths as bytes: they need not be text.

use serde::{Deserialize, Deserializer, Serializer};
use serde_bytes::ByteBuf;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// For `#[serde(with)]`.
pub fn serialize<S: Serializer>(path: &Arc<Path>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(path.as_os_str().as_bytes())
}

/// For `#[serde(with)]`.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Path>, D::Error> {
    Ok(Arc::from(path_of(ByteBuf::deserialize(from)?)))
}

/// The bytes of a path.
pub fn bytes_of(path: &Path) -> ByteBuf {
    ByteBuf::from(path.as_os_str().as_bytes())
}

/// The path of some bytes.
pub fn path_of(bytes: ByteBuf) -> PathBuf {
    OsString::from_vec(bytes.into_vec()).into()
}
