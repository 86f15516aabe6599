use super::*;

fn interest(workers: &[&str], tail: u32, follow: bool) -> Interest {
    Interest { workers: workers.iter().map(|&pattern| pattern.to_owned()).collect(), tail, follow }
}

fn drain(output: &mut Output, id: SubscriptionId) -> Vec<String> {
    std::iter::from_fn(|| output.next_delivery(id))
        .map(|delivery| match delivery {
            Delivery::Output(line) => format!("{} {}", line.worker, String::from_utf8_lossy(&line.data)),
            Delivery::Gap { bytes, .. } => format!("gap {bytes}"),
            Delivery::TailEnd => "end".to_owned(),
        })
        .collect()
}

#[test]
fn a_tail_is_merged_by_time_and_followed_by_what_comes() {
    let mut fixture = Fixture::silent();
    let output = &mut fixture.output;
    let (mail, thumbs) = (output.open("mail.1", 1, None, None), output.open("thumbs.1", 2, None, None));
    let _ = output.ingest(mail, Stream::Stdout, 10, b"m0\nm1\n");
    let _ = output.ingest(thumbs, Stream::Stdout, 20, b"t1\n");
    let _ = output.ingest(mail, Stream::Stderr, 30, b"m2\nhalf");
    let all = output.subscribe(interest(&[], 2, true));
    let one = output.subscribe(interest(&["thumbs"], 5, false));
    assert_eq!(drain(output, all), ["mail.1 m1\n", "thumbs.1 t1\n", "mail.1 m2\n", "end"]);
    assert_eq!(drain(output, one), ["thumbs.1 t1\n", "end"]);
    assert!(output.is_finished(one) && !output.is_finished(all));
    assert_eq!(output.take_readable(), []);
    let _ = output.ingest(mail, Stream::Stderr, 40, b" done\n");
    assert_eq!(output.take_readable(), [all]);
    assert_eq!(drain(output, all), ["mail.1 half done\n"]);
    let late = output.open("late.1", 3, None, None);
    let _ = output.ingest(late, Stream::Stdout, 50, b"no newline");
    output.close(late);
    assert_eq!(drain(output, all), ["late.1 no newline"]);
    output.unsubscribe(all);
    assert!(output.is_finished(all));
}

#[test]
fn the_last_lines_outlive_the_generation_until_forgotten() {
    let mut fixture = Fixture::silent();
    let output = &mut fixture.output;
    let first = output.open("w.1", 1, None, None);
    let _ = output.ingest(first, Stream::Stdout, 1, b"last words\n");
    output.close(first);
    let second = output.open("w.1", 2, None, None);
    let _ = output.ingest(first, Stream::Stdout, 2, b"from the grave\n");
    let _ = output.ingest(second, Stream::Stdout, 3, b"hello\n");
    output.forget("w.1", 1);
    let id = output.subscribe(interest(&["w.1"], 9, false));
    assert_eq!(drain(output, id), ["w.1 last words\n", "w.1 hello\n", "end"]);
    output.close(second);
    output.forget("w.1", 2);
    assert_eq!(output.counters().rings, 0);
}

#[test]
fn a_tail_says_whose_lines_they_are_where_that_is_known() {
    let mut fixture = Fixture::silent();
    let output = &mut fixture.output;
    let first = output.open("w.1", 1, None, None);
    let _ = output.ingest(first, Stream::Stdout, 1, b"of somebody before\n");
    output.close(first);
    let second = output.open("w.1", 2, None, None);
    let _ = output.ingest(second, Stream::Stdout, sys::wall(), b"of who is there\n");
    let reader = output.subscribe(interest(&[], 9, true));
    let _ = output.ingest(second, Stream::Stdout, sys::wall(), b"now\n");
    let mut generations = Vec::new();
    while let Some(delivery) = output.next_delivery(reader) {
        if let Delivery::Output(line) = delivery {
            generations.push(line.generation);
        }
    }
    assert_eq!(generations, [0, 2, 2]);
}

