"""What people see, as text: changes here are changes of the product."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from textwrap import dedent

import pytest

from procq.cli.render.events import event_line
from procq.cli.render.logs import LogRenderer
from procq.cli.render.plan import plan_lines
from procq.cli.render.status import project_lines, worker_lines
from procq.client import Gap, Output
from procq.text import Style
from procq.wire import ChangeView, EventView, PlanView, QueueView, StatusView, WorkerView

PLAIN = Style(False)
NOON = 1_700_049_600.0


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(os.environ, "TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def check(lines: list[str], expected: str) -> None:
    assert "\n".join(lines) == dedent(expected).strip("\n")


def test_status() -> None:
    queues = (
        QueueView("emails", "x", "steady", 5, 5, 2, override=5, restarts=1, cpu=0.384, memory=430_000_000),
        QueueView("thumbnails", "x", "growing", 12, 18, 18, starting=6),
        QueueView("imports", "x", "crashing", 0, 2, 2, restarts=1234, problem="exit code 1, 4 times in a row"),
        QueueView("web", "x", "stopped", 0, 1, 1, stopped=1),
    )
    status = StatusView("shop", "/srv/shop/procq.yaml", NOON - 60, 3 * 86400 + 4 * 3600, 1, 2, 3, queues=queues)
    check(
        project_lines(status, PLAIN, NOON),
        """
        shop   up 3d 4h · procq.yaml in force since 11:59:00 · 17 of 26 workers

        QUEUE        STATE        WORKERS   CPU    MEM   RESTARTS
        emails       ● steady      5 of 5   38%   410M          1
        thumbnails   ↑ growing    12 → 18     –      –          –
        imports      ✗ crashing    0 of 2     –      –      1,234   exit code 1, 4 times in a row
        web          ■ stopped     0 of 1     –      –          –

        the control plane was started again 2 times; no worker was touched
        emails is overridden to 5 (manifest says 2): `procq scale emails=auto` or `procq scale emails --save`
        imports is crashing: `procq status imports` and `procq logs imports` show why, `procq start imports` tries again
        web was stopped by hand: `procq start web`
        """,
    )


def test_status_with_nothing_to_say() -> None:
    status = StatusView("shop", "/srv/shop/procq.yaml", None, 5, 1, 2, 1)
    check(
        project_lines(status, PLAIN, NOON),
        """
        shop   up 5 s · procq.yaml · 0 of 0 workers

        no queues: add some to the manifest and save it
        """,
    )


def test_status_while_the_manifest_is_broken() -> None:
    queues = (QueueView("web", "x", "steady", 1, 1, 1),)
    status = StatusView("shop", "/x/procq.yaml", NOON, 5, 1, 2, 1, manifest_error="a\nb", queues=queues)
    assert project_lines(status, PLAIN, NOON)[-3:] == [
        "The manifest on disk is not in force, the one before it is:",
        "  a",
        "  b",
    ]


def test_workers() -> None:
    workers = [
        WorkerView("emails.1", "emails", 1, "running", 4711, 7, 3700.0, 0, cpu=1.5, memory=5 << 20),
        WorkerView("emails.2", "emails", 2, "waiting", None, 9, 0.25, 12, "exit code 1", 3.2, detail="next try in 3 s"),
        WorkerView("emails.4", "emails", 4, "starting", 4712, 8, 2.0, detail="waits for port 80, 58 s left"),
        WorkerView("emails.3", "emails", 3, "stopped"),
    ]
    check(
        worker_lines(workers, PLAIN),
        """
        WORKER     STATE         PID      FOR    CPU    MEM   RESTARTS   LAST EXIT
        emails.1   ● running    4711    1h 1m   150%   5.0M          –   –
        emails.2   ↻ waiting       –   250 ms      –      –         12   exit code 1   next try in 3 s
        emails.4   ↑ starting   4712      2 s      –      –          –   –             waits for port 80, 58 s left
        emails.3   ■ stopped       –        –      –      –          –   –
        """,
    )


def test_workers_that_report_jobs() -> None:
    workers = [
        WorkerView("emails.1", "emails", 1, "running", 4711, 7, 3700.0, 0, cpu=1.5, memory=5 << 20, jobs=12_345),
        WorkerView("emails.2", "emails", 2, "running", 4712, 8, 2.0),
        WorkerView("emails.3", "emails", 3, "running", 4713, 9, 2.0, jobs=3, job_durations=(1, 0, 2)),
    ]
    check(
        worker_lines(workers, PLAIN),
        """
        WORKER     STATE        PID     FOR     JOBS     P95    CPU    MEM   RESTARTS   LAST EXIT
        emails.1   ● running   4711   1h 1m   12,345       –   150%   5.0M          –   –
        emails.2   ● running   4712     2 s        –       –      –      –          –   –
        emails.3   ● running   4713     2 s        3   ≤5 ms      –      –          –   –
        """,
    )


def test_queues_that_report_jobs() -> None:
    took = (0, 0, 90, 5, 5)
    queues = (
        QueueView("web", "x", "steady", 1, 1, 1),
        QueueView("emails", "x", "steady", 2, 2, 2, jobs=100, jobs_failed=3, job_durations=took, busy=0),
        QueueView("thumbs", "x", "steady", 2, 2, 2, jobs=2, busy=2, throughput=0.05, busy_share=0.754),
        QueueView("reports", "x", "steady", 1, 1, 1, jobs=1, job_durations=(*[0] * 22, 1), busy=1, throughput=0.0),
    )
    check(
        project_lines(StatusView("shop", "/x/procq.yaml", None, 5, 1, 2, 1, queues=queues), PLAIN, NOON)[2:],
        """
        QUEUE     STATE      WORKERS             JOBS    RATE       P95      BUSY   CPU   MEM   RESTARTS
        web       ● steady    1 of 1                –       –         –         –     –     –          –
        emails    ● steady    2 of 2   100 (3 failed)       –    ≤10 ms         0     –     –          –
        thumbs    ● steady    2 of 2                2   3/min         –   2 (75%)     –     –          –
        reports   ● steady    1 of 1                1     0/s   >2h 46m         1     –     –          –
        """,
    )


def test_queues_that_scale() -> None:
    web = QueueView("web", "x", "steady", 1, 1, 1)
    source = "rq://localhost"
    queues = (
        web,
        QueueView("a", "x", "growing", 2, 8, 0, 9, source=source, jobs_waiting=1200, oldest_wait=12, wait_objective=30),
        QueueView("b", "x", "steady", 0, 0, 0, 9, source=source, jobs_waiting=0, oldest_wait=0.0, wait_objective=30),
        QueueView("c", "x", "steady", 1, 1, 0, 9, source=source, source_trouble="nobody answers"),
        QueueView("d", "x", "steady", 3, 3, 0, 9, source=source, jobs_waiting=3, short="wants 9, has 3: cpu budget"),
    )
    check(
        project_lines(StatusView("shop", "/x/procq.yaml", None, 5, 1, 2, 1, queues=queues), PLAIN, NOON)[2:],
        """
        QUEUE   STATE            WORKERS                BACKLOG   CPU   MEM   RESTARTS
        web     ● steady          1 of 1                      –     –     –          –
        a       ↑ growing    2 → 8 (0–9)   1,200 (12 s of 30 s)     –     –          –
        b       ● steady    0 of 0 (0–9)                      0     –     –          –
        c       ● steady    1 of 1 (0–9)                      –     –     –          –   nobody answers
        d       ● steady    3 of 3 (0–9)                      3     –     –          –   wants 9, has 3: cpu budget
        """,
    )


def test_plan() -> None:
    plan = PlanView(
        "/srv/shop/procq.yaml",
        (
            ChangeView("+", "invoices", "new queue", "2 workers started", started=2),
            ChangeView("~", "emails", "workers 5 → 3", "2 workers stopped, 3 untouched", stopped=2, untouched=3),
            ChangeView("±", "thumbs", "command changes", "18 workers replaced", replaced=18, details=("- a", "+ b")),
            ChangeView("-", "legacy", "removed", "4 workers stopped", stopped=4),
        ),
        unchanged=7,
        untouched=43,
    )
    check(
        plan_lines(plan, PLAIN),
        """
        procq.yaml differs from what runs:

          + invoices   new queue         2 workers started
          ~ emails     workers 5 → 3     2 workers stopped, 3 untouched
          ± thumbs     command changes   18 workers replaced
              - a
              + b
          - legacy     removed           4 workers stopped
          = 7 queues unchanged

        2 new, 24 replaced or stopped, 43 untouched.
        """,
    )
    check(plan_lines(PlanView("/x/Procfile", (), 1), PLAIN), "Procfile is in force: 1 queue unchanged.")


def test_events() -> None:
    event = EventView(1, NOON, "exited", "exit code 1 after 12 s", "emails", "emails.2")
    assert event_line(event, PLAIN) == "12:00:00  emails.2        ✗ exit code 1 after 12 s"
    nasty = EventView(2, NOON, "changed", "x\x1b[2J\ny", None, None)
    assert event_line(nasty, PLAIN) == "12:00:00  procq           · x⏎y"


def test_colour_never_says_anything_alone() -> None:
    worker = [WorkerView("a.1", "a", 1, "failed")]
    coloured = worker_lines(worker, Style(True))
    assert "\x1b[31m✗ failed\x1b[0m" in coloured[1]


# --- logs -------------------------------------------------------------------------------------------------------


def output(worker: str, data: bytes, partial: bool = False) -> Output:
    return Output(worker, "stdout", NOON, data, partial)


def test_lines_are_prefixed() -> None:
    logs = LogRenderer(PLAIN, raw=True)
    assert logs.render(output("web.1", b"one\ntwo\n")) == b"web.1         | one\nweb.1         | two\n"
    assert logs.render(output("web.1", b"\n")) == b"web.1         | \n"


def test_a_line_that_goes_on_is_joined_and_one_that_is_interrupted_is_ended() -> None:
    logs = LogRenderer(PLAIN, raw=True)
    pieces = [output("a.1", b"be", True), output("a.1", b"gun\n"), output("a.1", b"ha", True), output("b.1", b"x\n")]
    joined = b"".join(map(logs.render, pieces))
    assert joined == b"a.1           | begun\na.1           | ha\nb.1           | x\n"


def test_a_gap_says_how_much_is_missing() -> None:
    logs = LogRenderer(PLAIN, raw=True)
    assert "1,234 bytes missing" in logs.render(Gap(1234)).decode()


def test_a_terminal_gets_colours_only_and_a_pipe_gets_everything() -> None:
    data = b"\x1b[31mred\x1b[2J \xff\n"
    assert LogRenderer(PLAIN, raw=True).render(output("a.1", data)).endswith(b"| " + data)
    shown = LogRenderer(PLAIN, raw=False).render(output("a.1", data))
    assert shown == "a.1           | \x1b[31mred \N{REPLACEMENT CHARACTER}\x1b[0m\n".encode()


def test_no_byte_is_lost_however_lines_are_cut() -> None:
    every = bytes(range(256)) * 3
    logs = LogRenderer(PLAIN, raw=True)
    cut = [every[i : i + 7] for i in range(0, len(every), 7)]
    whole = b"".join(logs.render(output("a.1", piece, partial=not piece.endswith(b"\n"))) for piece in cut)
    assert whole.replace(b"\na.1           | ", b"\n").removeprefix(b"a.1           | ") == every
