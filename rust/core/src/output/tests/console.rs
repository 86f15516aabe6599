use std::os::unix::net::UnixStream;

use super::*;

const LINE: &[u8] = b"0123456789012345678901234567890123456789012345678901234567890123456789012345678\n";

fn shown(text: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(text).lines().map(str::to_owned).collect()
}

/// Lines that came out and lines that notices tell of.
fn count(lines: &[String]) -> (u64, u64) {
    let mut told = 0;
    let mut whole = 0;
    for line in lines {
        match line.strip_prefix("… ") {
            Some(notice) => {
                told += notice.split(' ').next().expect("a number").replace(',', "").parse::<u64>().expect("a number")
            }
            None => {
                assert_eq!(line.as_bytes(), [b"w.1 | ", &LINE[..79]].concat(), "a torn line");
                whole += 1;
            }
        }
    }
    (whole, told)
}

#[test]
fn a_file_gets_every_line_with_its_prefix() {
    let scratch = Scratch::new();
    let path = scratch.path("out");
    let mut fixture = Fixture::new(plain(File::create(&path).expect("created")));
    let (mail, thumbs) = (fixture.output.open("mail.1", 1, None, None), fixture.output.open("thumbs.1", 2, None, None));
    fixture.feed(mail, b"one\ntw");
    fixture.feed(thumbs, b"\x1b[2Jraw into files\n");
    fixture.feed(mail, b"o\nlast");
    fixture.output.console_line("procq: stopping");
    fixture.output.close(mail);
    fixture.flush();
    assert_eq!(
        shown(&read(&path)),
        [
            "mail.1   | one",
            "thumbs.1 | \u{1b}[2Jraw into files",
            "mail.1   | two",
            "procq: stopping",
            "mail.1   | last"
        ]
    );
}

#[test]
fn a_file_of_ours_begins_anew_when_it_is_large_and_the_one_before_is_kept() {
    let scratch = Scratch::new();
    let path = scratch.path("out");
    let file = File::options().create(true).append(true).open(&path).expect("created");
    let mut fixture = Fixture::new(ConsoleConfig { most: Some(500_000), ..plain(file) });
    let id = fixture.output.open("w.1", 1, None, None);
    for number in 0..20_000 {
        fixture.feed(id, format!("{number:079}\n").as_bytes());
        if number % 500 == 0 {
            fixture.flush();
        }
    }
    fixture.flush();
    let (before, now) = (read(&beside(&path, 1)), read(&path));
    assert!(before.len() > 500_000 && before.len() < 800_000 && now.len() < 800_000, "{} {}", before.len(), now.len());
    let lines = shown(&[before, now].concat());
    let first = 20_000 - lines.len();
    assert!(first > 0);
    assert!(lines.iter().zip(first..).all(|(line, number)| *line == format!("w.1 | {number:079}")), "no gap");
}

#[test]
fn a_file_loses_nothing_however_much_comes() {
    let scratch = Scratch::new();
    let path = scratch.path("out");
    let mut fixture = Fixture::new(plain(File::create(&path).expect("created")));
    let id = fixture.output.open("w.1", 1, None, None);
    (0..400).for_each(|_| fixture.feed(id, &LINE.repeat(800)));
    fixture.flush();
    assert_eq!(count(&shown(&read(&path))), (400 * 800, 0));
}

#[test]
fn a_pipe_that_nobody_reads_stops_nobody_and_the_count_is_exact() {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    let mut fixture = Fixture::new(plain(writer));
    let id = fixture.output.open("w.1", 1, None, None);
    for _ in 0..400 {
        assert_eq!(fixture.output.ingest(id, Stream::Stdout, 1, &LINE.repeat(800)), Flow::Continue);
    }
    assert!(fixture.output.counters().console_dropped > 0);
    let reading = std::thread::spawn(move || read_all(&mut File::from(reader)));
    fixture.flush();
    let counters = fixture.stop();
    let (whole, told) = count(&shown(&reading.join().expect("read")));
    assert_eq!(whole + told, 400 * 800);
    assert_eq!((counters.shown, counters.console_dropped), (whole * 80, told * 80));
}

