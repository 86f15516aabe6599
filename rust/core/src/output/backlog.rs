//! Lines waiting for the console: the bytes of all in one buffer, and who wrote which.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::prefix::Label;

/// What the next block is.
#[derive(Debug)]
pub(super) enum Block {
    /// Lines of a worker, or procq's own (no label).
    Lines(Option<Arc<Label>>, Range<usize>),
    /// So many lines are missing here.
    Loss(u64),
}

/// Blocks in the order in which they were read.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    pub data: Vec<u8>,
    blocks: VecDeque<Block>,
}

impl Backlog {
    pub fn push(&mut self, label: Option<Arc<Label>>, data: &[u8]) {
        let start = self.data.len();
        self.data.extend_from_slice(data);
        // A worker that writes line by line is formatted, and kept in the books, as one block.
        if let Some(Block::Lines(last, range)) = self.blocks.back_mut() {
            let same = match (&*last, &label) {
                (Some(last), Some(label)) => Arc::ptr_eq(last, label),
                (None, None) => true,
                _ => false,
            };
            if same && self.data[..start].ends_with(b"\n") && range.len() < 64 * 1024 {
                range.end = self.data.len();
                return;
            }
        }
        self.blocks.push_back(Block::Lines(label, start..self.data.len()));
    }

    pub fn push_loss(&mut self, lines: u64) {
        self.blocks.push_back(Block::Loss(lines));
    }

    pub fn pop(&mut self) -> Option<Block> {
        self.blocks.pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Forgets what is in it, keeps the memory.
    pub fn clear(&mut self) {
        self.data.clear();
        self.blocks.clear();
    }
}
