"""What a manifest means: each key, the merge with defaults, variables, and edits that change nothing."""

from __future__ import annotations

import signal
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import pytest
import strictyaml

from procq.errors import ManifestError
from procq.manifest import load_text
from procq.model import (
    After,
    Backoff,
    CommandCheck,
    Health,
    HttpCheck,
    Limits,
    LogLine,
    LogPolicy,
    Manifest,
    Notify,
    Queue,
    Readiness,
    RestartPolicy,
    RestartWhen,
    Spawned,
    StartRate,
    StopPolicy,
    TcpCheck,
    WorkerId,
)

PATH = Path("/srv/shop/procq.yaml")
ENVIRON = {"HOME": "/home/shop", "COUNT": "3", "TWO": "a b; c", "EMPTY": ""}


def read(text: str) -> Manifest:
    return load_text(dedent(text).encode(), PATH, ENVIRON)


def queue(text: str) -> Queue:
    return read("queues:\n  emails:\n" + "".join(f"    {line}\n" for line in dedent(text).strip().split("\n"))).queues[
        "emails"
    ]


def test_the_smallest_manifest() -> None:
    found = read("queues:\n  emails: celery -A 'my shop' worker")
    assert found == Manifest(
        "shop",
        {
            "emails": Queue(
                "emails", "celery -A 'my shop' worker", ("celery", "-A", "my shop", "worker"), directory="/srv/shop"
            )
        },
        "/srv/shop",
    )


def test_everything() -> None:
    found = read(
        """
        version: 1
        name: toys
        env:
          A: top
          B: top
          C: top
        defaults:
          workers: 4
          directory: sub
          restart: never
          stop:
            signal: INT
            grace: 1m
          env:
            B: defaults
            C: defaults
          logs:
            file: logs/{queue}.{slot}.log
        queues:
          emails: rq worker
          reports:
            command:
              - rq
              - "two words"
              - $HOME && x
            workers: 0
            directory: /opt
            env:
              C: queue
            stop:
              grace: 0.5s
            restart:
              backoff: 1s..1m
            logs:
              file: /var/log/reports
        """
    )
    assert found.name == "toys"
    assert list(found.queues) == ["emails", "reports"]
    assert found.queues["emails"] == Queue(
        "emails",
        "rq worker",
        ("rq", "worker"),
        4,
        "/srv/shop/sub",
        {"A": "top", "B": "defaults", "C": "defaults"},
        StopPolicy(signal.SIGINT, 60.0),
        RestartPolicy(RestartWhen.NEVER),
        LogPolicy("/srv/shop/logs/{queue}.{slot}.log"),
    )
    reports = found.queues["reports"]
    assert reports.argv == ("rq", "two words", "$HOME && x")
    assert reports.command == "rq 'two words' '$HOME && x'"
    assert (reports.workers, reports.directory) == (0, "/opt")
    assert reports.env == {"A": "top", "B": "defaults", "C": "queue"}
    assert reports.stop == StopPolicy(signal.SIGINT, 0.5)
    assert reports.restart == RestartPolicy(RestartWhen.NEVER, Backoff(1.0, 60.0))
    assert reports.logs.file == "/var/log/reports"


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("rq worker", ("rq", "worker")),
        ("rq 'a b' \"c d\" e\\ f", ("rq", "a b", "c d", "e f")),
        ("rq --x=${COUNT}", ("rq", "--x=3")),
        ("rq ${TWO}", ("rq", "a b; c")),
        ("rq ${NOPE:-a b} c", ("rq", "a b", "c")),
        ("rq ${EMPTY}", ("rq", "")),
        ("rq ${EMPTY:-x}", ("rq", "x")),
        ("rq $${COUNT} $$", ("rq", "${COUNT}", "$$")),
        ("rq a#b", ("rq", "a#b")),
        ("rq ?q=1&x", ("rq", "?q=1&x")),
        ("sh -c 'echo $HOME'", ("sh", "-c", "echo $HOME")),
        ("awk '{print $1, $name}' it", ("awk", "{print $1, $name}", "it")),
    ],
)
def test_words_of_a_command(command: str, argv: tuple[str, ...]) -> None:
    assert queue(f"command: {command}").argv == argv


@pytest.mark.parametrize(
    ("command", "script"),
    [
        ("rq worker ${COUNT}", "exec rq worker ${COUNT}"),
        ("/opt/rq 'a b' $HOME", "exec /opt/rq 'a b' $HOME"),
        ("cd shop && rq worker", "cd shop && rq worker"),
        ("rq worker | tee log", "rq worker | tee log"),
        ("DEBUG=1 rq worker", "DEBUG=1 rq worker"),
        ("cd shop", "cd shop"),
        ("exec rq", "exec rq"),
        ("if true", "if true"),
    ],
)
def test_a_shell_runs_the_command_and_a_single_program_replaces_it(command: str, script: str) -> None:
    found = queue(f"command: {command}\nshell: yes")
    assert found.argv == ("/bin/sh", "-c", script)
    assert found.command == command


