//! The keeper's conversation with a control plane, without processes around it.

use super::token::Token;
use super::{Keeper, Setting};
use crate::host::Config;
use crate::output::{ConsoleConfig, Output};
use crate::proto::messages::{Command, Event};
use crate::proto::Channel;
use crate::sys;
use std::os::fd::{AsFd, IntoRawFd};

/// A keeper that does not run, and its owner's end of the link.
pub(super) fn keeper() -> (Keeper, Channel) {
    sys::block_all();
    let (ours, theirs) = sys::socket_pair().unwrap();
    let config = Config { owner_fd: Some(theirs.into_raw_fd()), ..Config::default() };
    let (sentinel, _) = sys::packet_pair().unwrap();
    let descriptors = sys::descriptor_limit();
    let (listener, api, announce) = (None, None, None);
    let (lock, instance, base) = (None, 1, None);
    let setting =
        Setting { config, lock, sentinel, sentinel_pid: 0, listener, api, announce, descriptors, instance, base };
    let mut keeper = Keeper::new(setting).unwrap();
    // What workers write here is not for whoever reads the output of tests.
    let (fd, wake) = (sys::dev_null().unwrap(), keeper.output_wake.try_clone().unwrap());
    let console = ConsoleConfig { fd, prefix: false, colour: false, width: 0, raw: false, most: None };
    keeper.output = Output::start(console, wake).unwrap();
    keeper.watch(keeper.link.as_ref().unwrap().channel.as_fd(), Token::Link);
    (keeper, Channel::new(ours).unwrap())
}

/// Hands over what was pushed, and returns what comes back until nothing is left to say.
pub(super) fn converse(keeper: &mut Keeper, peer: &mut Channel) -> Vec<Event> {
    let mut events = Vec::new();
    while !peer.flush().unwrap() {
        keeper.read_link();
    }
    keeper.read_link();
    loop {
        keeper.flush_link();
        let nothing_waits = keeper.link.as_ref().is_none_or(|link| link.channel.pending() == 0);
        peer.fill(usize::MAX).unwrap();
        while let Some(event) = peer.receive().unwrap() {
            events.push(event);
        }
        if nothing_waits {
            break;
        }
    }
    events
}

pub(super) fn hello() -> Command {
    Command::Hello { oldest: 1, newest: 1 }
}

fn blob(part: u32, parts: u32, crc: u32, data: &[u8]) -> Command {
    Command::Blob { part, parts, crc, data: data.to_vec().into() }
}

fn blob_of(events: &[Event]) -> Vec<u8> {
    let part = |event: &Event| match event {
        Event::Blob { data, .. } => Some(data.to_vec()),
        _ => None,
    };
    events.iter().filter_map(part).collect::<Vec<_>>().concat()
}

#[test]
fn the_largest_intent_comes_back_whole() {
    let (mut keeper, mut peer) = keeper();
    keeper.blob = (0..4 << 20).map(|at: u32| at as u8).collect();
    peer.push(&hello()).unwrap();
    let events = converse(&mut keeper, &mut peer);
    assert!(!events.contains(&Event::Gap {}));
    assert!(matches!(events.last(), Some(Event::SnapshotEnd { .. })));
    assert!(blob_of(&events) == keeper.blob);
}

/// Hearing of it while writing, just before the wait, is the last chance: no worker is there whose end would wake us.
#[test]
fn an_owner_that_goes_while_it_is_written_to_leaves_no_keeper_waiting() {
    let (mut keeper, mut peer) = keeper();
    peer.push(&hello()).unwrap();
    converse(&mut keeper, &mut peer);
    drop(peer);
    assert_eq!(keeper.patience(), None);
    keeper.emit(&Event::Reload {});
    keeper.flush_link();
    assert!(keeper.shutdown.is_some(), "the write has failed");
    assert_eq!(keeper.patience(), Some(0));
}

#[test]
fn a_slow_control_plane_finds_a_gap_and_a_fresh_snapshot() {
    let (mut keeper, mut peer) = keeper();
    peer.push(&hello()).unwrap();
    converse(&mut keeper, &mut peer);
    for _ in 0..1_000 {
        keeper.emit(&Event::Stray { pid: 1, name: "x".repeat(10_000) });
    }
    let events = converse(&mut keeper, &mut peer);
    let gap = events.iter().position(|event| *event == Event::Gap {}).expect("ten megabytes are too much");
    assert!(matches!(events[gap + 1..], [Event::SnapshotEnd { .. }]));
}

#[test]
fn who_greets_without_end_does_not_fill_the_memory() {
    let (mut keeper, mut peer) = keeper();
    keeper.blob = vec![1; 3 << 20];
    for _ in 0..1_000 {
        peer.push(&hello()).unwrap();
    }
    assert!(peer.flush().unwrap());
    keeper.read_link();
    assert!(keeper.link.as_ref().unwrap().channel.pending() < 16 << 20);
    let events = converse(&mut keeper, &mut peer);
    assert!(matches!(events.last(), Some(Event::SnapshotEnd { .. })));
}

#[test]
fn parts_out_of_order_leave_the_former_intent() {
    let (mut keeper, mut peer) = keeper();
    keeper.blob = b"former".to_vec();
    peer.push(&hello()).unwrap();
    for (part, parts) in [(7, 8), (u32::MAX, 0), (0, 2), (2, 3), (3, 4), (0, 0), (1, 2)] {
        peer.push(&blob(part, parts, 0, b"x")).unwrap();
    }
    converse(&mut keeper, &mut peer);
    assert_eq!(keeper.blob, b"former");
    let crc = crc32fast::hash(b"newer");
    peer.push(&blob(0, 2, crc, b"new")).unwrap();
    peer.push(&blob(1, 2, crc, b"er")).unwrap();
    converse(&mut keeper, &mut peer);
    assert_eq!(keeper.blob, b"newer");
}
