"""The laws of sharing a machine, attacked by a generator."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from procq.rules import Claim
from procq.scaling.budget import Budget, Sharing
from procq.scaling.sharing import Grant, Wish, at_once, share

NOW = 10_000.0
NOBODY: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Host:
    workers: int | None
    cpus: float | None
    memory: int | None

    def share(self, wishes: Sequence[Wish]) -> dict[str, Grant]:
        return share(wishes, workers=self.workers, cpus=self.cpus, memory=self.memory, now=NOW)

    def room(self) -> tuple[float, float, float]:
        return tuple(inf if each is None else each for each in (self.workers, self.cpus, self.memory))  # type: ignore[return-value]


@st.composite
def wish(draw: st.DrawFn, number: int, aged: bool) -> Wish:
    held = draw(st.integers(0, 12))
    return Wish(
        queue=f"q{number}",
        wanted=draw(st.integers(0, 15)),
        least=draw(st.integers(0, 3)),
        held=held,
        claim=Claim(draw(st.integers(-1, 2)), draw(st.sampled_from([0.5, 1.0, 2.0, 3.0]))),
        memory=draw(st.sampled_from([0, 100, 300, 1000])),
        cpus=draw(st.sampled_from([0.0, 0.1, 0.5, 2.0])),
        waiting_since=draw(st.none() | st.floats(NOW - 1000, NOW + 10)) if aged else None,
        busy=draw(st.integers(0, held)),
    )


@st.composite
def crowds(draw: st.DrawFn, aged: bool = True) -> list[Wish]:
    return [draw(wish(number, aged)) for number in range(draw(st.integers(0, 7)))]


HOSTS = st.builds(
    Host, st.none() | st.integers(0, 60), st.none() | st.floats(0, 30), st.none() | st.integers(0, 20_000)
)
DRAINING = st.dictionaries(st.sampled_from(["q0", "q1", "q2", "gone"]), st.integers(0, 5))


def base(wish: Wish) -> int:
    return min(wish.wanted, max(wish.least, min(wish.busy, wish.held)))


def used(
    wishes: Sequence[Wish], counts: Mapping[str, int], draining: Mapping[str, int] = NOBODY
) -> tuple[float, float, float]:
    here = {wish.queue for wish in wishes}
    all_counts = {wish.queue: counts.get(wish.queue, 0) + draining.get(wish.queue, 0) for wish in wishes}
    return (
        sum(all_counts.values()) + sum(n for queue, n in draining.items() if queue not in here),
        sum(all_counts[wish.queue] * wish.cpus for wish in wishes),
        sum(all_counts[wish.queue] * wish.memory for wish in wishes),
    )


def workers(grants: Mapping[str, Grant]) -> dict[str, int]:
    return {queue: grant.workers for queue, grant in grants.items()}


@given(HOSTS, crowds())
def test_the_budget_holds_but_for_what_cannot_be_denied(host: Host, wishes: list[Wish]) -> None:
    counts = workers(host.share(wishes))
    bases = used(wishes, {wish.queue: base(wish) for wish in wishes})
    for taken, undeniable, room in zip(used(wishes, counts), bases, host.room(), strict=True):
        assert taken <= max(room, undeniable) + 1e-6
    for each in wishes:
        assert base(each) <= counts[each.queue] <= each.wanted


@given(HOSTS, crowds())
def test_nothing_is_left_over_that_fits_somebody_who_is_short(host: Host, wishes: list[Wish]) -> None:
    grants = host.share(wishes)
    counts = workers(grants)
    taken = used(wishes, counts)
    for each in wishes:
        if counts[each.queue] == each.wanted:
            continue
        more = used(wishes, counts | {each.queue: counts[each.queue] + 1})
        assert any(m > room + 1e-9 and m > t for m, t, room in zip(more, taken, host.room(), strict=True))
        assert grants[each.queue].short.startswith(f"wants {each.wanted}, has {counts[each.queue]}: ")


@given(HOSTS, crowds(aged=False), st.integers(-1, 2))
def test_what_lower_priorities_want_is_nothing_to_higher_ones(host: Host, wishes: list[Wish], priority: int) -> None:
    modest = [replace(each, wanted=base(each)) if each.claim.priority < priority else each for each in wishes]
    all_want, few_want = workers(host.share(wishes)), workers(host.share(modest))
    for each in wishes:
        if each.claim.priority >= priority:
            assert all_want[each.queue] == few_want[each.queue]


@given(HOSTS, crowds(), st.integers(0, 6))
def test_what_a_failing_queue_wants_beyond_its_first_worker_is_nothing_to_others(
    host: Host, wishes: list[Wish], number: int
) -> None:
    wishes = [replace(each, failing=each.queue == f"q{number}") for each in wishes]
    modest = [replace(each, wanted=min(each.wanted, max(1, base(each)))) if each.failing else each for each in wishes]
    wants, wants_one = workers(host.share(wishes)), workers(host.share(modest))
    for each in wishes:
        if not each.failing:
            assert wants[each.queue] == wants_one[each.queue]


@given(st.integers(0, 60), crowds(aged=False))
def test_by_weight_within_one_worker(budget: int, wishes: list[Wish]) -> None:
    counts = workers(Host(budget, None, None).share(wishes))
    for short in wishes:
        for other in wishes:
            equal = short.claim.priority == other.claim.priority
            if equal and counts[short.queue] < short.wanted and counts[other.queue] > base(other):
                behind, ahead = counts[short.queue] + 1, counts[other.queue] - 1
                assert ahead / other.claim.weight <= behind / short.claim.weight + 1e-9


@given(st.integers(0, 60), st.integers(0, 20), crowds())
def test_with_more_workers_in_the_budget_nobody_gets_fewer(budget: int, more: int, wishes: list[Wish]) -> None:
    before = workers(Host(budget, None, None).share(wishes))
    after = workers(Host(budget + more, None, None).share(wishes))
    assert all(before[queue] <= after[queue] for queue in before)


@given(HOSTS, crowds(), st.randoms(use_true_random=False))
def test_the_order_does_not_matter(host: Host, wishes: list[Wish], chance: random.Random) -> None:
    mixed = list(wishes)
    chance.shuffle(mixed)
    assert host.share(mixed) == host.share(wishes)


@given(HOSTS, crowds())
def test_who_has_got_its_grants_is_granted_them_again(host: Host, wishes: list[Wish]) -> None:
    first = workers(host.share(wishes))
    there = [replace(each, held=first[each.queue], busy=min(each.busy, first[each.queue])) for each in wishes]
    assert workers(host.share(there)) == first


@given(HOSTS, crowds(), DRAINING)
def test_nobody_starts_in_the_place_of_one_who_is_still_there(
    host: Host, wishes: list[Wish], draining: dict[str, int]
) -> None:
    grants = host.share(wishes)
    counts = at_once(wishes, grants, workers=host.workers, cpus=host.cpus, memory=host.memory, draining=draining)
    there = {each.queue: max(each.held, base(each)) for each in wishes}
    live = {queue: max(counts[queue], there[queue]) for queue in counts}
    least = used(wishes, there, draining)
    for taken, already, room in zip(used(wishes, live, draining), least, host.room(), strict=True):
        assert taken <= max(room, already) + 1e-6
    for each in wishes:
        assert base(each) <= counts[each.queue] <= grants[each.queue].workers
        assert counts[each.queue] >= min(each.held, grants[each.queue].workers)


@given(HOSTS, crowds(), DRAINING, st.sampled_from([0.1, 0.5]))
def test_within_a_margin_who_is_there_stays_and_nobody_starts(
    host: Host, wishes: list[Wish], draining: dict[str, int], margin: float
) -> None:
    budget = Budget(host.workers, host.cpus, host.memory, margin)
    counts = workers(Sharing().grant(wishes, budget, draining, NOW))
    strict = workers(Sharing().grant(wishes, replace(budget, margin=0.0), draining, NOW))
    there = {each.queue: max(each.held, base(each)) for each in wishes}
    kept = {each.queue: max(base(each), min(each.held, each.wanted)) for each in wishes}
    live = {queue: max(counts[queue], there[queue]) for queue in counts}
    least, room = used(wishes, there, draining), host.room()
    assert all(
        t <= max(r, already) + 1e-6 for t, already, r in zip(used(wishes, live, draining), least, room, strict=True)
    )
    wanted = used(wishes, {each.queue: each.wanted for each in wishes})
    if all(taken <= r for taken, r in zip(wanted, room, strict=True)):
        assert counts == strict, "where all fits nothing is kept"
    if all(k <= r * (1 + margin) for k, r in zip(used(wishes, kept)[1:], room[1:], strict=True)) and len(wishes) == 1:
        assert counts[wishes[0].queue] >= min(kept[wishes[0].queue], inf if host.workers is None else host.workers)


@given(HOSTS, crowds(), DRAINING)
def test_step_by_step_all_grants_are_reached(host: Host, wishes: list[Wish], draining: dict[str, int]) -> None:
    """Who has to give gives between two looks, and who leaves has left; then there is room for who gets."""
    for leaving in (draining, NOBODY, NOBODY):
        grants = host.share(wishes)
        counts = at_once(wishes, grants, workers=host.workers, cpus=host.cpus, memory=host.memory, draining=leaving)
        wishes = [replace(each, held=counts[each.queue], busy=min(each.busy, counts[each.queue])) for each in wishes]
    assert counts == workers(grants)
