"""What the standard variables of OpenTelemetry ask for. Standard library only: every control plane looks at them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Signal(StrEnum):
    """What may be sent."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


class Exporter(StrEnum):
    """How."""

    OTLP = "otlp"
    CONSOLE = "console"


_PROTOCOL: Final = "http/protobuf"
_LONGEST: Final = 86_400.0
_MOST: Final = 65_536


@dataclass(frozen=True, slots=True)
class Batching:
    """Records wait for `delay` seconds or until `batch` are there; of more than `queue` the oldest are dropped."""

    delay: float
    queue: int = 2_048
    batch: int = 512


@dataclass(frozen=True, slots=True)
class Config:
    """Which signals are sent and how. `troubles` are sentences about variables that could not be obeyed."""

    exporters: Mapping[Signal, tuple[Exporter, ...]] = field(default_factory=dict)
    spans: Batching = Batching(5.0)
    logs: Batching = Batching(1.0)
    interval: float = 60.0
    """Seconds between two exports of metrics."""
    troubles: tuple[str, ...] = ()

    @property
    def on(self) -> bool:
        """Whether anything is sent, or cannot be and has to be told."""
        return bool(self.exporters or self.troubles)


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether anything asks for telemetry; the quick look that all but a few control planes are content with."""
    return any(
        name.startswith("OTEL_") and name.endswith(("_ENDPOINT", "_EXPORTER")) and value
        for name, value in environ.items()
    )


def read(environ: Mapping[str, str]) -> Config:
    """What the environment asks for. An empty variable is none, as the specification has it."""
    given = {name: value.strip() for name, value in environ.items() if name.startswith("OTEL_") and value.strip()}
    if given.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Config()
    troubles: list[str] = []
    exporters = {signal: found for signal in Signal if (found := tuple(_exporters(signal, given, troubles)))}
    if not exporters:
        return Config(troubles=tuple(troubles))
    numbers = _Numbers(given, troubles)
    return Config(
        exporters,
        _batching(numbers, "OTEL_BSP", 5_000),
        _batching(numbers, "OTEL_BLRP", 1_000),
        numbers.of("OTEL_METRIC_EXPORT_INTERVAL", 60_000, _LONGEST * 1_000) / 1_000,
        tuple(troubles),
    )


def _exporters(signal: Signal, given: Mapping[str, str], troubles: list[str]) -> Iterator[Exporter]:
    endpoint = f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
    reachable = endpoint in given or "OTEL_EXPORTER_OTLP_ENDPOINT" in given
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    names = given.get(variable, "otlp" if reachable else "none").lower()
    for name in dict.fromkeys(each.strip() for each in names.split(",")):
        match name:
            case "otlp":
                if _speaks(signal, given, troubles):
                    yield Exporter.OTLP
            case "console" | "logging":
                yield Exporter.CONSOLE
            case "none" | "":
                pass
            case "prometheus" if signal is Signal.METRICS:
                pass  # served on a port of its own, without any library
            case _:
                troubles.append(f"{variable} asks for {_shown(name)}, which procq has not: otlp, console or none")


def _speaks(signal: Signal, given: Mapping[str, str], troubles: list[str]) -> bool:
    for variable in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if variable in given:
            if given[variable].lower() == _PROTOCOL:
                return True
            what = (
                f"{variable} asks for {_shown(given[variable])}: procq speaks {_PROTOCOL} only, and sends no {signal}"
            )
            troubles.append(what)
            return False
    return True


@dataclass(frozen=True, slots=True)
class _Numbers:
    given: Mapping[str, str]
    troubles: list[str]

    def of(self, variable: str, default: int, most: float) -> int:
        """A whole number above 0, at most `most`."""
        text = self.given.get(variable)
        if text is None:
            return default
        if text.isdecimal() and text.isascii() and 0 < int(text) <= most:
            return int(text)
        self.troubles.append(f"{variable} is {_shown(text)}, no number from 1 to {most:g}: {default} is used")
        return default


def _batching(numbers: _Numbers, prefix: str, delay: int) -> Batching:
    most = numbers.of(f"{prefix}_MAX_QUEUE_SIZE", 2_048, _MOST)
    batch = numbers.of(f"{prefix}_MAX_EXPORT_BATCH_SIZE", min(512, most), _MOST)
    return Batching(numbers.of(f"{prefix}_SCHEDULE_DELAY", delay, _LONGEST * 1_000) / 1_000, most, min(batch, most))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
