"""One schema, several faces: they agree with each other, with what is read, and with what is checked in."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from procq import manifest
from procq.errors import ManifestError
from procq.intent import Intent
from procq.manifest import load_text, schema
from procq.manifest.keys import Key, List, Nature, Section, Sections, Table, Value
from procq.manifest.units import Refused
from procq.model import Manifest, Queue
from procq.plan.diff import compare
from procq.scaling.page import sources
from procq.state import Observed, QueueState, Running, Settings
from procq.telemetry.page import metrics
from tests.unit.manifest.mutations import mutated
from tests.unit.manifest.test_faults import CASES

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
GENERATED: dict[str, Callable[[], str]] = {
    "reference.md": manifest.reference,
    "sources.md": sources,
    "metrics.md": metrics,
    "procq.schema.json": lambda: json.dumps(manifest.schema_json(), indent=2, ensure_ascii=False) + "\n",
}


@pytest.fixture(scope="module")
def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema", reason="`make build` installs it")
    jsonschema.Draft202012Validator.check_schema(manifest.schema_json())
    return jsonschema.Draft202012Validator(manifest.schema_json())


@pytest.mark.parametrize("file", GENERATED)
def test_what_is_checked_in_is_what_the_schema_says(file: str) -> None:
    assert (ROOT / "docs" / file).read_text() == GENERATED[file](), "run `make docs`"


def leaves(section: Section, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Key]]:
    for key in section.keys:
        if isinstance(key, Section):
            if key.word is not None:
                yield (*path, key.name), key.word
            yield from leaves(key, (*path, key.name))
        elif isinstance(key, Sections):
            yield from leaves(key.section, (*path, key.name))
        else:
            yield (*path, key.name), key


VALUES = {
    ".".join(path): key
    for section in (schema.QUEUE, schema.ROOT)
    for path, key in leaves(section)
    if isinstance(key, Value) and path[0] != "defaults"
} | {"limit": schema.LIMIT, "user name": schema.GROUPS.item}


@pytest.mark.parametrize("name", VALUES)
def test_examples_and_defaults_are_read(name: str) -> None:
    key = VALUES[name]
    assert key.examples
    for text in (*key.examples, *key.choices, *([] if key.default is None else [key.default])):
        if "$" not in text:
            assert key.choices or not key.pattern or re.search(rf"^(?:{key.pattern})$", text)
            key.read(text)
    assert key.about or key in (schema.LIMIT, schema.GROUPS.item)
    assert key.default is None or not key.otherwise


@pytest.mark.parametrize("name", VALUES)
def test_what_is_read_fits_the_pattern(name: str) -> None:
    key, chance, read = VALUES[name], random.Random(name), 0
    for _ in range(3000):
        text = mutated(chance.choice([*key.examples, *key.choices]), chance, most=2)
        try:
            key.read(text)
        except Refused:
            continue
        read += 1
        assert text in key.choices if key.choices else re.search(rf"^(?:{key.pattern})$", text), repr(text)
    assert read > 50


# --- JSON Schema ------------------------------------------------------------------------------------------------------


class _Text(yaml.SafeLoader):
    """Reads every scalar as the text that was written, as procq does."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


READINGS: dict[str, Callable[[str], Any]] = {
    "as text": lambda text: yaml.load(text, _Text),
    "with types": yaml.safe_load,
}


def valid() -> Iterator[object]:
    for path in [*sorted(HERE.glob("valid/*.yaml")), *sorted(ROOT.glob("examples/*/procq.yaml"))]:
        yield pytest.param(path.read_text(), id=str(path.relative_to(ROOT)))
    for document in DOCUMENTS:
        for number, block in enumerate(re.findall(r"^```ya?ml\n(.*?)^```", document.read_text(), re.M | re.S), 1):
            if "queues:" in block or "include:" in block:
                yield pytest.param(block, id=f"{document.relative_to(ROOT)}-{number}")


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("text", list(valid()))
def test_valid_manifests_are_accepted(validator: Any, text: str, reading: str) -> None:
    assert [error.message for error in validator.iter_errors(READINGS[reading](text))] == []


def test_the_manifest_with_everything_has_every_key() -> None:
    text = (HERE / "valid" / "everything.yaml").read_text()
    missing = [path for path, _ in leaves(schema.ROOT) if path[-1] not in text]
    missing += [path for path, _ in leaves(schema.QUEUE) if not re.search(rf"^ +(- )?{path[-1]}:", text, re.MULTILINE)]
    assert missing == []


STRUCTURE = re.compile(
    r"unknown key|must hold|is empty|one value or a list|does not support|is a list$|is not the name of|every word of|"
    r"is not .* \| (expected|did you mean)"
)


def faulty() -> Iterator[object]:
    for case in CASES:
        files, problems = case.values  # type: ignore[attr-defined]
        own = [problem for problem in problems if re.match(r"[0-9]+:[0-9]+ ", problem)]
        structural = all(STRUCTURE.search(problem) and "with its variables" not in problem for problem in own)
        if own and structural and "include" not in files["procq.yaml"]:
            yield pytest.param(files["procq.yaml"], id=case.id)  # type: ignore[attr-defined]


FAULTY = list(faulty())