def test_variables_are_text_until_they_are_read() -> None:
    found = queue(
        "command: x\nworkers: ${COUNT}\ndirectory: ${HOME}/x\nstop:\n  grace: ${NOPE:-2}s\nenv:\n  A: $A $${B} ${TWO}"
    )
    assert (found.workers, found.directory, found.stop.grace) == (3, "/home/shop/x", 2.0)
    assert found.env == {"A": "$A ${B} a b; c"}


@pytest.mark.parametrize("value", ["NO", "1.10", "~", "null", "0x1F", "2024-01-01", "1e3", "'a'", '"b\\n"', ""])
def test_values_stay_what_was_written(value: str) -> None:
    plain = {"'a'": "a", '"b\\n"': "b\n"}.get(value, value)
    assert queue(f"command: x\nenv:\n  A: {value}").env == {"A": plain}


@pytest.mark.parametrize(("text", "number"), [("TERM", 15), ("SIGINT", 2), ("9", 9), ("USR1", 10), ("64", 64)])
def test_signals(text: str, number: int) -> None:
    assert queue(f"command: x\nstop:\n  signal: {text}").stop.signal == number


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0.0), ("1ms", 0.001), ("1.5s", 1.5), ("0.5m", 30.0), ("2h", 7200.0), ("1d", 86400.0), ("0.001s", 0.001)],
)
def test_durations(text: str, seconds: float) -> None:
    assert queue(f"command: x\nstop:\n  grace: {text}").stop.grace == seconds


def test_the_name_comes_from_the_directory() -> None:
    names = {"/srv/my shop": "my-shop", "/": "procq", "/srv/--": "procq", "/srv/.hidden": "hidden"}
    for directory, name in names.items():
        assert load_text(b"queues:\n  a: b\n", Path(directory) / "procq.yaml", {}).name == name


BEFORE = """
env:
  A: "1"
queues:
  emails: rq worker emails
  reports:
    command: rq worker reports
    workers: 2
    stop:
      grace: 30s
      signal: TERM
"""


@pytest.mark.parametrize(
    "after",
    [
        "# a comment\n" + BEFORE.replace("workers: 2", "workers: 2   # two"),
        BEFORE.replace("workers: 2", "workers: '2'").replace("rq worker emails", '"rq worker emails"'),
        BEFORE.replace("30s", "0.5m").replace("TERM", "SIGTERM"),
        BEFORE.replace("      grace: 30s\n      signal: TERM", "      signal: TERM\n      grace: 30s"),
        BEFORE.replace("  emails: rq worker emails", "  emails:\n    command: rq worker emails"),
        BEFORE.replace("  emails: rq worker emails", "  emails: >-\n    rq worker\n    emails"),
        BEFORE.replace('  A: "1"', "  A: 1").replace("\n  ", "\n    "),
        BEFORE.replace('\nenv:\n  A: "1"', "") + "env:\n  A: 1\n",
        BEFORE.replace(
            "    command: rq worker reports\n    workers: 2\n", "    workers: 2\n    command: rq worker reports\n"
        ),
    ],
)
def test_edits_that_change_nothing(after: str) -> None:
    assert after != BEFORE
    assert read(after) == read(BEFORE)


def test_every_byte_passes_strictyaml_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read_texts: list[str] = []
    real = strictyaml.load

    def load(text: str, schema: object) -> object:
        read_texts.append(text)
        return real(text, schema)

    monkeypatch.setattr(strictyaml, "load", load)
    text = "# first\nname: every-byte\nqueues:\n  # one\n  aa: b1\n\n  bb:\n    command: b2\n# two\nenv:\n  A: b\n"
    read(text)
    assert read_texts == [
        "# first\nname: every-byte\nqueues:\n  # one\nenv:\n  A: b\n",
        "  aa: b1\n\n",
        "  bb:\n    command: b2\n# two\n",
    ]
    read_texts.clear()
    read(text.replace("b2", "b3"))
    assert read_texts == ["  bb:\n    command: b3\n# two\n"]


@pytest.mark.parametrize("style", ["|", "|+", "|-", ">", ">+", ">-"])
@pytest.mark.parametrize("end", ["", "\n", "\n\n", "  zz: work\n", "\n  # a comment\n  zz: work", "name: shop\n"])
def test_a_text_block_may_end_a_queue(style: str, end: str) -> None:
    """Its last line break, or the lack of it, is a part of it to some styles."""
    text = f"queues:\n  aa:\n    command: work\n    env:\n      A: {style}\n        one\n        two"
    for whole in (f"{text}\n{end}", text):
        assert read(whole).queues["aa"].env["A"].rstrip("\n") in ("one\ntwo", "one two")


