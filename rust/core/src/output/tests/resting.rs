//! A writer that rests for an upgrade, and goes on when that has failed.

use super::*;

fn rest(fixture: &mut Fixture) {
    fixture.output.ask_for_calm();
    wait_until("nobody else to work", || fixture.output.is_calm());
    fixture.output.ask_to_rest();
    wait_until("the writer to rest", || fixture.output.rests());
}

#[test]
fn who_has_rested_goes_on_and_nothing_is_lost() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log::at(&path)), None);
    for number in 0..20 {
        fixture.feed(id, &numbered(number..number + 1));
        if number % 2 == 0 {
            rest(&mut fixture);
        } else {
            // Perhaps it has not heard of it yet.
            fixture.output.ask_to_rest();
        }
        fixture.output.go_on().expect("a thread");
    }
    fixture.flush();
    assert!(read(&path) == numbered(0..20));
    assert_eq!(fixture.stop().logged, 20 * LINE as u64);
}

#[test]
fn what_is_being_compressed_is_given_up_and_begun_anew() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    File::create(beside(&path, 1)).expect("created").set_len(256 << 20).expect("grown");
    let mut fixture = Fixture::silent();
    let log = Log { compress: true, ..rotated(&path, 1_000, 9) };
    let id = fixture.output.open("w.1", 1, Some(&log), None);
    wait_until("the work to begin", || beside(&path, "gz.tmp").exists());
    rest(&mut fixture);
    assert!(beside(&path, 1).exists() && !beside(&path, "gz.tmp").exists());
    fixture.output.go_on().expect("a thread");
    fixture.feed(id, &numbered(0..1));
    wait_until("it to be compressed", || !beside(&path, 1).exists());
    assert_eq!((gunzip(&read(&beside(&path, "1.gz"))).len(), read(&path)), (256 << 20, numbered(0..1)));
}
