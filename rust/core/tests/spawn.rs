//! Spawning, with real processes, by each strategy that this machine allows.

use procq_core::proto::messages::{Identity, Limit, Stage};
use procq_core::sys::cgroup::Cgroup;
use procq_core::sys::{self, process, usage, Child, Exit, Image, Poller, Root, Spawner, Starting, Strategy, Verdict};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

fn image(argv: &[&str]) -> Image {
    Image {
        argv: argv.iter().map(|a| c(a)).collect(),
        env: vec![c("PATH=/usr/bin:/bin"), c("A=1")],
        ..Image::default()
    }
}

fn shell(script: &str) -> Image {
    image(&["sh", "-c", script])
}

struct Started {
    child: Child,
    starting: Starting,
    output: OwnedFd,
}

fn start(spawner: &mut Spawner, image: Image, extra: &[std::os::fd::BorrowedFd<'_>]) -> Started {
    sys::block_all();
    sys::reset_dispositions();
    let (output, write) = sys::pipe().unwrap();
    let null = sys::dev_null().unwrap();
    let (child, starting) = spawner.spawn(image, [null.as_fd(), write.as_fd(), write.as_fd()], extra).unwrap();
    Started { child, starting, output }
}

fn verdict(starting: &mut Starting) -> Verdict {
    let poller = Poller::new().unwrap();
    poller.add(starting.as_fd(), 1, sys::Interest::Read).unwrap();
    loop {
        poller.wait(&mut Vec::new(), Some(10_000_000_000)).unwrap();
        match starting.verdict() {
            Verdict::Pending => {}
            verdict => return verdict,
        }
    }
}

fn finish(mut started: Started) -> (Verdict, Exit, String) {
    let verdict = verdict(&mut started.starting);
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = sys::read(started.output.as_fd(), &mut buffer) {
        text.extend_from_slice(&buffer[..n]);
    }
    (verdict, started.child.wait().unwrap(), String::from_utf8_lossy(&text).into_owned())
}

fn strategies() -> [Strategy; 3] {
    [Strategy::Clone3, Strategy::Clone, Strategy::Fork]
}

#[test]
fn every_strategy_runs_the_command_with_its_surroundings() {
    for strategy in strategies() {
        let mut spawner = Spawner::new(strategy);
        let mut image = shell("pwd; umask; echo $A; ulimit -Sn; cat; exit 7");
        image.directory = Some(c("/usr"));
        image.umask = Some(0o27);
        image.descriptors = Some((123, 456));
        let (verdict, exit, text) = finish(start(&mut spawner, image, &[]));
        assert_eq!((verdict, exit), (Verdict::Executing, Exit::Code(7)), "{strategy:?}");
        assert_eq!(text, "/usr\n0027\n1\n123\n", "{strategy:?}");
        assert_eq!(spawner.strategy(), strategy, "no fallback was needed");
    }
}

/// Each strategy, by the kernel's help and without it. The group is told by the child's own account.
#[test]
fn faults_60_a_child_is_born_in_its_control_group_or_goes_there_before_all_else() {
    let Some(own) = Cgroup::own().ok().filter(|own| own.check_writable().is_ok()) else {
        eprintln!("SKIPPED: needs a control group that may be written");
        return;
    };
    for strategy in strategies() {
        for (user, kernel_helps) in [(None, true), (None, false), (Some(4321), true), (Some(4321), false)] {
            let user = user.filter(|_| rustix::process::geteuid().is_root());
            let group = own.make(&format!("procq-spawn-test-{}", std::process::id())).unwrap();
            let mut spawner = Spawner::new(strategy);
            if !kernel_helps {
                spawner.pretend_none_is_born_inside();
            }
            let mut image = shell("grep ^0:: /proc/self/cgroup");
            image.cgroup = Some(group.open().unwrap());
            image.user = user.map(|uid| Identity { uid, gid: 4322, groups: Vec::new() });
            let (verdict, exit, text) = finish(start(&mut spawner, image, &[]));
            let what = format!("{strategy:?}, user {user:?}, with the kernel's help: {kernel_helps}");
            assert_eq!((verdict, exit), (Verdict::Executing, Exit::Code(0)), "{what}");
            assert_eq!(text, format!("0::{}\n", group.name()), "{what}");
            assert_eq!(spawner.strategy(), strategy, "{what}");
            group.remove().unwrap();
        }
    }
}

#[test]
fn a_group_that_takes_nobody_is_a_failure_with_a_stage() {
    let Some(own) = Cgroup::own().ok().filter(|own| own.check_writable().is_ok()) else {
        eprintln!("SKIPPED: needs a control group that may be written");
        return;
    };
    let group = own.make(&format!("procq-removed-test-{}", std::process::id())).unwrap();
    for kernel_helps in [true, false] {
        let mut spawner = Spawner::default();
        if !kernel_helps {
            spawner.pretend_none_is_born_inside();
        }
        let mut image = shell("exit 0");
        image.cgroup = Some(group.open().unwrap());
        group.remove().unwrap();
        let null = sys::dev_null().unwrap();
        sys::block_all();
        let streams = [null.as_fd(), null.as_fd(), null.as_fd()];
        let stage = match spawner.spawn(image, streams, &[]) {
            Err(error) => error.stage,
            Ok((child, mut starting)) => {
                let verdict = verdict(&mut starting);
                child.wait().unwrap();
                match verdict {
                    Verdict::Failed { stage, .. } => stage,
                    other => panic!("{other:?}"),
                }
            }
        };
        assert_eq!(stage, Stage::Cgroup, "with the kernel's help: {kernel_helps}");
        own.make(group.name().rsplit('/').next().unwrap()).unwrap();
    }
    group.remove().unwrap();
}

/// A child that shared our memory would have made us a process that nobody may debug and that dumps no core; and until exec,
/// our memory would have been within the reach of that user.
#[test]
fn faults_31_another_user_s_child_has_memory_of_its_own() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can become another user");
        return;
    }
    let dumpable = || rustix::process::dumpable_behavior().unwrap();
    let before = dumpable();
    for strategy in strategies() {
        let mut spawner = Spawner::new(strategy);
        let mut image =
            shell("id -u; id -g; id -G; nice; ulimit -Sc; grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status");
        image.user = Some(Identity { uid: 4321, gid: 4322, groups: vec![4323, 4322] });
        image.nice = Some(3);
        image.limits = vec![Limit { resource: libc::RLIMIT_CORE, soft: 512, hard: 1024 }];
        let (verdict, exit, text) = finish(start(&mut spawner, image, &[]));
        assert_eq!((verdict, exit), (Verdict::Executing, Exit::Code(0)), "{strategy:?}");
        let none = "0000000000000000";
        let capabilities = ["Inh", "Prm", "Eff", "Amb"].map(|set| format!("Cap{set}:\t{none}\n")).concat();
        assert_eq!(text, format!("4321\n4322\n4322 4323\n3\n1\n{capabilities}"), "{strategy:?}");
        assert_eq!(spawner.strategy(), strategy, "the next one is made as before");
        assert_eq!(dumpable(), before, "{strategy:?}");
    }
}

