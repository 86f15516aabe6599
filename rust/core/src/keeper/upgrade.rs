//! Becoming another version while workers run: see docs/adr/0024.
//!
//! ```text
//! asked ──▶ trial of the image ──▶ trial of the control plane ──▶ writer rests ──▶ exec ──▶ resumed ──▶ control plane replaced
//!              │ no                   │ no                          │ never          │ no      │ back: exec of the former image
//!              └──────────────────────┴─────────────────────────────┴────────────────┴─────────┴──▶ goes on, and says why
//! ```

use super::lifecycle::Launched;
use super::token::Token;
use super::worker::{Pipes, STREAMS};
use super::{Keeper, Saved};
use crate::image::{is_trustworthy, number, SavedImage};
use crate::proto::messages::{Event, Order, Reply};
use crate::state;
use crate::sys::{self, Child, Exit, Image, Starting, Verdict};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const SECOND: u64 = 1_000_000_000;
/// Nanoseconds for a trial: it imports all of a control plane, perhaps from a cold disk.
const TRIAL: u64 = 60 * SECOND;
/// Nanoseconds for who compresses, and who closes what workers pass, to end.
const CALM: u64 = 10 * SECOND;
/// Nanoseconds for the writer to end its present step. Workers go on writing meanwhile, and what waits has bounds.
const REST: u64 = SECOND;
/// Nanoseconds until a thread is tried to be had again.
const AGAIN: u64 = 10_000_000;
/// Nanoseconds between two looks whether the other threads have ended.
const MOMENT: u64 = 2_000_000;
/// Bytes of what a trial says that are told on.
const MOST_SAID: usize = 64 << 10;
/// The descriptor in which a trial finds its copy.
const COPY: &str = "3";

/// An upgrade under way.
pub(super) struct Upgrade {
    order: Order,
    client: u64,
    began: u64,
    step: Step,
    /// Given up: its trial was killed and has not ended yet.
    over: bool,
}

enum Step {
    Trial(Trial),
    /// All other threads end, but the writer works.
    Calm {
        until: u64,
    },
    /// It ends its present step.
    Rest {
        until: u64,
    },
}

struct Trial {
    of: Of,
    child: Child,
    /// Until exec is reported. Its memory is the child's until then, whatever becomes of the upgrade.
    starting: Option<Starting>,
    pipes: Pipes,
    said: Vec<u8>,
    ended: Option<Exit>,
    until: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Image,
    Control,
}

/// What the next image has to know of how it came to be.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedUpgrade {
    client: u64,
    began: u64,
    /// Since when nothing was read or reaped.
    held_since: u64,
    former: SavedFormer,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedFormer {
    release: String,
    image: Vec<ByteBuf>,
    files: Vec<ByteBuf>,
    control: Vec<ByteBuf>,
    held: SavedImage,
}

impl Keeper {
    /// Somebody asks for it. The answer comes when it is done, or has failed.
    pub(super) fn ask_upgrade(&mut self, client: u64, order: Order) {
        if let Some(why) = self.upgrade_objection(&order) {
            return self.answer_upgrade(client, &Reply::Error { message: why });
        }
        let who = if order.who.is_empty() { String::new() } else { format!(", asked by {}", order.who) };
        self.say(&format!("upgrading from {} to {}{who}", self.config.release, order.release));
        match self.begin_trial(Of::Image, &order) {
            Ok(step) => self.upgrade = Some(Upgrade { order, client, began: self.now, step, over: false }),
            Err(error) => self.refuse_upgrade(client, &format!("no trial could be begun: {error}")),
        }
    }

    fn upgrade_objection(&self, order: &Order) -> Option<String> {
        if self.shutdown.is_some() {
            return Some("everything is being stopped".into());
        }
        if self.control.is_owner() {
            return Some(
                "it belongs to a program that uses procq as a library, and is replaced with that program".into(),
            );
        }
        if self.upgrade.is_some() {
            return Some("another upgrade is under way".into());
        }
        if self.image.is_none() || order.command.is_empty() || order.control.is_empty() {
            return Some("it does not know what it was started from: `procq down`, then `procq up`".into());
        }
        // Programs and what they are made of: nothing that somebody else could have put there.
        let programs = [&order.command[0], &order.control[0]];
        let files = order.files.iter().chain(programs);
        files.map(|file| Path::new(OsStr::from_bytes(file))).find_map(|file| is_trustworthy(file).err())
    }

