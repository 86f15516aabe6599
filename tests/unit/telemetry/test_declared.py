"""Configuration by file: what each asks for, and what is told of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from procq.telemetry.config import NEWEST, Batching, Compression, Config, Endpoint, Means, Signal, Way
from procq.telemetry.declared import declared

TRACES = """\
file_format: "1.0"
tracer_provider:
  processors:
    - batch:
        exporter:
          otlp_http:
"""
NO_LIST = "is not what it should be: a list, each item after a `-`"
NO_TABLE = "is not what it should be: below it stand keys, each in a line of its own"
NO_HEADER = "has a header that cannot be sent: visible characters of ASCII can"
HTTP = Endpoint("http://localhost:4318/v1/traces")
GRPC = Endpoint("http://localhost:4317")


def asked(text: str, **environ: str) -> Config:
    return declared(text, "otel.yaml", environ)


def traces(exporter: str, **environ: str) -> Endpoint:
    """Where the one exporter that is given in flow style sends traces."""
    config = asked(
        f'file_format: "1.0"\ntracer_provider: {{processors: [{{batch: {{exporter: {exporter}}}}}]}}', **environ
    )
    assert config.troubles == (), config.troubles
    (way,) = config.ways[Signal.TRACES]
    assert way.endpoint is not None
    return way.endpoint


def wrong(text: str, **environ: str) -> str:
    """What is told of a file that is not used, without what is the same for all."""
    config = asked(text, **environ)
    (told,) = config.troubles
    assert config == Config(troubles=(told,), broken=True), "nothing of it is used"
    assert told.startswith("telemetry is off: otel.yaml, ")
    return told.removeprefix("telemetry is off: otel.yaml, ")


def test_defaults_are_those_of_the_specification() -> None:
    text = TRACES + (
        "logger_provider:\n  processors:\n    - batch: {exporter: {otlp_grpc: {}}}\n"
        "meter_provider:\n  readers:\n    - periodic: {exporter: {console: }}\n"
    )
    assert asked(text) == Config(
        {
            Signal.TRACES: (Way(Means.HTTP, Batching(5.0), HTTP),),
            Signal.LOGS: (Way(Means.GRPC, Batching(1.0), GRPC),),
            Signal.METRICS: (Way(Means.CONSOLE, NEWEST),),
        }
    )


def test_everything_that_is_used() -> None:
    config = asked(
        """\
file_format: "1.0"
disabled: ${OTEL_SDK_DISABLED:-false}
resource:
  attributes_list: "team=mail%20room,stage=${STAGE:-live}"
  attributes:
    - {name: service.name, value: shop}
    - {name: stage, value: "trial"}
    - {name: number, value: 7, type: int}
    - {name: share, value: 1, type: double}
    - {name: yes, value: true, type: bool}
    - {name: names, value: [a, b], type: string_array}
    - {name: none, value: }
tracer_provider:
  sampler: {parent_based: {root: {always_on: }}}
  processors:
    - batch:
        schedule_delay: 200
        export_timeout: 4000
        max_queue_size: 100
        max_export_batch_size: 200
        exporter:
          otlp_http:
            endpoint: https://one.example/v1/traces
            headers:
              - {name: Api-Key, value: "${KEY}"}
              - {name: left-out, value: }
            headers_list: api-key=less,other=b%20c
            compression: deflate
            timeout: 5000
            encoding: protobuf
            tls: {ca_file: /ca.pem, key_file: /key.pem, cert_file: /cert.pem}
    - simple: {exporter: {otlp_grpc: {endpoint: "two.example:4317", tls: {insecure: true}, compression: gzip}}}
meter_provider:
  readers:
    - periodic: {interval: 1500, timeout: 0, exporter: {otlp_http: {timeout: 0, temporality_preference: cumulative}}}
    - periodic: {interval: 0, exporter: {console: {default_histogram_aggregation: explicit_bucket_histogram}}}
    - pull: {exporter: {prometheus/development: {host: 0.0.0.0, port: 9500, scope_info_enabled: false}}}
    - pull: {exporter: {prometheus/development: }}
