"""The files for Prometheus and Grafana: in order, and about metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from procq.telemetry.exposition import name_of
from procq.telemetry.measures import CATALOGUE, Kind
from tests.servers.serving import program

pytestmark = pytest.mark.examples
FOLDER = Path(__file__).parents[2] / "examples" / "monitoring"
SCHEMA = Path(__file__).with_name("dashboard.schema.json")
_SELECTED = re.compile(r"\b((?:procq|process|messaging)_[a-z_]+)(\{[^{}]*\})?")
_MATCHED = re.compile(r'([a-z_]+)\s*(?:=~|!=|!~|=)\s*"')
_GROUPED = re.compile(r"\b(?:by|on) \(([^)]*)\)")


def series() -> dict[str, set[str]]:
    """What Prometheus calls them, with the labels of each."""
    found: dict[str, set[str]] = {}
    for measure in CATALOGUE:
        name, labels = name_of(measure.family), {*measure.labels, "instance", "job"}
        if measure.family.kind is Kind.HISTOGRAM:
            found |= {f"{name}_bucket": {*labels, "le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[name] = labels
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    return found


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]


def expressions() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in dashboard()["templating"]["list"]:
        yield variable.get("definition", "")
    for rule in rules():
        yield rule["expr"]


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        [program("promtool", "prometheus"), *arguments],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_configuration() -> None:
    assert "1 rule files found" in promtool("check", "config", "prometheus.yaml")


def test_each_alert_fires_when_it_should_and_not_when_all_is_well() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yaml")
    tests = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())["tests"]
    fired = " ".join(sample["labels"] for check in tests[1]["promql_expr_test"] for sample in check["exp_samples"])
    quiet = {each["alertname"] for each in tests[0]["alert_rule_test"]}
    for rule in rules():
        assert f'alertname="{rule["alert"]}"' in fired, rule["alert"]
        assert rule["alert"] in quiet


def test_grafana_takes_the_dashboard() -> None:
    jsonschema.validate(dashboard(), json.loads(SCHEMA.read_text()))
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = {(column, row) for column in columns for row in rows}
        assert place["x"] + place["w"] <= 24 and not cells & taken, f"{panel['title']} lies over another"
        taken |= cells


@pytest.mark.parametrize("expression", list(expressions()))
def test_what_is_asked_for_exists(expression: str) -> None:
    known = series()
    selected = _SELECTED.findall(expression)
    assert selected or expression in {"", 'up{job="procq"} == 0'}
    for name, matchers in selected:
        assert name in known, f"there is no {name}"
        assert set(_MATCHED.findall(matchers)) <= known[name], f"{name} has no such label"
        for labels in _GROUPED.findall(expression):
            assert {label.strip() for label in labels.split(",")} <= known[name], f"{name} has not {labels}"


def test_every_metric_is_on_the_dashboard_or_said_to_be_left_out() -> None:
    shown = {name for expression in expressions() for name, _ in _SELECTED.findall(expression)}
    left_out = {"procq_uptime_seconds", "procq_process_uptime_seconds", "procq_shutting_down"}
    histograms = {name for name in series() if name.endswith(("_sum", "_count"))}
    assert set(series()) - shown - histograms == left_out