#[test]
fn who_names_himself_shares_memory_as_before() {
    let ids = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let groups = rustix::process::getgroups().unwrap().into_iter().map(|group| group.as_raw()).collect();
    let mut image = shell("id -u");
    image.user = Some(Identity { uid: ids.0, gid: ids.1, groups });
    let (verdict, exit, text) = finish(start(&mut Spawner::default(), image, &[]));
    assert_eq!((verdict, exit, text), (Verdict::Executing, Exit::Code(0), format!("{}\n", ids.0)));
}

#[test]
fn faults_23_what_cannot_be_set_is_named() {
    let limit = |resource| Limit { resource, soft: 2, hard: 1 };
    let cases = [
        (Image { limits: vec![limit(libc::RLIMIT_CPU)], ..image(&["true"]) }, Stage::Limits, libc::EINVAL, "cpu"),
        (Image { limits: vec![limit(99)], ..image(&["true"]) }, Stage::Limits, libc::EINVAL, "99"),
        (Image { terminal: true, ..image(&["true"]) }, Stage::Terminal, libc::ENOTTY, ""),
    ];
    for (image, stage, errno, about) in cases {
        let (verdict, exit, _) = finish(start(&mut Spawner::default(), image, &[]));
        assert_eq!(verdict, Verdict::Failed { stage, errno, path: about.into() });
        assert_eq!(exit, Exit::Code(127));
    }
}

