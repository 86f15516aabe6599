"""What Prometheus would read of a page, strictly: anything odd fails the test."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_LABEL = re.compile(r'(?P<key>[a-zA-Z_][a-zA-Z0-9_]*)="(?P<value>(?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')
_ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Sample = tuple[str, frozenset[tuple[str, str]]]


@dataclass
class Page:
    """`kinds` and `helps` by name of the family; `samples` by name and labels."""

    kinds: dict[str, str] = field(default_factory=dict)
    helps: dict[str, str] = field(default_factory=dict)
    samples: dict[Sample, float] = field(default_factory=dict)

    def of(self, name: str, **labels: str) -> float | None:
        """The value of one sample; None where there is none."""
        return self.samples.get((name, frozenset(labels.items())))

    def at(self, sample: str, **labels: str) -> float | None:
        """The value of `name{label="value"}` with these labels besides."""
        name, _, own = sample.rstrip("}").partition("{")
        return self.of(name, **dict(_labels(own)), **labels)


def parse(text: str) -> Page:
    """Fails where a line is none, where a sample comes before its family, or twice."""
    page, family = Page(), ""
    assert text.endswith("\n"), "the last line has to end"
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            family, _, help = line.removeprefix("# HELP ").partition(" ")
            assert family not in page.helps, f"{family} comes twice"
            page.helps[family] = help
        elif line.startswith("# TYPE "):
            name, kind = line.removeprefix("# TYPE ").split(" ")
            assert name == family, line
            page.kinds[name] = kind
        else:
            _sample(page, family, line)
    return page


def _sample(page: Page, family: str, line: str) -> None:
    found = _SAMPLE.match(line)
    assert found is not None, line
    name = found["name"]
    endings = ("_bucket", "_sum", "_count") if page.kinds[family] == "histogram" else ("",)
    assert name in {family + ending for ending in endings}, line
    sample = name, frozenset(_labels(found["labels"] or ""))
    assert sample not in page.samples, f"{line} comes twice"
    page.samples[sample] = float(found["value"])


def _labels(text: str) -> list[tuple[str, str]]:
    labels, at = [], 0
    while at < len(text):
        found = _LABEL.match(text, at)
        assert found is not None, text
        labels.append((found["key"], re.sub(r'\\[\\"n]', lambda escape: _ESCAPES[escape[0]], found["value"])))
        at = found.end()
    return labels
