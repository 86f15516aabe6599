//! Lines waiting for the console: the bytes of all in one buffer, and who wrote which.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::console::Share;
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

/// As an upgrade hands it on.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedBacklog {
    #[serde(with = "serde_bytes")]
    data: Vec<u8>,
    blocks: Vec<SavedBlock>,
}

#[derive(Debug, Serialize, Deserialize)]
enum SavedBlock {
    Lines(Option<String>, Range<usize>),
    Loss(u64),
}

impl Backlog {
    pub fn save(&self) -> SavedBacklog {
        let Backlog { data, blocks } = self;
        let save = |block: &Block| match block {
            Block::Lines(label, range) => {
                SavedBlock::Lines(label.as_ref().map(|label| label.name().to_owned()), range.clone())
            }
            Block::Loss(lines) => SavedBlock::Loss(*lines),
        };
        SavedBacklog { data: data.clone(), blocks: blocks.iter().map(save).collect() }
    }

    /// What lies outside of the bytes is left out: nothing here may panic once the writer thread runs.
    pub fn restore(saved: SavedBacklog) -> Backlog {
        let length = saved.data.len();
        let restore = |block: SavedBlock| match block {
            SavedBlock::Lines(name, range) => {
                let label = name.map(|name| Arc::new(Label::new(Arc::from(name))));
                (range.start <= range.end && range.end <= length).then_some(Block::Lines(label, range))
            }
            SavedBlock::Loss(lines) => Some(Block::Loss(lines)),
        };
        Backlog { blocks: saved.blocks.into_iter().filter_map(restore).collect(), data: saved.data }
    }

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

    /// Whose bytes are in it.
    pub fn shares(&self) -> impl Iterator<Item = Share> + '_ {
        self.blocks.iter().filter_map(|block| match block {
            Block::Lines(label, range) => Some((label.clone(), range.len())),
            Block::Loss(_) => None,
        })
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
