//! Lines as they stand in a file: behind time and worker, or as JSON objects.

use std::io::Write;

use base64::engine::general_purpose::STANDARD;
use base64::Engine;

use super::prefix::append_lines;
use crate::proto::messages::{LogFormat, Stream};

const NANOSECONDS: u64 = 1_000_000_000;

/// Formats blocks; remembers the second that it wrote last, which most blocks share.
#[derive(Clone, Debug, Default)]
pub(super) struct Formatter {
    second: Option<u64>,
    /// `2026-11-24T10:42:01`
    text: String,
}

impl Formatter {
    /// Appends the lines of a block, each with its frame; a last one without its end gets one.
    pub fn append(
        &mut self,
        format: LogFormat,
        (worker, stream): (&str, Stream),
        time: u64,
        block: &[u8],
        out: &mut Vec<u8>,
    ) {
        let second = self.second(time / NANOSECONDS);
        let fraction = time % NANOSECONDS;
        match format {
            LogFormat::Text => out.extend_from_slice(block),
            LogFormat::Prefixed => {
                let mark = if stream == Stream::Stderr { '!' } else { '|' };
                let edge = format!("{second}.{:03}Z {worker} {mark} ", fraction / 1_000_000);
                append_lines(edge.as_bytes(), block, out);
            }
            LogFormat::Json => {
                let stream = if stream == Stream::Stderr { "stderr" } else { "stdout" };
                let mut head = format!("{{\"time\":\"{second}.{:06}Z\",\"worker\":\"", fraction / 1_000).into_bytes();
                escape(worker, &mut head);
                head.extend_from_slice(b"\",\"stream\":\"");
                head.extend_from_slice(stream.as_bytes());
                head.extend_from_slice(b"\",\"line\":\"");
                append_objects(&head, block, out);
            }
        }
    }

    fn second(&mut self, second: u64) -> &str {
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = written(second);
        }
        &self.text
    }
}

fn append_objects(head: &[u8], block: &[u8], out: &mut Vec<u8>) {
    for line in block.strip_suffix(b"\n").unwrap_or(block).split(|&byte| byte == b'\n') {
        out.extend_from_slice(head);
        match std::str::from_utf8(line) {
            Ok(text) => escape(text, out),
            // To be read as far as it can be, and exactly as it was.
            Err(_) => {
                escape(&String::from_utf8_lossy(line), out);
                out.extend_from_slice(b"\",\"bytes\":\"");
                out.extend_from_slice(STANDARD.encode(line).as_bytes());
            }
        }
        out.extend_from_slice(b"\"}\n");
    }
}

/// The inside of a JSON string.
fn escape(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[start..at]);
        start = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ => write!(out, "\\u{byte:04x}").expect("a vector takes all"),
        }
    }
    out.extend_from_slice(&bytes[start..]);
}

/// A second since the epoch as `2026-11-24T10:42:01`, in UTC.
fn written(second: u64) -> String {
    let (days, rest) = (second / 86_400, second % 86_400);
    // Years that begin in March have their leap day at the end; 719,468 days lie between 0000-03-01 and the epoch.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn formatted(format: LogFormat, stream: Stream, time: u64, block: &[u8]) -> String {
        let mut out = Vec::new();
        Formatter::default().append(format, ("emails.1", stream), time, block, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn seconds_are_written_as_the_calendar_has_them() {
        for (second, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_078_099_199, "2004-02-29T23:59:59"),
            (1_795_516_921, "2026-11-24T10:42:01"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (253_402_300_799, "9999-12-31T23:59:59"),
        ] {
            assert_eq!(written(second), text);
        }
    }

    #[test]
    fn every_line_stands_behind_time_and_worker() {
        let time = 1_795_516_921_221_345_678;
        assert_eq!(
            formatted(LogFormat::Prefixed, Stream::Stdout, time, b"one\n\nhalf"),
            "2026-11-24T10:42:01.221Z emails.1 | one\n2026-11-24T10:42:01.221Z emails.1 | \n\
             2026-11-24T10:42:01.221Z emails.1 | half\n"
        );
        assert_eq!(
            formatted(LogFormat::Prefixed, Stream::Stderr, time, b"oh\n"),
            "2026-11-24T10:42:01.221Z emails.1 ! oh\n"
        );
        assert_eq!(
            formatted(LogFormat::Json, Stream::Stderr, time, b"say \"\\\"\r\x01\t\xff\n\nhalf"),
            "{\"time\":\"2026-11-24T10:42:01.221345Z\",\"worker\":\"emails.1\",\"stream\":\"stderr\",\
             \"line\":\"say \\\"\\\\\\\"\\r\\u0001\\t\u{fffd}\",\"bytes\":\"c2F5ICJcIg0BCf8=\"}\n\
             {\"time\":\"2026-11-24T10:42:01.221345Z\",\"worker\":\"emails.1\",\"stream\":\"stderr\",\"line\":\"\"}\n\
             {\"time\":\"2026-11-24T10:42:01.221345Z\",\"worker\":\"emails.1\",\"stream\":\"stderr\",\"line\":\"half\"}\n"
        );
    }

    /// The inverse of what `escape` has to do, and nothing more.
    fn unescape(text: &str) -> String {
        let mut out = String::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            assert!(character >= ' ' && character != '"', "{character:?} must be escaped");
            if character != '\\' {
                out.push(character);
                continue;
            }
            match characters.next() {
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some('u') => {
                    let code: String = characters.by_ref().take(4).collect();
                    out.extend(u32::from_str_radix(&code, 16).ok().and_then(char::from_u32));
                }
                other => out.extend(other),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn faults_37_a_line_survives_json_to_the_byte(line in proptest::collection::vec(any::<u8>(), 0..200), ascii: bool) {
            let line: Vec<u8> = line.into_iter().filter(|&byte| byte != b'\n' && !(ascii && byte > 127)).collect();
            let object = formatted(LogFormat::Json, Stream::Stdout, 0, &[&line[..], b"\n"].concat());
            let inside = object.split_once("\"line\":\"").expect("a line").1;
            let inside = inside.strip_suffix("\"}\n").expect("an end");
            let (text, bytes) = inside.split_once("\",\"bytes\":\"").map_or((inside, None), |(text, bytes)| (text, Some(bytes)));
            prop_assert_eq!(unescape(text), String::from_utf8_lossy(&line));
            let exact = bytes.map_or_else(|| unescape(text).into_bytes(), |bytes| STANDARD.decode(bytes).expect("base64"));
            prop_assert_eq!(exact, line);
        }
    }
}
