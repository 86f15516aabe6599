"""What a configuration file of OpenTelemetry asks for: its declarative configuration, file_format 1.x. Pure.

A file that is wrong anywhere in what is used here is not used at all, as the specification has it: half of it would
send something else, or elsewhere. What is right and has no effect here, as views, is told, and the rest is obeyed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from operator import itemgetter
from typing import Final, cast

from procq.telemetry.config import LONGEST, MOST, NEWEST, Batching, Config, Signal, Way
from procq.telemetry.declared_way import way
from procq.telemetry.document import Items, Node, Scalar, Table, Unreadable, below, null, parse
from procq.telemetry.fields import Notes
from procq.telemetry.resource import Value, listed

MAJOR: Final = 1
MINOR: Final = 1
_PROVIDERS: Final = {
    Signal.TRACES: ("tracer_provider", "limits tracer_configurator/development", "id_generator"),
    Signal.LOGS: ("logger_provider", "limits logger_configurator/development", ""),
}
"""Where the processors of a signal are, with the other keys there: those that are told, and those that are not."""
_READING: Final = "producers cardinality_limits max_export_batch_size/development"
_ELSEWHERE: Final = "propagator log_level instrumentation/development distribution"
"""What only concerns programs that hand on contexts and have instrumentation."""
_DELAYS: Final = {Signal.TRACES: 5_000, Signal.LOGS: 1_000}
_FORMAT: Final = re.compile(r"(\d{1,4})\.(\d{1,4})(-[0-9A-Za-z.-]+)?")
_TYPES: Final[Mapping[str, type]] = {"string": str, "bool": bool, "int": int, "double": float}


def declared(text: str, name: str, environ: Mapping[str, str]) -> Config:
    """What the file `name`, which holds `text`, asks for; `environ` is what `${NAME}` is taken from."""
    try:
        root = parse(text, environ)
    except Unreadable as error:
        return off(name, str(error))
    notes = Notes()
    config = _File(notes).config(root)
    wrong = notes.wrong()
    if wrong is not None:
        return off(name, wrong)
    if config is None:
        return Config()
    if notes.unused:
        unused = ", ".join(f"{path} (line {line})" for path, line in sorted(notes.unused.items(), key=itemgetter(1)))
        return replace(config, troubles=(f"telemetry: of {name} procq does not use {unused}",))
    return config


def off(name: str, why: str) -> Config:
    """Nothing is sent, because of something about the file."""
    return Config(troubles=(f"telemetry is off: {name}, {why}",), broken=True)


class _File:
    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def config(self, root: Node) -> Config | None:
        """None where it is disabled."""
        self._format(root)
        providers = " ".join((*(key for key, _, _ in _PROVIDERS.values()), "meter_provider"))
        known = f"file_format disabled resource {providers}"
        fields = self._notes.fields(root, known, "attribute_limits", _ELSEWHERE, extensible=True)
        resource = self._resource(fields.node("resource"))
        ways: dict[Signal, tuple[Way, ...]] = {}
        for signal, (key, unused, silent) in _PROVIDERS.items():
            if (provider := fields.node(key)) is not None:
                ways[signal] = tuple(self._processors(signal, provider, unused, silent))
        traces = fields.node("tracer_provider")
        if traces is not None and not self._sampled(below(traces, "sampler")):
            del ways[Signal.TRACES]
        pages: list[tuple[str, int]] = []
        if (provider := fields.node("meter_provider")) is not None:
            ways[Signal.METRICS] = tuple(self._readers(provider, pages))
        if fields.flag("disabled"):
            return None
        return Config({signal: found for signal, found in ways.items() if found}, resource, tuple(pages))

    def _format(self, root: Node) -> None:
        """Which version it is of. A later one may have keys that mean something there."""
        found = below(root, "file_format")
        if found is None:
            if isinstance(root, Table):
                self._notes.fault(root, "has no `file_format`")
            return
        version = _FORMAT.fullmatch(found.text) if isinstance(found, Scalar) else None
        if version is None or int(version[1]) != MAJOR:
            self._notes.fault(found, f'is no version that procq reads: "{MAJOR}.0" to "{MAJOR}.{MINOR}"')
        self._notes.lenient = version is not None and int(version[2]) > MINOR

    # --- who sends ----------------------------------------------------------------------------------------------

    def _resource(self, node: Node | None) -> dict[str, Value]:
        if node is None:
            return {}
        fields = self._notes.fields(node, "attributes attributes_list", "schema_url", "detection/development")
        found: dict[str, Value] = {**listed(fields.text("attributes_list") or "")}
        for each in fields.items("attributes"):
            entry = self._notes.fields(each, "name value type")
            name, kind = entry.named(), entry.text("type") or "string"
            value = entry.required("value")
            if name is None or value is None or null(value):
                continue
            typed = _typed(value, kind)
            if typed is None:
                self._notes.fault(value, "is not of the `type` that stands beside it: string, if none does")
            else:
                found[name] = typed
        return found

    # --- traces and the log -------------------------------------------------------------------------------------

    def _processors(self, signal: Signal, node: Node, unused: str, silent: str) -> Iterator[Way]:
        traces = signal is Signal.TRACES
        fields = self._notes.fields(node, "processors sampler" if traces else "processors", unused, silent)
        for each in fields.items("processors", required=True):
            found = self._notes.one_of(each, ("batch", "simple"), "processor")
            if found is None:
                continue
            name, processor = found
            if name == "simple":
                # What would send at once and wait for it is sent at once, and nobody waits.
                yield from way(signal, self._notes.fields(processor, "exporter"), Batching(0.0, batch=1))
                continue
            given = self._notes.fields(
                processor, "schedule_delay export_timeout max_queue_size max_export_batch_size exporter"
            )
            queue = given.whole("max_queue_size", 2_048, 1, MOST)
            batch = given.whole("max_export_batch_size", 512, 1, MOST)
            delay = given.whole("schedule_delay", _DELAYS[signal], 0, LONGEST)
            bound = given.whole("export_timeout", 30_000)
            yield from way(signal, given, Batching(delay / 1_000, queue, min(batch, queue)), bound)

    def _sampled(self, sampler: Node | None) -> bool:
        """Whether traces are sent at all. Between all and none there is nothing: procq has few, and they are whole."""
        if sampler is None or null(sampler):
            return True
        parent_based = below(sampler, "parent_based")
        root = sampler if parent_based is None else below(parent_based, "root")
        if root is None or below(root, "always_on") is not None:
            return True
        if below(root, "always_off") is None:
            self._notes.skip(sampler)
            return True
        return False

    # --- numbers ------------------------------------------------------------------------------------------------

    def _readers(self, node: Node, pages: list[tuple[str, int]]) -> Iterator[Way]:
        unused = "views meter_configurator/development view_matching_mode/development"
        fields = self._notes.fields(node, "readers", unused, "exemplar_filter")
        for each in fields.items("readers", required=True):
            found = self._notes.one_of(each, ("periodic", "pull"), "reader")
            if found is None:
                continue
            name, reader = found
            if name == "pull":
                self._page(reader, pages)
                continue
            given = self._notes.fields(reader, "interval timeout exporter", _READING)
            # An interval of 0 would be no interval.
            interval = max(1, given.whole("interval", 60_000, 0, LONGEST)) / 1_000
            yield from way(Signal.METRICS, given, NEWEST, given.whole("timeout", 30_000), interval)

    def _page(self, reader: Node, pages: list[tuple[str, int]]) -> None:
        exporter = self._notes.fields(reader, "exporter", _READING).required("exporter")
        if exporter is None:
            return
        found = self._notes.one_of(exporter, ("prometheus/development", "prometheus"), "exporter")
        if found is not None:
            unused = "resource_constant_labels with_resource_constant_labels translation_strategy"
            silent = "scope_info_enabled target_info_enabled/development without_scope_info without_target_info"
            given = self._notes.fields(found[1], "host port", unused, silent)
            pages.append((given.text("host") or "localhost", given.whole("port", 9_464, 1, 65_535)))


def _typed(node: Node, kind: str) -> Value | None:
    """A value of an attribute; None where it is not what its type says."""
    if kind.endswith("_array"):
        if not isinstance(node, Items) or not node.items:
            return None
        several = [_typed(each, kind.removesuffix("_array")) for each in node.items]
        return None if None in several else cast(Value, tuple(several))
    wanted = _TYPES.get(kind)
    if wanted is None or not isinstance(node, Scalar):
        return None
    if wanted is str:
        return node.text
    if wanted is float and type(node.value) is int:
        return float(node.value)
    return node.value if type(node.value) is wanted else None
