//! Patterns over worker ids: `*` is any run of characters, `?` any one.

/// Whether `pattern` names the worker: its id (`emails.3`) or its queue (`emails`).
pub(super) fn names(pattern: &str, worker: &str) -> bool {
    let queue = worker.rsplit_once('.').map(|(queue, _)| queue);
    matches(pattern.as_bytes(), worker.as_bytes())
        || queue.is_some_and(|queue| matches(pattern.as_bytes(), queue.as_bytes()))
}

fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // Where to go on when the newest star has to take one character more: linear in memory, never exponential.
    let mut retry: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, read));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[read] => {
                at += 1;
                read += 1;
            }
            _ => match &mut retry {
                Some((after, from)) => {
                    *from += 1;
                    (at, read) = (*after, *from);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn patterns_name_ids_and_queues() {
        for (pattern, worker, expected) in [
            ("emails.1", "emails.1", true),
            ("emails.1", "emails.10", false),
            ("emails", "emails.10", true),
            ("email", "emails.1", false),
            ("e*", "emails.1", true),
            ("*.1", "emails.1", true),
            ("*.1", "emails.11", false),
            ("*s*1*", "emails.11", true),
            ("emails.?", "emails.11", false),
            ("emails.??", "emails.11", true),
            ("*", "x.1", true),
            ("", "x.1", false),
            ("a.b", "a.b.3", true),
        ] {
            assert_eq!(names(pattern, worker), expected, "{pattern} over {worker}");
        }
    }
}
