"""Edits saved while workers of the edit before are starting or stopping, roll-outs, and queues that wait for others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from tests.process.support import processes
from tests.process.support.fixtures import Procqs
from tests.process.support.processes import Stat
from tests.process.support.project import Procq
from tests.process.support.waiting import until

pytestmark = pytest.mark.process

SLOW = 'trap "sleep 0.3; exit 0" TERM; sleep 1000 & wait'
"""Takes a while to leave, and has a child."""


def manifest(queues: Mapping[str, str], workers: int = 3) -> str:
    """`queues` are names and what tells their commands apart."""
    lines = ["defaults:", "  workers: " + str(workers), "  update:", "    pause: 0s", "    batch: 50%", "queues:"]
    for name, mark in queues.items():
        lines += [f"  {name}:", "    shell: yes", f"    command: ': {mark}; {SLOW}'"]
    return "\n".join(lines) + "\n"


A, B, C = {"a": "one"}, {"b": "one"}, {"c": "one"}
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "swap": ({"a": "one", "b": "two"}, {"a": "two", "b": "one"}),
    "add before": (A, B | A),
    "add after": (A, A | B),
    "interleave": (A | C, A | B | C),
    "remove": (A | B | C, A | C),
    "rename": (A | B, A | {"renamed": "one"}),
    "change while stopping": (A | {"b": "two"}, A | {"b": "three"}),
    "change back": ({"a": "two", "b": "one"}, A | B),
}


def runs(procq: Procq, queues: Mapping[str, str], workers: int) -> dict[str, Stat]:
    """Waits until exactly what `queues` say runs."""

    def all_of_it() -> dict[str, Stat]:
        status = procq.status()
        if any(each.state != "running" for each in status.workers):
            return {}
        found = procq.workers()
        wanted = {f"{name}.{slot}" for name in queues for slot in range(1, workers + 1)}
        if found.keys() != wanted:
            return {}
        right = (f": {queues[name.rpartition('.')[0]]};" in processes.command(s.pid) for name, s in found.items())
        return found if all(right) else {}

    return until(all_of_it, lambda: f"{dict(queues)} to run; {procq.said()}\n{procq.command('status')}", 40)


@pytest.mark.parametrize("save", [Procq.save, Procq.replace], ids=["in place", "renamed"])
@pytest.mark.parametrize("case", CASES)
def test_an_edit_in_the_middle_of_another(procqs: Procqs, case: str, save: Callable[[Procq, str], None]) -> None:
    """What the file says in the end runs, whoever was right all the time was not touched, nobody is left behind.

    Saved while the first workers start, while those of the edit start, and while those it took out stop.
    """
    first, second = CASES[case]
    procq = procqs(manifest(A, 1))
    procq.start(1)
    steady = procq.workers()["a.1"] if first.get("a") == "one" == second.get("a") else None
    save(procq, manifest(first))
    until(lambda: len(procq.status().workers) > 1, "the first edit to be taken")
    save(procq, manifest(second))
    # What the first one left is on its way out, what the second one wants on its way in.
    until(lambda: {q.name for q in procq.status().queues} >= second.keys(), "the second edit to be taken")
    save(procq, manifest(first))
    save(procq, manifest(second))
    after = runs(procq, second, 3)
    if steady is not None:
        assert after["a.1"] == steady, "it was right all the time"
    save(procq, manifest(first))
    again = runs(procq, first, 3)
    stayed = {name for name in first if second.get(name) == first[name]}
    for worker, stat in again.items():
        if worker.rpartition(".")[0] in stayed:
            assert after[worker] == stat, f"{worker} was touched"


def rolled(seconds: int, command: str = "sleep", surge: int = 1) -> str:
    return f"""\
queues:
  emails:
    command: {command} {seconds}
    workers: 6
    update:
      surge: {surge}
      batch: 2
      pause: 100ms
"""


def test_a_roll_out_with_real_processes_always_has_enough_that_run(procqs: Procqs) -> None:
    procq = procqs(rolled(1000)).start(6)
    before = procq.workers()
    assert "6 workers replaced in batches of 2 (surge 1)" in _planned(procq, rolled(1001))
    procq.save(rolled(1001))
    fewest = 6

    def replaced() -> bool:
        nonlocal fewest
        now = procq.workers()
        fewest = min(fewest, len(now))
        return now.keys() == before.keys() and all(now[w] != before[w] for w in now)

    until(replaced, "the roll-out to end")
    assert fewest >= 6 + 1 - 2
    assert "sleep 1001" in processes.command(procq.workers()["emails.6"].pid)


def test_a_command_that_fails_keeps_the_old_workers_and_saving_back_ends_it(procqs: Procqs) -> None:
    procq = procqs(rolled(1000, surge=0)).start(6)
    before = procq.workers()
    procq.save(rolled(1001, "false", surge=0))
    problem = until(lambda: procq.queue("emails").problem, "the roll-out to be halted") or ""
    until(lambda: "exit code 1" in (procq.queue("emails").problem or ""), "the reason to be told")
    assert problem.startswith("roll-out halted after 0 of 6: emails."), problem
    assert procq.queue("emails").state == "replacing"
    kept = {f"emails.{n}": before[f"emails.{n}"] for n in range(3, 7)}
    assert procq.workers().items() >= kept.items()
    procq.kill_control_plane()
    assert procq.workers().items() >= kept.items(), "another control plane does not go on either"
    procq.save(rolled(1000, surge=0))
    assert procq.wait_running(6).items() >= kept.items()
    assert procq.queue("emails").problem is None


WAVES = """\
queues:
  reports:
    command: sleep 1001
    workers: 2
    after: emails
  emails:
    command: sleep 1002
    workers: 2
    after: redis
  redis:
    command: {redis}
"""


def test_queues_wait_for_those_before_them(procqs: Procqs) -> None:
    procq = procqs(WAVES.format(redis="/nowhere/redis-server")).start(0)
    until(lambda: procq.queue("emails").problem == "waits for redis", "the emails to wait")
    assert procq.queue("reports").problem == "waits for emails"
    procq.save(WAVES.format(redis="sleep 1000"))
    found = procq.wait_running(5)
    starts = {name: [s.started for w, s in found.items() if w.startswith(name)] for name in ("redis", "emails")}
    assert max(starts["redis"]) <= min(starts["emails"])
    procq.save("queues:\n  other: sleep 1003\n")
    until(lambda: procq.workers().keys() == {"other.1"}, "the others to leave")
    lines = [line for line in procq.command("events").splitlines() if "asked to leave" in line]
    order = [name for line in lines for name in ("reports", "emails", "redis") if f"{name}." in line]
    assert order == ["reports"] * 2 + ["emails"] * 2 + ["redis"]


def test_a_slot_gives_up_and_is_started_again(procqs: Procqs) -> None:
    text = "queues:\n  emails:\n    command: {command}\n    restart:\n"
    text += "      give_up: 3 in 1m\n      backoff: 10ms..20ms\n"
    procq = procqs(text.format(command="false")).start(0)
    until(lambda: procq.queue("emails").problem == "gave up after 3 in 1m: exit code 1", "it to give up")
    assert procq.queue("emails").state == "failing"
    procq.kill_control_plane()
    until(lambda: procq.queue("emails").problem == "gave up after 3 in 1m: exit code 1", "that to be remembered")
    procq.save(text.format(command="sleep 1000"))
    procq.wait_running(1)


def _planned(procq: Procq, text: str) -> str:
    other = procq.folder / "other.yaml"
    other.write_text(text)
    return procq.command("plan", str(other), code=2)
