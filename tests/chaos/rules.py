"""The checker: each rule looks at what players wrote down and at what was done, and says what does not agree.

None of them asks procq. `test_planted.py` plants a violation of each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from tests.chaos.ledger import Entry, Numbers, Process
from tests.chaos.model import Model

DELAY = 20.0
"""Seconds in which an act may still have consequences: a roll-out in batches, on a machine that is busy."""
KIND = {"lines", "jobs", "hurt", "slow"}
"""Queues whose workers end only when they are asked to, or are killed."""


def one_generation_a_slot(entries: Iterable[Entry]) -> list[str]:
    """Never do two generations of a slot live, whatever is left of the older one."""
    return [f"{e.worker}: generation {e.generation} began beside another" for e in entries if e.what == "crowded"]


def generations_grow(entries: Iterable[Entry]) -> list[str]:
    """No generation is used twice, and none is older than one that began before it in its slot."""
    last: dict[tuple[str, str], int] = {}
    wrong = []
    for entry in entries:
        if entry.what == "born":
            key = (entry.instance, entry.worker)
            if entry.generation <= last.get(key, 0):
                wrong.append(f"{entry.worker}: generation {entry.generation} after {last[key]}")
            last[key] = entry.generation
    return wrong


def only_wanted_ones_begin(entries: Iterable[Entry], model: Model) -> list[str]:
    """No worker begins that nobody has wanted for a while."""
    return [
        f"{e.worker}: began at {e.at:.3f}, and at most {most} were wanted of its queue then"
        for e in entries
        if e.what == "born" and e.slot > (most := model.most(e.queue, e.at - DELAY, e.at))
    ]


def nobody_is_asked_without_a_reason(entries: Iterable[Entry], model: Model) -> list[str]:
    """No worker is asked to leave unless something was done to its queue."""
    return [
        f"{e.worker}: asked to leave at {e.at:.3f} for no reason"
        for e in entries
        if e.what == "asked" and not model.touched(e.queue, e.at - DELAY, e.at)
    ]


def nobody_dies_unasked(
    entries: Sequence[Entry], killed: Mapping[Process, float], alive: set[Process], hard: set[str]
) -> list[str]:
    """Who ends has been asked and has finished, or was killed by us; `hard` are instances that we ended with a kill."""
    heard = {e.process for e in entries if e.what == "asked"}
    left = {e.process for e in entries if e.what == "left"}
    wrong = []
    for entry in entries:
        if entry.what != "born" or entry.queue not in KIND or entry.instance in hard:
            continue
        process = entry.process
        if process not in left and process not in alive and process not in killed:
            how = "before it had finished, within its grace period" if process in heard else "without being asked"
            wrong.append(f"{entry.worker}, generation {entry.generation}, pid {process[0]}: ended {how}")
    return wrong


def lines_are_complete(
    written: Numbers, progress: Mapping[tuple[str, str, int], int], hard: set[str], dropped: bool = False
) -> list[str]:
    """No line is lost, doubled or out of order; the tail may be lost with a keeper, any with a disk (`dropped`)."""
    wrong = []
    for key in written.keys() | progress.keys():
        found, name = written.get(key, []), f"{key[0]}, generation {key[2]}"
        if len(set(found)) != len(found):
            wrong.append(f"{name}: lines twice: {sorted({n for n in found if found.count(n) > 1})[:5]}")
        if dropped:
            continue
        missing = sorted(set(range(max(found, default=-1) + 1)) - set(found))
        if missing:
            wrong.append(f"{name}: lines lost: {len(missing)}, the first are {missing[:5]}")
        rid_of = progress.get(key, 0)
        if key[1] not in hard and len(found) < rid_of:
            wrong.append(f"{name}: lines lost at the end: {len(found)} are there, {rid_of} were written")
    return wrong


def lines_are_in_order(written: Numbers) -> list[str]:
    """Of one file: a worker's lines stand in the order in which it wrote them."""
    return [f"{key[0]}, generation {key[2]}: out of order" for key, found in written.items() if found != sorted(found)]


def jobs_are_done_once(entries: Iterable[Entry], killed: Mapping[Process, float], hard: set[str]) -> list[str]:
    """No job is begun while somebody who has it may still do it, done twice, or left by who was not killed."""
    holder: dict[str, Entry] = {}
    done: set[str] = set()
    wrong = []
    for entry in entries:
        job = entry.about
        match entry.what:
            case "took":
                former = holder.get(job)
                if job in done:
                    wrong.append(f"job {job}: begun by {entry.worker} after it was done")
                elif former and former.process not in killed and former.instance not in hard:
                    wrong.append(f"job {job}: begun by {entry.worker} while {former.worker} has it")
                holder[job] = entry
            case "did":
                if job in done or job not in holder or holder[job].process != entry.process:
                    wrong.append(f"job {job}: done by {entry.worker}, who does not have it")
                done.add(job)
                holder.pop(job, None)
    return wrong


def jobs_are_not_lost(
    entries: Iterable[Entry], killed: Mapping[Process, float], alive: set[Process], hard: set[str]
) -> list[str]:
    """Who has a job and was not killed by us has finished it, or is still at it."""
    holder: dict[str, Entry] = {}
    for entry in entries:
        if entry.what == "took":
            holder[entry.about] = entry
        elif entry.what == "did":
            holder.pop(entry.about, None)
    return [
        f"job {job}: {entry.worker}, generation {entry.generation}, ended with it in hand"
        for job, entry in holder.items()
        if entry.process not in killed and entry.process not in alive and entry.instance not in hard
    ]


def statuses_are_right(
    told: Iterable[tuple[str, int, str]], entries: Iterable[Entry], killed: Mapping[Process, float]
) -> list[str]:
    """What was `told` of ends (worker, pid, status in words) is what the players had announced, or our kill."""
    ends = {e.process[0]: words(int(e.about)) for e in entries if e.what == "ends"}
    by_us = {pid for pid, _ in killed}
    return [
        f"{worker}, pid {pid}: said to have ended with {status}; it was {ends[pid]}"
        for worker, pid, status in told
        if pid in ends and status != ends[pid] and not (pid in by_us and status == "SIGKILL")
    ]


def every_end_is_told(
    told: Iterable[tuple[str, int, str]], entries: Iterable[Entry], excused: Sequence[tuple[float, float]]
) -> list[str]:
    """Each end that a player announced is told, unless it fell into a time in which nobody could hear of it."""
    heard = {pid for _, pid, _ in told}
    return [
        f"{e.worker}, pid {e.process[0]}: its end at {e.at:.3f} was not told"
        for e in entries
        if e.what == "ends" and e.process[0] not in heard and not any(a <= e.at <= b for a, b in excused)
    ]


def words(code: int) -> str:
    """A status as procq words it."""
    import signal

    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def who_lives_is_wanted(entries: Iterable[Entry], alive: set[Process], wanted: Mapping[str, int]) -> list[str]:
    """At rest: each wanted slot has its worker, and no other has one. Those that crash all the time may be missing."""
    slots: dict[str, list[int]] = defaultdict(list)
    for entry in entries:
        if entry.what == "born" and entry.process in alive:
            slots[entry.queue].append(entry.slot)
    wrong = []
    for queue in slots.keys() | wanted.keys():
        found, expected = sorted(slots.get(queue, [])), list(range(1, wanted.get(queue, 0) + 1))
        if found != expected and not (
            queue == "crash" and set(found) <= set(expected) and len(set(found)) == len(found)
        ):
            wrong.append(f"{queue}: slots {found} live, {expected} are wanted")
    return wrong
