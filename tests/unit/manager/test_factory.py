"""Options from templates: values stay one word, and become neither options nor programs."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procq import StopPolicy, WorkerFactory, WorkerOptions


def test_a_template_becomes_options() -> None:
    factory = WorkerFactory("rq worker {queue}", nice=5)
    assert factory("emails", workers=2) == WorkerOptions(["rq", "worker", "emails"], workers=2, nice=5)
    assert factory.placeholders == {"queue"}


def test_values_come_from_factory_and_call() -> None:
    factory = WorkerFactory(
        "celery -A {app} worker -Q {queue} -c {size}", {"app": "shop"}, env={"NAME": "{queue}-{size}"}
    )
    assert factory.placeholders == {"queue", "size"}
    options = factory("emails", {"size": "4"})
    assert options.command == ("celery", "-A", "shop", "worker", "-Q", "emails", "-c", "4")
    assert options.env == {"NAME": "emails-4"}


def test_a_template_is_read_like_a_command_of_a_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL", "/opt/my tools/rq")
    assert WorkerFactory("${TOOL} 'worker {queue}' {{x}}")("a b").command == ("/opt/my tools/rq", "worker a b", "{x}")


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@settings(deadline=None)
@given(TEXTS.filter(lambda text: not text.startswith("-")))
def test_whatever_a_value_holds_it_stays_one_word(value: str) -> None:
    factory = WorkerFactory("rq worker {queue} --name=w-{queue}")
    assert factory(value).command == ("rq", "worker", value, f"--name=w-{value}")


@settings(deadline=None, max_examples=50)
@given(TEXTS)
def test_a_value_reaches_a_shells_script_only_as_an_argument(value: str) -> None:
    factory = WorkerFactory(["/bin/sh", "-c", 'printf "%s" "$1"', "sh", "{queue}"])
    if value.startswith("-"):
        with pytest.raises(ValueError, match="option"):
            factory(value)
        return
    ran = subprocess.run(factory(value).command, capture_output=True, check=True)
    assert ran.stdout.decode() == value


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("rq worker {queue", "written twice"),
        ("rq worker 'open", "quote"),
        ("rq worker {queue} | tee log", "shell"),
        ("sh -c 'rq worker {queue}'", "is a script"),
        (["/bin/bash", "-euc", "rq worker {queue}"], "give it as an argument"),
        (["env", "A=1", "sh", "-c", "rq worker {queue}"], "is a script"),
        ("", "program"),
    ],
)
def test_a_template_that_cannot_be_is_refused(template: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        WorkerFactory(template)


def test_values_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r'called "queu": did you mean "queue"'):
        WorkerFactory("rq worker {queue}", {"queu": "a"})
    with pytest.raises(ValueError, match="placeholders are queue"):
        WorkerFactory("rq worker {queue}")("emails", {"size": "2"})
    with pytest.raises(ValueError, match=r'nothing says what "\{app\}" is'):
        WorkerFactory("celery -A {app} worker -Q {queue}")("emails")
    with pytest.raises(ValueError, match="given by the call"):
        WorkerFactory("rq worker {queue}", {"queue": "a"})
    with pytest.raises(TypeError, match="text, not int"):
        WorkerFactory("rq worker {queue}")(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="NUL"):
        WorkerFactory("rq worker {queue}")("a\0b")
    with pytest.raises(ValueError, match=r"taken for an option; join it"):
        WorkerFactory("rq worker {queue}")("--burst")
    assert WorkerFactory("rq worker -- {queue}")("--burst").command[-1] == "--burst"
    assert WorkerFactory("rq worker --name={queue}")("-x").command[-1] == "--name=-x"


LIBRARIES = [
    (WorkerFactory.rq(), ["rq", "worker", "emails"], signal.SIGTERM),
    (WorkerFactory.rq(url="redis://h"), ["rq", "worker", "--url=redis://h", "emails"], signal.SIGTERM),
    (WorkerFactory.huey(threads=2), ["huey_consumer", "emails", "--workers=2"], signal.SIGINT),
    (
        WorkerFactory.dramatiq("shop.tasks"),
        ["dramatiq", "shop.tasks", "--processes=1", "--threads=8", "--queues", "emails"],
        signal.SIGTERM,
    ),
    (
        WorkerFactory.laravel(connection="redis"),
        ["php", "artisan", "queue:work", "redis", "--queue=emails"],
        signal.SIGTERM,
    ),
    (WorkerFactory.laravel(), ["php", "artisan", "queue:work", "--queue=emails"], signal.SIGTERM),
    (
        WorkerFactory.sidekiq(grace=30),
        ["bundle", "exec", "sidekiq", "-c", "1", "-t", "25", "-q", "emails"],
        signal.SIGTERM,
    ),
]


@pytest.mark.parametrize(("factory", "command", "stop"), LIBRARIES)
def test_libraries_are_stopped_so_that_the_job_in_hand_is_finished(
    factory: WorkerFactory, command: list[str], stop: signal.Signals
) -> None:
    options = factory("emails")
    assert list(options.command) == command
    assert options.stop.signal == stop
    assert options.stop.grace >= 30


def test_celery_nodes_are_named_after_their_workers() -> None:
    options = WorkerFactory.celery("shop", concurrency=2, grace=120, workers=3)("emails")
    assert options.command[:2] == ("/bin/sh", "-c")
    assert options.command[3:] == ("celery", "shop", "emails", "2")
    assert (options.stop, options.workers) == (StopPolicy(signal.SIGTERM, 120), 3)
    # What the shell makes of it, with `echo` in the place of Celery.
    script = str(options.command[2]).replace("exec celery", "echo")
    ran = subprocess.run(
        ["/bin/sh", "-c", script, *options.command[3:]],
        env={"PROCQ_WORKER_ID": "emails.2"},
        capture_output=True,
        check=True,
    )
    assert ran.stdout == b"-A shop worker -Q emails -c 2 -n emails.2@%h\n"


def test_what_is_said_beats_what_a_library_wants() -> None:
    assert WorkerFactory.rq(stop=StopPolicy(grace=5))("emails").stop == StopPolicy(grace=5)
    with pytest.raises(ValueError, match="more than 5 s"):
        WorkerFactory.sidekiq(grace=5)
