"""`procq doctor`: what is wrong is said, with what to do, and makes the exit code."""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
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


SENT = "queues:\n  a:\n    command: work\n    logs:\n      otlp: yes\n"
TRACES = "tracer_provider: {processors: [{batch: {exporter: {otlp_http: }}}]}\n"


@pytest.fixture
def by_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OTEL_CONFIG_FILE", "otel.yaml")
    Path("procq.yaml").write_text(SENT)
    return here / "otel.yaml"


def test_output_that_no_receiver_of_a_file_gets(by_file: Path) -> None:
    by_file.write_text(f'file_format: "1.0"\n{TRACES}')
    (finding,) = found("telemetry")
    assert finding.text == "logs.otlp is yes for a, and nothing receives it"
    assert finding.hint is not None and finding.hint.startswith("Add a `logger_provider` to otel.yaml")
    by_file.write_text(f'file_format: "1.0"\n{TRACES}{TRACES.replace("tracer", "logger")}')
    assert found("telemetry") == []


def test_a_file_that_is_wrong_is_told_and_nothing_that_follows_from_it(by_file: Path) -> None:
    by_file.write_text('file_format: "1.0"\ntracer_provider: {procesors: hunter2}\n')
    (finding,) = found("telemetry")
    assert finding.verdict == "weak"
    assert finding.text.startswith("telemetry is off: otel.yaml (OTEL_CONFIG_FILE), line 2: ")
    by_file.unlink()
    (finding,) = found("telemetry")
    assert "cannot be read: No such file or directory" in finding.text


def test_what_the_variables_ask_for_and_procq_has_not(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    (finding,) = found("telemetry")
    assert finding.text == "OTEL_TRACES_EXPORTER asks for 'zipkin', which procq has not: otlp, console or none"


@pytest.mark.parametrize(
    ("protocol", "package", "extra"),
    [
        ("http/protobuf", "opentelemetry.sdk", "procq[otlp]"),
        ("http/protobuf", "opentelemetry.exporter.otlp.proto.http", "procq[otlp]"),
        ("grpc", "opentelemetry.exporter.otlp.proto.grpc", "procq[otlp-grpc]"),
    ],
)
def test_a_package_that_sending_needs_is_missing(
    here: Path, monkeypatch: pytest.MonkeyPatch, protocol: str, package: str, extra: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    assert found("telemetry") == []
    monkeypatch.setitem(sys.modules, package, None)
    (finding,) = found("telemetry")
    assert (finding.verdict, finding.text) == (
        "weak",
        f"telemetry is asked for, and the Python package {package} is missing where procq is installed",
    )
    assert finding.hint == f"`pip install '{extra}'` there, and restart procq."
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
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