@pytest.mark.parametrize("text", FAULTY)
def test_what_is_faulty_by_its_structure_is_rejected(validator: Any, text: str) -> None:
    try:
        found = yaml.load(text, _Text)
    except yaml.YAMLError:
        pytest.skip("no YAML")
    assert not validator.is_valid(found)


def test_there_are_enough_faulty_ones() -> None:
    assert len(FAULTY) >= 45


def test_references_are_accepted_everywhere(validator: Any) -> None:
    for path, key in [*leaves(schema.QUEUE), (("stop", "grace"), schema.GRACE)]:
        value: Any = {"nofile": "${A}"} if key is schema.RLIMITS else {"A": "${A}"} if key is schema.ENV else "${A}"
        for name in reversed(path):
            value = {name: [value] if name == "schedule" else value}
        assert validator.is_valid({"queues": {"a": value}}), path


# --- natures ----------------------------------------------------------------------------------------------------------

QUEUE_LEAVES = {".".join(path): (path, key) for path, key in leaves(schema.QUEUE)}
OTHER = {
    "command": "other",
    "shell": "yes",
    "after": "redis",
    "env": {"A": "2"},
    "rlimits": {"core": "1"},
    "user": "0",
    "group": "1",
    "groups": "1",
    "nice": "19",
    "workers": "3..8",
    "scale.fallback": "5",
    "schedule.min": "3",
    "schedule.max": "4",
}
"""Values that say something else than the manifest below; for every other key the first example does."""
BASE: dict[str, Any] = {"command": "work", "workers": "3..5", "user": "root", "logs": {"file": "x.log"}}
ASKED: dict[str, Any] = {**BASE, "health": {"tcp": "1"}}
"""The base for keys that say how workers are asked, which takes a key that says what."""
SCALED: dict[str, Any] = {**BASE, "source": {"url": "rq://127.0.0.1/3"}}
PERIOD: dict[str, Any] = {"cron": "0 9 * * *", "for": "2h", "timezone": "Asia/Tokyo", "min": "4", "max": "5"}
BASES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("health", "health.every", "health.timeout", "health.failures"), ASKED),
    **dict.fromkeys(("source", "scale"), SCALED),
    "schedule": {**BASE, "schedule": [PERIOD]},
}


def loaded(queue: dict[str, Any], tmp_path: Path) -> Manifest:
    (tmp_path / ".env").write_text("A=1\n")
    text = yaml.safe_dump({"queues": {"redis": "redis-server", "a": queue}}, default_flow_style=False)
    return load_text(text.encode(), tmp_path / "procq.yaml", {})


def settled(wanted: Manifest) -> Observed:
    def running(q: Queue) -> QueueState:
        return QueueState({s: Running(s, q.fingerprint, s, 5.0, Settings.of(q)) for s in range(1, q.workers + 1)})

    return Observed(10.0, {q.name: running(q) for q in wanted.queues.values()})


def merged(base: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    head, *rest = path
    return {**base, head: merged(base.get(head) or {}, tuple(rest), value) if rest else value}


@pytest.mark.parametrize("name", QUEUE_LEAVES)
def test_a_change_does_what_its_nature_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    path, key = QUEUE_LEAVES[name]
    assert not isinstance(key, Section | Sections)
    example = key.item.examples[0] if isinstance(key, List) else "" if isinstance(key, Table) else key.examples[0]
    if name == "user":
        monkeypatch.setattr("procq.manifest.people._user", lambda user: None if user == "0" else _root())
        BASE_GROUP = merged(BASE, ("group",), "0")
        before, after = loaded(BASE_GROUP, tmp_path), loaded(merged(BASE_GROUP, path, "0"), tmp_path)
    else:
        base = BASES.get(name, BASES.get(path[0], BASE) if path[0] != "health" else BASE)
        value = OTHER.get(name, example)
        if path[0] == "schedule":
            changed = {**base, "schedule": [{**PERIOD, path[1]: value}]}
        else:
            changed = {**base, name: value} if len(path) == 1 else merged(base, path, value)
        before, after = loaded(base, tmp_path), loaded(changed, tmp_path)
    assert before != after, "the sample is no change"
    rolling = key.nature is Nature.ROLLING
    assert (before.queues["a"].fingerprint != after.queues["a"].fingerprint) == rolling
    diff = next(each for each in compare(Intent(before), Intent(after), settled(before)).queues if each.name == "a")
    assert (diff.counts.replaced > 0) == rolling
    assert (diff.counts.new, diff.counts.stopped) == (0, 0)


def _root() -> Any:
    import pwd

    return pwd.getpwuid(0)


def test_plans_of_a_manifest_with_itself_are_empty(tmp_path: Path) -> None:
    text = (HERE / "valid" / "everything.yaml").read_text()
    (tmp_path / "more.yaml").write_text("queues:\n  more: work\n")
    (tmp_path / ".env").write_text("A=1\n")
    (tmp_path / "emails.env").write_text("B=1\n")
    environ = {"HOME": "/home/shop"}
    try:
        one, two = (load_text(text.encode(), tmp_path / "procq.yaml", environ) for _ in range(2))
    except ManifestError as error:
        pytest.skip(f"takes root: {error}")
    assert one == two
    assert [q.fingerprint for q in one.queues.values()] == [q.fingerprint for q in two.queues.values()]
