//! procq's keeper and sentinel: spawn, reap, signal, multiplex. No Python in here, and no policy.
//!
//! Start reading at [`host`] (how a process becomes sentinel and keeper), then [`keeper`] (the reactor).
//! Everything unsafe and every system call lives in [`sys`].

#[cfg(any())]
pub mod host;
#[cfg(any())]
pub mod keeper;
#[cfg(any())]
pub mod output;
pub mod proto;
#[cfg(any())]
pub mod sentinel;
pub mod sys;
