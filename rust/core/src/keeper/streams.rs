//! Reading what workers write.

use super::token::Token;
use super::worker::{Worker, STREAMS};
use super::Keeper;
use crate::output::{Flow, Problem, Trouble};
use crate::proto::messages::{Event, LogProblem, Stream};
use crate::sys::{self, Interest};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::time::Instant;

/// Ended workers whose last lines are kept.
const ENDED_OUTPUTS: usize = 1_000;

/// Bytes read from one pipe before the others get their turn.
const TURN: usize = 1 << 20;
/// Bytes taken from a pipe whose writer has ended: all that a pipe can hold, unless somebody else still writes.
const LAST: usize = 1 << 21;
/// What a pipe of a busy worker may hold.
const BUSY_PIPE: usize = 1 << 18;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manners {
    /// Leave it in the pipe while a log file is behind: its writer waits.
    Ask,
    /// Its writer is dead, nobody could wait: bounded by what a pipe holds.
    Take,
}

enum Outcome {
    /// The pipe is empty, its writers live.
    Empty,
    /// This turn is over, there is more.
    More,
    /// The output asks us to stop reading until it has room.
    Full,
    /// No writer is left.
    End,
}

impl Keeper {
    /// A worker has written something, or closed its end.
    pub(super) fn read_stream(&mut self, generation: u64, stream: Stream) {
        let outcome = self.read_some(generation, stream, TURN, Manners::Ask);
        self.look_for_ready_line(generation);
        match outcome {
            Outcome::Empty | Outcome::More => {}
            Outcome::Full => {
                if let Some(pipe) = self.workers.get(&generation).and_then(|worker| worker.pipes.get(stream)) {
                    self.poller.remove(pipe.as_fd());
                }
            }
            Outcome::End => self.close_stream(generation, stream),
        }
    }

    /// Goes on reading pipes that had been left alone while a log file was behind, and passes on what the writer reports.
    pub(super) fn attend_output(&mut self) {
        for resumed in self.output.take_resumable(Instant::now()) {
            let Some(generation) = self.output.generation(resumed) else { continue };
            let Some(worker) = self.workers.get(&generation) else { continue };
            for stream in STREAMS {
                if let Some(pipe) = worker.pipes.get(stream) {
                    // Refused for the stream that was never left alone: it is there already.
                    let _ = self.poller.add(pipe.as_fd(), Token::Output(generation, stream).into(), Interest::Read);
                }
            }
        }
        for trouble in self.output.take_troubles() {
            self.tell_trouble(trouble);
        }
    }

    /// What is wrong with log files now, for a control plane that has not heard of it.
    pub(super) fn tell_troubles(&mut self) {
        for trouble in self.output.troubles() {
            self.tell_trouble(trouble);
        }
    }

    fn tell_trouble(&mut self, Trouble { problem, worker, path, errno, dropped }: Trouble) {
        let problem = match problem {
            Problem::Data => LogProblem::Data,
            Problem::Rotation => LogProblem::Rotation,
            Problem::Compression => LogProblem::Compression,
            Problem::Removal => LogProblem::Removal,
            Problem::Rights => {
                return self.say(&format!(
                    "{worker} writes to {} with the rights of another user, until his last worker there has ended; give each user a file",
                    path.display()
                ));
            }
        };
        let path = path.into_os_string().into_vec().into();
        self.emit(&Event::LogTrouble { worker, path, problem, errno, dropped });
    }

    /// The last lines of the workers that ended most recently stay readable; older ones make room.
    pub(super) fn keep_last_lines(&mut self, worker: &str, generation: u64) {
        self.closed_outputs.push_back((worker.to_owned(), generation));
        if self.closed_outputs.len() > ENDED_OUTPUTS {
            if let Some((worker, generation)) = self.closed_outputs.pop_front() {
                self.output.forget(&worker, generation);
            }
        }
    }

    /// Takes what a dead writer has left.
    pub(super) fn drain_last(&mut self, generation: u64, stream: Stream) {
        let outcome = self.read_some(generation, stream, LAST, Manners::Take);
        self.look_for_ready_line(generation);
        if matches!(outcome, Outcome::End) {
            self.close_stream(generation, stream);
        }
    }

    /// Closes our end; an unterminated last line is a line.
    pub(super) fn close_stream(&mut self, generation: u64, stream: Stream) {
        let Some(worker) = self.workers.get_mut(&generation) else { return };
        if let Some(pipe) = worker.pipes.take(stream) {
            self.poller.remove(pipe.as_fd());
            if let Some(output) = worker.output {
                self.output.end(output, stream, sys::wall());
            }
        }
    }

    fn read_some(&mut self, generation: u64, stream: Stream, limit: usize, manners: Manners) -> Outcome {
        let Some(Worker { pipes, output, probe, .. }) = self.workers.get_mut(&generation) else {
            return Outcome::Empty;
        };
        let Some(pipe) = pipes.get(stream) else { return Outcome::Empty };
        if manners == Manners::Ask && output.is_some_and(|output| !self.output.may_read(output)) {
            return Outcome::Full;
        }
        // A terminal hands out a little at a time.
        let most_at_once = if pipes.are_a_terminal() { 0 } else { PIPE };
        let mut taken = 0;
        while taken < limit {
            match sys::read(pipe.as_fd(), &mut self.buffer) {
                Ok(0) => return Outcome::End,
                Ok(n) => {
                    taken += n;
                    let data = &self.buffer[..n];
                    let flow = match (probe.as_mut(), *output) {
                        (None, Some(output)) => self.output.ingest(output, stream, sys::wall(), data),
                        (probe, _) => {
                            probe.into_iter().for_each(|probe| probe.take_output(data));
                            Flow::Continue
                        }
                    };
                    if flow == Flow::Pause && manners == Manners::Ask {
                        return Outcome::Full;
                    }
                    if n < most_at_once {
                        // Less than a pipe holds: most likely empty now, and if not we are told again.
                        return Outcome::Empty;
                    }
                    if most_at_once > 0 {
                        sys::grow_pipe(pipe.as_fd(), BUSY_PIPE);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Outcome::Empty,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // A terminal that has been hung up says EIO.
                Err(_) => return Outcome::End,
            }
        }
        Outcome::More
    }
}

/// What a pipe holds by default.
const PIPE: usize = 1 << 16;
