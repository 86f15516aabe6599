//! `total`: what a file and its closed ones may be together.

use super::*;

fn weight(directory: &Path) -> u64 {
    names(directory).iter().map(|name| std::fs::metadata(directory.join(name)).map_or(0, |entry| entry.len())).sum()
}

#[test]
fn together_they_stay_within_it_and_the_oldest_go_first() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let total = 5_000;
    let id = fixture.output.open("w.1", 1, Some(&Log { total: Some(total), ..rotated(&path, 1_000, 100) }), None);
    for number in 0..400 {
        fixture.feed(id, &numbered(number..number + 1));
        fixture.flush();
        let weight = weight(&scratch.0);
        assert!(weight <= total, "{weight} after {number}: {:?}", names(&scratch.0));
        assert!(number < 120 || weight > total - 1_200, "no more than needs to: {weight} after {number}");
    }
    let kept = segments(&path).concat();
    assert!(numbered(0..400).ends_with(&kept), "the newest, without a gap");
    assert!(fixture.output.take_troubles().is_empty());
}

#[test]
fn the_number_of_files_holds_as_well() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let id = fixture.output.open("w.1", 1, Some(&Log { total: Some(100_000), ..rotated(&path, 1_000, 2) }), None);
    fixture.feed(id, &numbered(0..95));
    fixture.flush();
    assert!(segments(&path).concat() == numbered(40..95));
}

#[test]
fn one_that_is_set_later_or_made_smaller_counts_at_once_and_only_closed_ones_go() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let log = rotated(&path, 1_000, 100);
    let id = fixture.output.open("w.1", 1, Some(&log), None);
    fixture.feed(id, &numbered(0..195));
    fixture.flush();
    assert_eq!(segments(&path).len(), 10);
    fixture.output.configure(id, Some(&Log { total: Some(3_000), ..log.clone() }));
    wait_until("the oldest to be gone", || weight(&scratch.0) <= 3_000);
    assert!(segments(&path).concat() == numbered(140..195));
    fixture.output.configure(id, Some(&Log { total: Some(10), ..log }));
    wait_until("all to be gone that may", || segments(&path).len() == 1);
    assert!(read(&path) == numbered(180..195), "what is open stays");
    fixture.feed(id, &numbered(195..201));
    fixture.flush();
    assert!(segments(&path).concat() == numbered(200..201), "and nothing that has been closed since");
}

#[test]
fn compressed_they_count_as_what_they_are() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    let mut fixture = Fixture::silent();
    let log = Log { total: Some(100_000), compress: true, ..rotated(&path, 20_000, 100) };
    let id = fixture.output.open("w.1", 1, Some(&log), None);
    for step in 0..10 {
        fixture.feed(id, &numbered(step * 400..(step + 1) * 400));
        fixture.flush();
        wait_until("them to be compressed", || !(1..=step).any(|number| beside(&path, number).exists()));
        assert!(weight(&scratch.0) <= 100_000);
    }
    assert!(segments(&path).concat() == numbered(0..4_000), "twice as much as there would be room for");
}

#[test]
fn what_is_no_file_stays_and_others_go_instead() {
    let scratch = Scratch::new();
    let path = scratch.path("w.log");
    std::fs::create_dir_all(beside(&path, 7).join("within")).expect("created");
    let directory = std::fs::metadata(beside(&path, 7)).expect("there").len();
    let mut fixture = Fixture::silent();
    let log = Log { total: Some(directory + 3_000), ..rotated(&path, 1_000, 9) };
    let id = fixture.output.open("w.1", 1, Some(&log), None);
    fixture.feed(id, &numbered(0..100));
    fixture.flush();
    let kept = segments(&path).concat();
    assert!(kept.len() <= 3_000 && kept.len() > 1_500 && numbered(0..100).ends_with(&kept));
    assert!(fixture.output.take_troubles().is_empty() && beside(&path, 7).join("within").exists());
}