    fn begin_trial(&mut self, of: Of, order: &Order) -> io::Result<Step> {
        let (words, copy) = match of {
            Of::Image => {
                let (saved, _) = self.save_for(order);
                let bytes = state::encode(&saved).map_err(io::Error::other)?;
                let probe = ["probe", COPY].map(|word| ByteBuf::from(word.as_bytes()));
                (order.command.iter().cloned().chain(probe).collect(), sys::memory_file(c"procq-trial", &bytes)?)
            }
            Of::Control => {
                let mut words = self.next_control(order);
                words.push(ByteBuf::from(format!("--probe-fd={COPY}")));
                (words, sys::memory_file(c"procq-trial", &self.blob)?)
            }
        };
        let image = Image {
            argv: c_strings(&words)?,
            env: super::control::environment(),
            mark: self.mark_of(0),
            descriptors: Some(self.descriptors),
            ..Image::default()
        };
        let launched = self.launch(image, &[copy.as_fd()]).map_err(|error| error.source)?;
        let Launched { child, starting, pipes } = launched;
        self.watch(child.as_fd(), Token::Trial);
        self.watch(starting.as_fd(), Token::Trial);
        for pipe in STREAMS.into_iter().filter_map(|stream| pipes.get(stream)) {
            self.watch(pipe.as_fd(), Token::Trial);
        }
        let (starting, until) = (Some(starting), self.now + TRIAL);
        Ok(Step::Trial(Trial { of, child, starting, pipes, said: Vec::new(), ended: None, until }))
    }

    /// The command of the next control plane: other first words, the same options.
    fn next_control(&self, order: &Order) -> Vec<ByteBuf> {
        let options = self.config.control.iter().skip_while(|word| !word.starts_with(b"--"));
        order.control.iter().chain(options).cloned().collect()
    }

    /// Whether this child of ours is a trial.
    pub(super) fn is_trial(&self, pid: i32) -> bool {
        let step = self.upgrade.as_ref().map(|upgrade| &upgrade.step);
        matches!(step, Some(Step::Trial(trial)) if trial.child.pid() == pid)
    }

