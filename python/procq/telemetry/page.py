"""All metrics as a page for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from procq.plan.restarted import Restarted
from procq.telemetry.catalogue import CATALOGUE, Measure
from procq.telemetry.exposition import name_of
from procq.telemetry.tally import Cause, Limit

_HEAD: Final = """\
# Metrics

<!-- Written by `make docs` from python/procq/telemetry/catalogue.py and page.py: change those. -->

procq measures nothing by a clock of its own: numbers are read when somebody asks, so that they cost nothing while
nobody does. Three can ask.

**The API socket** of a project always answers. `procq status --json` has the same numbers for one moment:

    curl --unix-socket "$XDG_RUNTIME_DIR/procq/<project>/api.sock" http://procq/metrics

**A TCP port** for Prometheus, by the standard variables of OpenTelemetry, in the environment of `procq up`:

| variable | |
|---|---|
| `OTEL_METRICS_EXPORTER` | `prometheus`, alone or among others with commas: serve `/metrics` on a port |
| `OTEL_EXPORTER_PROMETHEUS_HOST` | where to listen, `127.0.0.1` if left out |
| `OTEL_EXPORTER_PROMETHEUS_PORT` | `9464` if left out |
| `OTEL_SDK_DISABLED` | `true`: nothing is served |
| `OTEL_CONFIG_FILE` | [a file](telemetry.md#by-file) that says this instead |

That port answers `GET /metrics` and nothing else, without a password: names of queues and numbers, no commands, no
environment, no names of jobs. On a local address it answers only who asks for a local name, so that no web page can
read it. On another address everybody who reaches it can read it: that is for a network that you trust. A port that is
taken is told in the terminal and in `procq events`, and tried again every 10 s; nothing else waits for it. Workers
inherit the environment of procq: where they serve metrics of their own, give them a port of their own by `env`.

**OpenTelemetry collectors** get the same metrics under the names of the first column.

[examples/monitoring](../examples/monitoring) has a configuration and alerts for Prometheus and a dashboard for
Grafana.

## All of them

Queues are labelled by name and workers by slot, never by pid: there are as many series as the manifest says. What
nobody has said, as the number of jobs of workers that [say nothing](workers.md), has no series, and no 0 either.
Counters of jobs, restarts and output outlive workers and control planes; the others begin anew with each control plane,
which Prometheus expects of counters."""
_TAIL: Final = """\
`process` is `control_plane` or `keeper`: what procq itself costs. These metrics are those of the conventions for
processes with `procq.` before them, so that a sum over `process.*` is one over workers alone; none of them ends in
`.count`, which Prometheus keeps for histograms.

`winner` is the term that decided, as in `procq why`: `demand`, `retention`, `floor`, `backlog`, `utilization`,
`metric`, `schedule`, `source` (it has never answered), `fallback`."""


def metrics() -> str:
    """The page, as Markdown."""
    return "\n".join((_HEAD, "", *_table(), "", *_values(), "", _TAIL)) + "\n"


def _table() -> Iterator[str]:
    yield "| OpenTelemetry | Prometheus | kind, unit | labels | |"
    yield "|---|---|---|---|---|"
    yield from map(_row, CATALOGUE)


def _row(measure: Measure) -> str:
    family = measure.family
    unit = f", {family.unit}" if family.unit else ""
    labels = ", ".join(f"`{label}`" for label in measure.labels)
    return f"| `{family.name}` | `{name_of(family)}` | {family.kind}{unit} | {labels} | {family.help} |"


def _values() -> Iterator[str]:
    yield "`reason` of a restart that nobody wanted; these together are what `procq status` counts:"
    yield ""
    yield from (f"- `{reason}`: {text}" for reason, text in _REASONS.items() if reason.unwanted)
    yield ""
    yield "`reason` of the others:"
    yield ""
    yield from (f"- `{reason}`: {text}" for reason, text in _REASONS.items() if not reason.unwanted)
    yield ""
    yield "The first four have a 0 before the first restart; the others have no series before that."
    yield ""
    yield "`cause` of an end:"
    yield ""
    yield from (f"- `{cause}`: {text}" for cause, text in _CAUSES.items())
    yield ""
    yield "`sink` that did not get what a queue wrote:"
    yield ""
    yield from (f"- `{sink}`: {text}" for sink, text in _SINKS.items())
    yield ""
    yield "`limit` of a decision, what kept it from what the load alone would have had:"
    yield ""
    yield from (f"- `{limit}`: {text}" for limit, text in _LIMITS.items())


_REASONS: Final = {
    Restarted.COMPLETED: "the worker before it ended by itself, with code 0",
    Restarted.FAILED: "by itself, with another code",
    Restarted.KILLED: "by a signal that procq did not send",
    Restarted.MEMORY: "because the kernel had no memory left for it",
    Restarted.NOT_READY: "it was not ready in time",
    Restarted.UNHEALTHY: "it failed its health check",
    Restarted.WATCHDOG: "it was silent for longer than its watchdog allows",
    Restarted.JOB_TIMEOUT: "a job of it took longer than `limits.job_timeout`",
    Restarted.FAULT: "one of these four, found by a control plane that died before the worker had left",
    Restarted.UNKNOWN: "counted by a version of procq that kept no reasons",
    Restarted.NOT_STARTED: "its program was never executed",
    Restarted.LIMIT_MEMORY: "it had reached `limits.memory`",
    Restarted.LIMIT_CPU: "`limits.cpu`",
    Restarted.LIMIT_PIDS: "`limits.pids`",
    Restarted.LIMIT_JOBS: "`limits.jobs`",
    Restarted.LIMIT_AGE: "`limits.age`",
    Restarted.CHANGED: "the manifest has another command, directory or environment for it",
    Restarted.ASKED: "somebody asked for it, or it had been stopped and is wanted again",
}
_CAUSES: Final = {
    Cause.ASKED: "it was told to leave: its queue wants fewer, or others, or none",
    Cause.LIMIT: "it was told to leave because it had reached a limit",
    Cause.FAULT: "it was told to leave because it had failed a check",
    Cause.COMPLETED: "by itself, with code 0",
    Cause.FAILED: "by itself, with another code",
    Cause.KILLED: "by a signal that procq did not send",
    Cause.MEMORY: "the kernel had no memory left for it",
    Cause.NOT_STARTED: "its program was never executed",
}
_SINKS: Final = {
    "console": "the terminal, or what stands in its place, was too slow, or is gone with what waited for it",
    "file": "its log file took no data, and `logs.full` is `drop`",
    "reader": "who follows it, by `procq logs -f` or to send it on, was too slow; each of them counts for itself",
}
_LIMITS: Final = {
    Limit.NONE: "nothing",
    Limit.LEAST: "the least that is allowed",
    Limit.MOST: "the most that is allowed",
    Limit.BUSY: "nobody who is at work is stopped",
    Limit.SOURCE: "the source fails, and nobody is stopped because of that",
    Limit.HOST: "the machine, or what `host.budget` allows altogether",
}
