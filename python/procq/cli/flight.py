"""`procq events --dump FILE`: the flight recorder's file, from the journal and from what runs."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from procq import wire
from procq.cli.project import client_of, project_of
from procq.cli.terminal import Terminal
from procq.client import Client
from procq.core import VERSION
from procq.errors import ProcqError
from procq.journal.reader import LARGEST_ID, every_decision, every_sample
from procq.journal.record import FILE, JournalUnreadable, decision_view
from procq.journal.recorder import Recorder, recording
from procq.journal.telling import forward, pages_of
from procq.journal.wanted import Wanted
from procq.text import count


def dump(options: argparse.Namespace, terminal: Terminal) -> int:
    """Writes everything that is known, and says how much that is."""
    project, target = project_of(options), Path(options.dump)
    path, client = Path(project.state_dir) / FILE, client_of(options)
    status, trouble = _status(client)
    with recording(target) as recorder:
        facts = {"at": time.time(), "procq": VERSION, "project": project.name, "manifest": project.manifest}
        recorder.head({**facts, "status_missing": trouble})
        if status is not None:
            recorder.view("status", status)
        events = _events(recorder, path, None if status is None else client, terminal)
        rows = _rows(recorder, path, terminal)
    terminal.line(f"{target}: {count(events, 'event')}, {count(rows, 'decision and sample', 'decisions and samples')}")
    return 0


def _status(client: Client) -> tuple[wire.StatusView | None, str | None]:
    try:
        return client.status(["*"]), None
    except ProcqError as error:
        return None, error.message


def _events(recorder: Recorder, path: Path, client: Client | None, terminal: Terminal) -> int:
    """Those of the journal, then those that have happened since. How many."""
    number, last = 0, None
    try:
        for batch in forward(pages_of(path), Wanted(), 0, LARGEST_ID):
            for event in batch:
                recorder.view("event", event)
                number, last = number + 1, event.id
    except JournalUnreadable as error:
        terminal.fail(error)
    if client is not None:
        for event in client.events(last, follow=False):
            recorder.view("event", event)
            number += 1
    return number


def _rows(recorder: Recorder, path: Path, terminal: Terminal) -> int:
    """Decisions and samples. How many."""
    number = 0
    try:
        for record in every_decision(path):
            recorder.view("decision", decision_view(record))
            number += 1
        for sample in every_sample(path):
            recorder.sample(sample)
            number += 1
    except JournalUnreadable as error:
        terminal.fail(error)
    return number
