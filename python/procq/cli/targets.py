"""What start, stop and restart have in common: their targets, and waiting until it is done."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping

from procq import wire
from procq.cli.project import TARGETS
from procq.cli.terminal import Terminal
from procq.client import Client
from procq.errors import ExitCode, UsageError
from procq.text import count, duration, listing

_EVERY = 0.05


def add_targets(parser: argparse.ArgumentParser) -> None:
    """Adds TARGET…, --all and --no-wait."""
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=TARGETS)
    parser.add_argument("--all", action="store_true", help="every queue")
    parser.add_argument("--no-wait", action="store_true", help="return at once; `procq status` shows how far it is")


def chosen(options: argparse.Namespace, verb: str) -> list[str]:
    """The targets given. Raises UsageError for none, and for some together with --all."""
    if options.all and options.targets:
        raise UsageError("--all and targets exclude each other")
    if options.all:
        return ["*"]
    if not options.targets:
        raise UsageError(
            f"what should {verb}?", hint=f"Name queues or workers, as `procq {verb} emails`, or say --all."
        )
    return list(options.targets)


def wait_for(
    client: Client,
    affected: wire.Affected,
    terminal: Terminal,
    *,
    until: set[str],
    done: str,
    options: argparse.Namespace,
    newer_than: Mapping[str, int | None] | None = None,
) -> int:
    """Waits until every affected worker is in one of the states `until`; `newer_than` are generations that must go.

    Returns 1, and says which, when some failed instead. One that was to run and has finished already is no failure.
    """
    total = len(affected.workers)
    if not total:
        terminal.line("nothing to do")
        return 0
    if options.no_wait:
        terminal.line(f"{count(total, 'worker')} asked")
        return 0
    started = time.monotonic()
    ids = set(affected.workers)
    while True:
        workers = [worker for worker in client.workers(affected.queues) if worker.id in ids]
        pending = [worker.id for worker in workers if not _is_over(worker, until, newer_than)]
        if not pending:
            break
        terminal.progress(f"{total - len(pending)}/{total} {done}, waiting for {listing(pending)}")
        time.sleep(_EVERY)
    failures = [worker for worker in workers if failed(worker, until)]
    finished = [worker for worker in workers if worker.state == "finished"] if "running" in until else []
    succeeded = total - len(failures) - len(finished)
    if succeeded or not (failures or finished):
        terminal.line(f"{count(succeeded, 'worker')} {done} in {duration(time.monotonic() - started)}")
    _tell(failures, "red", terminal)
    _tell(finished, "dim", terminal)
    return ExitCode.FAILED if failures else ExitCode.DONE


def _tell(workers: Iterable[wire.WorkerView], colour: str, terminal: Terminal) -> None:
    for worker in workers:
        state = terminal.style(worker.state, colour)
        terminal.line(f"{terminal.style(worker.id, 'bold')}   {state}   {worker.last_exit or worker.state}")


def failed(worker: wire.WorkerView, until: set[str]) -> bool:
    """Whether it did not become what was asked for. An end that nobody has looked at yet may still be answered."""
    gave_up = worker.state == "failed" or (worker.state == "waiting" and worker.retry_in is not None)
    return gave_up and worker.state not in until


def _is_over(worker: wire.WorkerView, until: set[str], newer_than: Mapping[str, int | None] | None) -> bool:
    if failed(worker, until):
        return True
    old = None if newer_than is None else newer_than.get(worker.id)
    return worker.state in until and (old is None or worker.generation != old)
