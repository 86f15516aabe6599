//! What a worker says of itself: the lines of `sd_notify(3)`, and ours.
//!
//! A message is a few `KEY=value` lines. It comes from any program in any language, so everything in it may be wrong: a line that says
//! nothing sensible is as if it were not there, and the others count. Of a key that stands there twice the last one counts.

/// Bytes of a status that are kept.
pub const LONGEST_STATUS: usize = 512;
/// Bytes of a job's id and name that are kept.
pub const LONGEST_JOB: usize = 256;
/// Counts of jobs by how long they took: up to 1, 2, 5, 10, 20, 50 … 10,000,000 milliseconds, and longer.
pub const BUCKETS: usize = 23;

/// What one message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// `READY=1`: it takes work now.
    pub ready: bool,
    /// `WATCHDOG=1` or `WATCHDOG=trigger`.
    pub watchdog: Option<Beat>,
    /// `WATCHDOG_USEC`: microseconds that the watchdog waits from now on.
    pub watchdog_usec: Option<u64>,
    /// `EXTEND_TIMEOUT_USEC`: microseconds from now that it needs at least.
    pub extend_usec: Option<u64>,
    /// `STATUS`: a line for people, without control characters.
    pub status: Option<String>,
    /// `X_PROCQ_JOBS`: how many jobs it has finished since its start, failed ones included.
    pub jobs: Option<u64>,
    /// `X_PROCQ_FAILED`: how many of them failed for good.
    pub failed: Option<u64>,
    /// `X_PROCQ_RETRIED`: how many of them failed and are to be tried again.
    pub retried: Option<u64>,
    /// `X_PROCQ_BUSY`: how many it is working on.
    pub busy: Option<u64>,
    /// `X_PROCQ_JOB`: which one, by its id and name; of several the one that has taken longest. Empty where there is none.
    pub job: Option<String>,
    /// `X_PROCQ_JOB_USEC`: microseconds for which it has been at that job.
    pub job_usec: Option<u64>,
    /// `X_PROCQ_TOOK_USEC`: microseconds that all finished jobs took together.
    pub took_usec: Option<u64>,
    /// `X_PROCQ_TOOK`: how many of them took how long, see [`BUCKETS`]; zeros at the end may be left out.
    pub took: Option<Vec<u64>>,
    /// `X_PROCQ_PARKED`: whether it takes no more jobs. Whoever says either can be told to.
    pub parked: Option<bool>,
    /// `X_PROCQ_SCOPE=process`: the numbers are of the process that sends this alone, to be added to those of others.
    pub own: bool,
}

/// What is said to a watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// All is well.
    Alive,
    /// It is not: act as if the time were over.
    Trigger,
}

impl Said {
    /// Reads a message.
    pub fn parse(text: &[u8]) -> Said {
        let mut said = Said::default();
        for line in text.split(|byte| *byte == b'\n') {
            if let Some(at) = memchr::memchr(b'=', line) {
                said.take(&line[..at], &line[at + 1..]);
            }
        }
        said
    }

    fn take(&mut self, key: &[u8], value: &[u8]) {
        match key {
            b"READY" => self.ready |= value == b"1",
            b"WATCHDOG" => self.watchdog = beat(value).or(self.watchdog),
            b"WATCHDOG_USEC" => self.watchdog_usec = number(value).filter(|usec| *usec > 0).or(self.watchdog_usec),
            b"EXTEND_TIMEOUT_USEC" => self.extend_usec = number(value).or(self.extend_usec),
            b"STATUS" => self.status = Some(line_of(value, LONGEST_STATUS)),
            b"X_PROCQ_JOBS" => self.jobs = number(value).or(self.jobs),
            b"X_PROCQ_FAILED" => self.failed = number(value).or(self.failed),
            b"X_PROCQ_BUSY" => self.busy = number(value).or(self.busy),
            b"X_PROCQ_RETRIED" => self.retried = number(value).or(self.retried),
            b"X_PROCQ_JOB" => self.job = Some(line_of(value, LONGEST_JOB)),
            b"X_PROCQ_JOB_USEC" => self.job_usec = number(value).or(self.job_usec),
            b"X_PROCQ_TOOK_USEC" => self.took_usec = number(value).or(self.took_usec),
            b"X_PROCQ_TOOK" => self.took = numbers(value).or(self.took.take()),
            b"X_PROCQ_PARKED" => self.parked = switch(value).or(self.parked),
            b"X_PROCQ_SCOPE" => self.own = value == b"process",
            // A BARRIER is answered by closing what came with it, FDSTORE by keeping nothing. STOPPING, RELOADING, MAINPID and ERRNO change
            // nothing: its end is seen as it is.
            _ => {}
        }
    }
}

fn beat(value: &[u8]) -> Option<Beat> {
    match value {
        b"1" => Some(Beat::Alive),
        b"trigger" => Some(Beat::Trigger),
        _ => None,
    }
}

