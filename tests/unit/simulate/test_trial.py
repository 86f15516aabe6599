"""Trials, what is searched for, and how it is drawn and printed."""

from __future__ import annotations

import argparse
import json
import xml.etree.ElementTree as xml
from dataclasses import replace
from pathlib import Path

import pytest

from procq.cli import simulate, tune
from procq.cli.terminal import Terminal
from procq.errors import UsageError
from procq.rules import Style
from procq.simulate.chart import blocks, svg
from procq.simulate.load import from_counts
from procq.simulate.trial import Found, Trial, cheapest, snippet

QUIET = replace(from_counts("quiet", [5] * 10, 60.0, 1.0, 0), most=10)


def parsed(verb: object, *arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)  # type: ignore[attr-defined]
    return parser.parse_args(arguments)


def test_the_cheapest_that_meets_the_objective_is_found() -> None:
    tried: list[Found] = []
    best = cheapest(Trial(QUIET), tried.append)
    assert best.meets
    assert {each.trial.style for each in tried} == set(Style)
    assert best.result.worker_seconds == min(each.result.worker_seconds for each in tried if each.meets)


def test_a_floor_is_raised_where_boots_take_too_long() -> None:
    seldom = replace(from_counts("seldom", [1, 0, 0, 0] * 10, 60.0, 1.0, 0), wait=2.0, most=10)
    best = cheapest(Trial(seldom, boot=20.0), lambda _: None)
    assert best.meets
    assert best.trial.least > 0
    assert snippet(best)[0].startswith(f"workers: {best.trial.least}..")


def test_charts() -> None:
    result = Trial(QUIET).run(moments=5)
    drawing = svg("a < b", result)
    assert len(xml.fromstring(drawing).findall("{http://www.w3.org/2000/svg}polyline")) == 4
    lines = blocks(result, 60)
    assert [line.split()[0] for line in lines] == ["waiting", "workers", "wait"]
    assert all(len(line) <= 60 for line in lines)


def test_simulate_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chart = tmp_path / "chart.svg"
    options = parsed(simulate, "--load", "step", "--chart", str(chart))
    assert simulate.run(options, Terminal({})) == 0
    assert "of the jobs began within 30 s" in capsys.readouterr().out
    assert chart.read_text().startswith("<svg")


def test_simulate_says_when_the_objective_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    options = parsed(simulate, "--load", "step", "--workers", "0..2", "--json")
    assert simulate.run(options, Terminal({})) == 2
    assert json.loads(capsys.readouterr().out)["attained"] < 0.95


def test_tune_prints_a_part_of_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "load.csv"
    path.write_text("".join(f"{10 * index}\n" for index in range(60)))
    assert tune.run(parsed(tune, "--load", str(path), "--wait", "20s"), Terminal({})) == 0
    out = capsys.readouterr().out
    assert "scale:" in out
    assert "wait: 20s" in out


@pytest.mark.parametrize("wrong", [["--workers", "5"], ["--workers", "3..1"], ["--wait", "0s"], ["--boot", "x"]])
def test_what_makes_no_sense_is_said(wrong: list[str]) -> None:
    with pytest.raises(UsageError):
        simulate.run(parsed(simulate, "--load", "step", *wrong), Terminal({}))
