"""Generators of everything the planner can meet."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from procq.endings import Doom, Doomed, End, ExitStatus, Refusal, SpawnFailure
from procq.intent import Adjustment, DesiredQueue, Intent, Marks, desired_queue, rescale
from procq.model import (
    After,
    Backoff,
    CommandCheck,
    GiveUp,
    Health,
    HttpCheck,
    Limit,
    Limits,
    LogFormat,
    LogLine,
    LogPolicy,
    Manifest,
    Notify,
    Queue,
    Readiness,
    RestartPolicy,
    RestartWhen,
    Share,
    Spawned,
    StartRate,
    StopPolicy,
    StopTo,
    TcpCheck,
    UpdatePolicy,
    User,
    WhenFull,
)
from procq.rules import Claim, Guard, Period, ScaleRule, Source, Style
from procq.state import (
    Backoff as BackoffState,
)
from procq.state import (
    Draining,
    Ended,
    Finished,
    Observed,
    QueueState,
    Resting,
    Running,
    Settings,
    Starting,
    Stopping,
    Streak,
    WorkerState,
)
from procq.testing import Script

NOW = 1000.0
NAMES = ("emails", "thumbs", "reports.daily")
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)

stops = st.builds(StopPolicy, st.sampled_from([2, 3, 15]), st.sampled_from([0.0, 0.5, 10.0]), st.sampled_from(StopTo))
backoffs = st.builds(Backoff, st.sampled_from([0.1, 1.0]), st.sampled_from([0.5, 30.0]))
give_ups = st.none() | st.builds(GiveUp, st.integers(1, 5), st.sampled_from([1.0, 60.0]))
restarts = st.builds(RestartPolicy, st.sampled_from(RestartWhen), backoffs, give_ups)
logs = st.builds(
    LogPolicy,
    st.sampled_from([None, "/tmp/{queue}.{slot}.log"]),
    st.sampled_from([None, 1000]),
    st.integers(0, 3),
    st.sampled_from(LogFormat),
    st.sampled_from(WhenFull),
    st.sampled_from([None, 3600.0]),
    st.booleans(),
    st.sampled_from([None, 10**9]),
)
readies = st.builds(
    Readiness,
    st.sampled_from([Spawned(), Spawned(), Notify(), LogLine("up"), After(2.0), TcpCheck(80), HttpCheck("http://x/")]),
    st.sampled_from([5.0, 60.0]),
)
healths = st.none() | st.builds(
    Health,
    st.sampled_from([TcpCheck(80), HttpCheck("http://x/"), CommandCheck("ok now", ("ok", "now"))]),
    st.just(10.0),
    st.just(5.0),
    st.integers(1, 3),
)
limits = st.builds(
    Limits,
    st.sampled_from([None, 10**8]),
    st.sampled_from([None, 2.0]),
    st.sampled_from([None, 50]),
    st.sampled_from([None, 1000]),
    st.sampled_from([None, 50.0, 3600.0]),
    st.sampled_from([None, 60.0]),
)
users = st.none() | st.builds(User, st.just("shop"), st.just(1001), st.just(1002), st.sampled_from([(), (27, 1002)]))
shares = st.builds(Share, st.integers(0, 3)) | st.builds(Share, st.sampled_from([25, 100]), st.just(True))
updates = st.builds(UpdatePolicy, shares, shares, st.sampled_from([0.0, 2.0]))
outcomes = st.one_of(
    st.builds(ExitStatus, st.sampled_from([0, 1, -9, -15, 255])),
    st.builds(SpawnFailure, st.just("exec"), st.sampled_from([2, 11, 13]), TEXTS, st.booleans()),
    st.builds(Refusal, TEXTS),
)


@st.composite
def queues(draw: st.DrawFn, name: str) -> Queue:
    argv = draw(st.sampled_from([("work",), ("work", "hard"), ("/bin/sh", "-c", "work | log")]))
    return Queue(
        name,
        " ".join(argv),
        argv,
        workers=draw(st.integers(0, 5)),
        env=draw(st.dictionaries(st.sampled_from(["A", "B"]), TEXTS, max_size=2)),
        stop=draw(stops),
        restart=draw(restarts),
        logs=draw(logs),
        user=draw(users),
        umask=draw(st.sampled_from([None, 0, 0o27])),
        nice=draw(st.sampled_from([None, 5])),
        rlimits=draw(st.sampled_from([{}, {"nofile": Limit(100, None)}])),
        tty=draw(st.booleans()),
        update=draw(updates),
        ready=draw(readies),
        health=draw(healths),
        watchdog=draw(st.sampled_from([None, 30.0])),
        limits=draw(limits),
        **draw(rules),
    )


rules: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "most": st.integers(5, 9),
        "source": st.sampled_from([Source("rq://127.0.0.1/0"), Source("file:/srv/in", 5.0)]),
        "scale": st.sampled_from([ScaleRule(wait=30.0), ScaleRule(backlog=2.0, style=Style.EAGER, fallback=3)]),
        "schedule": st.sampled_from([(), (Period("0 8 * * *", 3600.0, "UTC", 2, None),)]),
        "claim": st.sampled_from([Claim(), Claim(3, 2.0, 1 << 28, 0.5)]),
    },
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    starts = draw(st.sampled_from([StartRate(), StartRate(2, 60.0)]))
    guard = draw(st.sampled_from([None, Guard(), Guard(0.5, 0.2, 0.1)]))
    host: dict[str, Any] = {"starts": starts, "cpus": draw(st.sampled_from([None, 2.5])), "guard": guard}
    return Manifest("shop", {name: draw(queues(name)) for name in names}, "/srv", **host)


def marks(values: list[float]) -> st.SearchStrategy[Marks]:
    value = st.sampled_from(values)
    return st.builds(Marks, st.just(-1.0) | value, st.dictionaries(st.integers(1, 6), value, max_size=2))


adjustments = st.builds(
    Adjustment,
    st.none() | st.integers(0, 6),
    st.booleans(),
    st.frozensets(st.integers(1, 6), max_size=2),
    marks([1, 3, 9]),
    marks([950.0, NOW]),
    marks([2, 4]),
)


@st.composite
def intents(draw: st.DrawFn) -> Intent:
    manifest = draw(manifests())
    adjusted = {name: draw(adjustments) for name in manifest.queues if draw(st.booleans())}
    targets = {name: draw(st.integers(0, 9)) for name in manifest.queues if draw(st.booleans())}
    return rescale(Intent(manifest, adjusted), targets)


doomed = st.none() | st.builds(Doomed, st.sampled_from(Doom), st.just("3 of 2"), st.just(NOW))


@st.composite
def worker_states(draw: st.DrawFn, generation: int, fingerprints: st.SearchStrategy[str]) -> WorkerState:
    fingerprint = draw(fingerprints)
    settings = draw(st.none() | st.builds(Settings, stops, logs, ready=readies))
    began = draw(st.floats(900, NOW))
    asked, ready = draw(st.booleans()), draw(st.sampled_from([None, began, NOW]))
    fault = draw(st.sampled_from(["", "", "unhealthy: bad"])) if asked else ""
    end = End(draw(outcomes), began, draw(st.floats(began, NOW)), asked, fault, ready)
    options: list[WorkerState] = [
        Starting(generation, fingerprint, began, settings),
        *(
            Running(generation, fingerprint, 4711, began, settings, 0, ready, draw(doomed), found)
            for found in (None, NOW)
        ),
        Stopping(generation, fingerprint, 4711, began, NOW + 10, "test", fault=fault, ready=ready),
        Draining(generation, fingerprint, end),
        Ended(generation, fingerprint, end),
        BackoffState(generation, fingerprint, end, draw(st.floats(end.at, NOW + 40)), 2),
        Finished(generation, fingerprint, end, draw(st.sampled_from(Resting))),
    ]
    return draw(st.sampled_from(options))


streaks = st.builds(
    Streak,
    st.integers(0, 80),
    st.integers(0, 5),
    st.integers(0, 50),
    st.booleans(),
    st.lists(st.sampled_from([900.0, 990.0, 999.0]), max_size=4).map(lambda times: tuple(sorted(times))),
)


@st.composite
def queue_states(draw: st.DrawFn, fingerprints: st.SearchStrategy[str]) -> QueueState:
    slots = draw(st.frozensets(st.integers(1, 7), max_size=6))
    workers = {slot: draw(worker_states(slot, fingerprints)) for slot in slots}
    return QueueState(workers, draw(st.dictionaries(st.sampled_from(sorted(slots) or [1]), streaks, max_size=3)))


@st.composite
def desired_and_observed(draw: st.DrawFn) -> tuple[DesiredQueue, QueueState]:
    queue = draw(queues("emails"))
    manifest = Manifest("shop", {"emails": queue})
    desired = desired_queue(Intent(manifest, {"emails": draw(adjustments)}), "emails")
    assert desired is not None
    fingerprints = st.sampled_from([queue.fingerprint, queue.fingerprint, "another"])
    return desired, draw(queue_states(fingerprints))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Intent, Intent, Observed]:
    """What was wanted, what is wanted, and what runs: for either, or neither."""
    old, new = draw(intents()), draw(intents())
    queues_ = {}
    for name in NAMES:
        known = [i.manifest.queues[name].fingerprint for i in (old, new) if name in i.manifest.queues]
        if draw(st.booleans()):
            queues_[name] = draw(queue_states(st.sampled_from([*known, "another"])))
    return old, new, Observed(NOW, queues_, draw(st.integers(0, 9)) == 0)


scripts = st.builds(
    Script,
    run_for=st.sampled_from([0.001, 0.5, 15.0, float("inf"), float("inf")]),
    exit_code=st.sampled_from([0, 1]),
    start_error=st.sampled_from(
        [None, None, None, SpawnFailure("exec", 2, "x", False), SpawnFailure("clone", 11, "", True)]
    ),
    ignore_term=st.booleans(),
    kill_after=st.sampled_from([float("inf"), float("inf"), 3.0]),
    linger=st.sampled_from([0.0, 0.2]),
)
