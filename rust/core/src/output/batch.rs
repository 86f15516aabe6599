//! What a file gets next, in the form in which it gets it.

use serde::{Deserialize, Serialize};

use super::format::Formatter;
use super::queue::{Block, Pieces};
use crate::proto::messages::LogFormat;

/// Bytes formatted for one batch; one block of short lines may go far beyond.
const BATCH: usize = 256 * 1024;

/// From here on the bytes were read at this time, or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Place in the batch.
    pub at: usize,
    /// Nanoseconds since the epoch.
    pub time: u64,
}

/// Bytes under way to a file. Plain ones are written from where the reactor has put them; the others are formatted, some at a time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Batch {
    /// What is not formatted yet: these blocks, in reverse, of these bytes from here on.
    #[serde(with = "serde_bytes")]
    source: Vec<u8>,
    start: usize,
    blocks: Vec<Block>,
    #[serde(skip)]
    formatter: Formatter,
    #[serde(with = "serde_bytes")]
    text: Vec<u8>,
    written: usize,
    marks: Vec<Mark>,
    /// Bytes of output that the batch stands for; none where these are the bytes themselves.
    raw: Option<usize>,
}

impl Batch {
    /// Everything taken over has been written.
    pub fn is_done(&self) -> bool {
        self.written == self.text.len() && self.blocks.is_empty()
    }

    /// Takes over what has come; only when everything else is done. Leaves its buffer in exchange.
    pub fn take(&mut self, pieces: &mut Pieces) {
        self.text.clear();
        self.marks.clear();
        (self.written, self.start) = (0, 0);
        if std::mem::take(&mut pieces.formatted) {
            self.source.clear();
            std::mem::swap(&mut self.source, &mut pieces.data);
            self.blocks = std::mem::take(&mut pieces.blocks);
            self.blocks.reverse();
            self.raw = Some(0);
            return;
        }
        std::mem::swap(&mut self.text, &mut pieces.data);
        let mut at = 0;
        for block in pieces.blocks.drain(..) {
            self.marks.push(Mark { at, time: block.time });
            at = block.end;
        }
        self.raw = None;
    }

    /// What is to be written now.
    pub fn rest(&mut self, format: LogFormat) -> &[u8] {
        if self.written == self.text.len() && !self.blocks.is_empty() {
            self.fill(format);
        }
        &self.text[self.written..]
    }

    fn fill(&mut self, format: LogFormat) {
        self.text.clear();
        self.marks.clear();
        self.written = 0;
        let mut raw = 0;
        while self.text.len() < BATCH {
            let Some(block) = self.blocks.pop() else { break };
            let lines = &self.source[self.start..block.end];
            self.marks.push(Mark { at: self.text.len(), time: block.time });
            match &block.source {
                Some(source) => {
                    self.formatter.append(format, (&source.worker, source.stream), block.time, lines, &mut self.text);
                }
                None => self.text.extend_from_slice(lines),
            }
            raw += lines.len();
            self.start = block.end;
        }
        self.raw = Some(raw);
    }

    /// So many bytes of `rest` are written. Gives how many bytes of output are done with.
    pub fn advance(&mut self, length: usize) -> usize {
        self.written += length;
        match &mut self.raw {
            None => length,
            Some(raw) if self.written == self.text.len() => std::mem::take(raw),
            Some(_) => 0,
        }
    }

    /// The marks that hold for the next `length` bytes of `rest`, relative to it; the first is at 0.
    pub fn marks(&self, length: usize) -> impl Iterator<Item = Mark> + '_ {
        let first = self.marks.partition_point(|mark| mark.at <= self.written).saturating_sub(1);
        let end = self.written + length;
        let marks = self.marks[first..].iter().take_while(move |mark| mark.at < end);
        marks.map(|mark| Mark { at: mark.at.saturating_sub(self.written), time: mark.time })
    }

    /// Gives the buffer back when everything is done.
    pub fn give_back(&mut self) -> Vec<u8> {
        self.source = Vec::new();
        self.marks = Vec::new();
        self.written = 0;
        std::mem::take(&mut self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::messages::Stream;
    use std::sync::Arc;

    const STEP: u64 = 100_000_000;

    #[test]
    fn plain_bytes_are_handed_on_as_they_are_with_the_times_of_their_parts() {
        let mut pieces = Pieces::default();
        pieces.push_plain(b"one\n", STEP);
        pieces.push_plain(b"two\n", 2 * STEP - 1);
        pieces.push_plain(b"three\n", 2 * STEP);
        let mut batch = Batch::default();
        batch.take(&mut pieces);
        assert_eq!(batch.rest(LogFormat::Json), b"one\ntwo\nthree\n");
        let marks: Vec<Mark> = batch.marks(14).collect();
        assert_eq!(marks, [Mark { at: 0, time: STEP }, Mark { at: 8, time: 2 * STEP }]);
        assert_eq!(batch.advance(4), 4);
        assert_eq!(batch.marks(4).collect::<Vec<_>>(), [Mark { at: 0, time: STEP }]);
        assert_eq!(batch.marks(5).count(), 2);
        assert_eq!((batch.advance(10), batch.is_done()), (10, true));
    }

    #[test]
    fn formatted_lines_count_as_what_they_were() {
        let worker: Arc<str> = Arc::from("w.1");
        let mut pieces = Pieces::default();
        pieces.push_plain(b"as it is\n", 0);
        pieces.push_lines(b"framed\n", 0, &worker, Stream::Stdout);
        let mut batch = Batch::default();
        batch.take(&mut pieces);
        let length = batch.rest(LogFormat::Prefixed).len();
        assert_eq!(batch.rest(LogFormat::Prefixed), b"as it is\n1970-01-01T00:00:00.000Z w.1 | framed\n");
        assert_eq!(batch.advance(length - 1), 0);
        assert_eq!((batch.advance(1), batch.is_done()), (16, true));
    }

    #[test]
    fn many_lines_are_formatted_in_portions() {
        let worker: Arc<str> = Arc::from("w.1");
        let mut pieces = Pieces::default();
        for time in 0..10_000 {
            pieces.push_lines(&[&[b'x'; 99][..], b"\n"].concat(), time, &worker, Stream::Stdout);
        }
        let mut batch = Batch::default();
        batch.take(&mut pieces);
        let (mut portions, mut raw) = (0, 0);
        while !batch.is_done() {
            let length = batch.rest(LogFormat::Prefixed).len();
            assert!(length > 0 && length < BATCH + 1_000);
            raw += batch.advance(length);
            portions += 1;
        }
        assert_eq!((portions > 4, raw), (true, 1_000_000));
    }
}