#[test]
fn faults_19_21_25_a_worker_starts_clean() {
    let leak = sys::dev_null().unwrap();
    // Inheritable on purpose, as a careless embedding program would leave it.
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    for strategy in strategies() {
        let script = "ls /proc/self/fd | tr '\\n' ' '; grep -E '^Sig(Blk|Ign)' /proc/self/status; \
                      readlink /proc/self/fd/0; ps -o sid= -p $$ | tr -d ' ' | grep -qx $$ && echo leader";
        let (_, _, text) = finish(start(&mut Spawner::new(strategy), shell(script), &[]));
        let clean = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n/dev/null\nleader\n";
        // 3 is the directory that ls itself reads.
        assert_eq!(text, format!("0 1 2 3 {clean}"), "{strategy:?}");
    }
}

#[test]
fn extra_descriptors_arrive_as_3_and_4_whatever_their_numbers_were() {
    for strategy in strategies() {
        let (read, write) = sys::pipe().unwrap();
        sys::write(write.as_fd(), b"through the pipe").unwrap();
        drop(write);
        let null = sys::dev_null().unwrap();
        let started = start(
            &mut Spawner::new(strategy),
            shell("cat <&4; readlink /proc/self/fd/3"),
            &[null.as_fd(), read.as_fd()],
        );
        assert_eq!(finish(started).2, "through the pipe/dev/null\n", "{strategy:?}");
    }
}

