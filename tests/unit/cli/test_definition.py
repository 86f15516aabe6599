"""Completion and the manual page, both from the parsers that read the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from procq import cli
from procq.cli.completion import SHELLS, script
from procq.cli.definition import verb_parsers
from procq.cli.render.manpage import EXIT_CODES, manual
from procq.cli.verbs import ALIASES, VERBS
from procq.errors import ExitCode

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "procq.data/data/share/man/man1/procq.1"

COMPLETE = """\
source "$1"
procq() { echo emails; echo reports; }
shift
COMP_WORDS=(procq "$@"); COMP_CWORD=$#; COMPREPLY=()
_shtab_procq
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("shtab", reason="`make build` installs it")
    path = tmp_path_factory.mktemp("completion") / "procq"
    path.write_text(script("bash"))
    return path


def completed(bash: Path, *words: str) -> list[str]:
    command = ["bash", "--noprofile", "--norc", "-c", COMPLETE, "bash", str(bash), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_every_verb_and_every_option(bash: Path) -> None:
    assert set(completed(bash, "")) >= {*VERBS, *ALIASES}
    assert completed(bash, "stat") == ["status"]
    for verb, parser in verb_parsers().items():
        options = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
        assert set(completed(bash, verb, "--")) == options, verb


def test_bash_completes_queues_and_files(bash: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for verb in ("restart", "stop", "logs", "status", "scale"):
        assert completed(bash, verb, "e") == ["emails"], verb
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deploy.yaml").touch()
    for verb in ("up", "check", "plan"):
        assert completed(bash, verb, "dep") == ["deploy.yaml"], verb


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab", reason="`make build` installs it")
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert [verb for verb in VERBS if verb not in text] == []
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=text, text=True, check=True)


def test_targets_where_nothing_runs_are_none_and_no_complaint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["completion", "targets"]) == 1
    assert capsys.readouterr() == ("", "")


def test_the_manual_page_is_up_to_date() -> None:
    assert manual() == PAGE.read_text(), "run `make man`"


def test_the_manual_page_names_everything() -> None:
    page = manual().replace("\\-", "-")
    for verb, parser in verb_parsers().items():
        section = page.split(f'.SS "procq {verb} ')[1].split("\n.S")[0]
        missing = [option for action in parser._actions for option in action.option_strings if option not in section]
        assert set(missing) <= {"--help", "--file"}, f"{verb}: only what all of them have is said once for all"
    assert {int(code) for code in ExitCode} == EXIT_CODES.keys()
    assert page.isascii()


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_the_manual_page_is_good_troff() -> None:
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8"],
        input=PAGE.read_bytes(),
        capture_output=True,
        check=True,
        env={**os.environ, "GROFF_NO_SGR": "1"},
    )
    assert done.stderr == b""
    assert b"PROCQ(1)" in done.stdout


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "queues" in schema["properties"]
