"""What is sent, where to, and how; and what the standard variables of OpenTelemetry ask for. Pure.

What a file asks for is read by `declared`; whether anything asks at all is found out by `asked`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from procq.telemetry.resource import Value, given


class Signal(StrEnum):
    """What may be sent."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


class Means(StrEnum):
    """How; as the components are called in a file."""

    HTTP = "otlp_http"
    GRPC = "otlp_grpc"
    CONSOLE = "console"


class Compression(StrEnum):
    """Of what is sent by OTLP. gRPC has no deflate."""

    NONE = "none"
    GZIP = "gzip"
    DEFLATE = "deflate"


_PROTOCOLS: Final[Mapping[str, Means]] = {"http/protobuf": Means.HTTP, "grpc": Means.GRPC}
LONGEST: Final = 86_400_000
"""Milliseconds; nothing that is set waits for longer."""
MOST: Final = 65_536
"""Records of a queue."""


@dataclass(frozen=True, slots=True)
class Batching:
    """Records wait for `delay` seconds or until `batch` are there; of more than `queue` the oldest are dropped."""

    delay: float
    queue: int = 2_048
    batch: int = 512


NEWEST: Final = Batching(0.0, queue=1, batch=1)
"""Of numbers that could not be sent yet the newest tell everything: they only grow, or are as they are."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A receiver of OTLP. Addresses and headers may hold secrets, so nothing shows them. `timeout` is in seconds.

    `ca` is the path of what the receiver's certificate is checked with, `key` and `cert` are those of our own.
    `insecure` says whether TLS is left out where the address of a receiver by gRPC does not say so.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 10.0
    compression: Compression = Compression.NONE
    ca: str | None = None
    key: str | None = None
    cert: str | None = None
    insecure: bool = False

    @property
    def place(self) -> str:
        """Whom messages name: host and port, without what else an address may hold."""
        return urlsplit(self.url if "://" in self.url else f"//{self.url}").netloc.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Way:
    """One way out for one signal. Without an endpoint the libraries ask the variables, and no file is given."""

    means: Means
    batching: Batching
    endpoint: Endpoint | None = None
    interval: float = 60.0
    """Seconds between two readings of all numbers; for metrics."""


@dataclass(frozen=True, slots=True)
class Config:
    """Which signals are sent and how. `troubles` are sentences about what could not be obeyed.

    `broken`: a file that should say it is not used, which is one of the troubles.
    """

    ways: Mapping[Signal, tuple[Way, ...]] = field(default_factory=dict)
    resource: Mapping[str, Value] = field(default_factory=dict)
    """What is said of who sends."""
    pages: tuple[tuple[str, int], ...] = ()
    """Hosts and ports where a file wants /metrics to be served."""
    troubles: tuple[str, ...] = ()
    broken: bool = False

    @property
    def on(self) -> bool:
        """Whether anything is sent, or cannot be and has to be told."""
        return bool(self.ways or self.troubles)

    def named(self, signal: Signal, way: Way) -> str:
        """What is sent that way, in messages; and whither, where it is sent to several."""
        several = len(self.ways[signal]) > 1
        return f"{signal} to {way.endpoint.place}" if several and way.endpoint is not None else str(signal)

    @property
    def early(self) -> int:
        """How many spans are kept until there is something to send them."""
        return max((way.batching.queue for way in self.ways.get(Signal.TRACES, ())), default=2_048)


def read(environ: Mapping[str, str]) -> Config:
    """What the variables ask for. An empty variable is none, as the specification has it."""
    named = {name: value.strip() for name, value in environ.items() if name.startswith("OTEL_") and value.strip()}
    if named.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Config()
    troubles: list[str] = []
    means = {signal: found for signal in Signal if (found := tuple(_means(signal, named, troubles)))}
    if not means:
        return Config(troubles=tuple(troubles))
    numbers = _Numbers(named, troubles)
    batching = {
        Signal.TRACES: _batching(numbers, "OTEL_BSP", 5_000),
        Signal.LOGS: _batching(numbers, "OTEL_BLRP", 1_000),
        Signal.METRICS: NEWEST,
    }
    interval = numbers.of("OTEL_METRIC_EXPORT_INTERVAL", 60_000, LONGEST) / 1_000
    ways = {
        signal: tuple(Way(each, batching[signal], interval=interval) for each in chosen)
        for signal, chosen in means.items()
    }
    return Config(ways, given(environ), troubles=tuple(troubles))


def _means(signal: Signal, named: Mapping[str, str], troubles: list[str]) -> Iterator[Means]:
    endpoint = f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"
    reachable = endpoint in named or "OTEL_EXPORTER_OTLP_ENDPOINT" in named
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    names = named.get(variable, "otlp" if reachable else "none").lower()
    for name in dict.fromkeys(each.strip() for each in names.split(",")):
        match name:
            case "otlp":
                protocol = _protocol(signal, named, troubles)
                if protocol is not None:
                    yield protocol
            case "console" | "logging":
                yield Means.CONSOLE
            case "none" | "":
                pass
            case "prometheus" if signal is Signal.METRICS:
                pass  # served on a port of its own, without any library
            case _:
                troubles.append(f"{variable} asks for {_shown(name)}, which procq has not: otlp, console or none")


def _protocol(signal: Signal, named: Mapping[str, str], troubles: list[str]) -> Means | None:
    for variable in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if variable in named:
            found = _PROTOCOLS.get(named[variable].lower())
            if found is None:
                asked, speaks = _shown(named[variable]), " and ".join(_PROTOCOLS)
                troubles.append(f"{variable} asks for {asked}: procq speaks {speaks}, and sends no {signal}")
            return found
    return Means.HTTP


@dataclass(frozen=True, slots=True)
class _Numbers:
    named: Mapping[str, str]
    troubles: list[str]

    def of(self, variable: str, default: int, most: int) -> int:
        """A whole number above 0, at most `most`."""
        text = self.named.get(variable)
        if text is None:
            return default
        if text.isdecimal() and text.isascii() and 0 < int(text) <= most:
            return int(text)
        self.troubles.append(f"{variable} is {_shown(text)}, no number from 1 to {most}: {default} is used")
        return default


def _batching(numbers: _Numbers, prefix: str, delay: int) -> Batching:
    most = numbers.of(f"{prefix}_MAX_QUEUE_SIZE", 2_048, MOST)
    batch = numbers.of(f"{prefix}_MAX_EXPORT_BATCH_SIZE", min(512, most), MOST)
    return Batching(numbers.of(f"{prefix}_SCHEDULE_DELAY", delay, LONGEST) / 1_000, most, min(batch, most))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
