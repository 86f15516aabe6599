"""Numbers as the text that Prometheus scrapes, version 0.0.4 of its exposition format. Pure.

Names are made as OpenTelemetry prescribes for Prometheus: dots become underscores, the unit a suffix, and counters
end in `_total`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

from procq.telemetry.family import Family, Kind, Point
from procq.telemetry.histogram import Buckets

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_UNITS: Final = {"s": "seconds", "By": "bytes"}
_FOREIGN: Final = re.compile(r"[^a-zA-Z0-9_]+")
_IN_HELP: Final = str.maketrans({"\\": "\\\\", "\n": "\\n"})
_IN_LABELS: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})

Labels = tuple[tuple[str, str], ...]


def render(families: Iterable[Family]) -> str:
    """The page. A family of which nothing is known is left out."""
    return "".join(f"{line}\n" for family in families if family.points for line in _lines(family))


def name_of(family: Family) -> str:
    """What it is called in Prometheus; of a histogram the part before `_bucket`, `_sum` and `_count`."""
    name = _FOREIGN.sub("_", family.name)
    unit = "ratio" if family.unit == "1" and family.kind is Kind.GAUGE else _UNITS.get(family.unit, "")
    if unit and not name.endswith(f"_{unit}"):
        name = f"{name}_{unit}"
    return f"{name}_total" if family.kind is Kind.COUNTER else name


def _lines(family: Family) -> Iterator[str]:
    name = name_of(family)
    yield f"# HELP {name} {family.help.translate(_IN_HELP)}"
    yield f"# TYPE {name} {family.kind}"
    for point in family.points:
        if isinstance(point.value, Buckets):
            yield from _histogram(name, point, point.value)
        else:
            yield f"{name}{_labels(point.labels)} {_number(point.value)}"


def _histogram(name: str, point: Point, buckets: Buckets) -> Iterator[str]:
    bounds = (*buckets.bounds, math.inf)
    for bound, number in zip(bounds, accumulate(buckets.counts), strict=True):
        yield f"{name}_bucket{_labels((*point.labels, ('le', _number(bound))))} {number}"
    yield f"{name}_sum{_labels(point.labels)} {_number(buckets.total)}"
    yield f"{name}_count{_labels(point.labels)} {buckets.number}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{value.translate(_IN_LABELS)}"' for key, value in labels) + "}"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(value)
