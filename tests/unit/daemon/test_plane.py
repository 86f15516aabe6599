"""The life of a control plane: its start, its manifest, its end, and who comes after it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

import procq.manifest
from procq import watch
from procq.client import Client
from procq.engine.port import AnswerPing, DeclareReady, ShutDown, SpawnWorker, StopWorker
from procq.errors import ManifestError
from procq.events import Pinged, ReloadAsked
from procq.intent import ScaleTo, scale
from procq.model import Manifest
from procq.paths import Project
from procq.telemetry.running import Telemetry
from procq.testing import NOT_FOUND, Script, everyone, never_ready
from tests.unit.daemon.pretended import PATIENCE, Pretended, control_plane

TWO = "queues:\n  emails:\n    command: sleep 1000\n    workers: 2\n  web: sleep 1000\n"
FIVE = TWO.replace("workers: 2", "workers: 5")
BROKEN = TWO.replace("workers: 2", "workers: many")


BUDGET = """\
host:
  budget:
    workers: 10
queues:
  a:
    command: sleep 1000
    workers: 2
  b:
    command: sleep 1000
    workers: {b}
"""


@pytest.fixture
def manifest() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="procq-"))
    (directory / "procq.yaml").write_text(TWO)
    yield directory / "procq.yaml"
    shutil.rmtree(directory)


@pytest.fixture
def keeper() -> Iterator[Pretended]:
    pretended = Pretended()
    yield pretended
    pretended.close()


def go(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def ready(keeper: Pretended) -> bool:
    return bool(keeper.sent(DeclareReady))


def test_the_first_one_loads_the_manifest_and_says_what_it_runs(manifest: Path, keeper: Pretended) -> None:
    async def story() -> None:
        async with control_plane(keeper, manifest):
            await keeper.until(lambda: ready(keeper), "readiness")
            assert [str(worker) for worker in keeper.keeper.alive()] == ["emails.1", "emails.2", "web.1"]

    go(story())
    said = keeper.said()
    assert said[0].startswith("procq ")
    # The folder's name is random, and a name does not end in an underscore.
    assert f"· {manifest.parent.name.rstrip('_')} · 2 queues ·" in said[0]
    assert said[1:3] == ["emails        2 workers   sleep 1000", "web           1 worker    sleep 1000"]


def test_ready_only_after_every_worker_was_tried(manifest: Path) -> None:
    keeper = Pretended(lambda worker, _: Script(boot=0.3) if worker.queue == "web" else Script(start_error=NOT_FOUND))

    async def story() -> None:
        async with control_plane(keeper, manifest):
            await keeper.until(lambda: ready(keeper), "readiness")
            position = keeper.keeper.commands.index(DeclareReady())
            assert [str(worker) for worker in keeper.keeper.alive()] == ["web.1"]
            assert position > 0

    go(story())
    assert any("emails.1" in line and "cannot start" in line and "restarting in" in line for line in keeper.said())
    keeper.close()


def test_another_control_plane_is_ready_though_a_worker_is_not(manifest: Path) -> None:
    """Whoever waits for an upgrade, and a service manager's watchdog, need not wait for one that loads for minutes."""
    keeper = Pretended()

    async def first() -> None:
        async with control_plane(keeper, manifest):
            await keeper.until(lambda: ready(keeper), "readiness")
            manifest.write_text("queues:\n  slow:\n    command: sleep 1000\n    ready: notify\n")
            keeper.keeper.casting = lambda *_: never_ready()
            await keeper.until(lambda: bool(keeper.keeper.alive("slow")), "a slow worker")

    async def another() -> None:
        async with control_plane(keeper, manifest):
            await keeper.until(lambda: len(keeper.sent(DeclareReady)) == 2, "readiness again")

    go(first())
    go(another())
    keeper.close()


def test_what_was_scaled_by_hand_counts_in_the_budget_of_a_saved_file(manifest: Path, keeper: Pretended) -> None:
    text = BUDGET.format(b=2)

    async def story() -> None:
        manifest.write_text(text)
        async with control_plane(keeper, manifest) as plane:
            await keeper.until(lambda: ready(keeper), "readiness")
            plane._engine.change(lambda intent: scale(intent, "a", ScaleTo(8)), "scale")
            await keeper.until(lambda: len(keeper.keeper.alive()) == 10, "ten workers")
            manifest.write_text(BUDGET.format(b=3))
            await keeper.until(lambda: any("scaled by hand (a=8)" in line for line in keeper.said()), "the refusal")
            assert len(keeper.keeper.alive()) == 10
            assert "host.budget.workers is 10" in str(plane.facts().manifest_error)

    go(story())