#[test]
fn faults_23_every_failure_has_its_stage_and_number() {
    let directory = std::env::temp_dir().join(format!("procq-spawn-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let file = |name: &str, text: &str, mode: u32| {
        std::fs::write(directory.join(name), text).unwrap();
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(directory.join(name), permissions).unwrap();
        path(name)
    };
    let _ = std::os::unix::fs::symlink(directory.join("loop"), directory.join("loop"));
    let long = "x".repeat(3 << 20);
    let cases = [
        (image(&[&path("absent")]), Stage::Exec, libc::ENOENT),
        (image(&["no-such-command-anywhere"]), Stage::Exec, libc::ENOENT),
        (image(&[&file("interp", "#!/no/such/interpreter\n", 0o755)]), Stage::Interpreter, libc::ENOENT),
        (image(&[&file("plain", "#!/bin/sh\n", 0o644)]), Stage::Exec, libc::EACCES),
        (image(&[&file("text", "no first line", 0o755)]), Stage::Exec, libc::ENOEXEC),
        (image(&[directory.to_str().unwrap()]), Stage::Exec, libc::EACCES),
        (image(&[&path("loop")]), Stage::Exec, libc::ELOOP),
        (image(&[&format!("{}/below", path("plain"))]), Stage::Exec, libc::ENOTDIR),
        (image(&["true", &long]), Stage::Exec, libc::E2BIG),
        (Image { directory: Some(c("/no/such/place")), ..image(&["true"]) }, Stage::Directory, libc::ENOENT),
    ];
    for (image, stage, errno) in cases {
        for strategy in strategies() {
            let copy = Image {
                argv: image.argv.clone(),
                env: image.env.clone(),
                directory: image.directory.clone(),
                ..Image::default()
            };
            let (verdict, exit, _) = finish(start(&mut Spawner::new(strategy), copy, &[]));
            let Verdict::Failed { stage: at, errno: number, path } = verdict else { panic!("{:?} ran", image.argv) };
            let about = if stage == Stage::Directory { image.directory.as_ref() } else { image.argv.first() };
            assert!(path.ends_with(about.unwrap().as_bytes()), "{path:?} is not about {about:?}");
            assert!(!path.is_empty() && (path[0] == b'/' || stage == Stage::Exec && errno == libc::ENOENT));
            assert_eq!((at, number, exit), (stage, errno, Exit::Code(127)), "{:?} {strategy:?}", image.argv[0]);
        }
    }
    std::fs::remove_dir_all(directory).unwrap();
}

/// What it needed until then goes to the next child, or is unmapped.
#[test]
fn with_the_verdict_a_child_that_failed_has_let_go_of_our_memory() {
    let mut spawner = Spawner::default();
    for _ in 0..500 {
        let mut started = start(&mut spawner, image(&["/no/such/command"]), &[]);
        assert!(matches!(verdict(&mut started.starting), Verdict::Failed { .. }));
        let maps = std::fs::read(format!("/proc/{}/maps", started.child.pid())).unwrap();
        assert!(maps.is_empty(), "it still runs on its stack");
        started.child.wait().unwrap();
        spawner.recycle(started.starting);
    }
}

#[test]
fn faults_32_the_command_is_looked_up_with_the_worker_s_path_in_its_directory() {
    let directory = std::env::temp_dir().join(format!("procq-path-{}", std::process::id()));
    std::fs::create_dir_all(directory.join("bin")).unwrap();
    std::os::unix::fs::symlink("/bin/true", directory.join("bin/mine")).unwrap();
    let mut image = image(&["mine"]);
    image.env = vec![c("PATH=/nowhere:bin")];
    image.directory = Some(CString::new(directory.to_str().unwrap()).unwrap());
    let (verdict, exit, _) = finish(start(&mut Spawner::default(), image, &[]));
    assert_eq!((verdict, exit), (Verdict::Executing, Exit::Code(0)));
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn faults_22_a_file_that_is_still_open_for_writing_is_tried_again() {
    let path = std::env::temp_dir().join(format!("procq-busy-{}", std::process::id()));
    std::fs::copy("/bin/true", &path).unwrap();
    let mut writer = deployment(&path);
    let started = start(&mut Spawner::default(), image(&[path.to_str().unwrap()]), &[]);
    // The child sleeps between tries: seen in that state, it has met ETXTBSY.
    while process::stat(started.child.pid()).is_some_and(|stat| stat.state != 'S') {
        std::thread::yield_now();
    }
    drop(writer.stdin.take());
    let (verdict, exit, _) = finish(started);
    assert_eq!((verdict, exit), (Verdict::Executing, Exit::Code(0)));
    writer.wait().unwrap();
    std::fs::remove_file(path).unwrap();
}

/// Somebody else who has the file open for writing until its input ends.
fn deployment(path: &Path) -> std::process::Child {
    use std::io::Read;
    use std::process::{Command, Stdio};
    let script = format!("exec 3>>{}; echo; read _", path.display());
    let mut writer =
        Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writer.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    writer
}

#[test]
fn the_mark_is_inherited_through_setsid_double_fork_and_an_empty_environment() {
    let mut image = shell("(setsid env -i sh -c 'grep locks /proc/self/limits' &) ; wait; exec sleep 0.2");
    image.mark = 123_456_789;
    let mut started = start(&mut Spawner::default(), image, &[]);
    verdict(&mut started.starting);
    assert_eq!(process::mark(started.child.pid()), Some(123_456_789));
    assert!(finish(started).2.contains("123456789"));
}

/// A shell with two grandchildren of which one has a parent in between; returns once all of it runs.
fn family(spawner: &mut Spawner) -> (Started, Vec<i32>) {
    let started = start(spawner, shell("sleep 100 & (sleep 100 & wait) & wait"), &[]);
    loop {
        let tree = process::tree(started.child.pid());
        let asleep = tree.iter().filter(|pid| process::stat(**pid).is_some_and(|s| s.name == "sleep"));
        if asleep.count() == 2 {
            return (started, tree);
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_tree_is_found_by_walking() {
    let (started, tree) = family(&mut Spawner::default());
    assert_eq!(tree.len(), 4, "{tree:?}");
    for pid in &tree {
        assert!(Child::open(*pid).unwrap().signal(libc::SIGKILL));
    }
    assert_eq!(finish(started).1, Exit::Signal(libc::SIGKILL));
}

#[test]
fn usage_is_of_the_whole_tree_and_nothing_for_who_is_gone() {
    let (started, tree) = family(&mut Spawner::default());
    let root = |pid| Root { pid, limit: u64::MAX };
    let found = usage(&[root(started.child.pid()), root(tree[1]), root(i32::MAX)]);
    assert_eq!((found[0].processes as usize, found[2].processes), (tree.len(), 0));
    assert_eq!(found[0].threads as usize, tree.len());
    assert!(found[0].memory > found[1].memory && found[1].memory > 0, "{found:?}");
    tree.iter().for_each(|pid| assert!(Child::open(*pid).unwrap().signal(libc::SIGKILL)));
    finish(started);
}

#[test]
fn what_has_left_a_tree_counts_to_the_worker_whose_mark_it_carries() {
    let mut spawner = Spawner::default();
    let marks = [1 << 40 | 1, 1 << 40 | 2, 1 << 40 | 1, 1 << 40];
    let started = marks.map(|mark| start(&mut spawner, Image { mark, ..shell("exec sleep 100") }, &[]));
    let pids: Vec<i32> = started.iter().map(|started| started.child.pid()).collect();
    // By then each has its mark.
    while !pids.iter().all(|pid| process::stat(*pid).is_some_and(|stat| stat.name == "sleep")) {
        std::thread::yield_now();
    }
    // Of the four children of this process two are leaders, the third carries the mark of the first, the last one that of nobody.
    let found = usage(&[Root { pid: pids[0], limit: u64::MAX }, Root { pid: pids[1], limit: u64::MAX }]);
    assert_eq!((found[0].processes, found[1].processes), (2, 1), "{found:?}");
    for started in started {
        assert!(started.child.signal(libc::SIGKILL));
        finish(started);
    }
}

#[test]
fn faults_2_a_group_is_signalled_through_the_pidfd_or_not_at_all() {
    let (started, tree) = family(&mut Spawner::default());
    let members: Vec<_> = tree.iter().map(|pid| Child::open(*pid).unwrap()).collect();
    Child::pretend_no_group_signals(true);
    assert!(!started.child.signal_group(libc::SIGKILL), "an older kernel: the caller must walk");
    assert!(members.iter().all(|member| !member.has_ended()));
    Child::pretend_no_group_signals(false);
    if started.child.signal_group(libc::SIGKILL) {
        while !members.iter().all(Child::has_ended) {
            std::thread::yield_now();
        }
    } else {
        members.iter().for_each(|member| assert!(member.signal(libc::SIGKILL)));
    }
    assert_eq!(finish(started).1, Exit::Signal(libc::SIGKILL));
}

#[test]
fn five_hundred_children_leave_no_descriptor_and_no_zombie() {
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mut spawner = Spawner::default();
    let mut run = |n: usize| {
        let started: Vec<_> = (0..n).map(|_| start(&mut spawner, image(&["true"]), &[])).collect();
        for mut one in started {
            let verdict = verdict(&mut one.starting);
            assert_eq!((verdict, one.child.wait().unwrap()), (Verdict::Executing, Exit::Code(0)));
            spawner.recycle(one.starting);
        }
    };
    run(50);
    let before = count();
    run(500);
    assert!(count() <= before + 64, "other tests run beside this one, but not with hundreds of descriptors");
    assert!(Path::new("/proc/self").exists());
}
