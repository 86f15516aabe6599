"""What is asked for, by a file or by variables; and the file itself."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from procq.telemetry.config import Config, Signal
from procq.telemetry.configured import configured
from procq.telemetry.declared import declared

TRACES = "file_format: '1.0'\ntracer_provider: {processors: [{batch: {exporter: {otlp_http: }}}]}\n"


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "otel.yaml"
    path.write_text("\ufeff" + TRACES)
    environ = {"OTEL_CONFIG_FILE": str(path), "OTEL_LOGS_EXPORTER": "console"}
    assert configured(environ) == declared(TRACES, "", {})
    assert configured({"OTEL_LOGS_EXPORTER": "console"}).ways.keys() == {Signal.LOGS}


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    def told(path: Path) -> str:
        config = configured({"OTEL_EXPERIMENTAL_CONFIG_FILE": str(path), "OTEL_LOGS_EXPORTER": "console"})
        (trouble,) = config.troubles
        assert replace(config, troubles=()) == Config(broken=True)
        return trouble.removeprefix(f"telemetry is off: {path} (OTEL_EXPERIMENTAL_CONFIG_FILE), ")

    mend = "; take the variable out, or mend this"
    assert told(tmp_path / "none.yaml") == f"cannot be read: No such file or directory{mend}"
    assert told(tmp_path) == f"cannot be read: Is a directory{mend}"
    os.mkfifo(tmp_path / "pipe")
    assert told(tmp_path / "pipe") == f"cannot be read: it is no file{mend}"
    (tmp_path / "large").write_bytes(b"#" * (1 << 20) + b"\n")
    assert told(tmp_path / "large") == f"cannot be read: it is larger than 1 MiB{mend}"
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    assert told(tmp_path / "bytes") == "is no text in UTF-8"