/// A number without sign or space.
fn number(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

/// Numbers with commas between them, as many as there are buckets at most.
fn numbers(value: &[u8]) -> Option<Vec<u64>> {
    let numbers: Option<Vec<u64>> = value.split(|byte| *byte == b',').map(number).collect();
    numbers.filter(|numbers| numbers.len() <= BUCKETS)
}

fn switch(value: &[u8]) -> Option<bool> {
    match value {
        b"0" => Some(false),
        b"1" => Some(true),
        _ => None,
    }
}

/// The beginning of a text, fit to be shown in a terminal.
fn line_of(value: &[u8], longest: usize) -> String {
    let text = String::from_utf8_lossy(&value[..value.len().min(longest)]);
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    while line.len() > longest {
        line.pop();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(text: &str) -> Said {
        Said::parse(text.as_bytes())
    }

    #[test]
    fn every_key_is_read() {
        let text = "READY=1\nSTOPPING=1\nWATCHDOG=1\nWATCHDOG_USEC=7\nEXTEND_TIMEOUT_USEC=8\nSTATUS=two words = 3\nERRNO=2\n\
                    MAINPID=1\nBARRIER=1\nFDSTORE=1\nX_PROCQ_JOBS=12\nX_PROCQ_FAILED=3\nX_PROCQ_BUSY=1\nX_PROCQ_JOB=a-7 send mail\n\
                    X_PROCQ_RETRIED=2\nX_PROCQ_JOB_USEC=6\nX_PROCQ_TOOK_USEC=99\nX_PROCQ_TOOK=0,10,2\nX_PROCQ_PARKED=1\nX_PROCQ_SCOPE=process\n";
        let expected = Said {
            ready: true,
            watchdog: Some(Beat::Alive),
            watchdog_usec: Some(7),
            extend_usec: Some(8),
            status: Some("two words = 3".into()),
            jobs: Some(12),
            failed: Some(3),
            busy: Some(1),
            job: Some("a-7 send mail".into()),
            job_usec: Some(6),
            retried: Some(2),
            took_usec: Some(99),
            took: Some(vec![0, 10, 2]),
            parked: Some(true),
            own: true,
        };
        assert_eq!(said(text), expected);
    }

    #[test]
    fn what_is_no_such_line_says_nothing_and_spoils_nothing() {
        let nothing = [
            "",
            "\n\n",
            "READY",
            "READY=",
            "READY=0",
            "READY=yes",
            "READY =1",
            " READY=1",
            "ready=1",
            "READY=1\r",
            "READY=1\0",
            "STOPPING=2",
            "WATCHDOG=2",
            "WATCHDOG_USEC=0",
            "WATCHDOG_USEC=-1",
            "WATCHDOG_USEC=1s",
            "EXTEND_TIMEOUT_USEC=+1",
            "X_PROCQ_JOBS=",
            "X_PROCQ_JOBS= 1",
            "X_PROCQ_JOBS=1.5",
            "X_PROCQ_JOBS=18446744073709551616",
            "X_PROCQ_BUSY=-1",
            "X_PROCQ_TOOK=",
            "X_PROCQ_TOOK=1,,2",
            "X_PROCQ_TOOK=0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0",
            "X_PROCQ_PARKED=yes",
            "X_PROCQ_SCOPE=worker",
            "X_UNKNOWN=1",
            "=1",
            "=",
        ];
        for line in nothing {
            assert_eq!(said(line), Said::default(), "{line:?}");
            let among = said(&format!("STATUS=before\n{line}\nX_PROCQ_JOBS=2"));
            assert_eq!((among.status.as_deref(), among.jobs), (Some("before"), Some(2)), "{line:?}");
        }
    }

    #[test]
    fn the_last_one_of_a_key_counts_unless_it_is_wrong() {
        let last = said("X_PROCQ_JOBS=1\nX_PROCQ_JOBS=2\nX_PROCQ_JOBS=x\nSTATUS=a\nSTATUS=\nREADY=1\nREADY=0\nWATCHDOG=1\nWATCHDOG=trigger");
        assert_eq!((last.jobs, last.status.as_deref()), (Some(2), Some("")));
        assert!(last.ready, "readiness is not taken back");
        assert_eq!(last.watchdog, Some(Beat::Trigger));
    }

    #[test]
    fn texts_are_bounded_and_cannot_steer_a_terminal() {
        let text = [b"STATUS=\x1b[2J\x07".to_vec(), vec![0xff; LONGEST_STATUS]].concat();
        let status = Said::parse(&text).status.unwrap();
        assert!(status.starts_with(" [2J \u{fffd}") && status.len() <= LONGEST_STATUS, "{status:?}");
        let job = said(&format!("X_PROCQ_JOB=7 {}", "é".repeat(LONGEST_JOB))).job.unwrap();
        assert!(job.starts_with("7 é") && job.len() <= LONGEST_JOB);
    }

    proptest! {
        #[test]
        fn faults_54_anything_may_come(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let said = Said::parse(&text);
            for text in said.status.iter().chain(&said.job) {
                prop_assert!(text.len() <= LONGEST_STATUS && !text.chars().any(char::is_control));
            }
        }

        #[test]
        fn faults_54_a_good_line_counts_wherever_it_stands(
            before in "[A-Z_=a-z0-9 \n]{0,60}", after in "[A-Z_=a-z0-9 \n]{0,60}", jobs: u64,
        ) {
            prop_assume!(!after.contains("X_PROCQ_JOBS"));
            prop_assert_eq!(said(&format!("{before}\nX_PROCQ_JOBS={jobs}\n{after}")).jobs, Some(jobs));
        }
    }
}
