"""What `procq why` prints."""

from __future__ import annotations

from procq.cli.render.why import why_lines
from procq.text import Style
from procq.wire import DecisionView, TermView
from tests.unit.cli.test_render import NOON, PLAIN, check

LATEST = DecisionView(
    "emails",
    NOON - 0.4,
    before=6,
    target=8,
    wanted=10,
    reason="12 jobs wait, and number 12 in line would start in 41 s, later than 27 s: 4 more",
    winner="deadline",
    limits=("wants 10, has 8: worker budget",),
    inputs=(TermView("waiting", 12, "read 0.4 s ago from rq+redis://h/0"), TermView("busy", 6, "workers")),
    terms=(TermView("service", 20.5, "a job takes: 20 s"), TermView("eagerness", 0.25, "")),
)


def test_why() -> None:
    before = DecisionView("emails", NOON - 200_000, 0, 6, 6, "jobs wait")
    check(
        why_lines([LATEST, before], PLAIN, NOON),
        """
        emails   8 workers, decided 400 ms ago

          12 jobs wait, and number 12 in line would start in 41 s, later than 27 s: 4 more
          wants 10, has 8: worker budget

          known
            waiting   12   read 0.4 s ago from rq+redis://h/0
            busy       6   workers

          calculated
            service     20.5   a job takes: 20 s
            eagerness   0.25

          before
            2023-11-13 04:26   0 → 6   jobs wait
        """,
    )


def test_nothing_yet_and_colour() -> None:
    assert why_lines([], PLAIN, NOON) == ["nothing has been decided yet: ask again in a second"]
    assert "\x1b[1memails" in why_lines([LATEST], Style(True), NOON)[0]