""",
        KEY="12345",
    )
    assert config.troubles == ()
    assert config.resource == {
        "team": "mail room",
        "stage": "trial",
        "service.name": "shop",
        "number": 7,
        "share": 1.0,
        "yes": True,
        "names": ("a", "b"),
    }
    assert isinstance(config.resource["share"], float)
    one = Endpoint(
        "https://one.example/v1/traces",
        {"api-key": "12345", "other": "b c"},
        4.0,
        Compression.DEFLATE,
        "/ca.pem",
        "/key.pem",
        "/cert.pem",
    )
    two = Endpoint("two.example:4317", {}, 10.0, Compression.GZIP, insecure=True)
    assert config.ways[Signal.TRACES] == (
        Way(Means.HTTP, Batching(0.2, 100, 100), one),
        Way(Means.GRPC, Batching(0.0, batch=1), two),
    )
    unbounded = Endpoint("http://localhost:4318/v1/metrics", timeout=86_400.0)
    assert config.ways[Signal.METRICS] == (
        Way(Means.HTTP, NEWEST, unbounded, 1.5),
        Way(Means.CONSOLE, NEWEST, None, 0.001),
    )
    assert config.pages == (("0.0.0.0", 9500), ("localhost", 9464))
    assert Signal.LOGS not in config.ways, "what is left out is not sent"


def test_other_variables_say_nothing() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://elsewhere",
        "OTEL_SERVICE_NAME": "elsewhere",
        "OTEL_SDK_DISABLED": "true",
        "OTEL_LOGS_EXPORTER": "console",
        "OTEL_BSP_SCHEDULE_DELAY": "1",
    }
    assert asked(TRACES, **environ) == asked(TRACES)


def test_what_is_disabled_is_not_sent_and_not_told() -> None:
    assert asked(TRACES + "disabled: true\nattribute_limits: {attribute_count_limit: 1}\n") == Config()
    assert asked(TRACES + "disabled: ${OFF}\n", OFF="TRUE") == Config()
    assert asked(TRACES + "disabled:\n").on


def test_a_sampler_is_one_of_traces() -> None:
    text = (
        "file_format: 1.0\nlogger_provider: {sampler: {always_off: }, processors: [{batch: {exporter: {console: }}}]}\n"
    )
    assert "`logger_provider.sampler` is not known here" in wrong(text)
    assert "has no `processors`" in wrong("file_format: 1.0\ntracer_provider: {sampler: {always_off: }}\n")
    assert asked(TRACES + "  sampler:\n") == asked(TRACES)


def test_the_example_of_the_documentation_is_right() -> None:
    page = Path(__file__).parents[3] / "docs" / "telemetry.md"
    (example,) = re.findall(r"```yaml\n(file_format.*?)```", page.read_text("utf-8"), re.DOTALL)
    config = asked(example, OTEL_SERVICE_NAME="shop", API_KEY="1")
    assert config.troubles == ()
    assert config.resource == {"service.name": "shop"}
    assert {signal: [way.means for way in ways] for signal, ways in config.ways.items()} == {
        Signal.TRACES: [Means.HTTP, Means.GRPC],
        Signal.METRICS: [Means.HTTP],
        Signal.LOGS: [Means.GRPC],
    }
    assert config.pages == (("localhost", 9464),)


@pytest.mark.parametrize("sampler", ["{always_off: }", "{parent_based: {root: {always_off: {}}}}"])
def test_no_trace_is_sent_where_none_is_sampled(sampler: str) -> None:
    assert asked(TRACES + f"  sampler: {sampler}\n") == Config()


@pytest.mark.parametrize(
    ("more", "unused"),
    [
        ("propagator: {composite: [{tracecontext: }]}\nlog_level: info\ninstrumentation/development: {}\n", ""),
        ("  id_generator: {random: }\n  limits:\n", ""),
        ("  limits: {link_count_limit: 1}\n", "tracer_provider.limits (line 7)"),
        ("  sampler: {trace_id_ratio_based: {ratio: 0.1}}\n", "tracer_provider.sampler (line 7)"),
        ("attribute_limits: {attribute_count_limit: 1}\n", "attribute_limits (line 7)"),
        ("tracer_provder: {}\nmine: {}\n", "tracer_provder (line 7), mine (line 8)"),
        ("resource: {schema_url: 'http://s', detection/development: {}}\n", "resource.schema_url (line 7)"),
        (
            "meter_provider:\n  exemplar_filter: always_off\n  views: [{selector: {}, stream: {}}]\n  readers:\n"
            "    - periodic:\n        cardinality_limits: {default: 1}\n        exporter:\n"
            "          otlp_http: {temporality_preference: delta}\n",
            "meter_provider.views (line 9), meter_provider.readers[0].periodic.cardinality_limits (line 12), "
            "meter_provider.readers[0].periodic.exporter.otlp_http.temporality_preference (line 14)",
        ),
        ("            new/alpha: 1\n", "tracer_provider.processors[0].batch.exporter.otlp_http.new/alpha (line 7)"),
    ],
)
def test_what_has_no_effect_is_told_once_and_the_rest_is_obeyed(more: str, unused: str) -> None:
    config = asked(TRACES + more)
    assert config.ways[Signal.TRACES] == (Way(Means.HTTP, Batching(5.0), HTTP),)
    assert config.troubles == ((f"telemetry: of otel.yaml procq does not use {unused}",) if unused else ())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [\n", "line 2: this is not YAML"),
        ("[]", f"line 1: the file {NO_TABLE}"),
        ("a: 1", "line 1: the file has no `file_format`"),
        ('file_format: "0.4"', 'line 1: `file_format` is no version that procq reads: "1.0" to "1.1"'),
        ("file_format: hunter2", 'line 1: `file_format` is no version that procq reads: "1.0" to "1.1"'),
        ("file_format: [1]", 'line 1: `file_format` is no version that procq reads: "1.0" to "1.1"'),
        ("file_format: 1.0\ndisabled: yes", "line 2: `disabled` is neither `true` nor `false`"),
        ("file_format: 1.0\ntracer_provider:\n", "line 2: `tracer_provider` has no `processors`"),
        (
            "file_format: 1.0\ntracer_provider: {processors: []}\n",
            f"line 2: `tracer_provider.processors` {NO_LIST}",
        ),
        (
            "file_format: 1.0\ntracer_provider: {processors: [{bacth: {}}]}\n",
            "line 2: `tracer_provider.processors[0].bacth` is no processor that procq has: `batch`, `simple`",
        ),
        (
            "file_format: 1.0\nlogger_provider: {processors: [{batch: {}, simple: {}}]}\n",
            "line 2: `logger_provider.processors[0]` names no processor: one of `batch`, `simple`",
        ),
        (
            "file_format: 1.0\nlogger_provider: {processors: [{batch: }]}\n",
            "line 2: `logger_provider.processors[0].batch` has no `exporter`",
        ),
        (
            "file_format: 1.0\nmeter_provider: {readers: [{periodic: {exporter: {zipkin: {secret: hunter2}}}}]}\n",
            "line 2: `meter_provider.readers[0].periodic.exporter.zipkin` is no exporter that procq has: `otlp_http`, "
            "`otlp_grpc`, `console`",
        ),
        (
            "file_format: 1.0\nmeter_provider: {readers: [{pull: {exporter: {prometheus/development: {port: 0}}}}]}\n",
            "line 2: `meter_provider.readers[0].pull.exporter.prometheus/development.port` is no whole number from 1 "
            "to 65535",
        ),
        (
            "file_format: 1.0\nresource: {attributes: [{name: a}, {value: 1}]}\n",
            "line 2: `resource.attributes[0]` has no `value`",
        ),
        (
            "file_format: 1.0\nresource:\n  attributes:\n  - {name: a, value: hunter2, type: int}\n"
            "  - {name: b, value: true, type: int}\n  - {name: c, value: [1, b], type: int_array}\n"
            "  - {name: d, value: [1]}\n  - {name: e, value: 1, type: hunter2}\n  - {name: f, value: 1.5, type: int}\n",
            "; ".join(
                f"line {n + 4}: `resource.attributes[{n}].value` is not of the `type` that stands beside it: string, "
                "if none does"
                for n in range(5)
            )
            + "; and 1 more",
        ),
        ("file_format: 1.0\nresource: {attributes: hunter2}", f"line 2: `resource.attributes` {NO_LIST}"),
    ],
)
def test_a_file_that_is_wrong_is_not_used_and_the_place_is_told(text: str, told: str) -> None:
    assert wrong(text) == told


HTTP_PATH = "`tracer_provider.processors[0].batch.exporter.otlp_http"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("endpont: http://hunter2", f"{HTTP_PATH}.endpont` is not known here: did you mean `endpoint`?"),
        ("insecure: true", f"{HTTP_PATH}.insecure` is not known here"),
        ("endpoint: hunter2", f"{HTTP_PATH}.endpoint` is no address: as in `http://localhost:4318/…`"),
        ("endpoint: http://a:b", f"{HTTP_PATH}.endpoint` is no address: as in `http://localhost:4318/…`"),
        ("endpoint: [hunter2]", f"{HTTP_PATH}.endpoint` is not what it should be: one value, in the same line"),
        ("timeout: 5s", f"{HTTP_PATH}.timeout` is no whole number from 0 to 2147483648"),
        ("timeout: true", f"{HTTP_PATH}.timeout` is no whole number from 0 to 2147483648"),
        ("timeout: -1", f"{HTTP_PATH}.timeout` is no whole number from 0 to 2147483648"),
        ("compression: hunter2", f"{HTTP_PATH}.compression` is none of `none`, `gzip`, `deflate`"),
        ("encoding: json", f"{HTTP_PATH}.encoding` is none of `protobuf`"),
        ("tls: {ca_file: hunter2.pem}", f"{HTTP_PATH}.tls.ca_file` is no absolute path"),
        ("tls: {key_file: /hunter2}", f"{HTTP_PATH}.tls` needs `key_file` and `cert_file`, or neither of them"),
        ("headers: {api-key: hunter2}", f"{HTTP_PATH}.headers` {NO_LIST}"),
        ("headers: [hunter2]", f"{HTTP_PATH}.headers[0]` {NO_TABLE}"),
        ("headers: [{name: api-key}]", f"{HTTP_PATH}.headers[0]` has no `value`"),
        ("headers: [{value: hunter2}]", f"{HTTP_PATH}.headers[0]` has no `name`"),
        ("headers_list: hunter2", f"{HTTP_PATH}.headers_list` is no list as `name=value,other=value`"),
        ("headers_list: ${SECRET}", f"{HTTP_PATH}.headers_list` is no list as `name=value,other=value`"),
        ('headers: [{name: a, value: "hunter2\\n"}]', f"{HTTP_PATH}` {NO_HEADER}"),
        ("headers_list: 'a b=hunter2'", f"{HTTP_PATH}` {NO_HEADER}"),
    ],
)
def test_an_exporter_that_is_wrong_is_told_without_what_stands_there(lines: str, told: str) -> None:
    found = wrong(TRACES + f"            {lines}\n", SECRET="hunter2")
    assert found.partition(": ")[2] == told
    assert "hunter2" not in found


def test_a_later_version_may_have_keys_that_are_not_known() -> None:
    text = TRACES.replace("1.0", "1.7") + "            later: 1\n"
    path = "tracer_provider.processors[0].batch.exporter.otlp_http.later (line 7)"
    assert asked(text).troubles == (f"telemetry: of otel.yaml procq does not use {path}",)
    assert asked(text).ways == asked(TRACES).ways
    assert "is not known here" in wrong(text.replace("1.7", "1.1"))


@pytest.mark.parametrize(
    ("endpoint", "right"),
    [
        ("http://a:4317", True),
        ("a:4317", True),
        ("unix:///run/otel", False),
        ("a b", False),
        ("dns:a", True),
        ('"[::1]:4317"', True),
        ('"[::1:4317"', False),
        ('"[name]:4317"', False),
    ],
)
def test_receivers_by_grpc_need_no_scheme(endpoint: str, right: bool) -> None:
    text = TRACES.replace("otlp_http", "otlp_grpc") + f"            endpoint: {endpoint}\n"
    assert (Signal.TRACES in asked(text).ways) is right


def test_a_header_may_look_like_a_number() -> None:
    assert traces("{otlp_http: {headers: [{name: key, value: 1234}]}}").headers == {"key": "1234"}
    assert traces("{otlp_http: {headers_list: 'key=${KEY}'}}", KEY="0x1f").headers == {"key": "0x1f"}


@pytest.mark.parametrize("means", ["otlp_http", "otlp_grpc"])
def test_messages_name_one_of_several_receivers(means: str) -> None:
    text = TRACES.replace("otlp_http:", "otlp_http: {endpoint: 'http://u:hunter2@one:4318/hunter2?hunter2'}")
    one = asked(text)
    assert one.named(Signal.TRACES, one.ways[Signal.TRACES][0]) == "traces"
    more = f"    - simple: {{exporter: {{{means}: {{endpoint: 'http://two'}}}}}}\n"
    two = asked(text + more + "    - simple: {exporter: {console: }}\n")
    assert [two.named(Signal.TRACES, way) for way in two.ways[Signal.TRACES]] == [
        "traces to one:4318",
        "traces to two",
        "traces",
    ]
    assert Endpoint("three:4317").place == "three:4317"


def test_nothing_shows_what_may_be_secret() -> None:
    shown = repr(traces("{otlp_http: {endpoint: 'http://u:hunter2@h/', headers_list: 'key=hunter2'}}"))
    assert "hunter2" not in shown
