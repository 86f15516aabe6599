//! The image of a keeper: what it was loaded from, and how another one takes its place.
//!
//! An image is a command. Executed with `probe FD` behind it, it says whether it can go on from the state in that
//! descriptor. With `resume FD PROGRAM ARGUMENT…` it does: it is the keeper's process already, its children are ours,
//! and where it cannot, it executes PROGRAM with these arguments and the reason as one more: the former image, which
//! goes on from the same state. Nothing inherited is touched before it is sure.

use crate::keeper::{Keeper, Saved};
use crate::state::{self, Fd, Inherited, Luggage};
use crate::sys;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of a reason.
const LONGEST_REASON: usize = 1_000;

/// What this process runs, held open: an installed upgrade replaces the files under their names.
#[derive(Debug)]
pub struct Image {
    program: OwnedFd,
    files: Vec<OwnedFd>,
    argv: Vec<CString>,
}

/// As it is handed on, so that it can be gone back to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedImage {
    program: Fd,
    files: Vec<Fd>,
    argv: Vec<ByteBuf>,
}

impl Image {
    /// The one that runs: it was begun by this command, in which `files` are named.
    ///
    /// # Errors
    /// One of them is gone already.
    pub fn own(command: &[ByteBuf], files: &[ByteBuf]) -> io::Result<Image> {
        let program = File::open("/proc/self/exe")?.into();
        let mut argv = command.iter().map(|word| CString::new(word.to_vec())).collect::<Result<Vec<_>, _>>()?;
        let mut held = Vec::new();
        for (name, place) in files.iter().flat_map(|name| (1..command.len()).map(move |place| (name, place))) {
            if command[place] == *name {
                let file: OwnedFd = File::open(OsStr::from_bytes(name))?.into();
                argv[place] = link_to(file.as_raw_fd());
                held.push(file);
            }
        }
        Ok(Image { program, files: held, argv })
    }

    pub(crate) fn save(&self, luggage: &mut Luggage) -> SavedImage {
        let Image { program, files, argv } = self;
        SavedImage {
            program: luggage.pack(program),
            files: files.iter().map(|file| luggage.pack(file)).collect(),
            argv: argv.iter().map(|word| ByteBuf::from(word.as_bytes())).collect(),
        }
    }

    pub(crate) fn restore(saved: SavedImage, inherited: &Inherited) -> Image {
        let SavedImage { program, files, argv } = saved;
        Image {
            program: inherited.take(program),
            files: files.into_iter().map(|file| inherited.take(file)).collect(),
            argv: argv.into_iter().filter_map(|word| CString::new(word.into_vec()).ok()).collect(),
        }
    }

    /// The program and the arguments that bring this image back.
    pub(crate) fn way_back(&self, state: RawFd) -> Vec<CString> {
        let mut words = vec![link_to(self.program.as_raw_fd())];
        words.extend(self.argv.iter().cloned());
        words.extend([c"back".to_owned(), number(state)]);
        words
    }
}

fn link_to(fd: RawFd) -> CString {
    CString::new(format!("/proc/self/fd/{fd}")).expect("digits")
}

pub(crate) fn number(fd: RawFd) -> CString {
    CString::new(fd.to_string()).expect("digits")
}

/// Whether a file may become part of us: only what we could have written ourselves, or root.
pub(crate) fn is_trustworthy(path: &Path) -> Result<(), String> {
    let name = path.display();
    if !path.is_absolute() {
        return Err(format!("{name} is not an absolute path"));
    }
    let found: Metadata = std::fs::metadata(path).map_err(|error| format!("{name}: {error}"))?;
    if !found.is_file() {
        return Err(format!("{name} is not a file"));
    }
    if found.uid() != 0 && found.uid() != sys::own_uid() {
        return Err(format!("{name} belongs to user {}, and would run with the rights of this procq", found.uid()));
    }
    if found.mode() & 0o002 != 0 {
        return Err(format!("{name} can be written by everybody"));
    }
    Ok(())
}

/// What an image is told behind its command: the last it hears before it is, or is not, the keeper.
pub fn again(words: Vec<OsString>) -> ! {
    again_with(words, |_| {})
}

