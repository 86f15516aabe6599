//! Where the next write ends: at the end of a line, and within the size a file may have.

/// Most that one system call writes: with many files, nobody waits long for his turn.
pub(super) const STEP: usize = 256 * 1024;
/// How far a line that does not end may carry a file beyond its size before it is divided all the same.
pub(super) const OVERHANG: u64 = 1024 * 1024;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Write so many bytes.
    Write(usize),
    /// The next line belongs into a new file.
    Rotate,
}

/// Decides about the first bytes of `rest` for a file that holds `size` bytes and may hold `limit`. `whole`: what is in it ends with a line.
pub(super) fn cut(rest: &[u8], size: u64, whole: bool, limit: Option<u64>) -> Cut {
    let step = &rest[..rest.len().min(STEP)];
    let Some(limit) = limit else { return Cut::Write(whole_lines(step, rest.len())) };
    let room = usize::try_from(limit.saturating_sub(size)).unwrap_or(usize::MAX);
    if step.len() <= room {
        return Cut::Write(whole_lines(step, rest.len()));
    }
    if let Some(end) = memchr::memrchr(b'\n', &step[..room]) {
        return Cut::Write(end + 1);
    }
    let overhang = size >= limit.saturating_add(OVERHANG);
    if (whole && size > 0) || (!whole && overhang) {
        return Cut::Rotate;
    }
    // The rest of a line that has begun, or the only line of a file.
    Cut::Write(memchr::memchr(b'\n', step).map_or(step.len(), |end| end + 1))
}

/// Not more than a step, and whole lines if more follows: between two writes the file may be renamed by anybody.
fn whole_lines(step: &[u8], all: usize) -> usize {
    if step.len() == all {
        return all;
    }
    memchr::memrchr(b'\n', step).map_or(step.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_step_ends_with_a_line_if_it_can() {
        assert_eq!(cut(b"one\ntwo\n", 0, true, None), Cut::Write(8));
        assert_eq!(cut(b"one\ntw", 0, true, None), Cut::Write(6));
        let mut long = vec![b'x'; STEP + 10];
        long[100] = b'\n';
        assert_eq!(cut(&long, 0, true, None), Cut::Write(101));
        assert_eq!(cut(&[b'x'; STEP + 10], 0, true, Some(u64::MAX)), Cut::Write(STEP));
    }

    #[test]
    fn a_file_is_full_when_the_next_line_does_not_fit() {
        assert_eq!(cut(b"one\ntwo\n", 0, true, Some(7)), Cut::Write(4));
        assert_eq!(cut(b"two\n", 4, true, Some(7)), Cut::Rotate);
        assert_eq!(cut(b"two\n", 4, true, Some(8)), Cut::Write(4));
        assert_eq!(cut(b"two\n", 9, true, Some(8)), Cut::Rotate, "somebody else has written there");
    }

    #[test]
    fn a_line_that_is_too_long_has_a_file_of_its_own() {
        assert_eq!(cut(b"longer\nx\n", 3, true, Some(4)), Cut::Rotate);
        assert_eq!(cut(b"longer\nx\n", 0, true, Some(4)), Cut::Write(7));
        assert_eq!(cut(b"x\n", 7, true, Some(4)), Cut::Rotate);
    }

    #[test]
    fn a_line_that_has_begun_is_ended_first_up_to_a_bound() {
        assert_eq!(cut(b"ger\nx\n", 4, false, Some(4)), Cut::Write(4));
        assert_eq!(cut(b"never", 4, false, Some(4)), Cut::Write(5));
        assert_eq!(cut(b"never", 4 + OVERHANG, false, Some(4)), Cut::Rotate);
    }

    proptest! {
        /// Whatever comes in whatever portions: nothing is lost, no line is divided, no file too large but for one line.
        #[test]
        fn lines_stay_whole(lines in proptest::collection::vec(0..40_usize, 1..60), limit in 1..100_u64, portions in proptest::collection::vec(1..200_usize, 1..20)) {
            let data: Vec<u8> = lines.iter().flat_map(|&length| [vec![b'x'; length], vec![b'\n']].concat()).collect();
            let mut files = vec![Vec::new()];
            let mut rest = &data[..];
            for portion in portions.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                // As the framer gives them: whole lines, or a part of one.
                let mut given = &rest[..portion.min(rest.len())];
                if let Some(end) = memchr::memrchr(b'\n', given) {
                    given = &given[..=end];
                }
                rest = &rest[given.len()..];
                while !given.is_empty() {
                    let file = files.last_mut().expect("one at least");
                    let whole = file.is_empty() || file.ends_with(b"\n");
                    match cut(given, file.len() as u64, whole, Some(limit)) {
                        Cut::Write(count) => {
                            prop_assert!(count > 0);
                            file.extend_from_slice(&given[..count]);
                            given = &given[count..];
                        }
                        Cut::Rotate => {
                            prop_assert!(whole && !file.is_empty());
                            files.push(Vec::new());
                        }
                    }
                }
            }
            prop_assert_eq!(files.concat(), data);
            for file in files {
                prop_assert!(file.ends_with(b"\n"));
                let lines = file.split_inclusive(|&byte| byte == b'\n').collect::<Vec<_>>();
                let before_last: usize = lines[..lines.len() - 1].iter().map(|line| line.len()).sum();
                prop_assert!(file.len() as u64 <= limit || (before_last as u64) < limit);
            }
        }
    }
}
