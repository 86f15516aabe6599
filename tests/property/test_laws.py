"""The laws of the planner, attacked by a generator."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import assert_never

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procq.endings import Doom
from procq.engine.blob import Memory, cut, pack, unpack
from procq.engine.requests import translate
from procq.events import Event
from procq.fold import Slots, fold
from procq.intent import DesiredQueue, Intent, desired_queue
from procq.intent_codec import decode, encode
from procq.model import Manifest, StartRate, WorkerId
from procq.plan import Configure, Forget, MarkReady, Reason, Spawn, Stop, plan, plan_queue
from procq.plan.diff import Counts, Mark, compare
from procq.plan.dooms import end_of_age
from procq.plan.readiness import outlook
from procq.plan.restarted import Restarted
from procq.plan.rollout import Standing, batch, is_old, standing, surge, survey
from procq.plan.slow_start import trial
from procq.state import (
    Backoff,
    Dead,
    Draining,
    Ended,
    Finished,
    Observed,
    QueueState,
    Resting,
    Running,
    Starting,
    Stopping,
    Streak,
)
from procq.testing import Rig, Script
from tests.property.strategies import (
    NOW,
    desired_and_observed,
    intents,
    manifests,
    scripts,
    streaks,
    worlds,
)

Pair = tuple[DesiredQueue, QueueState]


def carried_out(desired: DesiredQueue, observed: QueueState) -> QueueState:
    """The queue once every action of its plan is recorded."""
    slots = Slots.of(observed)
    for generation, action in enumerate(plan_queue("emails", desired, observed, NOW).actions, 100):
        event, _ = translate(action, NOW, generation, slots.workers.get(action.worker.slot), "shop")
        slots.apply(event)
    return slots.frozen()


@given(desired_and_observed())
def test_a_plan_that_was_recorded_is_not_made_again(pair: Pair) -> None:
    desired, observed = pair
    assert plan_queue("emails", desired, carried_out(desired, observed), NOW).actions == ()


@given(desired_and_observed(), st.integers(0, 8))
def test_a_count_change_touches_nobody_who_stays(pair: Pair, count: int) -> None:
    desired, observed = pair
    settled = carried_out(desired, observed)
    stay = min(desired.workers, count)
    actions = plan_queue("emails", replace(desired, workers=count), settled, NOW).actions
    assert [a for a in actions if a.worker.slot <= stay] == []


@given(desired_and_observed())
def test_a_slot_is_filled_only_when_nothing_lives_in_it(pair: Pair) -> None:
    desired, observed = pair
    for action in plan_queue("emails", desired, observed, NOW).actions:
        state = observed.workers.get(action.worker.slot)
        match action:
            case Spawn():
                assert state is None or isinstance(state, Dead)
                assert 1 <= action.worker.slot <= desired.workers + surge(desired)
            case Stop() | Configure():
                assert isinstance(state, Starting | Running)
                assert state.generation == action.generation
            case Forget():
                assert isinstance(state, Dead)
                assert action.worker.slot > desired.workers


@given(desired_and_observed())
def test_at_most_one_action_a_slot(pair: Pair) -> None:
    """But for a mark, which changes nothing about the worker."""
    actions = plan_queue("emails", *pair, NOW).actions
    slots = [a.worker.slot for a in actions if not isinstance(a, MarkReady)]
    assert len(slots) == len(set(slots))


@given(desired_and_observed())
def test_a_queue_that_waits_says_when_to_look_again(pair: Pair) -> None:
    desired, observed = pair
    planned = plan_queue("emails", desired, observed, NOW)
    wake_at = planned.wake_at
    assert wake_at is None or wake_at > NOW
    rolls = planned.old or any(slot > desired.workers for slot in observed.workers)
    if wake_at is not None and not rolls:
        later = plan_queue("emails", desired, carried_out(desired, observed), wake_at)
        assert later.old or any(isinstance(a, Spawn | Stop | MarkReady) for a in later.actions)


@given(desired_and_observed())
def test_faults_55_nothing_that_passes_is_without_a_deadline(pair: Pair) -> None:
    """Every state there is: what is on its way ends by itself, by the keeper, or by a look that is announced."""
    desired, observed = pair
    after = carried_out(desired, observed)
    wake_at = plan_queue("emails", desired, after, NOW).wake_at
    # Their ends are told, and then everything is looked at again.
    others_leave = any(isinstance(state, Stopping | Draining) for state in after.workers.values())
    for slot, state in after.workers.items():
        worker = WorkerId("emails", slot)
        match state:
            case Starting() | Running() if slot <= desired.workers:
                ends = outlook(desired, worker, state)
                assert ends is None or (ends.at > NOW and wake_at is not None and wake_at <= ends.at)
                age = desired.queue.limits.age
                if isinstance(state, Running) and age is not None and not is_old(desired, slot, state, NOW):
                    assert wake_at is not None and wake_at <= end_of_age(age, worker, state)
            case Starting() | Running():
                rolling = survey(desired, after, NOW)
                assert rolling.old or rolling.missing or others_leave, "extra, while others move"
            case Backoff(until=until):
                waits_for_others = until <= NOW and (others_leave or trial(desired, after, NOW)[0])
                assert waits_for_others or (wake_at is not None and NOW < wake_at <= until)
            case Stopping() | Draining():
                pass  # the keeper has the deadline, and tells of what SIGKILL does not end
            case Ended():
                raise AssertionError("nobody has decided what becomes of it")
            case Finished(why=why):
                assert why in Resting
            case _:
                assert_never(state)


@given(worlds())
def test_faults_45_nothing_is_planned_after_shutdown_began(world: tuple[Intent, Intent, Observed]) -> None:
    _, new, observed = world
    assert plan(new, replace(observed, shutting_down=True)).actions == ()


@given(worlds())
def test_the_difference_agrees_with_the_plan(world: tuple[Intent, Intent, Observed]) -> None:
    """But for what comes later: old workers whose turn has not come, and extra ones that stand in for them."""
    old, new, observed = world
    for found in compare(old, new, observed).queues:
        desired, counts = desired_queue(new, found.name), found.counts
        state = observed.queues.get(found.name, QueueState())
        alive = {slot for slot, w in state.workers.items() if isinstance(w, Starting | Running)}
        if observed.shutting_down:
            assert counts == Counts(untouched=len(alive))
            continue
        planned = plan_queue(found.name, desired, state, observed.now)
        wanted = 0 if desired is None else desired.workers
        stops = {a.worker.slot for a in planned.actions if isinstance(a, Stop)} | set(planned.old)
        extra = {slot for slot in alive - stops if planned.old and slot > wanted}
        assert counts.new == sum(isinstance(a, Spawn) and a.worker.slot <= wanted for a in planned.actions)
        assert counts.stopped + counts.replaced == len(stops)
        assert counts.replaced >= len(planned.old)
        assert counts.configured == sum(isinstance(a, Configure) for a in planned.actions)
        assert counts.untouched == len(alive) - len(stops) - len(extra)


@given(intents())
def test_no_difference_between_an_intent_and_itself(intent: Intent) -> None:
    assert compare(intent, intent, Observed()).empty


@given(worlds())
def test_every_queue_has_exactly_one_mark(world: tuple[Intent, Intent, Observed]) -> None:
    old, new, observed = world
    for queue in compare(old, new, observed).queues:
        assert (queue.mark is Mark.REMOVED) == (queue.name not in new.manifest.queues)
        assert (queue.mark is Mark.ADDED) == (
            queue.name in new.manifest.queues and queue.name not in old.manifest.queues
        )


@given(intents())
def test_an_intent_survives_its_codec(intent: Intent) -> None:
    assert decode(json.loads(json.dumps(encode(intent)))) == intent


@given(intents(), st.dictionaries(st.sampled_from(["emails", "gone"]), st.dictionaries(st.integers(1, 9), streaks)))
def test_a_memory_survives_being_packed(intent: Intent, counted: dict[str, dict[int, Streak]]) -> None:
    """Of the times of failures so many as are needed to give up."""
    kept = {queue: slots for queue, slots in counted.items() if slots}
    data = pack(Memory(intent, kept, {"emails": {Restarted.KILLED: 3}}))
    for name, slots in kept.items():
        queue = intent.manifest.queues.get(name)
        most = queue.restart.give_up.failures if queue and queue.restart.give_up else 0
        kept[name] = {slot: replace(s, failures=s.failures[-most:] if most else ()) for slot, s in slots.items()}
    assert unpack(b"".join(p.data for p in cut(data, 7))) == Memory(intent, kept, {"emails": {Restarted.KILLED: 3}})


@settings(deadline=None, max_examples=30)
@given(manifests(), manifests(), st.lists(scripts, min_size=1, max_size=4))
def test_from_wherever_it_is_it_converges_in_bounded_steps(
    first: Manifest, second: Manifest, choices: list[Script]
) -> None:
    """`Rig.settle` fails on a livelock; sound workers all run in the end, and nobody else."""
    rig = Rig(first, lambda _, generation: choices[generation % len(choices)])
    rig.advance(random.Random(len(choices)).uniform(0, 20))
    rig.keeper.casting = lambda _worker, _generation: Script()
    # Nothing that goes on for ever: workers that come of age, or a few starts a minute.
    ageless = {n: replace(q, limits=replace(q.limits, age=None)) for n, q in second.queues.items()}
    rig.adopt(replace(second, queues=ageless, starts=StartRate()))
    rig.advance(300)
    view = rig.engine.snapshot()
    wanted = {WorkerId(q.name, s) for q in second.queues.values() for s in range(1, q.workers + 1)}
    assert rig.keeper.alive().keys() <= wanted
    for worker in wanted - rig.keeper.alive().keys():
        state = view.worker(worker)
        assert isinstance(state, Dead), state
    fingerprints = {q.name: q.fingerprint for q in second.queues.values()}
    assert all(
        isinstance(s := view.worker(w), Running) and s.fingerprint == fingerprints[w.queue] for w in rig.keeper.alive()
    )
    assert rig.keeper.refusals == []


@settings(deadline=None, max_examples=40)
@given(manifests(), st.lists(scripts, min_size=1, max_size=4), st.floats(0, 30))
def test_lost_events_heal_by_a_snapshot(manifest: Manifest, choices: list[Script], deaf_for: float) -> None:
    rig = Rig(manifest, lambda _, generation: choices[generation % len(choices)])
    rig.advance(1)
    rig.keeper.losing = True
    rig.advance(deaf_for)
    rig.keeper.resync()
    rig.settle()
    view = rig.engine.snapshot()
    for worker, generation in rig.keeper.alive().items():
        known = view.worker(worker)
        assert known is not None
        assert known.generation == generation
        assert type(known) is type(rig.keeper.state(worker))


@settings(deadline=None, max_examples=40)
@given(manifests(), manifests(), st.lists(scripts, min_size=1, max_size=4))
def test_the_published_events_tell_the_whole_story(first: Manifest, second: Manifest, choices: list[Script]) -> None:
    """Whoever folds what the engine publishes knows what the engine knows."""
    rig = Rig(Manifest("empty", {}), lambda _, generation: choices[generation % len(choices)])
    told: list[Event] = []
    rig.engine.subscribe(told.extend)
    for wanted in (first, second):
        rig.adopt(wanted)
        rig.advance(15)
    observed = Observed()
    for event in told:
        observed = fold(observed, event)
    known = rig.engine.snapshot().observed.queues
    assert {n: q for n, q in observed.queues.items() if q.workers} == {n: q for n, q in known.items() if q.workers}


@given(desired_and_observed(), st.booleans(), st.booleans())
def test_what_is_held_back_is_neither_started_nor_asked(pair: Pair, start_later: bool, stop_later: bool) -> None:
    """And what was planned and recorded is not planned again; what follows from it comes to rest while no time passes.

    Extra workers that came to rest may be forgotten.
    """
    desired, observed = pair
    slots, done = Slots.of(observed), set[tuple[type, int]]()
    for look in range(5):
        known = slots.frozen()
        planned = plan_queue("emails", desired, known, NOW, start_later, stop_later).actions
        for generation, action in enumerate(planned, 100 * (look + 1)):
            slot = action.worker.slot
            assert not (start_later and isinstance(action, Spawn) and known.workers.get(slot) is None)
            assert not (stop_later and isinstance(action, Stop) and action.reason is Reason.STOPPED)
            assert (type(action), slot) not in done, "planned again"
            done.add((type(action), slot))
            event, _ = translate(action, NOW, generation, slots.workers.get(slot), "shop")
            slots.apply(event)
        if not planned:
            return
    pytest.fail(f"no rest: {planned}")


@given(desired_and_observed())
def test_a_roll_out_moves_no_more_than_a_batch_and_nothing_while_a_new_worker_fails(pair: Pair) -> None:
    desired, observed = pair
    before = survey(desired, observed, NOW)
    stops = [a for a in plan_queue("emails", desired, observed, NOW).actions if isinstance(a, Stop)]
    # Who has failed goes at once, whatever a roll-out makes of it.
    faulty = {a.worker.slot for a in stops if a.fault}
    taken = [a.worker.slot for a in stops if not a.fault and a.worker.slot in before.old]
    assert taken == [slot for slot in before.take if slot not in faulty]
    if taken and before.failing:
        states = (observed.workers[slot] for slot in taken)
        assert all(isinstance(s, Running) and s.doomed and s.doomed.why is Doom.MEMORY for s in states)
    if taken:
        slots = range(1, desired.workers + 1)
        after = carried_out(desired, observed)
        moving = [s for s in slots if standing(desired, after, s, NOW) in (Standing.LEAVING, Standing.COMING)]
        assert len(set(moving) - faulty) <= batch(desired)