    /// A trial has said something, or ended.
    pub(super) fn hear_trial(&mut self) {
        let Some(Upgrade { step: Step::Trial(trial), .. }) = &mut self.upgrade else { return };
        trial.ended = trial.ended.or_else(|| trial.child.reap().ok().flatten());
        let ended = trial.ended;
        for stream in STREAMS {
            while let Some(pipe) = trial.pipes.get(stream) {
                match sys::read(pipe.as_fd(), &mut self.buffer) {
                    Ok(n @ 1..) => trial.hear(&self.buffer[..n]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Ok(_) | Err(_) => {
                        self.poller.remove(pipe.as_fd());
                        trial.pipes.take(stream);
                    }
                }
            }
        }
        if let Some(mut starting) = trial.starting.take() {
            match starting.verdict() {
                Verdict::Pending => {
                    trial.starting = Some(starting);
                    return;
                }
                Verdict::Failed { errno, path, .. } => {
                    let (path, error) = (String::from_utf8_lossy(&path), io::Error::from_raw_os_error(errno));
                    trial.hear(format!("{path}: {error}").as_bytes());
                }
                Verdict::Executing => {}
            }
            self.poller.remove(starting.as_fd());
            self.spawner.recycle(starting);
        }
        if let Some(exit) = ended {
            self.trial_ended(exit);
        }
    }

    fn trial_ended(&mut self, exit: Exit) {
        let Some(Upgrade { order, client, began, step, over }) = self.upgrade.take() else { return };
        let Step::Trial(mut trial) = step else { return };
        self.poller.remove(trial.child.as_fd());
        for pipe in STREAMS.into_iter().filter_map(|stream| trial.pipes.take(stream)) {
            self.poller.remove(pipe.as_fd());
        }
        if over {
            return;
        }
        if exit != Exit::Code(0) {
            let what = if trial.of == Of::Image { "cannot take over" } else { "has no control plane that works here" };
            return self.refuse_upgrade(client, &format!("{} {what}: {}", order.release, trial.reason(exit)));
        }
        let step = match trial.of {
            Of::Image => self.begin_trial(Of::Control, &order),
            Of::Control => {
                self.output.ask_for_calm();
                Ok(Step::Calm { until: self.now + CALM })
            }
        };
        match step {
            Ok(step) => self.upgrade = Some(Upgrade { order, client, began, step, over: false }),
            Err(error) => self.refuse_upgrade(client, &format!("no trial could be begun: {error}")),
        }
    }

    /// When it needs attention even without news.
    pub(super) fn upgrade_timer(&self) -> Option<u64> {
        let upgrade = self.upgrade.as_ref().filter(|upgrade| !upgrade.over)?;
        Some(match &upgrade.step {
            Step::Trial(Trial { until, .. }) => *until,
            // The end of the last thread is told by nobody.
            Step::Calm { until } | Step::Rest { until } => (self.now + MOMENT).min(*until),
        })
    }

    /// Goes on with the next step, once nothing is under way in the writer, or gives up what takes too long.
    pub(super) fn attend_upgrade(&mut self) {
        let Some(upgrade) = self.upgrade.as_ref().filter(|upgrade| !upgrade.over) else { return };
        if matches!(upgrade.step, Step::Calm { .. } | Step::Rest { .. }) {
            // Workers may have passed something meanwhile, and its thread with it.
            self.closer.rest();
            self.strangers.rest();
        }
        match upgrade.step {
            Step::Calm { .. } if self.output.is_calm() && sys::threads() == Some(2) => {
                self.output.ask_to_rest();
                let until = self.now + REST;
                self.upgrade.iter_mut().for_each(|upgrade| upgrade.step = Step::Rest { until });
            }
            Step::Rest { .. } if self.output.rests() && is_alone() => self.execute_upgrade(),
            Step::Calm { until } | Step::Rest { until } if self.now >= until => {
                self.abandon_upgrade(
                    "what writes or compresses log files, or closes what workers pass, does not come to an end: a disk may not answer",
                );
            }
            Step::Trial(Trial { until, .. }) if self.now >= until => self.abandon_upgrade("its trial took too long"),
            _ => {}
        }
    }

    /// A writer that rests has to work again. Where no thread can be had for it, it is tried until one can.
    pub(super) fn attend_writer(&mut self) {
        if self.output.wants_a_thread() {
            let _ = self.output.go_on();
        }
    }

    /// When that is tried again.
    pub(super) fn writer_timer(&self) -> Option<u64> {
        self.output.wants_a_thread().then_some(self.now + AGAIN)
    }

    /// Gives it up, whatever step it is at.
    pub(super) fn abandon_upgrade(&mut self, why: &str) {
        let Some(upgrade) = self.upgrade.as_mut().filter(|upgrade| !upgrade.over) else { return };
        let client = upgrade.client;
        match &upgrade.step {
            Step::Trial(trial) => {
                trial.child.signal(libc::SIGKILL);
                upgrade.over = true;
            }
            Step::Calm { .. } | Step::Rest { .. } => {
                self.upgrade = None;
                let _ = self.output.go_on();
            }
        }
        self.refuse_upgrade(client, why);
    }

    /// Writes everything down and becomes the other image; returns only when that has failed.
    fn execute_upgrade(&mut self) {
        // What the writer had to tell; it says nothing more now.
        self.attend_output();
        let Some(upgrade) = self.upgrade.take() else { return };
        let error = self.become_another(&upgrade);
        sys::close_on_exec_all();
        let _ = self.output.go_on();
        self.refuse_upgrade(upgrade.client, &format!("the new image could not be executed: {error}"));
    }

    fn become_another(&mut self, upgrade: &Upgrade) -> io::Error {
        match self.prepare(upgrade) {
            Ok((program, argv, _memory)) => sys::exec(&program, &argv),
            Err(error) => error,
        }
    }

    fn prepare(&mut self, upgrade: &Upgrade) -> io::Result<(CString, Vec<CString>, std::os::fd::OwnedFd)> {
        let Upgrade { order, client, began, .. } = upgrade;
        let (mut saved, mut luggage) = self.save_for(order);
        let image = self.image.as_ref().ok_or(io::ErrorKind::NotFound)?;
        saved.upgrade = Some(SavedUpgrade {
            client: *client,
            began: *began,
            held_since: sys::monotonic(),
            former: SavedFormer {
                release: self.config.release.clone(),
                image: self.config.image.clone(),
                files: self.config.files.clone(),
                control: self.config.control.clone(),
                held: image.save(&mut luggage),
            },
        });
        saved.descriptors = luggage.list();
        let memory = sys::memory_file(c"procq-state", &state::encode(&saved).map_err(io::Error::other)?)?;
        let mut argv = c_strings(&order.command)?;
        let program = argv[0].clone();
        argv.extend([c"resume".to_owned(), number(memory.as_raw_fd())]);
        argv.extend(image.way_back(memory.as_raw_fd()));
        luggage.release()?;
        sys::survive_exec(memory.as_raw_fd())?;
        Ok((program, argv, memory))
    }

    /// The state in which the image that was ordered begins.
    fn save_for(&self, order: &Order) -> (Saved, state::Luggage) {
        let (mut saved, luggage) = self.save();
        saved.config.release.clone_from(&order.release);
        saved.config.image.clone_from(&order.command);
        saved.config.files.clone_from(&order.files);
        saved.config.control = self.next_control(order);
        (saved, luggage)
    }

    fn refuse_upgrade(&mut self, client: u64, why: &str) {
        self.say(&format!("not upgraded: {why}; {} goes on", self.config.release));
        self.answer_upgrade(client, &Reply::Error { message: why.to_owned() });
    }

    fn answer_upgrade(&mut self, client: u64, reply: &Reply) {
        self.reply(client, reply);
        self.flush_clients();
    }

    /// The first thing that an image does which has taken over: with `failed` the former one, which has to go on.
    pub(crate) fn resumed(&mut self, failed: Option<String>) {
        self.flush_clients();
        let Some(done) = self.upgraded.take() else { return };
        match failed {
            Some(why) => {
                let why = format!("{} could not take over: {why}", done.other);
                self.refuse_upgrade(done.client, &why);
            }
            None => {
                let now = sys::monotonic();
                let workers = self.alive();
                let (took, held) = (now.saturating_sub(done.began), now.saturating_sub(done.held_since));
                let (from, to) = (done.other, self.config.release.clone());
                let kept = if workers == 1 { "1 worker was".to_owned() } else { format!("{workers} workers were") };
                self.say(&format!(
                    "upgraded from {from} to {to}; {kept} not touched, for {} ms nothing was read",
                    held / 1_000_000
                ));
                self.answer_upgrade(
                    done.client,
                    &Reply::Upgraded { from, to, workers, took, held, epoch: self.control.epoch },
                );
                self.retire_control();
            }
        }
    }

    /// Asks the control plane to make place for one of our own version.
    fn retire_control(&mut self) {
        self.emit(&Event::Retire {});
        self.control.retire(self.now);
    }
}

impl Trial {
    fn hear(&mut self, said: &[u8]) {
        self.said.extend_from_slice(&said[..said.len().min(MOST_SAID.saturating_sub(self.said.len()))]);
    }

