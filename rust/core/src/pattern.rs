//! Patterns that workers' output is searched for: regular expressions that take linear time, whoever wrote them.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ast::Span;
use thiserror::Error;

/// Most bytes a compiled pattern may take: one is kept for each worker that is not ready yet.
const MOST_MEMORY: usize = 1 << 20;

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{why}")]
pub struct Unusable {
    /// In words.
    pub why: String,
    /// Where in the text, in characters: first, and one past the last; `None` when it is the whole.
    pub place: Option<(usize, usize)>,
}

/// Compiles a pattern that is searched for in the bytes of a line. `(?i)` and its like may stand in it.
///
/// # Errors
/// The text is not a regular expression, asks for what would take more than linear time, or becomes too large.
pub fn compile(text: &str) -> Result<Regex, Unusable> {
    check(text)?;
    let whole = |why: String| Unusable { why, place: None };
    RegexBuilder::new(text).size_limit(MOST_MEMORY).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => whole("it would take too much memory".to_owned()),
        other => whole(other.to_string()),
    })
}

/// The parser's own errors know where they are.
fn check(text: &str) -> Result<(), Unusable> {
    let place = |span: &Span| Some((characters(text, span.start.offset), characters(text, span.end.offset)));
    match regex_syntax::ParserBuilder::new().utf8(false).build().parse(text) {
        Ok(_) => Ok(()),
        Err(regex_syntax::Error::Parse(error)) => {
            Err(Unusable { why: error.kind().to_string(), place: place(error.span()) })
        }
        Err(regex_syntax::Error::Translate(error)) => {
            Err(Unusable { why: error.kind().to_string(), place: place(error.span()) })
        }
        Err(other) => Err(Unusable { why: other.to_string(), place: None }),
    }
}

fn characters(text: &str, offset: usize) -> usize {
    text.char_indices().take_while(|(at, _)| *at < offset).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_in_bytes_that_are_no_text() {
        let pattern = compile(r"(?i)listening on port \d+").unwrap();
        assert!(pattern.is_match(b"\xff Listening on port 80"));
        assert!(!pattern.is_match(b"listening on port"));
    }

    #[test]
    fn says_where_a_text_is_no_pattern() {
        let found = |text| {
            let error = compile(text).unwrap_err();
            (error.why, error.place)
        };
        assert_eq!(found("é(up"), ("unclosed group".to_owned(), Some((1, 2))));
        assert_eq!(found("up*{2,1}").1, Some((3, 8)));
        assert_eq!(found(r"(a)\1").1, Some((3, 5)), "what needs backtracking is refused");
        assert_eq!(found(r"\p{Nonsense}").1, Some((0, 12)));
    }

    #[test]
    fn refuses_what_takes_too_much_memory() {
        assert_eq!(compile(r"(\w{100}){100}").unwrap_err().why, "it would take too much memory");
    }
}
