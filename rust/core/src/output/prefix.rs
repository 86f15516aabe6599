//! The left edge of the console: `emails.1      | `, in a colour of its own.

use std::sync::Arc;

use super::sanitize;

/// Sixteen-colour codes that stand apart on dark and on light ground. Red is left to errors.
const PALETTE: [&[u8]; 10] = [b"36", b"33", b"32", b"35", b"34", b"96", b"93", b"92", b"95", b"94"];

/// Name and colour of a worker; its lines in the queue share one.
#[derive(Debug)]
pub(super) struct Label {
    name: Arc<str>,
    colour: &'static [u8],
}

impl Label {
    /// Whose it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same, to be kept.
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// The colour depends on the name alone, so that it survives restarts; slots of a queue get different ones.
    pub fn new(name: Arc<str>) -> Self {
        let (queue, slot) = name.rsplit_once('.').unwrap_or((&name, ""));
        let hash = queue.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let slot: usize = slot.parse().unwrap_or(0);
        let colour = PALETTE[(hash as usize % PALETTE.len()).wrapping_add(slot) % PALETTE.len()];
        Label { name, colour }
    }
}

/// How lines look on the console.
#[derive(Debug)]
pub(super) struct Style {
    pub prefix: bool,
    pub colour: bool,
    /// Show controls instead of obeying them.
    pub sanitize: bool,
    /// Columns of the name; grows with longer names and never shrinks.
    pub width: usize,
}

impl Style {
    /// Appends a block of lines with their prefixes.
    pub fn format(&mut self, label: Option<&Label>, block: &[u8], out: &mut Vec<u8>) {
        let edge = label.filter(|_| self.prefix).map_or_else(Vec::new, |label| self.edge(label));
        if !self.sanitize || sanitize::is_plain(block) {
            return append_lines(&edge, block, out);
        }
        let mut rest = block;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            out.extend_from_slice(&edge);
            sanitize::append(&rest[..end], out);
            out.push(b'\n');
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }

    fn edge(&mut self, label: &Label) -> Vec<u8> {
        let columns = label.name.chars().count();
        self.width = self.width.max(columns);
        let mut edge = Vec::with_capacity(label.name.len() + self.width + 16);
        if self.colour {
            edge.extend_from_slice(b"\x1b[0;");
            edge.extend_from_slice(label.colour);
            edge.push(b'm');
        }
        edge.extend_from_slice(label.name.as_bytes());
        edge.resize(edge.len() + self.width - columns, b' ');
        edge.extend_from_slice(b" |");
        if self.colour {
            edge.extend_from_slice(sanitize::RESET);
        }
        edge.push(b' ');
        edge
    }
}

/// One pass over the block: prefix, line, prefix, line; the last line gets a newline if it has none.
pub(super) fn append_lines(edge: &[u8], block: &[u8], out: &mut Vec<u8>) {
    if edge.is_empty() {
        out.extend_from_slice(block);
    } else {
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', block) {
            out.extend_from_slice(edge);
            out.extend_from_slice(&block[start..=newline]);
            start = newline + 1;
        }
        if start < block.len() {
            out.extend_from_slice(edge);
            out.extend_from_slice(&block[start..]);
        }
    }
    if block.last().is_some_and(|&last| last != b'\n') {
        out.push(b'\n');
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(style: &mut Style, name: &str, block: &[u8]) -> String {
        let mut out = Vec::new();
        style.format(Some(&Label::new(Arc::from(name))), block, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn every_line_gets_the_name_padded_to_the_widest() {
        let mut style = Style { prefix: true, colour: false, sanitize: true, width: 8 };
        assert_eq!(formatted(&mut style, "mail.1", b"one\ntwo"), "mail.1   | one\nmail.1   | two\n");
        assert_eq!(formatted(&mut style, "thumbnails.12", b"\n"), "thumbnails.12 | \n");
        assert_eq!(
            formatted(&mut style, "mail.1", b"a\x1b[2Jb\n\x1b[1mc\n"),
            "mail.1        | a^[[2Jb\nmail.1        | \x1b[1mc\x1b[0m\n"
        );
    }

    #[test]
    fn colours_are_stable_and_differ_between_slots() {
        let mut style = Style { prefix: true, colour: true, sanitize: false, width: 0 };
        let first = formatted(&mut style, "mail.1", b"x\n");
        assert_eq!(first, formatted(&mut style, "mail.1", b"x\n"));
        let start = |text: &str| text[..text.find('m').expect("a colour")].to_owned();
        let colours: std::collections::HashSet<String> =
            (1..=10).map(|slot| start(&formatted(&mut style, &format!("mail.{slot}"), b"x\n"))).collect();
        assert_eq!(colours.len(), 10);
        assert!(first.ends_with(" |\x1b[0m x\n"));
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