    /// The last line of what it said: of a traceback that is the one that tells.
    fn reason(&self, exit: Exit) -> String {
        let said = String::from_utf8_lossy(&self.said);
        let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
        last.map_or_else(|| super::control::describe(exit), str::to_owned)
    }
}

/// What an image knows of the one that it came from.
pub(super) struct Upgraded {
    client: u64,
    began: u64,
    held_since: u64,
    /// The version on the other side of the exec: the former one, or the one that failed.
    other: String,
}

impl SavedUpgrade {
    /// For who has taken over (`forwards`), and for the former one that goes on: then it is again what it was.
    pub fn restore(
        self,
        config: &mut crate::host::Config,
        inherited: &state::Inherited,
        forwards: bool,
    ) -> (Upgraded, Option<crate::image::Image>) {
        let SavedUpgrade { client, began, held_since, former } = self;
        if forwards {
            return (Upgraded { client, began, held_since, other: former.release }, None);
        }
        let other = std::mem::replace(&mut config.release, former.release);
        (config.image, config.files, config.control) = (former.image, former.files, former.control);
        let image = crate::image::Image::restore(former.held, inherited);
        (Upgraded { client, began, held_since, other }, Some(image))
    }
}

fn c_strings(words: &[ByteBuf]) -> io::Result<Vec<CString>> {
    words.iter().map(|word| Ok(CString::new(word.to_vec())?)).collect()
}

/// Whether every other thread has ended, which takes the kernel a moment longer than who waits for it. An exec waits for
/// them, and one that hangs in the kernel has no end.
fn is_alone() -> bool {
    sys::threads() == Some(1)
}