#[test]
fn a_reader_that_stopped_costs_its_queue_and_gets_an_exact_gap() {
    let mut fixture = Fixture::silent();
    let output = &mut fixture.output;
    let id = output.open("w.1", 1, None, None);
    let reader = output.subscribe(interest(&[], 0, true));
    let mut offered = 0;
    for number in 0..50_000 {
        let line = format!("line {number:074}\n");
        offered += line.len() as u64;
        while output.ingest(id, Stream::Stdout, 1, line.as_bytes()) == Flow::Pause {
            std::thread::yield_now();
            output.take_resumable(Instant::now());
        }
    }
    let (mut delivered, mut gap) = (0, 0);
    while let Some(delivery) = output.next_delivery(reader) {
        match delivery {
            Delivery::Output(line) => delivered += line.data.len() as u64,
            Delivery::Gap { bytes, .. } => gap += bytes,
            Delivery::TailEnd => {}
        }
    }
    assert!(delivered <= SUBSCRIPTION_QUEUE as u64);
    assert_eq!((delivered + gap, gap), (offered, output.counters().subscribers_dropped));
}

#[test]
fn a_reader_that_turns_to_others_keeps_what_waits() {
    let mut fixture = Fixture::silent();
    let output = &mut fixture.output;
    let (mail, thumbs) = (output.open("mail.1", 1, None, None), output.open("thumbs.1", 2, None, None));
    let reader = output.subscribe(interest(&["mail"], 0, true));
    let _ = output.ingest(mail, Stream::Stdout, 1, b"m1\n");
    output.redirect(reader, vec!["thumbs".to_owned(), "late".to_owned()]);
    let _ = output.ingest(mail, Stream::Stdout, 2, b"m2\n");
    let _ = output.ingest(thumbs, Stream::Stdout, 3, b"t1\n");
    let late = output.open("late.1", 3, None, None);
    let _ = output.ingest(late, Stream::Stdout, 4, b"l1\n");
    assert_eq!(drain(output, reader), ["end", "mail.1 m1\n", "thumbs.1 t1\n", "late.1 l1\n"]);
    output.redirect(reader, vec!["thumbs".to_owned()]);
    let _ = output.ingest(thumbs, Stream::Stdout, 5, b"t2\n");
    assert_eq!(drain(output, reader), ["thumbs.1 t2\n"], "once");
}

#[test]
fn a_tail_too_long_keeps_the_newest() {
    let mut fixture = Fixture::silent();
    for worker in 0..100 {
        let id = fixture.output.open(&format!("w.{worker}"), 1, None, None);
        fixture.feed(id, &b"0123456789abcde\n".repeat(8_000));
    }
    let reader = fixture.output.subscribe(interest(&[], u32::MAX, false));
    let (mut kept, mut gaps) = (0, Vec::new());
    while let Some(delivery) = fixture.output.next_delivery(reader) {
        match delivery {
            Delivery::Output(line) => kept += line.data.len(),
            Delivery::Gap { bytes, .. } => gaps.push(bytes),
            Delivery::TailEnd => {}
        }
    }
    assert!(kept <= TAIL_LIMIT && kept > TAIL_LIMIT - RING_MAX, "{kept}");
    assert_eq!(gaps.len(), 1);
}

#[test]
fn a_thousand_workers_with_ten_lines_cost_the_minimum_each() {
    let mut fixture = Fixture::silent();
    for worker in 0..1_000 {
        let id = fixture.output.open(&format!("worker.{worker}"), 1, None, None);
        for _ in 0..10 {
            fixture.feed(id, &[b"x".repeat(79), b"\n".to_vec()].concat());
        }
    }
    assert_eq!(fixture.output.counters().rings, 1_000 * RING_MIN);
    assert!(std::mem::size_of::<Slot>() <= 256);
}