def test_readers_that_disagree_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    other = SimpleNamespace(data={"emails": "something else"})
    monkeypatch.setattr(strictyaml, "load", lambda text, schema: other)
    with pytest.raises(ManifestError, match="do not agree"):
        read("queues:\n  emails: a command of this test\n")


@pytest.mark.parametrize("home", ["/srv/{queue}", "/srv/{slot}{", "/srv/{{queue}}", "/srv/}{"])
def test_braces_in_the_directory_are_not_filled_in(home: str) -> None:
    text = b"queues:\n  emails:\n    command: work\n    logs:\n      file: logs/{queue}/{slot}.log\n"
    found = load_text(text, Path(home) / "procq.yaml", {}).queues["emails"]
    assert found.logs.path(WorkerId("emails", 3)) == f"{home}/logs/emails/3.log"


@pytest.mark.parametrize("key", ["directory", "logs.file"])
def test_a_path_has_a_length_that_the_system_takes(key: str) -> None:
    section, _, name = key.rpartition(".")
    head = f"    {section}:\n      {name}" if section else f"    {name}"
    with pytest.raises(ManifestError, match="longer than the system allows"):
        read(f"queues:\n  emails:\n    command: work\n{head}: {'x/' * 2048}y\n")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("ready: spawned", Readiness(Spawned())),
        ("ready: notify", Readiness(Notify())),
        ("ready:\n  notify: yes\n  timeout: 5m", Readiness(Notify(), 300.0)),
        ("ready:\n  log: '^up \\d+$'", Readiness(LogLine(r"^up \d+$"))),
        ("ready:\n  port: 6379", Readiness(TcpCheck(6379))),
        ("ready:\n  http: http://${TWO:-x}/{slot}", None),
        ("ready:\n  http: http://a:900{slot}/", Readiness(HttpCheck("http://a:900{slot}/"))),
        ("ready:\n  delay: ${COUNT}s", Readiness(After(3.0))),
        ("ready:\n  timeout: 5s", Readiness(Spawned(), 5.0)),
    ],
)
def test_readiness(text: str, meant: Readiness | None) -> None:
    if meant is None:
        with pytest.raises(ManifestError, match="only ASCII, and no spaces"):
            queue(f"command: x\n{text}")
    else:
        assert queue(f"command: x\n{text}").ready == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("health:\n  tcp: 80", Health(TcpCheck(80), 10.0, 5.0, 3)),
        (
            "health:\n  http: https://a/\n  every: 1m\n  timeout: 1s\n  failures: 1",
            Health(HttpCheck("https://a/"), 60, 1, 1),
        ),
        ("health:\n  command: ./ok 'a b' ${TWO}", Health(CommandCheck("./ok 'a b' ${TWO}", ("./ok", "a b", "a b; c")))),
        ("health:\n  command:\n    - sh\n    - a | b", Health(CommandCheck("sh 'a | b'", ("sh", "a | b")))),
        ("health: none", None),
    ],
)
def test_health(text: str, meant: Health | None) -> None:
    assert queue(f"command: x\n{text}").health == meant


def test_what_a_queue_says_of_readiness_and_health_takes_the_place_of_what_defaults_say() -> None:
    found = read(
        """
        defaults:
          ready:
            port: 80
            timeout: 9s
          health:
            tcp: 80
            every: 1s
          watchdog: 30s
          limits:
            memory: 1MiB
            jobs: 10
        queues:
          same: x
          other:
            command: x
            ready:
              log: up
            health:
              command: ./ok
              failures: 9
            watchdog: none
            limits:
              memory: unlimited
              cpu: 150%
          none:
            command: x
            ready: spawned
            health: none
        """
    ).queues
    same, other, none = found["same"], found["other"], found["none"]
    assert (same.ready, same.health) == (Readiness(TcpCheck(80), 9.0), Health(TcpCheck(80), 1.0))
    assert (other.ready, other.health) == (
        Readiness(LogLine("up"), 9.0),
        Health(CommandCheck("./ok", ("./ok",)), 1.0, failures=9),
    )
    assert (none.ready, none.health) == (Readiness(Spawned(), 9.0), None)
    assert (same.watchdog, other.watchdog) == (30.0, None)
    assert (same.limits, other.limits) == (Limits(1 << 20, jobs=10), Limits(None, 1.5, jobs=10))


def test_limits() -> None:
    text = "limits:\n  memory: 512MiB\n  cpu: 250%\n  pids: 9\n  jobs: ${COUNT}\n  age: 6h\n  job_timeout: 1.5m"
    found = queue(f"command: x\nwatchdog: 1s\n{text}")
    assert found.limits == Limits(512 << 20, 2.5, 9, 3, 21_600.0, 90.0)
    assert found.watchdog == 1.0


def test_the_rate_of_starts() -> None:
    assert read("queues:\n  a: b").starts == StartRate(250, 1.0)
    assert read("host:\n  starts: 20 in 0.5m\nqueues:\n  a: b").starts == StartRate(20, 30.0)
