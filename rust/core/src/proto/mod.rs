//! Messages, frames, and the buffered stream that carries them.

mod channel;
mod frame;
pub mod messages;
mod spec;

pub use channel::{Channel, ChannelError, SavedChannel};
pub use frame::{encode, Decoder, FrameError, MAX_FRAME};
