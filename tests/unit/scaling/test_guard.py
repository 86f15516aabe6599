"""The guard over virtual time: when it closes, how it takes away, how it opens; and who has to give."""

from __future__ import annotations

import pytest

from procq.rules import Claim, Guard
from procq.scaling.guard import CALM, STEP, Brake, Level, Pressure, Verdict, judge, shrink
from procq.scaling.sharing import Wish

GREEN = Pressure(cpu_some=0.1, memory_full=0.0, available=0.5, load=0.3)
AMBER = Pressure(cpu_some=0.5, memory_full=0.0, available=0.5, load=3.0)
RED = Pressure(cpu_some=0.1, memory_full=0.2, available=0.5, load=0.3)


@pytest.mark.parametrize(
    ("pressure", "level", "text"),
    [
        (GREEN, Level.GREEN, ""),
        (Pressure(cpu_some=0.4, available=0.1, memory_full=0.05), Level.GREEN, ""),
        (Pressure(cpu_some=0.41), Level.AMBER, "processes wait for a processor for 41% of the time"),
        (Pressure(available=0.09), Level.AMBER, "9.0% of the memory is available"),
        (Pressure(available=0.049), Level.RED, "4.9% of the memory is available"),
        (Pressure(memory_full=0.06, available=0.5), Level.RED, "all wait for memory for 6% of the time"),
        (Pressure(cpu_some=0.9, available=0.04), Level.RED, "4.0% of the memory is available"),
        # The load counts only where nothing better is known.
        (Pressure(cpu_some=0.1, load=9.0), Level.GREEN, ""),
        (Pressure(load=2.5), Level.AMBER, "the load is 2.5 for each core"),
        (Pressure(), Level.GREEN, ""),
    ],
)
def test_levels(pressure: Pressure, level: Level, text: str) -> None:
    assert judge(pressure, Guard()) == (level, text)


def test_thresholds_are_those_of_the_manifest() -> None:
    guard = Guard(cpu=0.9, memory=0.6, stalled=0.5)
    assert judge(AMBER, guard)[0] is Level.AMBER
    assert judge(Pressure(cpu_some=0.8, memory_full=0.3, available=0.7), guard)[0] is Level.GREEN
    assert judge(Pressure(available=0.2), guard)[0] is Level.RED


def test_what_cannot_be_seen_is_said() -> None:
    assert GREEN.blind == ""
    assert "pressure of cpu and memory (PSI)" in Pressure(available=0.5).blind
    assert "pressure of memory (PSI)" in Pressure(cpu_some=0.5).blind


class Host:
    """A machine whose workers follow the verdict at once: as many as are wanted, as far as it lets them."""

    def __init__(self, workers: int, wanted: int = 1000) -> None:
        self.brake, self.now, self.workers, self.wanted = Brake(Guard()), 100.0, workers, wanted
        self.verdict = Verdict(Level.GREEN, "", True, None)

    def pass_(self, pressure: Pressure, seconds: int) -> list[int]:
        counts = []
        for _ in range(seconds):
            self.verdict = self.brake.look(pressure, self.workers, self.now)
            goal = self.wanted if self.verdict.allow_spawns else min(self.workers, self.wanted)
            self.workers = goal if self.verdict.most is None else min(goal, self.verdict.most)
            counts.append(self.workers)
            self.now += 1
        return counts


def test_all_is_open_where_nothing_has_been() -> None:
    host = Host(10, wanted=50)
    assert host.pass_(GREEN, 1) == [50]
    assert host.verdict == Verdict(Level.GREEN, "", True, None)


def test_amber_starts_nothing_and_takes_nothing() -> None:
    host = Host(10)
    assert set(host.pass_(AMBER, 60)) == {10}
    assert not host.verdict.allow_spawns
    assert host.verdict.text.startswith("amber: processes wait")


def test_red_takes_a_tenth_each_ten_seconds() -> None:
    host = Host(100)
    counts = host.pass_(RED, 35)
    assert counts[::10] == [90, 81, 72, 64]
    assert counts[9] == 90


def test_red_takes_one_at_least_and_stops_at_nothing() -> None:
    host = Host(3)
    assert host.pass_(RED, 60)[::10] == [2, 1, 0, 0, 0, 0]


def test_red_goes_on_where_nobody_can_be_taken() -> None:
    brake = Brake(Guard())
    assert [brake.look(RED, 10, now).most for now in (0.0, 10.0, 20.0)] == [9, 8, 7]


