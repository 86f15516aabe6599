//! What may reach a terminal: text, tabs and colours. Everything else is made visible.
//!
//! A worker prints what strangers send it; a terminal obeys what it is sent. Only select graphic
//! rendition (`ESC [ … m`) passes; other controls appear in caret notation (`^[`, `^G`), bytes that are
//! no UTF-8 and the controls of ISO 6429's upper half as `\x9b`, marks that reorder text as `\u{202e}`.

use std::io::Write;

/// Longest parameter string of a colour; real ones are below 40 bytes.
const SGR_LIMIT: usize = 64;

/// Ends whatever colours are set.
pub(super) const RESET: &[u8] = b"\x1b[0m";

/// Whether a block of lines holds nothing that needs a closer look.
pub(super) fn is_plain(block: &[u8]) -> bool {
    // No early exit within a stride: the loop becomes vector code, ten times the speed of a table.
    block.chunks(256).all(|stride| {
        stride
            .iter()
            .fold(true, |plain, &byte| plain & ((0x20..0x7f).contains(&byte) | (byte == b'\n') | (byte == b'\t')))
    })
}

/// Appends one line, without its newline, in a form that is harmless on a terminal.
pub(super) fn append(line: &[u8], out: &mut Vec<u8>) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut coloured = false;
    for chunk in line.utf8_chunks() {
        append_text(chunk.valid(), out, &mut coloured);
        chunk.invalid().iter().for_each(|&byte| append_hex(byte, out));
    }
    if coloured {
        out.extend_from_slice(RESET);
    }
}

fn append_text(text: &str, out: &mut Vec<u8>, coloured: &mut bool) {
    let mut rest = text;
    while let Some(at) = rest.find(is_special) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        if let Some(length) = colour_length(rest.as_bytes()) {
            out.extend_from_slice(&rest.as_bytes()[..length]);
            *coloured = true;
            rest = &rest[length..];
            continue;
        }
        let mut characters = rest.chars();
        if let Some(special) = characters.next() {
            append_special(special, out);
        }
        rest = characters.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
}

fn is_special(character: char) -> bool {
    match character {
        '\t' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        other => other.is_control(),
    }
}

fn append_special(special: char, out: &mut Vec<u8>) {
    match u32::from(special) {
        code @ 0..=0x7f => out.extend_from_slice(&[b'^', (code as u8) ^ 0x40]),
        code @ 0x80..=0x9f => append_hex(code as u8, out),
        code => write!(out, "\\u{{{code:x}}}").expect("a vector takes all"),
    }
}

fn append_hex(byte: u8, out: &mut Vec<u8>) {
    write!(out, "\\x{byte:02x}").expect("a vector takes all");
}

/// Length of the colour sequence at the start, if there is one.
fn colour_length(bytes: &[u8]) -> Option<usize> {
    let parameters = bytes.strip_prefix(b"\x1b[")?;
    let end = parameters.iter().take(SGR_LIMIT).position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'))?;
    (parameters[end] == b'm').then_some(end + 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clean(line: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        append(line, &mut out);
        out
    }

    #[test]
    fn colours_pass_and_end_with_the_line() {
        assert_eq!(clean(b"\x1b[1;38:5:9mred\x1b[m text"), b"\x1b[1;38:5:9mred\x1b[m text\x1b[0m");
    }

    #[test]
    fn faults_40_what_commands_the_terminal_is_shown() {
        for (line, shown) in [
            (&b"\x1b]0;title\x07x"[..], &b"^[]0;title^Gx"[..]),
            (b"\x1b[2J\x1b[H", b"^[[2J^[[H"),
            (b"\x1b[1;31", b"^[[1;31"),
            (b"\x1b[?25lm", b"^[[?25lm"),
            (b"a\rb\x08\x7f\0", b"a^Mb^H^?^@"),
            (b"windows\r", b"windows"),
            ("\u{9b}2J".as_bytes(), b"\\x9b2J"),
            (b"\x9b2J \xff\xc2", b"\\x9b2J \\xff\\xc2"),
            ("\u{202e}evil".as_bytes(), b"\\u{202e}evil"),
            ("naïve\t→ 漢字 🦀".as_bytes(), "naïve\t→ 漢字 🦀".as_bytes()),
        ] {
            assert_eq!(clean(line), shown, "{line:?}");
        }
    }

    /// Removes colours; what is left may hold no control at all.
    fn without_colours(mut bytes: &[u8]) -> Vec<u8> {
        let mut rest = Vec::new();
        while let Some((&first, tail)) = bytes.split_first() {
            let colour = bytes.strip_prefix(b"\x1b[").and_then(|after| {
                let end = after.iter().position(|byte| !b"0123456789;:".contains(byte))?;
                (after[end] == b'm').then(|| &after[end + 1..])
            });
            bytes = colour.unwrap_or_else(|| {
                rest.push(first);
                tail
            });
        }
        rest
    }

    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            3 => Just(b"\x1b".to_vec()), 3 => Just(b"\x1b[".to_vec()), 1 => Just(b"\xc2\x9b".to_vec()),
            2 => Just(b"m".to_vec()), 2 => proptest::collection::vec(any::<u8>(), 0..6),
            2 => "[0-9;:]{0,70}".prop_map(String::into_bytes),
        ];
        proptest::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn faults_40_nothing_but_colours_gets_through(line in hostile()) {
            let shown = clean(&line);
            let text = String::from_utf8(without_colours(&shown)).expect("always UTF-8");
            prop_assert!(!text.chars().any(|character| character.is_control() && character != '\t'), "{:?}", shown);
        }

        #[test]
        fn plain_blocks_are_unchanged_by_cleaning(line in proptest::collection::vec(prop_oneof![9 => 0x20..0x7f_u8, 1 => any::<u8>()], 0..600)) {
            if is_plain(&line) && !line.contains(&b'\n') {
                prop_assert_eq!(clean(&line), line);
            }
        }
    }
}
