//! The kernel boundary: the only place with system calls, the only place with `unsafe`.
//!
//! What stands above it (reactor, keeper, sentinel) is written against the names exported here. A new platform is a new folder beside
//! `linux` that exports the same names: a poller, a child that cannot be confused with another process, a spawn
//! that reports exec, signals as data, and the questions of [`process`].

mod posix;
pub use posix::*;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::*;

#[cfg(not(target_os = "linux"))]
compile_error!("procq runs on Linux so far: macOS and Windows need a module beside sys/linux");