/// The same, with a look at what it is about to take over: for tests of what goes wrong then.
pub fn again_with(words: Vec<OsString>, meddle: impl FnOnce(&mut Saved)) -> ! {
    sys::block_all();
    sys::reset_dispositions();
    let mut words = words.into_iter().map(OsString::into_vec);
    let what = words.next().unwrap_or_default();
    let fd = words.next().and_then(|word| String::from_utf8(word).ok()).and_then(|word| word.parse().ok());
    let rest: Vec<CString> = words.filter_map(|word| CString::new(word).ok()).collect();
    match (what.as_slice(), fd) {
        (b"probe", Some(fd)) => probe(fd),
        (b"resume", Some(fd)) => resume(fd, rest, None, meddle),
        (b"back", Some(fd)) => {
            let reason = rest.first().map(|reason| reason.to_string_lossy().into_owned());
            resume(fd, Vec::new(), Some(reason.unwrap_or_else(|| "it gave no reason".to_owned())), |_| {})
        }
        _ => sys::leave(64),
    }
}

/// Puts everything together from a copy of the state, with something harmless in the place of each descriptor.
fn probe(fd: RawFd) -> ! {
    sys::raise_descriptor_limit();
    let tell = |text: &str| {
        let _ = sys::write(io::stdout().as_fd(), text.as_bytes());
    };
    std::panic::set_hook(Box::new(move |panic| {
        tell(&panic.to_string());
        sys::leave(1)
    }));
    let trial = || -> Result<Keeper, Box<dyn std::error::Error>> {
        let saved: Saved = state::decode(&sys::read_memory_file(sys::own(fd).as_fd())?)?;
        let inherited = Inherited::pretended(&saved.descriptors);
        Ok(Keeper::restore(saved, &inherited, true)?)
    };
    match trial().map(std::mem::forget) {
        Ok(()) => sys::leave(0),
        Err(error) => {
            tell(&error.to_string());
            sys::leave(1)
        }
    }
}

/// Goes on as the keeper. `failed` says why the one that was to take our place could not; without it, we are that one.
fn resume(fd: RawFd, back: Vec<CString>, failed: Option<String>, meddle: impl FnOnce(&mut Saved)) -> ! {
    sys::set_name(c"procq-keeper");
    sys::return_large_buffers();
    let way_back = back.clone();
    // Before anything is unwound, and with it closed.
    std::panic::set_hook(Box::new(move |panic| go_back(&way_back, &panic.to_string())));
    let forwards = failed.is_none();
    let taken = || -> Result<(ManuallyDrop<Keeper>, Inherited), Box<dyn std::error::Error>> {
        let memory = ManuallyDrop::new(sys::own(fd));
        let mut saved: Saved = state::decode(&sys::read_memory_file(memory.as_fd())?)?;
        meddle(&mut saved);
        let inherited = Inherited::check(&saved.descriptors)?;
        // Dropping it would close what the former image needs.
        let mut keeper = ManuallyDrop::new(Keeper::restore(saved, &inherited, forwards)?);
        // The former image has nobody to go back to: it goes on without a thread until one can be had.
        keeper.go_on().or_else(|error| if forwards { Err(error) } else { Ok(()) })?;
        Ok((keeper, inherited))
    };
    let (keeper, inherited) = match taken() {
        Ok(taken) => taken,
        Err(error) => go_back(&back, &error.to_string()),
    };
    // From here on the writer works, and there is no way back.
    let _ = std::panic::take_hook();
    sys::close_on_exec_all();
    drop(sys::own(fd));
    inherited.close_rest();
    let work = std::panic::AssertUnwindSafe(|| {
        let mut keeper = ManuallyDrop::into_inner(keeper);
        keeper.resumed(failed);
        keeper.run()
    });
    let _: Result<(), _> = std::panic::catch_unwind(work);
    sys::leave(1)
}

fn go_back(back: &[CString], reason: &str) -> ! {
    let short: String = reason.chars().filter(|character| *character != '\0').take(LONGEST_REASON).collect();
    let program: &CStr = back.first().map_or(c"", CString::as_c_str);
    let mut argv: Vec<CString> = back.iter().skip(1).cloned().collect();
    argv.push(CString::new(short).unwrap_or_default());
    let error = sys::exec(program, &argv);
    let line = format!("procq: cannot go on ({reason}), and not go back either: {error}\n");
    let _ = sys::write(io::stderr().as_fd(), line.as_bytes());
    sys::leave(1)
}
