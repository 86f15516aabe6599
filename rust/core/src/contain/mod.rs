//! What holds the trees of workers together besides their marks: the tiers, and the control groups of T2.

mod base;
mod delegation;
pub mod life;

use serde::{Deserialize, Serialize};

pub use base::{launcher, Base, Lack, Place};

/// How much of it may be used, as `procq up --tier` and `PROCQ_TIER` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Allowed {
    /// The highest tier that may be used, 1 to 3.
    pub most: u8,
    /// What cannot be had is an error instead of a reason for a lower tier.
    pub required: bool,
}

impl Default for Allowed {
    fn default() -> Allowed {
        Allowed { most: 2, required: false }
    }
}

/// What the host has found out, and the caller cannot say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// The tier in force.
    pub tier: u8,
    /// The keeper's number outside of its namespace.
    pub keeper: i32,
}
