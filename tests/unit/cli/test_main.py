"""The command line as people type it, before a real API whose keeper is pretended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from procq import cli, paths, wire
from procq.cli.terminal import Terminal
from procq.cli.verbs import ALIASES, VERBS
from procq.cli.waiting import RUNNING
from procq.client import Client, Output
from procq.testing import Rig, Script, everyone
from tests.queues import manifest, queue
from tests.unit.api.serving import Served, served


class Shop:
    """A directory with a manifest, and what runs it."""

    def __init__(self, api: Served, capsys: pytest.CaptureFixture[str]) -> None:
        self.api = api
        self._capsys = capsys

    def type(self, *arguments: str, code: int = 0) -> str:
        """Runs a command, checks its exit code, returns what it wrote."""
        assert cli.main(arguments) == code
        written = self._capsys.readouterr()
        return written.out + written.err


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="procq-") as name:
        (Path(name) / "shop").mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        monkeypatch.setenv("XDG_STATE_HOME", name)
        monkeypatch.chdir(Path(name) / "shop")
        (Path(name) / "shop" / "procq.yaml").write_text("queues:\n  emails:\n    command: work\n    workers: 2\n")
        yield Path(name)


@pytest.fixture
def shop(directory: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shop]:
    project = paths.locate(None, None, os.environ)
    project.prepare()
    rig = Rig(manifest(queue("emails", 2), queue("web", 1)))
    rig.advance(1)
    with served(rig, Path(project.run_dir)) as api:
        yield Shop(api, capsys)


def test_status(shop: Shop) -> None:
    assert "emails   ● steady    2 of 2" in shop.type("status")
    assert shop.type("ps") == shop.type("status")
    assert "emails.2   ● running" in shop.type("status", "emails")
    status = wire.from_json(wire.StatusView, shop.type("status", "--json"))
    assert [worker.id for worker in status.workers] == ["emails.1", "emails.2", "web.1"]


def test_scale(shop: Shop) -> None:
    assert shop.type("scale", "emails=5", "web=+1") == (
        "emails   2 → 5 workers   the manifest says 2; `procq scale emails=auto` gives it back\n"
        "web   1 → 2 workers   the manifest says 1; `procq scale web=auto` gives it back\n"
    )
    assert shop.type("scale", "emails=auto") == "emails   5 → 2 workers   as the manifest says\n"
    assert "as before" in shop.type("scale", "emails=auto")
    assert "is no queue" in shop.type("scale", "nothing=1", code=1)
    for wrong in ("emails", "emails=", "emails=x", "=5", "emails=1.5"):
        assert "is not a change" in shop.type("scale", "web=9", wrong, code=64)
    assert shop.api.control.view().intent.overrides == {"web": 2}  # type: ignore[union-attr]


def test_stop_start_restart(shop: Shop) -> None:
    assert shop.type("stop", "--no-wait", "emails.1") == "1 worker asked\n"
    shop.api.call(lambda: shop.api.control.rig.advance(1))
    assert shop.type("stop", "emails.1").startswith("1 worker stopped in ")
    assert "web.1" not in shop.type("start", "--no-wait", "--all")
    shop.api.call(lambda: shop.api.control.rig.advance(1))
    assert shop.type("start", "--all").startswith("3 workers running in ")
    assert shop.type("restart", "--no-wait", "web") == "1 worker asked\n"
    assert "what should stop?" in shop.type("stop", code=64)
    assert "exclude each other" in shop.type("stop", "--all", "web", code=64)
    assert 'Did you mean "emails"?' in shop.type("stop", "emials", code=1)


def test_plan(shop: Shop) -> None:
    assert shop.type("plan") == "procq.yaml is in force: 2 queues unchanged.\n"
    shop.api.control.on_disk = manifest(queue("emails", 3))
    assert "~ emails   workers 2 → 3" in shop.type("plan", "draft.yaml", code=2)
    assert json.loads(shop.type("plan", "--json", code=2))["changes"][0]["started"] == 1


def test_events(shop: Shop) -> None:
    shop.type("scale", "emails=3")
    assert "emails scaled to 3 by hand" in shop.type("events")
    assert json.loads(shop.type("events", "--json").splitlines()[0])["kind"] == "changed"


def test_the_project_can_be_named_before_and_after_the_verb(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    file = os.path.abspath("procq.yaml")
    monkeypatch.chdir("/")
    expected = shop.type("status", "--file", file)
    assert "emails" in expected
    assert shop.type("-f", file, "status") == expected
    assert shop.type("status", "-f", file) == expected
    assert shop.type("--file=" + file, "status") == expected
    assert "is not running" in shop.type("-f", file, "--name", "blue", "status", code=3)


def test_check(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check"]) == 0
    assert capsys.readouterr().out == "procq.yaml is valid: 1 queue, 2 workers\n"
    Path("broken.yaml").write_text("queues:\n  emails:\n    comand: x\n")
    assert cli.main(["check", "broken.yaml"]) == 4
    assert 'did you mean "command"?' in capsys.readouterr().err


@pytest.mark.parametrize("command", [["check"], ["up"], ["check", "--file"]])
def test_a_manifest_that_is_not_there_is_one_that_does_not_load(
    directory: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert cli.main([*command, "nope.yaml"]) == 4
    assert f"there is no manifest {directory}/shop/nope.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["status", "logs", "down", "events", "plan"])
def test_nothing_runs(directory: Path, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert cli.main([verb]) == 3
    assert "shop is not running" in capsys.readouterr().err


def test_no_manifest(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("procq.yaml").unlink()
    assert cli.main(["up"]) == 4
    assert "looked for procq.yaml, procq.yml, Procfile" in capsys.readouterr().err


def test_up_refuses_a_second_one(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import fcntl

    project = paths.locate(None, None, os.environ)
    project.prepare()
    with open(project.lock, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert cli.main(["up"]) == 1
    assert "just being started" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [["statsu"], ["status", "--nonsense"], ["--nonsense"], ["logs", "-n", "x"], ["scale"]]
)
def test_wrong_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(wrong)
    assert ended.value.code == 64
    assert "--help" in capsys.readouterr().err


def test_a_misspelt_verb_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["statsu"])
    assert 'did you mean "status"?' in capsys.readouterr().err


@pytest.mark.parametrize("verb", [*VERBS, *ALIASES])
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"procq {ALIASES.get(verb, verb)}" in text
    assert "which procq:" in text


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    assert [verb for verb in VERBS if f"\n  {verb} " not in text] == []
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.startswith("procq ")


def test_a_reader_that_has_seen_enough(shop: Shop) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "procq.cli", "status"], stdout=pipe, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"")


HEAVY = {
    "procq.model",
    "asyncio",
    "starlette",
    "uvicorn",
    "watchfiles",
    "strictyaml",
    "subprocess",
    "pathlib",
    "importlib.metadata",
}


def test_status_imports_nothing_heavy(shop: Shop) -> None:
    code = "import sys; from procq import cli; cli.main(['status']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "emails" in done.stdout
    assert HEAVY & set(done.stderr.split()) == set()


@pytest.mark.parametrize("verb", ["start", "restart"])
def test_a_worker_that_finishes_at_once_is_not_waited_for(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    project = paths.locate(None, None, os.environ)
    project.prepare()
    rig = Rig(manifest(queue("once", 1, when="never")), everyone(Script(run_for=0.01)))
    rig.advance(1)
    with served(rig, Path(project.run_dir)) as api:
        change = api.control.change

        def change_and_see(*how: Any) -> None:
            change(*how)
            rig.advance(1)

        monkeypatch.setattr(api.control, "change", change_and_see)
        assert "once.1   finished   exit code 0" in Shop(api, capsys).type(verb, "once")


@pytest.mark.parametrize(
    ("asked", "opposite", "words"),
    [("start", "stop", "emails.1   stopped   was stopped meanwhile"), ("stop", "start", "was started again meanwhile")],
)
def test_the_last_word_of_somebody_else_ends_the_waiting(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, asked: str, opposite: str, words: str
) -> None:
    rig = shop.api.control.rig
    if asked == "start":
        shop.type("stop", "--no-wait", "emails.1")
        shop.api.call(lambda: rig.advance(20))
    client = Client(shop.api.project)
    ask = Client.set_running

    def both(*how: Any) -> wire.Affected:
        affected = ask(*how)
        ask(client, ["emails.1"], opposite == "start")
        shop.api.call(lambda: rig.advance(20))
        return affected

    monkeypatch.setattr(Client, "set_running", both)
    assert words in shop.type(asked, "emails.1", code=1)


def test_a_queue_that_is_taken_away_is_not_waited_for(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = shop.api.control.rig
    restart = Client.restart

    def restart_and_remove(*how: Any, **more: Any) -> wire.Affected:
        affected = restart(*how, **more)
        shop.api.call(lambda: rig.engine.adopt(manifest(queue("web", 1)), "saved"))
        shop.api.call(lambda: rig.advance(20))
        return affected

    monkeypatch.setattr(Client, "restart", restart_and_remove)
    assert "2 workers no longer wanted" in shop.type("restart", "emails", code=1)


def test_an_end_that_nobody_has_looked_at_yet_is_no_failure() -> None:
    ended = wire.WorkerView("emails.1", "emails", 1, "waiting", last_exit="exit code 0")
    assert not RUNNING.missed(ended)
    assert RUNNING.missed(replace(ended, retry_in=3.0))
    assert RUNNING.missed(replace(ended, state="failed"))


def test_the_manifest_to_check_can_be_named_as_everywhere(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = os.path.abspath("procq.yaml")
    monkeypatch.chdir("/")
    for arguments in (["check", file], ["check", "--file", file], ["check", "-f", file], ["-f", file, "check"]):
        assert cli.main(arguments) == 0
        assert "is valid: 1 queue" in capsys.readouterr().out


def run(redirection: str, **environ: str) -> tuple[int, str]:
    """`procq status`, as a shell runs it; what it said on standard error."""
    command = ["/bin/sh", "-c", f'exec "$0" -m procq.cli status {redirection}', sys.executable]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_every_kind_of_output_is_taken(shop: Shop) -> None:
    assert run("> /dev/null", PYTHONIOENCODING="ascii") == (0, "")
    assert run(">&-") == (0, "")
    assert run("2>&-") == (0, "")
    code, said = run("> /dev/full")
    assert code == 1
    assert said == "procq: No space left on device\n"


def test_digits_of_other_scripts_are_no_number(shop: Shop) -> None:
    assert "is not a change" in shop.type("scale", "emails=٣", code=64)
    assert "between 0 and 10000" in shop.type("scale", "emails=99999999", code=1)


def test_output_of_nobody_is_a_mistake(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "logs", lambda *_: iter(()))
    assert shop.type("logs", "emails") == ""
    assert shop.type("logs") == ""
    assert 'Did you mean "emails"?' in shop.type("logs", "emials", code=1)
    assert 'Did you mean "emails"?' in shop.type("logs", "-f", "emials")


def test_output_is_shown_though_there_is_no_control_plane(
    directory: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "logs", lambda *_: iter((Output("emails.1", "out", 0.0, b"hello\n", False),)))
    assert cli.main(["logs", "-f", "emails"]) == 0
    assert b"| hello\n" in capfdbinary.readouterr().out


def test_progress_stays_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal({})
    monkeypatch.setattr(terminal, "_progress_on", True)
    monkeypatch.setattr(sys.stderr, "fileno", lambda: 2)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((30, 10)))
    terminal.progress("12/40 stopped, waiting for thumbnails.13, thumbnails.14")
    assert capsys.readouterr().err == "\r\x1b[2K12/40 stopped, waiting for th…"


def test_a_dry_run_of_nothing_that_runs_plans_everything(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["up", "--dry-run"]) == 2
    said = capsys.readouterr().out
    assert "procq.yaml is not running yet. `procq up` would do:" in said
    assert "+ emails   new queue   2 workers started" in said
    assert cli.main(["up", "--dry-run", "--json"]) == 2
    plan = wire.from_json(wire.PlanView, capsys.readouterr().out)
    assert (plan.changes[0].queue, plan.changes[0].started, plan.untouched) == ("emails", 2, 0)
    Path("procq.yaml").write_text("queues:\n  emails:\n    comand: x\n")
    assert cli.main(["up", "--dry-run"]) == 4


def test_a_dry_run_beside_what_runs_is_its_plan(shop: Shop) -> None:
    assert shop.type("up", "--dry-run") == shop.type("plan")
    shop.api.control.on_disk = manifest(queue("emails", 3))
    assert shop.type("up", "--dry-run", "--json", code=2) == shop.type("plan", "--json", code=2)
    shop.type("scale", "emails=9")
    assert "emails is overridden to 9: the number in the file counts after" in shop.type("plan", code=2)


def test_a_wait_says_how_long(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["up", "--wait=soon", "procq.yaml"]) == 64
    assert "Write it as 500ms, 30s" in capsys.readouterr().err
    assert cli.main(["up", "--wait", "nope.yaml"]) == 4
    assert cli.main(["up", "--json"]) == 64
