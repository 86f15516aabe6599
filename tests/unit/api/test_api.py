"""The API over its socket, by hand and through the client, before an engine with a pretended keeper."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from procq import wire
from procq.client import Client, InvalidManifest, Refused
from procq.errors import ManifestError, Problem
from procq.events import Attached
from procq.history import History
from procq.intent import NoIntent
from procq.rules import Source
from procq.testing import Rig, Script, everyone
from tests.queues import manifest, queue
from tests.unit.api.serving import PATIENCE, SHOP, Served, served

# --- reading ----------------------------------------------------------------------------------------------------


def test_status_tells_of_every_queue_and_of_the_workers_asked_for(client: Client) -> None:
    status = client.status(["emails"])
    assert [(q.name, q.state, q.running, q.desired) for q in status.queues] == [
        ("emails", "steady", 2, 2),
        ("reports", "steady", 1, 1),
        ("broken", "crashing", 0, 1),
    ]
    assert [(w.id, w.state) for w in status.workers] == [("emails.1", "running"), ("emails.2", "running")]
    assert status.workers[0].pid is not None
    assert status.workers[0].age == pytest.approx(1, abs=0.1)
    assert client.status().workers == ()


def test_a_queue_that_cannot_start_says_why(client: Client) -> None:
    broken = client.queue("broken")
    assert broken.problem is not None
    assert "not found in the PATH" in broken.problem
    (worker,) = client.workers(["broken"])
    assert worker.state == "waiting"
    assert worker.retry_in is not None


def test_one_worker_by_its_id(shop: Served) -> None:
    status, body, _ = shop.request("GET", "/v1/workers/emails.2")
    assert (status, body["id"], body["version"]) == (200, "emails.2", wire.VERSION)
    for nobody in ("emails.3", "emails", "emails.*", "%2e%2e%2fetc"):
        assert shop.request("GET", f"/v1/workers/{nobody}")[0] == 404


def test_health(shop: Served) -> None:
    assert shop.request("GET", "/healthz")[:2] == (200, "ok\n")
    shop.control.rig.keeper.losing = True
    shop.call(shop.control.rig.keeper.resync)
    events = shop.call(shop.control.rig.keeper.take)
    shop.call(lambda: shop.control.rig.engine.handle(events[:1]))
    assert shop.request("GET", "/healthz")[0] == 503


# --- changing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "desired"), [("5", 5), ("+2", 4), ("-1", 1), ("-9", 0), ("0", 0)])
def test_scaling(client: Client, wanted: str, desired: int) -> None:
    scaled = client.scale("emails", wanted)
    assert (scaled.desired, scaled.override, scaled.manifest_workers) == (desired, desired, 2)
    given_back = client.scale("emails", "auto")
    assert (given_back.desired, given_back.override) == (2, None)


def test_scaling_touches_nobody_who_stays(client: Client) -> None:
    before = {worker.id: worker.pid for worker in client.workers(["emails"])}
    client.scale("emails", "4")
    after = {worker.id: worker.pid for worker in client.workers(["emails"])}
    assert after.keys() == {"emails.1", "emails.2", "emails.3", "emails.4"}
    assert {id_: after[id_] for id_ in before} == before


@pytest.mark.parametrize("wanted", ["", "many", "1.5", "--1", "1000000", "99999999", "٣", None, True, 2.5, [], {}])
def test_what_is_no_number_of_workers_is_refused(shop: Served, wanted: object) -> None:
    status, body, headers = shop.request("PATCH", "/v1/queues/emails", {"workers": wanted})
    assert status == 400
    assert headers["content-type"] == "application/problem+json"
    assert body["status"] == 400
    assert body["detail"]
    assert Client(shop.project).queue("emails").desired == 2


def test_stop_and_start(shop: Served, client: Client) -> None:
    affected = client.set_running(["emails.1"], False)
    assert affected == wire.Affected(("emails.1",), ("emails",))
    shop.call(lambda: shop.control.rig.advance(1))
    assert [w.state for w in client.workers(["emails"])] == ["stopped", "running"]
    client.set_running(["emails"], False)
    shop.call(lambda: shop.control.rig.advance(1))
    assert client.queue("emails").state == "stopped"
    client.set_running(["*"], True)
    shop.call(lambda: shop.control.rig.advance(1))
    assert client.queue("emails").state == "steady"


def test_all_can_be_stopped_while_a_removed_queue_is_being_emptied(short_path: Path) -> None:
    rig = Rig(SHOP, everyone(Script(ignore_term=True)))
    rig.advance(1)
    rig.adopt(manifest(queue("emails", 2)))
    with served(rig, short_path) as running:
        client = Client(running.project, timeout=PATIENCE)
        assert client.restart(["*"]).queues == ("emails",)
        assert client.set_running(["*"], False).queues == ("emails",)
        assert client.set_running(["[er]*"], True).queues == ("emails",)
        with pytest.raises(Refused, match='"reports" is being emptied'):
            client.set_running(["reports"], True)
        assert {worker.queue for worker in client.workers()} == {"emails", "reports", "broken"}


def test_a_change_is_made_whole_or_not_at_all(shop: Served, client: Client) -> None:
    assert shop.request("PATCH", "/v1/queues/emails", {"running": False, "workers": 99_999})[0] == 400
    shop.call(lambda: shop.control.rig.advance(1))
    assert client.queue("emails").stopped == 0
    assert shop.request("PATCH", "/v1/queues/emails", {"running": False, "workers": 3})[0] == 200
    shop.call(lambda: shop.control.rig.advance(1))
    assert (client.queue("emails").stopped, client.queue("emails").desired) == (3, 3)


def test_nothing_can_be_changed_before_a_manifest_is_in_force(
    shop: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(*_: object) -> None:
        raise NoIntent

    monkeypatch.setattr(shop.control, "change", change)
    with pytest.raises(Refused, match="no manifest is in force"):
        client.scale("emails", "3")
    with pytest.raises(Refused, match="no manifest is in force"):
        client.restart(["emails"])


def test_restart_replaces_the_workers_meant_and_no_others(shop: Served, client: Client) -> None:
    before = {w.id: w.generation for w in client.workers()}
    assert client.restart(["emails.*"]).workers == ("emails.1", "emails.2")
    shop.call(lambda: shop.control.rig.advance(1))
    after = {w.id: w.generation for w in client.workers()}
    assert {id_ for id_ in before if before[id_] != after[id_]} == {"emails.1", "emails.2"}


@pytest.mark.parametrize("word", ["emials", "emails.9", "nothing*", "emails.x", "__class__", "a" * 1000])
def test_a_target_that_means_nothing_is_refused_and_nothing_changes(client: Client, word: str) -> None:
    with pytest.raises(Refused) as refused:
        client.set_running(["reports", word], False)
    assert refused.value.message
    assert client.queue("reports").stopped == 0


def test_a_wrong_name_is_answered_with_the_nearest(client: Client) -> None:
    with pytest.raises(Refused) as refused:
        client.queue("emials")
    assert refused.value.hint == 'Did you mean "emails"?'


# --- the plan ---------------------------------------------------------------------------------------------------


def test_plan_tells_what_the_file_would_change(shop: Served, client: Client) -> None:
    assert client.plan().changes == ()
    shop.control.on_disk = manifest(
        queue("emails", 5), queue("reports", 1, command="work harder"), queue("invoices", 2)
    )
    plan = client.plan()
    assert [(c.sign, c.queue, c.what, c.impact) for c in plan.changes] == [
        ("~", "emails", "workers 2 → 5", "3 workers started, 2 untouched"),
        ("±", "reports", "command changes", "1 worker replaced"),
        ("+", "invoices", "new queue", "2 workers started"),
        ("-", "broken", "removed", ""),
    ]
    assert plan.changes[1].details == ("- work", "+ work harder")
    assert client.queue("emails").desired == 2


def test_plan_of_a_file_that_does_not_load(shop: Served, client: Client) -> None:
    problem = Problem("procq.yaml", 3, 5, 6, 'unknown key "comand"', 'did you mean "command"?', "    comand: x")
    shop.control.on_disk = ManifestError([problem])
    with pytest.raises(InvalidManifest) as invalid:
        client.plan()
    assert "procq.yaml:3:5" in invalid.value.message
    assert invalid.value.exit_code == 4


# --- events -----------------------------------------------------------------------------------------------------


def test_events_are_remembered_and_can_be_resumed(shop: Served, client: Client) -> None:
    client.scale("emails", "3")
    shop.call(lambda: shop.control.rig.advance(1))
    events = list(client.events(follow=False))
    assert [e.text for e in events if e.kind == "changed"] == ["emails scaled to 3 by hand"]
    assert [e.worker for e in events if e.kind == "started"] == ["emails.3"]
    assert list(client.events(after=events[0].id, follow=False)) == events[1:]
    assert list(client.events(after=events[-1].id, follow=False)) == []


def test_a_follower_sees_what_happens(shop: Served, client: Client) -> None:
    client.scale("emails", "3")
    following = client.events(follow=True)
    assert next(following).text == "emails scaled to 3 by hand"
    shop.call(lambda: shop.control.rig.keeper.kill(next(iter(shop.control.rig.keeper.alive("reports")))))
    shop.call(lambda: shop.control.rig.advance(1))
    assert any(event.kind == "exited" and event.worker == "reports.1" for event in following)
    following.close()


def test_open_streams_neither_hold_up_the_end_nor_anybody_else(shop: Served, client: Client) -> None:
    client.scale("emails", "3")
    streams = [client.events(follow=True) for _ in range(20)]
    for stream in streams:
        next(stream)
    assert client.queue("emails").desired == 3
    began = time.monotonic()
    shop.close()
    assert time.monotonic() - began < 5
    for stream in streams:
        stream.close()


def test_events_are_resumed_over_a_control_plane_that_was_replaced() -> None:
    history = History()
    for _ in range(3):
        history.note("changed", "before")
    last = history.since(0)[-1].id
    after = History()
    after.record(Attached(2, 5, 0, False))
    after.note("changed", "after")
    found = after.since(last)
    assert [event.kind for event in found] == ["gap", "control_plane", "changed"]
    assert "control plane" in found[0].text
    assert last < found[0].id < found[1].id < found[2].id
    assert [event.kind for event in after.since(0)] == ["control_plane", "changed"]


@pytest.mark.parametrize("last", ["x", "-1", "9" * 30, "1e3"])
def test_an_event_id_that_is_none(shop: Served, last: str) -> None:
    assert shop.request("GET", "/v1/events?follow=false", headers={"Last-Event-ID": last})[0] == 400


def test_a_thousand_workers_are_answered_quickly(short_path: Path) -> None:
    """Not a benchmark: a guard against work that grows with the square."""
    rig = Rig(manifest(queue("many", 1000)))
    rig.advance(5)
    with served(rig, short_path) as running:
        client = Client(running.project, timeout=PATIENCE)
        began = time.monotonic()
        assert len(client.workers()) == 1000
        assert client.status(["many.1*"]).queues[0].running == 1000
        assert time.monotonic() - began < 10


def test_json_is_one_line_and_reads_back() -> None:
    view = wire.StatusView("shop", "/x", None, 1.0, 1, 2, 1, queues=(wire.QueueView("a\nb", "c", "steady", 1, 1, 1),))
    text = wire.to_json(view)
    assert "\n" not in text
    assert wire.from_json(wire.StatusView, text) == view
    newer = {**json.loads(text), "colour": "blue"}
    assert wire.from_json(wire.StatusView, json.dumps(newer)) == view
    for wrong in ("[]", "{}", "nonsense", '{"project": 1}'):
        with pytest.raises(ValueError):
            wire.from_json(wire.StatusView, wrong)


def test_threads_end() -> None:
    assert [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon] == []


# --- decisions --------------------------------------------------------------------------------------------------


def test_decisions_of_a_queue_that_scales(shop: Served, client: Client) -> None:
    wanted = manifest(replace(queue("emails", 2), most=5, source=Source("rq://localhost")), queue("reports"))
    shop.call(lambda: shop.control.rig.adopt(wanted))
    assert client.decisions("emails").decisions == ()
    term = wire.TermView("waiting", 12.0, "read just now")
    shop.control.decided = [wire.DecisionView("emails", 1.0, 2, n, 9, "why", inputs=(term,)) for n in (5, 4, 3)]
    found = client.decisions("emails", 1).decisions
    assert [each.target for each in found] == [5, 4]
    assert found[0].inputs == (term,)


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ("queue=reports", 400, "reports does not scale"),
        ("queue=emails.1", 400, "is not a queue"),
        ("queue=nope", 404, "nope"),
        ("", 400, "must name a queue"),
        ("queue=emails&limit=-1", 400, "whole number"),
        ("queue=emails&limit=5000", 400, "whole number"),
    ],
)
def test_decisions_that_there_are_not(shop: Served, query: str, status: int, detail: str) -> None:
    found, body, _ = shop.request("GET", f"/v1/decisions?{query}")
    assert found == status
    assert detail in body["detail"]
