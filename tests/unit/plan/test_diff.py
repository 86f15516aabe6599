"""What another intent would do: the data behind `procq plan`."""

from __future__ import annotations

from dataclasses import replace

from procq.api.differences import plan_view
from procq.intent import Intent, ScaleTo, restart, scale
from procq.model import Manifest, StopPolicy
from procq.plan.diff import Counts, Difference, Mark, compare
from procq.plan.values import Change
from procq.plan.wording import duration, signal_name
from procq.state import Observed, QueueState, Running, Settings
from tests.queues import manifest, queue


def settled(wanted: Manifest) -> Observed:
    return Observed(
        10.0,
        {
            q.name: QueueState({s: Running(s, q.fingerprint, s, 5.0, Settings.of(q)) for s in range(1, q.workers + 1)})
            for q in wanted.queues.values()
        },
    )


OLD = manifest(
    queue("emails", 5), queue("thumbs", 4, "rq worker thumbs"), queue("reports", 2), queue("legacy", 4), queue("same")
)
NEW = manifest(
    queue("invoices", 2),
    queue("emails", 3),
    replace(queue("thumbs", 4, "rq worker --burst thumbs"), env={"TOKEN": "secret"}),
    replace(queue("reports", 2), stop=StopPolicy(2, 90.0)),
    queue("same"),
)


def difference() -> Difference:
    return compare(Intent(OLD), Intent(NEW), settled(OLD))


def test_marks_and_counts() -> None:
    found = {q.name: (q.mark, q.counts) for q in difference().queues}
    assert found == {
        "invoices": (Mark.ADDED, Counts(new=2)),
        "emails": (Mark.CHANGED, Counts(stopped=2, untouched=3)),
        "thumbs": (Mark.REPLACED, Counts(replaced=4)),
        "reports": (Mark.CHANGED, Counts(configured=2, untouched=2)),
        "same": (Mark.SAME, Counts(untouched=1)),
        "legacy": (Mark.REMOVED, Counts(stopped=4)),
    }


def test_changes_never_show_the_values_of_variables() -> None:
    thumbs = next(q for q in difference().queues if q.name == "thumbs")
    assert thumbs.changes == (
        Change("command", "rq worker thumbs", "rq worker --burst thumbs"),
        Change("env.TOKEN", "", "set"),
    )
    assert "secret" not in repr(difference())


def test_an_override_hides_the_count_of_the_manifest() -> None:
    old = scale(Intent(OLD), "emails", ScaleTo(5))
    found = compare(old, replace(old, manifest=NEW), settled(OLD))
    emails = next(q for q in found.queues if q.name == "emails")
    assert (emails.mark, emails.counts) == (Mark.CHANGED, Counts(untouched=5))
    assert emails.changes == (Change("workers", "5", "3 (but set to 5 by hand)"),)


def test_a_restart_shows_as_replacement() -> None:
    found = compare(Intent(OLD), restart(Intent(OLD), ["emails"], 9), settled(OLD))
    emails = next(q for q in found.queues if q.name == "emails")
    assert (emails.mark, emails.counts) == (Mark.REPLACED, Counts(replaced=5))


def test_wording() -> None:
    assert [duration(s) for s in (0, 0.1, 1.5, 10, 90, 120, 3600, 86400)] == [
        "0s", "100ms", "1.5s", "10s", "90s", "2m", "1h", "1d",
    ]  # fmt: skip
    assert (signal_name(15), signal_name(99)) == ("TERM", "99")


def test_a_plan_says_of_an_earlier_change_that_it_is_not_done() -> None:
    new = manifest(queue("emails", 5, "work harder"), queue("same"))
    old = settled(manifest(queue("emails", 5), queue("same")))
    view = plan_view(compare(Intent(new), Intent(new), old), "/srv/procq.yaml", Intent(new))
    assert view.changes == ()
    assert view.notes == ("emails is being replaced, 5 workers to go: `procq status emails` shows how far it is",)
    done = plan_view(compare(Intent(new), Intent(new), settled(new)), "/srv/procq.yaml", Intent(new))
    assert done.notes == ()
