"""Where metrics are served by TCP, and who is answered there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

import h11
import pytest

from procq.daemon.metrics_port import Address, refusal, serve_at, wanted
from procq.telemetry.family import Family

ON = {"OTEL_METRICS_EXPORTER": "prometheus"}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_METRICS_EXPORTER": ""},
        {"OTEL_METRICS_EXPORTER": "otlp,console"},
        {"OTEL_EXPORTER_PROMETHEUS_PORT": "9464"},
        ON | {"OTEL_SDK_DISABLED": "True"},
    ],
)
def test_nobody_asks_for_it(environ: dict[str, str]) -> None:
    assert wanted(environ) is None


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({}, "127.0.0.1:9464"),
        ({"OTEL_METRICS_EXPORTER": "otlp , Prometheus"}, "127.0.0.1:9464"),
        ({"OTEL_EXPORTER_PROMETHEUS_PORT": "", "OTEL_EXPORTER_PROMETHEUS_HOST": ""}, "127.0.0.1:9464"),
        ({"OTEL_EXPORTER_PROMETHEUS_PORT": "80", "OTEL_EXPORTER_PROMETHEUS_HOST": "0.0.0.0"}, "0.0.0.0:80"),
        ({"OTEL_EXPORTER_PROMETHEUS_HOST": "::1"}, "[::1]:9464"),
        ({"OTEL_SDK_DISABLED": "false"}, "127.0.0.1:9464"),
    ],
)
def test_where_it_is_served(more: dict[str, str], shown: str) -> None:
    assert str(wanted(ON | more)) == shown


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "94 64", "٩٤٦٤"])
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(ValueError, match="OTEL_EXPORTER_PROMETHEUS_PORT is"):
        wanted(ON | {"OTEL_EXPORTER_PROMETHEUS_PORT": port})


@pytest.mark.parametrize("host", ["foo..bar", "a" * 64, "a\0b", "a\udcff"])
def test_what_is_no_host_is_told_once_and_harms_nobody(host: str) -> None:
    told: list[str] = []

    async def story() -> None:
        async with asyncio.timeout(10):
            await serve_at(Address(host, 9464), nothing, told.append)

    asyncio.run(story())
    assert told == [f"metrics are not served: {host!r} is no name and no address of a host"]
    told[0].encode()


async def nothing() -> Sequence[Family]:
    return []


def asked(host: str, target: str = "/metrics", method: str = "GET") -> h11.Request:
    return h11.Request(method=method, target=target, headers=[("Host", host)])


@pytest.mark.parametrize(
    ("host", "listens", "status"),
    [
        ("localhost:9464", "127.0.0.1", None),
        ("127.0.0.1", "localhost", None),
        ("[::1]:9464", "::1", None),
        ("127.8.8.8:1", "127.0.0.1", None),
        ("rebound.example:9464", "127.0.0.1", HTTPStatus.MISDIRECTED_REQUEST),
        ("10.0.0.7:9464", "127.0.0.1", HTTPStatus.MISDIRECTED_REQUEST),
        ("localhost.example", "::1", HTTPStatus.MISDIRECTED_REQUEST),
        ("metrics.example:9464", "0.0.0.0", None),
        ("10.0.0.7:9464", "10.0.0.7", None),
    ],
)
def test_on_a_local_address_only_local_names_are_answered(host: str, listens: str, status: HTTPStatus | None) -> None:
    assert refusal(asked(host), Address(listens)) is status


def test_nothing_else_is_answered() -> None:
    assert refusal(asked("localhost", "/"), Address()) is HTTPStatus.NOT_FOUND
    assert refusal(asked("localhost", "/metrics?a", "POST"), Address()) is HTTPStatus.METHOD_NOT_ALLOWED
