//! How a process becomes a sentinel with a keeper as its child. Called once, single-threaded, and never returned from.

use crate::contain::{launcher, life, Allowed, Base, Place, Standing};
use crate::keeper::{random_instance, Keeper, Setting, Watch};
use crate::sentinel;
use crate::service::Manager;
use crate::sys::{self, process, Child, Exit, Forked};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What `procq up`, or the owner in library use, asks for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Config {
    /// Directory of the sockets and the lock: made if missing, ours and nobody else's.
    #[serde(default)]
    pub run_dir: Option<PathBuf>,
    /// Held as long as sentinel or keeper live.
    #[serde(default)]
    pub lock: Option<PathBuf>,
    /// The keeper's own socket: info, stop, logs.
    #[serde(default)]
    pub keeper_socket: Option<PathBuf>,
    /// In its place, in library use: a listener that the owner has made, so that no file is left when both are killed.
    #[serde(default)]
    pub keeper_fd: Option<i32>,
    /// Bound here, served by the control plane.
    #[serde(default)]
    pub api_socket: Option<PathBuf>,
    /// Command of the control plane: it gets the link as descriptor 3 and the API listener as 4.
    #[serde(default)]
    pub control: Vec<ByteBuf>,
    /// In library use: the connected socket of the owner, who takes the control plane's place.
    #[serde(default)]
    pub owner_fd: Option<i32>,
    /// Gets the line `ready` once the control plane works; closed without a word when that will never be.
    #[serde(default)]
    pub ready_fd: Option<i32>,
    /// `NOTIFY_SOCKET` of the service manager that procq runs under, and `WATCHDOG_USEC`.
    #[serde(default)]
    pub notify_socket: Option<ByteBuf>,
    #[serde(default)]
    #[allow(missing_docs)]
    pub watchdog_usec: Option<u64>,
    /// The version, for people.
    #[serde(default)]
    pub release: String,
    /// The command of this image, in front of what it is told: see [`crate::image`]. Without it there is no upgrade.
    #[serde(default)]
    pub image: Vec<ByteBuf>,
    /// The files that it names and consists of.
    #[serde(default)]
    pub files: Vec<ByteBuf>,
    /// How the terminal looks.
    #[serde(default)]
    pub console: Console,
    /// How the control plane is watched.
    #[serde(default)]
    pub watch: Watch,
    /// What may hold workers together.
    #[serde(default)]
    pub contain: Allowed,
    /// What does.
    #[serde(default)]
    pub standing: Standing,
}

/// How lines look on the terminal.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default)]
pub struct Console {
    /// `worker | ` before each line.
    pub prefix: bool,
    /// In the worker's colour.
    pub colour: bool,
    /// Columns for the worker's name.
    pub width: usize,
    /// Pass escape sequences on as they are.
    pub raw: bool,
    /// Bytes above which it begins anew, where it is a file of ours.
    pub most: Option<u64>,
}

impl Default for Console {
    fn default() -> Console {
        Console { prefix: true, colour: false, width: 8, raw: false, most: None }
    }
}

impl Config {
    pub(crate) fn control_command(&self) -> io::Result<Vec<CString>> {
        self.control.iter().map(|part| Ok(CString::new(part.to_vec())?)).collect()
    }
}

/// Becomes a sentinel with a keeper. Block all signals before, so that none is lost on the way here.
pub fn run(config: Config) -> ! {
    sys::block_all();
    sys::reset_dispositions();
    if let Err(error) = become_both(config) {
        let line = format!("procq: cannot start: {error}\n");
        let _ = sys::write(io::stderr().as_fd(), line.as_bytes());
    }
    sys::leave(1)
}

/// Returns only when there is nothing to run.
fn become_both(mut config: Config) -> io::Result<()> {
    sys::open_standard_streams()?;
    sys::close_on_exec_all();
    if !process::own_children()?.is_empty() {
        stand_aside()?;
    }
    config.run_dir.as_deref().map_or(Ok(()), private_directory)?;
    let lock = config.lock.as_deref().map(take_lock).transpose()?;
    let listener = match config.keeper_fd {
        Some(fd) => Some(sys::adopt_fd(fd)?),
        None => config.keeper_socket.as_deref().map(sys::listen).transpose()?,
    };
    let api = config.api_socket.as_deref().map(sys::listen).transpose()?;
    let announce = config.ready_fd.map(sys::adopt_fd).transpose()?;
    let descriptors = sys::descriptor_limit();
    let instance = random_instance();
    let record = config.run_dir.clone();
    record.as_deref().map(life::sweep).iter().for_each(tell);
    let namespace = config.contain.most > 2;
    if namespace {
        sys::begin_namespace().map_err(|error| cannot("T3", &error))?;
    }
    let base = control_groups(&config, instance)?;
    config.standing.tier = if namespace { 3 } else { 1 + u8::from(base.is_some()) };
    if let Some(directory) = &record {
        let life = life::Life::own(instance, base.as_ref())?;
        life::remember(directory, &life).map_err(|error| about(directory, &error))?;
    }
    sys::become_subreaper()?;
    let (sentinel, link) = sys::packet_pair()?;
    let manager = config.notify_socket.as_ref().map(|address| Manager::at(address)).transpose()?;
    let sentinel_pid = sys::own_pid();
    match sys::fork()? {
        Forked::Child => {
            drop((link, manager));
            let base = base.clone();
            keep(Setting { config, lock, sentinel, sentinel_pid, listener, api, announce, descriptors, instance, base })
        }
        Forked::Parent(pid) => {
            // The other ends must end with the keeper.
            let owner = config.owner_fd.map(sys::adopt_fd);
            drop((sentinel, listener, api, announce, owner));
            sys::set_name(c"procq-sentinel");
            let keeper = Child::open(pid)?;
            sentinel::run(&keeper, &link, instance, base.as_ref(), record.as_deref(), manager)
        }
    }
}

