"""What an adapter costs a job that does nothing: the worker with it beside the same worker without it, in turns.

Measured is the time from the beginning of one job to that of the next, in a queue that is full; compared are medians,
each pair of runs by itself; or the two halves of one run, where a worker can do jobs with it and without it in turns.
Needs Redis, PostgreSQL, and the libraries that `make adapters` installs.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benches.kit import Row
from benches.programs import PATIENCE, Stuck
from benches.stack import Stack, queue
from tests.servers.postgres import postgres
from tests.servers.redis import redis_server

ROOT = Path(__file__).resolve().parents[1]
APPS = Path(__file__).parent / "noop"
_PAIRS = 7
_AIM = 50e-6


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to work. `with_it` is the command with the adapter, where it is another one than that without it.

    With `turns` the worker has the adapter in every other turn of so many jobs; the first fifth of a turn warms up.
    """

    what: str
    app: str
    command: str
    with_it: str = ""
    jobs: int = 2_000
    libraries: str = ".venv-libraries"
    turns: int = 0


KINDS = (
    Kind("Celery, solo", "celery", "celery -A noop_celery worker -P solo -l ERROR"),
    Kind("Celery, threads", "celery", "celery -A noop_celery worker -P threads -c 1 -l ERROR"),
    Kind("Celery, prefork", "celery", "celery -A noop_celery worker -c 1 -l ERROR"),
    Kind(
        "RQ, SimpleWorker",
        "rq",
        "rq worker --quiet --url unix://{redis} --worker-class noop_rq.SimpleWorker work",
        turns=50,
    ),
    Kind(
        "RQ, Worker",
        "rq",
        "rq worker --quiet --url unix://{redis} --worker-class noop_rq.Worker work",
        jobs=6_000,
        turns=10,
    ),
    Kind("Huey, thread", "huey", "huey_consumer noop_huey.queue --quiet --no-periodic"),
    Kind("Dramatiq", "dramatiq", "dramatiq noop_dramatiq --processes 1 --threads 1", jobs=4_000, turns=10),
    Kind("arq", "arq", "arq noop_arq.WorkerSettings", libraries=".venv-arq"),
    Kind("SAQ", "saq", "saq noop_saq.settings --quiet"),
    Kind(
        "TaskIQ",
        "taskiq",
        "taskiq worker --workers 1 --max-async-tasks 1 --max-prefetch 1 --log-level ERROR noop_taskiq:broker",
        "taskiq worker --receiver procq.worker.taskiq:Receiver --workers 1 --max-async-tasks 1 --max-prefetch 1"
        " --log-level ERROR noop_taskiq:broker",
    ),
    Kind("Procrastinate", "procrastinate", "procrastinate --app=noop_procrastinate.app worker", jobs=4_000, turns=10),
)


def run(scratch: Path) -> list[Row]:
    """A row for each way to work."""
    chosen = os.environ.get("ADAPTER", "")
    return [_row(scratch / str(number), kind) for number, kind in enumerate(KINDS) if chosen in kind.what]


def _row(scratch: Path, kind: Kind) -> Row:
    scratch.mkdir()
    without, differences = [], []
    with _servers(scratch) as environment:
        for number in range(_PAIRS):
            floor, difference = _pair(scratch / str(number), kind, environment, number)
            without.append(floor)
            differences.append(difference)
    cost, floor = statistics.median(differences), statistics.median(without)
    return Row(
        kind.what,
        f"{_us(cost)} ({_us(min(differences))} to {_us(max(differences))})",
        f"{_us(floor)} a job",
        f"{1 + cost / floor:.2f}×",
        f"< {_us(_AIM)}",
        cost < _AIM,
    )


def _pair(scratch: Path, kind: Kind, servers: dict[str, str], number: int) -> tuple[float, float]:
    """Seconds from job to job without the adapter, and how many more with it."""
    scratch.mkdir()
    if kind.turns:
        times = _run(scratch / "both", kind, servers, True)
        took = {speak: _median(_of_turns(times, kind.turns, speak)) for speak in (False, True)}
    else:
        # Which of the two comes first changes, for what warms up or slows down.
        order = (False, True) if number % 2 else (True, False)
        took = {speak: _median(_steps(_run(scratch / f"{speak:d}", kind, servers, speak))) for speak in order}
    return took[False], took[True] - took[False]


def _steps(times: Sequence[int]) -> list[int]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def _of_turns(times: Sequence[int], turn: int, speak: bool) -> list[int]:
    """The steps inside of every other turn: the first has the adapter."""
    starts = range(0 if speak else turn, len(times), 2 * turn)
    return [step for start in starts for step in _steps(times[start + turn // 5 : start + turn])]


def _median(steps: Sequence[int]) -> float:
    """In seconds. The first tenth warms up."""
    return statistics.median(steps[len(steps) // 10 :]) / 1e9


@contextmanager
def _servers(scratch: Path) -> Iterator[dict[str, str]]:
    with redis_server(scratch / "redis") as redis, postgres() as database:
        yield {"REDIS_SOCKET": str(redis), "POSTGRES": database}


def _run(scratch: Path, kind: Kind, servers: dict[str, str], speak: bool) -> list[int]:
    """When each job began, in nanoseconds."""
    scratch.mkdir()
    stamps = scratch / "stamps"
    bin_ = ROOT / kind.libraries / "bin"
    variables = {
        **servers,
        "STAMPS": str(stamps),
        "SPEAK": f"{speak:d}",
        "TURN": str(kind.turns),
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "PYTHONPATH": f"{APPS}:{ROOT / 'python'}",
    }
    send = f"import noop_{kind.app}; noop_{kind.app}.send({kind.jobs})"
    subprocess.run([bin_ / "python", "-c", send], env={**os.environ, **variables}, check=True, cwd=scratch)
    command = (speak and kind.with_it) or kind.command
    # On a core of its own: what others do there meanwhile would be most of what is measured.
    words = ["taskset", "-c", str(max(os.sched_getaffinity(0))), *command.format(redis=servers["REDIS_SOCKET"]).split()]
    env = "\n".join(f'      {name}: "{value}"' for name, value in variables.items())
    with Stack(scratch, queue(words, 1) + f"    env:\n{env}\n", stdout=subprocess.DEVNULL):
        deadline = time.monotonic() + PATIENCE * 3
        while len(times := _times(stamps)) < kind.jobs:
            if time.monotonic() > deadline:
                raise Stuck(f"{kind.what}: {len(times)} jobs of {kind.jobs}")
            time.sleep(0.5)
    return times


def _times(stamps: Path) -> list[int]:
    return [int(line) for line in stamps.read_bytes().split()] if stamps.exists() else []


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs"
