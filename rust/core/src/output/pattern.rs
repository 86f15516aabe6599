//! The line that tells that a worker is ready.

use crate::pattern::{compile, Unusable};
use regex::bytes::Regex;

/// What is looked for in each line, in time linear in the line: no text can make it slow.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
}

impl Pattern {
    /// Compiles it.
    ///
    /// # Errors
    /// It is no regular expression, or too large.
    pub fn new(pattern: &str) -> Result<Pattern, Unusable> {
        compile(pattern).map(|regex| Pattern { regex })
    }

    /// Whether a line of this block of whole lines matches. The end of a line, with or without a carriage return, is no part of it.
    pub fn is_in(&self, block: &[u8]) -> bool {
        let block = block.strip_suffix(b"\n").unwrap_or(block);
        block.split(|byte| *byte == b'\n').any(|line| self.regex.is_match(line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(pattern: &str, block: &[u8]) -> bool {
        Pattern::new(pattern).unwrap().is_in(block)
    }

    #[test]
    fn a_pattern_matches_within_one_line() {
        assert!(is_in("ready", b"starting\nserver is ready.\n"));
        assert!(is_in("^ready$", b"starting\nready\nworking\n"));
        assert!(is_in("^ready$", b"ready\r\n"), "as a terminal ends lines");
        assert!(is_in("^ready$", b"ready"), "the last line of a stream");
        assert!(is_in("^$", b"\n"), "an empty line");
        assert!(is_in("listening on port \\d+", b"listening on port 80\n"));
        assert!(!is_in("starting.ready", b"starting\nready\n"));
        assert!(!is_in("starting\\s+ready", b"starting\nready\n"));
        assert!(!is_in("^$", b"starting\nready\n"));
    }

    #[test]
    fn bytes_that_are_no_text_are_passed_over() {
        assert!(is_in("ready", b"\xff\xfe\x00 ready\n"));
        assert!(is_in("caf. ready", "café ready\n".as_bytes()));
    }

    /// Where others take exponential time; a test that hangs has failed.
    #[test]
    fn no_line_makes_it_slow() {
        assert!(!is_in("^(a+)+$", &[vec![b'a'; 60_000], b"!\n".to_vec()].concat()));
    }
}
