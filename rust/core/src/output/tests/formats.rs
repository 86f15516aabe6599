use super::*;
use crate::proto::messages::LogFormat;

const TIME: u64 = 1_795_516_921_221_345_678;

fn log(path: &Path, format: LogFormat) -> Log {
    Log { format, ..Log::at(path) }
}

#[test]
fn lines_of_both_streams_stand_behind_time_and_worker_however_they_were_read() {
    let scratch = Scratch::new();
    let path = scratch.path("all.log");
    let mut fixture = Fixture::silent();
    let log = log(&path, LogFormat::Prefixed);
    let (one, two) =
        (fixture.output.open("emails.1", 1, Some(&log), None), fixture.output.open("emails.2", 2, Some(&log), None));
    let _ = fixture.output.ingest(one, Stream::Stdout, TIME, b"begun ");
    let _ = fixture.output.ingest(two, Stream::Stderr, TIME + 1_000_000, b"oh\n\nno\nand");
    let _ = fixture.output.ingest(one, Stream::Stdout, TIME + 2_000_000_000, b"and ended\n");
    fixture.output.close(two);
    fixture.flush();
    let written = String::from_utf8(read(&path)).expect("text");
    let (known, last) = written.trim_end().rsplit_once('\n').expect("lines");
    assert_eq!(
        known,
        "2026-11-24T10:42:01.222Z emails.2 ! oh\n2026-11-24T10:42:01.222Z emails.2 ! \n\
         2026-11-24T10:42:01.222Z emails.2 ! no\n2026-11-24T10:42:03.221Z emails.1 | begun and ended"
    );
    assert!(last.ends_with("Z emails.2 ! and"), "an unterminated last line: {last}");
    assert_eq!(fixture.stop().logged, b"oh\n\nno\nandbegun and ended\n".len() as u64, "as the worker wrote them");
}

#[test]
fn another_format_holds_for_what_comes() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    let _ = fixture.output.ingest(id, Stream::Stdout, TIME, b"plain\n");
    fixture.output.configure(id, Some(&log(&path, LogFormat::Json)));
    let _ = fixture.output.ingest(id, Stream::Stdout, TIME, b"as an \"object\"\n");
    fixture.flush();
    fixture.output.configure(id, Some(&Log::at(&path)));
    let _ = fixture.output.ingest(id, Stream::Stdout, TIME, b"plain again\n");
    fixture.flush();
    assert_eq!(
        String::from_utf8(read(&path)).expect("text"),
        "plain\n{\"time\":\"2026-11-24T10:42:01.221345Z\",\"worker\":\"w.1\",\"stream\":\"stdout\",\
         \"line\":\"as an \\\"object\\\"\"}\nplain again\n"
    );
}

#[test]
fn formatted_files_are_rotated_between_lines() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let log = Log { format: LogFormat::Json, ..rotated(&path, 10_000, 1_000) };
    let id = fixture.output.open("w.1", 1, Some(&log), None);
    for number in (0..3_000).step_by(30) {
        while !fixture.output.may_read(id) {
            fixture.wait();
            fixture.output.take_resumable(Instant::now());
        }
        let _ = fixture.output.ingest(id, Stream::Stdout, TIME + number as u64, &numbered(number..number + 30));
    }
    fixture.flush();
    let segments = segments(&path);
    assert!(segments.len() > 30 && segments.iter().all(|segment| segment.len() <= 10_000));
    let text = String::from_utf8(segments.concat()).expect("text");
    for (number, line) in text.lines().enumerate() {
        let expected = String::from_utf8(numbered(number..number + 1)).expect("text");
        assert!(line.ends_with(&format!("\"line\":\"{}\"}}", expected.trim_end())), "{line}");
    }
    assert_eq!(text.lines().count(), 3_000);
}

#[test]
fn many_short_lines_cost_no_more_memory_than_a_queue_may() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    // Nobody reads: it stands for a disk that hangs.
    assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
    let _reader = File::options().read(true).write(true).open(&path).expect("opened");
    let mut fixture = Fixture::new(plain(rustix::pipe::pipe().expect("a pipe").1));
    let id = fixture.output.open("w.1", 1, Some(&log(&path, LogFormat::Prefixed)), None);
    let mut time = TIME;
    while fixture.output.ingest(id, Stream::Stdout, time, b"\n") == Flow::Continue {
        time += 1_000;
    }
    let state = fixture.output.shared.lock();
    let pieces = &state.files.iter().next().expect("one file").1.pieces;
    assert!(pieces.data.len() + pieces.overhead() <= queue::FILE_QUEUE + 100, "{}", pieces.overhead());
}