def test_a_first_manifest_that_does_not_load_ends_procq(manifest: Path, keeper: Pretended) -> None:
    manifest.write_text(BROKEN)

    async def story() -> None:
        async with control_plane(keeper, manifest):
            await keeper.until(lambda: keeper.sent(ShutDown), "the end")

    go(story())
    (end,) = keeper.sent(ShutDown)
    assert isinstance(end, ShutDown)
    assert end.exit_code == 4
    assert "procq.yaml:4:" in keeper.said()[0]
    assert not keeper.sent(SpawnWorker)


def test_pings_are_answered_while_the_first_manifest_is_read(
    manifest: Path, keeper: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large one takes its time, and the keeper takes a control plane that does not answer for dead."""
    began, answered = threading.Event(), threading.Event()
    real = procq.manifest.load_text

    def slow(*arguments: Any, **more: Any) -> Manifest:
        began.set()
        assert answered.wait(PATIENCE)
        return real(*arguments, **more)

    monkeypatch.setattr(procq.manifest, "load_text", slow)

    async def story() -> None:
        async with control_plane(keeper, manifest):
            await keeper.until(began.is_set, "the reading")
            keeper.report(Pinged(7))
            await keeper.until(lambda: AnswerPing(7) in keeper.keeper.commands, "an answer")
            assert not keeper.sent(SpawnWorker)
            answered.set()
            await keeper.until(lambda: ready(keeper), "readiness")

    go(story())


def test_saving_the_file_changes_what_it_says_and_nothing_else(manifest: Path, keeper: Pretended) -> None:
    async def story() -> None:
        async with control_plane(keeper, manifest):
            await keeper.until(lambda: ready(keeper), "readiness")
            before = keeper.keeper.alive()
            manifest.write_text(FIVE)
            await keeper.until(lambda: "started in" in keeper.said()[-1], "the report")
            after = keeper.keeper.alive()
            assert {worker: after[worker] for worker in before} == before
            assert len(keeper.keeper.alive("emails")) == 5

    go(story())
    line = keeper.said()[-1]
    assert line.startswith("procq.yaml    ~ emails    workers 2 → 5 ")
    assert line.endswith("2 untouched")
    assert not keeper.sent(StopWorker)


def test_an_edit_that_means_the_same_does_nothing(manifest: Path, keeper: Pretended) -> None:
    async def story() -> None:
        async with control_plane(keeper, manifest) as plane:
            await keeper.until(lambda: ready(keeper), "readiness")
            commands = len(keeper.keeper.commands)
            manifest.write_text("# a comment\n" + TWO.replace("workers: 2", 'workers: "2"'))
            # A change that comes after it proves that it was seen, and passed over.
            await keeper.until(
                lambda: plane._manifests._known == {str(manifest): manifest.read_bytes()}, "the edit to be seen"
            )
            manifest.write_text(FIVE)
            await keeper.until(lambda: len(keeper.keeper.alive("emails")) == 5, "the next edit")
            spawned = [c for c in keeper.keeper.commands[commands:] if isinstance(c, SpawnWorker)]
            assert len(spawned) == 3

    go(story())
    assert sum("procq.yaml" in line for line in keeper.said()) <= 1
    assert not keeper.sent(StopWorker)


def test_a_broken_edit_disturbs_nobody_and_is_told_until_it_is_mended(manifest: Path, keeper: Pretended) -> None:
    async def story() -> None:
        async with control_plane(keeper, manifest) as plane:
            await keeper.until(lambda: ready(keeper), "readiness")
            before = keeper.keeper.alive()
            manifest.write_text(BROKEN)
            await keeper.until(lambda: plane.facts().manifest_error, "the error")
            assert keeper.keeper.alive() == before
            await keeper.until(lambda: "stays in force" in keeper.said()[-1], "the lines")
            assert keeper.said()[-2].startswith("procq.yaml    ✗ line 4 ")
            manifest.write_text(TWO)
            await keeper.until(lambda: plane.facts().manifest_error is None, "the end of the error")
            assert keeper.keeper.alive() == before

    go(story())


def test_the_next_one_takes_up_what_was_wanted_and_then_looks_at_the_file(manifest: Path, keeper: Pretended) -> None:
    async def story() -> None:
        async with control_plane(keeper, manifest) as plane:
            await keeper.until(lambda: ready(keeper), "readiness")
            client = Client(_project(manifest))
            await asyncio.to_thread(client.scale, "web", "3")
            await keeper.until(lambda: len(keeper.keeper.alive("web")) == 3, "three")
            before = keeper.keeper.alive()
        manifest.write_text(BROKEN)
        async with control_plane(keeper, manifest) as plane:
            await keeper.until(lambda: plane.facts().manifest_error, "the broken file to be seen")
            assert keeper.keeper.alive() == before
            assert plane.view().epoch == 2
            assert plane.view().intent is not None
            manifest.write_text(FIVE)
            await keeper.until(lambda: len(keeper.keeper.alive("emails")) == 5, "the edit")
            after = keeper.keeper.alive()
            assert {worker: after[worker] for worker in before} == before

    go(story())
    assert not keeper.sent(StopWorker)
    assert any("control plane started again" in line for line in keeper.said())


def test_a_lost_intent_and_a_broken_file_keep_everything_that_runs(manifest: Path, keeper: Pretended) -> None:
    async def story() -> None:
        async with control_plane(keeper, manifest):
            await keeper.until(lambda: ready(keeper), "readiness")
            before = keeper.keeper.alive()
        keeper.keeper.saved = b"nonsense"
        manifest.write_text(BROKEN)
        async with control_plane(keeper, manifest):
            await keeper.until(lambda: any("stays in force" in line for line in keeper.said()), "the lines")
            assert keeper.keeper.alive() == before
            manifest.write_text(FIVE)
            await keeper.until(lambda: len(keeper.keeper.alive("emails")) == 5, "the edit")
            after = keeper.keeper.alive()
            assert {worker: after[worker] for worker in before} == before

    go(story())
    assert not keeper.sent(ShutDown)


def test_crashes_are_told_with_what_follows(manifest: Path) -> None:
    keeper = Pretended(everyone(Script(run_for=0.05, exit_code=3)))

    async def story() -> None:
        async with control_plane(keeper, manifest):
            await keeper.until(lambda: any("restarting in" in line for line in about("web.1 ")), "backoff")

    def about(worker: str) -> list[str]:
        return [line for line in keeper.said() if line.startswith(worker)]

    go(story())
    lines = about("web.1 ")
    assert lines[0].startswith("web.1         ✗ exit code 3    after ")
    assert lines[0].endswith("restarting now")
    assert "failure 2 in a row" in lines[1]
    keeper.close()


TOO_LARGE = (
    "defaults:\n  env:\n    A: '"
    + Random(1).randbytes(60_000).hex()
    + "'\nqueues:\n"
    + "".join(f"  q{n}: work\n" for n in range(100))
)


def test_a_manifest_too_large_to_be_kept_changes_nothing(manifest: Path, keeper: Pretended) -> None:
    async def story() -> None:
        async with control_plane(keeper, manifest) as plane:
            await keeper.until(lambda: ready(keeper), "readiness")
            before = keeper.keeper.alive()
            manifest.write_text(TOO_LARGE)
            await keeper.until(lambda: plane.facts().manifest_error, "the error")
            assert "when saved" in str(plane.facts().manifest_error)
            manifest.write_text(FIVE)
            await keeper.until(lambda: len(keeper.keeper.alive("emails")) == 5, "the next edit")
            assert before.items() <= keeper.keeper.alive().items()

    go(story())


def test_a_draft_too_large_to_be_kept_is_told_by_the_plan(manifest: Path, keeper: Pretended) -> None:
    async def story() -> None:
        async with control_plane(keeper, manifest) as plane:
            await keeper.until(lambda: ready(keeper), "readiness")
            draft = manifest.with_name("draft.yaml")
            draft.write_text(TOO_LARGE)
            with pytest.raises(ManifestError, match=r"draft\.yaml: the queues take .* when saved"):
                await plane.plan(str(draft))

    go(story())


def test_a_first_manifest_too_large_to_be_kept_ends_procq(manifest: Path, keeper: Pretended) -> None:
    manifest.write_text(TOO_LARGE)

    async def story() -> None:
        async with control_plane(keeper, manifest):
            await keeper.until(lambda: keeper.sent(ShutDown), "the end")

    go(story())
    assert keeper.sent(ShutDown) == [ShutDown("the manifest is not valid", exit_code=4)]
    assert any("when saved" in line for line in keeper.said())


def test_a_manifest_that_cannot_be_read_for_a_fault_of_ours_changes_nothing(
    manifest: Path, keeper: Pretended, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story() -> None:
        async with control_plane(keeper, manifest) as plane:
            await keeper.until(lambda: ready(keeper), "readiness")
            with monkeypatch.context() as patched:
                patched.setattr("procq.manifest.load_text", lambda *_, **__: 1 / 0)
                manifest.write_text(FIVE)
                await keeper.until(lambda: plane.facts().manifest_error, "the error")
                assert "ZeroDivisionError" in str(plane.facts().manifest_error)
            manifest.write_text(FIVE + "\n")
            await keeper.until(lambda: len(keeper.keeper.alive("emails")) == 5, "the next edit")

    go(story())
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_asking_for_a_manifest_that_is_not_there_is_told(manifest: Path, keeper: Pretended) -> None:
    async def story() -> None:
        async with control_plane(keeper, manifest) as plane:
            await keeper.until(lambda: ready(keeper), "readiness")
            text = manifest.read_text()
            manifest.unlink()
            keeper.report(ReloadAsked())
            await keeper.until(lambda: any("cannot be read" in line for line in keeper.said()), "the error")
            await keeper.until(lambda: "the file is not there" in str(plane.facts().manifest_error), "what is wrong")
            manifest.write_text(text)
            await keeper.until(lambda: plane.facts().manifest_error is None, "the end of it")

    go(story())
    assert not keeper.sent(StopWorker)


def test_a_watch_that_fails_again_and_again_is_told_once(
    manifest: Path, keeper: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Path] = []

    async def changes(path: Path, known: object, also: object, missing: object) -> AsyncGenerator[watch.Contents, None]:
        tries.append(path)
        if len(tries) == 1:
            yield {str(path): FIVE.encode()}
        raise OSError("no watches left")

    monkeypatch.setattr("procq.watch.changes", changes)
    monkeypatch.setattr("procq.daemon.manifests._WATCH_AGAIN_AFTER", 0.0)

    async def story() -> None:
        async with control_plane(keeper, manifest) as plane:
            await keeper.until(lambda: len(tries) > 5, "more tries")
            assert len(keeper.keeper.alive("emails")) == 5
            assert [e.kind for e in plane.history.since(0)].count("watch_failed") == 1

    go(story())


@pytest.mark.parametrize("where", ["running.configured", "running.Telemetry._built"])
def test_a_fault_of_telemetry_is_told_once_and_ends_nothing(
    manifest: Path, keeper: Pretended, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("hunter2")

    monkeypatch.setattr(f"procq.telemetry.{where}", broken)
    if where == "running.configured":
        monkeypatch.setenv("OTEL_CONFIG_FILE", "otel.yaml")
    else:
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")

    async def story() -> None:
        async with control_plane(keeper, manifest):
            await keeper.until(lambda: any("telemetry" in line for line in keeper.said()), "the fault to be told")
            manifest.write_text(FIVE)
            await keeper.until(lambda: len(keeper.keeper.alive("emails")) == 5, "the edit")

    go(story())
    told = [line for line in keeper.said() if "procq failed" in line]
    without = ["metrics are not served", "not all telemetry is sent"][where != "running.configured" :]
    assert [line.partition(" in test_plane.py, line ")[0] for line in told] == [
        f"procq: {each} until procq is restarted: procq failed at it (ValueError" for each in without
    ]
    assert "hunter2" not in str(told)


def test_who_asks_while_the_last_records_are_sent_does_no_harm(
    manifest: Path, keeper: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keeper has the listener as well: closed here, it is still watched, and whoever asks would wake us for it."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    wrong: list[dict[str, Any]] = []

    async def closing(_: Telemetry) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(manifest.parent / "api.sock"))
            for _turn in range(20):
                await asyncio.sleep(0)

    monkeypatch.setattr(Telemetry, "close", closing)

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        async with control_plane(keeper, manifest):
            await keeper.until(lambda: ready(keeper), "readiness")

    go(story())
    assert wrong == []


def _project(manifest: Path) -> Project:
    return Project(str(manifest), "shop", str(manifest.parent), str(manifest.parent))