/// The groups of T2 where they may be used and can be had.
fn control_groups(config: &Config, instance: u64) -> io::Result<Option<Base>> {
    let allowed = config.contain;
    if allowed.most < 2 {
        return Ok(None);
    }
    let place = Place::find();
    let name = config.run_dir.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or("library");
    let made = match place.lack {
        Some(lack) => Err(io::Error::other(lack.to_string())),
        None => Base::establish(&place, name, instance, config.ready_fd.and_then(|_| launcher())),
    };
    match made {
        Ok(base) => Ok(Some(base)),
        Err(error) if allowed.required && allowed.most == 2 => Err(cannot("T2", &error)),
        Err(_) => Ok(None),
    }
}

fn cannot(tier: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("tier {tier} cannot be had: {error}; `procq doctor` says what is missing"))
}

/// What an earlier life had left is told where the first lines of this one will stand.
fn tell(swept: &life::Swept) {
    let life::Swept { ended, killed, spared, left } = *swept;
    let processes = |n: usize| if n == 1 { "1 process".to_owned() } else { format!("{n} processes") };
    let mut lines = String::new();
    if ended > 0 {
        lines += &format!("procq: ended {} that an earlier life had left, {killed} by SIGKILL\n", processes(ended));
    }
    if left > 0 {
        lines += &format!("procq: {} of an earlier life cannot be ended\n", processes(left));
    }
    if spared > 0 {
        lines += &format!(
            "procq: left alone {} with the cookie of an earlier life and without its mark\n",
            processes(spared)
        );
    }
    let _ = sys::write(io::stderr().as_fd(), lines.as_bytes());
}

/// The child's half. A panic ends in an exit code, never in Python.
fn keep(mut setting: Setting) -> ! {
    let sockets = [setting.config.keeper_socket.clone(), setting.config.api_socket.clone()];
    let work = std::panic::AssertUnwindSafe(|| -> io::Result<()> {
        sys::set_name(c"procq-keeper");
        let standing = &mut setting.config.standing;
        standing.keeper = sys::own_pid();
        if standing.tier == 3 {
            standing.keeper = sys::settle_in_namespace().map_err(|error| cannot("T3", &error))?;
        }
        if !setting.config.control.is_empty() {
            let found = [format!("--tier={}", standing.tier), format!("--keeper-pid={}", standing.keeper)];
            setting.config.control.extend(found.map(|word| word.into_bytes().into()));
        }
        sys::new_session()?;
        sys::become_subreaper()?;
        sys::raise_descriptor_limit();
        sys::return_large_buffers();
        if let Some(lock) = &setting.lock {
            sys::rewrite(lock.as_fd(), format!("{}\n", setting.config.standing.keeper).as_bytes())?;
        }
        Keeper::new(setting)?.run()
    });
    if let Ok(Err(error)) = std::panic::catch_unwind(work) {
        let _ = sys::write(io::stderr().as_fd(), format!("procq: cannot start: {error}\n").as_bytes());
        for socket in sockets.iter().flatten() {
            let _ = std::fs::remove_file(socket);
        }
    }
    sys::leave(1)
}

/// Whoever exec'ed us had children already (`redis-server & exec procq up`). They are none of ours: a child of this process goes on
/// as the sentinel, and this one waits for it and passes signals on.
fn stand_aside() -> io::Result<()> {
    let outer = sys::own_pid();
    match sys::fork()? {
        Forked::Child => {
            // Else a terminal's ^C would arrive twice: from the terminal, and passed on. The second one means "at once".
            sys::new_group()?;
            sys::hear_of_parents_end(libc::SIGTERM)?;
            if sys::parent_pid() != outer {
                return Err(io::Error::other("its parent has gone"));
            }
            Ok(())
        }
        Forked::Parent(pid) => {
            // Whoever waits for the end of one of these waits for the inner process, not for us.
            sys::close_all();
            let inner = Child::open(pid)?;
            sys::leave(match sentinel::stand_by(&inner)? {
                Exit::Code(code) => code,
                Exit::Signal(signal) => 128 + signal,
            })
        }
    }
}

/// Makes the run directory, or makes sure that nobody else can reach into it.
fn private_directory(path: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(about(path, &error)),
        _ => {}
    }
    let found = std::fs::symlink_metadata(path).map_err(|error| about(path, &error))?;
    if !found.is_dir() || found.uid() != sys::own_uid() || found.mode() & 0o077 != 0 {
        let why = "must be a directory of yours that nobody else may enter (mode 0700)";
        return Err(io::Error::other(format!("{} {why}", path.display())));
    }
    Ok(())
}

fn take_lock(path: &Path) -> io::Result<OwnedFd> {
    let lock = sys::lock_file(path).map_err(|error| about(path, &error))?;
    lock.ok_or_else(|| io::Error::other(format!("already running: another procq holds {}", path.display())))
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
