"""What the documents say is so: links lead somewhere, manifests load, the lists agree with the code."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from procq import manifest
from procq.cli.verbs import VERBS
from procq.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "procq"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"^    (?:\$ )?make (\w+)|`make (\w+)|^make (\w+)", re.MULTILINE)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def yaml_blocks() -> Iterator[object]:
    for document in DOCUMENTS:
        for number, block in enumerate(YAML.findall(document.read_text()), 1):
            if "queues:" in block:
                yield pytest.param(block, id=f"{named(document)}-{number}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_lead_somewhere(document: Path) -> None:
    targets = [target for target in LINK.findall(document.read_text()) if "://" not in target]
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("block", list(yaml_blocks()))
def test_manifests_in_documents_load(block: str) -> None:
    assert manifest.load_text(block.encode(), ROOT / "procq.yaml", {}).queues


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*/procq.yaml")), ids=named)
def test_examples_load(path: Path) -> None:
    assert manifest.load(path, {}).queues


def test_the_readme_names_every_verb() -> None:
    table = (ROOT / "README.md").read_text().partition("## Commands")[2].partition("\n## ")[0]
    assert [verb for verb in VERBS if not re.search(rf"`(procq )?{verb}\b", table)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_make_targets_in_documents_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {name for found in PROMPT.findall(document.read_text()) for name in found if name}
    assert used <= targets


def test_the_lock_covers_what_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = [*project["project"]["dependencies"], *project["dependency-groups"]["tools"]]
    names = {re.split(r"[<>=\[ ]", each, maxsplit=1)[0] for each in declared}
    locked = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE))
    assert names - locked == set(), "run `make lock`"


def test_only_core_imports_the_extension() -> None:
    def imports_it(path: Path) -> bool:
        return any(
            (isinstance(node, ast.ImportFrom) and (node.module == "procq._core" or _names_it(node, "procq")))
            or (isinstance(node, ast.Import) and any(each.name == "procq._core" for each in node.names))
            for node in ast.walk(ast.parse(path.read_text()))
        )

    importers = {named(path) for path in PACKAGE.rglob("*.py") if imports_it(path)}
    assert importers <= {"python/procq/core.py"}


def _names_it(node: ast.ImportFrom, package: str) -> bool:
    return node.module == package and any(each.name == "_core" for each in node.names)


def test_both_halves_have_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"] == project


def test_the_page_of_the_command_line_has_every_verb_and_exit_code() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    sections = re.findall(r"^### `procq ([a-z]+)`$", page, re.MULTILINE)
    assert sorted(sections) == sorted(VERBS)
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == {int(code) for code in ExitCode}
