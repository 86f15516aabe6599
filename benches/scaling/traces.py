"""Arrival traces out of a folder: none is shipped. What is known of three public ones; others are taken as they are."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from procq.simulate.load import Load, between, from_counts, read_csv

DAY: Final = 86_400.0


def azure(path: Path, seed: int) -> Load:
    """Requests to a language model (Azure, 2023): a job takes 0.2 s and 0.03 s for each token; within 5 s."""
    load = read_csv(path, 1.0, seed)
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file) if row][1:]
    tokens = [float(row[2]) for row in sorted(rows, key=lambda row: row[0])]
    services = array("d", (0.2 + 0.03 * count for count in tokens))
    return replace(load, name="trace: language model", services=services, wait=5.0)


def nasa(path: Path, seed: int) -> Load:
    """A web server in 1995, by minutes: half a day out of it, a job takes 2 s; within 10 s."""
    load = between(read_csv(path, 2.0, seed), 3 * DAY, 3.5 * DAY)
    return replace(load, name="trace: web server", wait=10.0)


def twitter(path: Path, seed: int) -> Load:
    """Messages about one company, by five minutes: the half day around the greatest flash crowd; within 30 s."""
    with path.open(newline="") as file:
        counts = [float(row[1]) for row in csv.reader(file) if row and row[1].replace(".", "").isdigit()]
    top = max(range(len(counts)), key=counts.__getitem__)
    since = max(0, min(top - 72, len(counts) - 144))
    load = from_counts("trace: messages", counts[since : since + 144], 300.0, 1.0, seed)
    return replace(load, wait=30.0)


KNOWN: Final[dict[str, Callable[[Path, int], Load]]] = {
    "azure_llm_code_2023.csv": azure,
    "nasa_http_1995_per_minute.csv": nasa,
    "nab_twitter_aapl_5min.csv": twitter,
}


def traces(folder: Path, seed: int) -> Iterator[Load]:
    """Every CSV file of a folder."""
    for path in sorted(folder.glob("*.csv")):
        if path.name in KNOWN:
            yield KNOWN[path.name](path, seed)
        else:
            load = read_csv(path, 1.0, seed)
            yield between(load, 0.0, DAY) if load.seconds > DAY else load