def test_red_to_and_fro_takes_no_more_than_red_all_the_time() -> None:
    host = Host(100)
    for _ in range(5):
        host.pass_(RED, 1)
        host.pass_(AMBER, 1)
    assert host.workers == 90


def test_it_opens_after_thirty_seconds_of_green_by_a_tenth_each_ten_seconds() -> None:
    host = Host(20, wanted=26)
    host.pass_(RED, 1)
    assert host.workers == 18
    assert set(host.pass_(GREEN, int(CALM))) == {18}
    counts = host.pass_(GREEN, 51)
    assert counts[::10] == [20, 22, 25, 26, 26, 26]
    # The last step was not used: open.
    assert host.verdict == Verdict(Level.GREEN, "", True, None)


def test_one_look_that_is_not_green_begins_the_wait_anew() -> None:
    host = Host(20)
    host.pass_(AMBER, 1)
    host.pass_(GREEN, 29)
    host.pass_(AMBER, 1)
    assert set(host.pass_(GREEN, int(CALM))) == {20}
    assert host.pass_(GREEN, 1) == [22]


def test_while_it_opens_it_may_close_again() -> None:
    host = Host(20)
    host.pass_(AMBER, 1)
    host.pass_(GREEN, int(CALM) + 1)
    assert host.workers == 22
    assert set(host.pass_(AMBER, 5)) == {22}
    assert host.pass_(RED, 1) == [19]
    assert host.pass_(GREEN, int(CALM) + 1)[-1] == 21


def test_it_is_not_open_for_good_as_long_as_each_step_is_used() -> None:
    host = Host(10)
    host.pass_(AMBER, 1)
    host.pass_(GREEN, int(CALM + 20 * STEP))
    assert host.verdict.most is not None
    assert host.workers < 100


def test_looks_may_be_far_apart() -> None:
    brake = Brake(Guard())
    assert brake.look(RED, 10, 0.0).most == 9
    assert not brake.look(GREEN, 9, 60.0).allow_spawns
    assert brake.look(GREEN, 9, 120.0) == Verdict(Level.GREEN, "opens: at most 10 workers for now", True, 10)
    assert brake.look(GREEN, 9, 180.0).most is None


def wish(queue: str, held: int, *, least: int = 0, busy: int = 0, priority: int = 0, weight: float = 1.0) -> Wish:
    return Wish(queue, held, least, held, Claim(priority, weight), at_work=busy)


def counts(*wishes: Wish) -> dict[str, int]:
    return {each.queue: each.held for each in wishes}


def test_the_lowest_priority_gives_first() -> None:
    wishes = wish("high", 5, priority=5), wish("low", 5), wish("middle", 5, priority=1)
    assert shrink(wishes, counts(*wishes), 8, drain=True) == {"high": 5, "low": 0, "middle": 3}


def test_idle_ones_first_whatever_their_priority() -> None:
    wishes = wish("high", 5, priority=5, busy=3), wish("low", 5, busy=5)
    assert shrink(wishes, counts(*wishes), 8, drain=True) == {"high": 3, "low": 5}
    assert shrink(wishes, counts(*wishes), 6, drain=True) == {"high": 3, "low": 3}
    assert shrink(wishes, counts(*wishes), 6, drain=False) == {"high": 3, "low": 5}


def test_what_is_not_there_yet_before_all_others() -> None:
    wishes = wish("high", 5, priority=5), wish("low", 5)
    assert shrink(wishes, {"high": 9, "low": 5}, 11, drain=True) == {"high": 6, "low": 5}


def test_never_below_the_least() -> None:
    wishes = wish("a", 5, least=3), wish("b", 5, least=5, priority=-1), wish("c", 1, least=2)
    assert shrink(wishes, counts(*wishes), 0, drain=True) == {"a": 3, "b": 5, "c": 1}


def test_equal_queues_give_by_weight() -> None:
    wishes = wish("a", 6, weight=2), wish("b", 6)
    assert shrink(wishes, counts(*wishes), 6, drain=True) == {"a": 4, "b": 2}


def test_nothing_is_taken_where_there_are_few_enough() -> None:
    wishes = wish("a", 5), wish("b", 5)
    assert shrink(wishes, counts(*wishes), 10, drain=True) == {"a": 5, "b": 5}
