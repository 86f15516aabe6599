//! procq's keeper and sentinel: spawn, reap, signal, multiplex. No Python in here, and no policy.
//!
//! Start reading at [`host`] (how a process becomes sentinel and keeper), then [`keeper`] (the reactor).
//! Everything unsafe and every system call lives in [`sys`].

pub mod contain;
pub mod host;
pub mod image;
pub mod keeper;
pub mod notify;
pub mod output;
pub mod pattern;
pub mod proto;
pub mod sentinel;
pub mod service;
pub mod state;
pub mod sys;
