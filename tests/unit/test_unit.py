"""The systemd unit that `procq unit` prints."""

from __future__ import annotations

from configparser import RawConfigParser
from dataclasses import replace
from pathlib import Path

from procq import manifest
from procq.service import ServiceManager, without
from procq.unit import MARGIN, Unit, longest_stop, render

SHOP = Unit("shop", "/opt/p/bin/procq", ("up", "/srv/shop/procq.yaml"), "/srv/shop", "/usr/bin", 10.0, "web", 33, False)


def parsed(unit: Unit) -> RawConfigParser:
    parser = RawConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(render(unit))
    return parser


def test_a_unit_of_the_system() -> None:
    service = parsed(SHOP)["Service"]
    assert service["ExecStart"] == "/opt/p/bin/procq up /srv/shop/procq.yaml"
    assert (service["User"], service["RuntimeDirectory"]) == ("web", "procq-33")
    assert service["TimeoutStopSec"] == str(10 + MARGIN)
    assert (service["KillMode"], service["NotifyAccess"], service["Delegate"]) == ("mixed", "main", "yes")
    assert parsed(SHOP)["Install"]["WantedBy"] == "multi-user.target"


def test_reloads_by_what_the_version_knows() -> None:
    old, new = parsed(SHOP)["Service"], parsed(replace(SHOP, reloads=True))["Service"]
    assert (old["Type"], old["ExecReload"]) == ("notify", "/bin/kill -HUP $MAINPID")
    assert new["Type"] == "notify-reload" and "ExecReload" not in new


def test_a_unit_of_the_user_asks_for_nothing_that_only_root_may_have() -> None:
    unit = parsed(replace(SHOP, user=None))
    assert unit["Install"]["WantedBy"] == "default.target"
    assert not [name for name in unit["Service"] if name.startswith(("Protect", "User", "Runtime"))]


def test_what_systemd_would_take_for_something_else_is_quoted() -> None:
    odd = replace(SHOP, name="100%", arguments=("up", '/srv/a b/50%/$HOME/"x"'), directory="/srv/a b/50%")
    unit = parsed(odd)
    assert unit["Service"]["ExecStart"] == '/opt/p/bin/procq up "/srv/a b/50%%/$$HOME/\\"x\\""'
    assert unit["Service"]["WorkingDirectory"] == "/srv/a b/50%%"
    assert unit["Unit"]["Description"] == "procq 100%%"


def test_the_end_takes_one_wave_after_the_other() -> None:
    text = """\
queues:
  a:
    command: sleep 1
    stop:
      grace: 20s
  b:
    command: sleep 1
    after: a
    stop:
      grace: 5s
  c:
    command: sleep 1
    after: a
    stop:
      grace: 7s
"""
    assert longest_stop(manifest.load_text(text.encode(), Path("/srv/procq.yaml"), {}).queues.values()) == 27


def test_the_service_manager_is_found_by_its_socket() -> None:
    told = {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "7"}
    assert ServiceManager.of(told, 7) == ServiceManager("/run/n", 5_000_000)
    assert ServiceManager.of(told, 8) == ServiceManager("/run/n"), "the watchdog is for another process"
    assert ServiceManager.of({**told, "WATCHDOG_USEC": "soon"}, 7) == ServiceManager("/run/n")
    assert ServiceManager.of({"NOTIFY_SOCKET": "@name"}, 1) == ServiceManager("@name")
    for nothing in ("", "/", "@", "vsock:2:3", "relative"):
        assert ServiceManager.of({"NOTIFY_SOCKET": nothing}, 1) is None
    assert without({**told, "PATH": "/bin"}) == {"PATH": "/bin"}
