"""`procq doctor`: what is wrong is said, with what to do, and makes the exit code."""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from procq import cli
from procq.cli import checkup
from procq.cli.checkup import Finding


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="procq-") as name:
        for variable in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
            monkeypatch.setenv(variable, name)
        monkeypatch.chdir(name)
        Path("procq.yaml").write_text("queues:\n  a:\n    command: work\n    workers: 3\n")
        yield Path(name)


def found(subject: str) -> list[Finding]:
    options = argparse.Namespace(file=None, name=None)
    return [finding for finding in checkup.findings(options) if finding.subject == subject]


def test_a_sound_machine(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "✓ kernel " in said and "✗" not in said
    assert "procq.yaml: 1 queue, 3 workers" in said
    assert "is not running: `procq up` starts it" in said
    assert cli.main(["doctor", "--json"]) == 0
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert {"procq", "kernel", "cgroup", "manifest", "files", "running"} <= {check["subject"] for check in checks}


def test_output_that_nobody_receives(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert found("telemetry") == []
    Path("procq.yaml").write_text("queues:\n  a:\n    command: work\n    logs:\n      otlp: yes\n")
    (finding,) = found("telemetry")
    assert (finding.verdict, finding.text) == ("weak", "logs.otlp is yes for a, and nothing receives it")
    assert finding.hint is not None and "OTEL_EXPORTER_OTLP_ENDPOINT" in finding.hint
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:4318")
    assert found("telemetry") == [finding], "traces are no logs"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    assert found("telemetry") == []


def test_a_manifest_that_does_not_load(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("procq.yaml").write_text("queues:\n  a:\n    comand: work\n    wokers: 3\n")
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "does not load: 3 problems" in said or "does not load: 2 problems" in said
    assert "`procq check`" in said


def test_no_manifest_is_no_fault(here: Path) -> None:
    os.remove("procq.yaml")
    (finding,) = found("manifest")
    assert finding.verdict == "weak"


@pytest.mark.parametrize("mode", [0o646, 0o644])
def test_who_can_write_the_manifest_decides_what_runs(here: Path, mode: int) -> None:
    os.chmod("procq.yaml", mode)
    finding = found("manifest")[-1]
    assert finding.verdict == ("weak" if mode & 0o002 else "good")
    assert (finding.hint or "").startswith("chmod go-w") == bool(mode & 0o002)


def test_limits_are_held_against_what_the_manifest_wants(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (60, 60))
    monkeypatch.setattr(os, "geteuid", os.getuid)
    (files,) = found("files")
    assert (files.verdict, files.text) == ("bad", "only 60 files may be open, 3 workers may need 85")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert next(iter(checkup._limits(None))).verdict == "bad"
    assert [finding.verdict for finding in checkup._limits(None)] == ["bad", "bad"]


def test_old_kernels_and_other_systems(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.release", lambda: "5.3.0-generic")
    assert found("kernel")[0].verdict == "bad"
    monkeypatch.setattr("platform.release", lambda: "6.1")
    assert found("kernel")[0].verdict == "good"
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert "Darwin" in found("kernel")[0].text


def test_a_directory_that_is_a_link_is_refused(here: Path) -> None:
    os.symlink("/tmp", "procq")
    assert {finding.verdict for finding in (*found("sockets"), *found("state"))} == {"bad"}
    assert found("cache")[0].verdict == "weak"