#[test]
fn the_shared_description_of_a_pipe_stays_blocking() {
    let (_reader, writer) = rustix::pipe::pipe().expect("a pipe");
    let mut fixture = Fixture::new(plain(writer.try_clone().expect("a duplicate")));
    let id = fixture.output.open("w.1", 1, None, None);
    fixture.feed(id, LINE);
    fixture.flush();
    let flags = rustix::fs::fcntl_getfl(&writer).expect("flags");
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
}

#[test]
fn a_reader_that_left_is_no_trouble() {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    let mut fixture = Fixture::new(plain(writer));
    drop(reader);
    let id = fixture.output.open("w.1", 1, None, None);
    for _ in 0..400 {
        assert_eq!(fixture.output.ingest(id, Stream::Stdout, 1, &LINE.repeat(800)), Flow::Continue);
    }
    fixture.flush();
    assert!(fixture.output.take_troubles().is_empty());
    let counters = fixture.stop();
    assert_eq!((counters.shown, counters.console_dropped), (0, 400 * 800 * 80));
}

#[test]
fn a_socket_is_never_waited_for() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let mut fixture = Fixture::new(plain(ours));
    let id = fixture.output.open("w.1", 1, None, None);
    for _ in 0..300 {
        assert_eq!(fixture.output.ingest(id, Stream::Stdout, 1, &LINE.repeat(800)), Flow::Continue);
    }
    let reading = std::thread::spawn(move || read_all(&mut File::from(OwnedFd::from(theirs))));
    fixture.flush();
    fixture.stop();
    let (whole, told) = count(&shown(&reading.join().expect("read")));
    assert_eq!(whole + told, 300 * 800);
}

/// Both ends of a terminal that passes bytes as they are.
fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{grantpt, openpt, ptsname, unlockpt, OpenptFlags};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let name = ptsname(&master, Vec::new()).expect("a name");
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let slave = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).expect("opened");
    let mut settings = rustix::termios::tcgetattr(&slave).expect("settings");
    settings.make_raw();
    rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &settings).expect("set");
    (master, slave)
}

#[test]
fn a_terminal_gets_colours_and_no_commands() {
    let (master, slave) = terminal();
    let mut fixture = Fixture::new(ConsoleConfig { colour: true, ..plain(slave) });
    let id = fixture.output.open("w.1", 1, None, None);
    fixture.feed(id, b"\x1b]0;owned\x07\x1b[31mred\n");
    fixture.flush();
    let text = String::from_utf8(read_now(&master)).expect("text");
    assert!(text.ends_with("w.1 |\u{1b}[0m ^[]0;owned^G\u{1b}[31mred\u{1b}[0m\n"), "{text:?}");
}

#[test]
fn a_terminal_under_control_s_stalls_nobody_and_counts() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let (master, slave) = terminal();
    rustix::termios::tcflow(&slave, rustix::termios::Action::OOff).expect("stopped");
    let mut fixture = Fixture::new(plain(slave.try_clone().expect("a duplicate")));
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    (0..50).for_each(|_| fixture.feed(id, &LINE.repeat(800)));
    // The file goes on although the terminal stands still.
    wait_until("the log is written", || std::fs::metadata(&path).is_ok_and(|file| file.len() == 50 * 800 * 80));
    assert!(read_now(&master).is_empty());
    assert!(!fixture.output.flush(Instant::now() + Duration::from_millis(20)));
    rustix::termios::tcflow(&slave, rustix::termios::Action::OOn).expect("going");
    let mut text = Vec::new();
    wait_until("everything shown or told", || {
        text.extend(read_now(&master));
        let complete = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let (whole, told) = count(&shown(&text[..complete]));
        assert!(whole + told <= 50 * 800);
        whole + told == 50 * 800
    });
    assert!(count(&shown(&text)).1 > 0);
    assert!(String::from_utf8_lossy(&text).contains("lines were not shown: the terminal was too slow"));
}

#[test]
fn a_paused_terminal_is_left_alone() {
    let (master, slave) = terminal();
    let mut fixture = Fixture::new(plain(slave));
    let id = fixture.output.open("w.1", 1, None, None);
    fixture.output.pause_console(true);
    fixture.feed(id, LINE);
    assert!(!fixture.output.flush(Instant::now() + Duration::from_millis(20)));
    assert!(read_now(&master).is_empty());
    fixture.output.pause_console(false);
    fixture.flush();
    assert_eq!(count(&shown(&read_now(&master))), (1, 0));
}
