"""The one way in for every view: what can be asked of a running procq.

Two conversations. The HTTP API, served by the control plane, knows queues, workers and plans. The keeper's own socket
knows little (is it alive, stop everything, output), but answers even while there is no control plane.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from procq import wire
from procq.errors import ExitCode, NotRunning, ProcqError

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

    from procq.core import Link
    from procq.paths import Project

T = TypeVar("T")

_BUSY = 503
_OTHER_VERSION = "Is it a procq of another version?"
_TICK: dict[str, Any] = {"t": "tick"}
_NOT_THERE = {errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR}


class ControlPlaneSilent(ProcqError):
    """The keeper runs, and its control plane does not answer."""


class Refused(ProcqError):
    """The API understood, and said no."""


class InvalidManifest(ProcqError):
    """The manifest on disk does not load; the message holds all its problems, rendered."""

    exit_code = ExitCode.MANIFEST


@dataclass(frozen=True, slots=True)
class KeeperInfo:
    """What the keeper says about itself. `started` is in seconds since the Unix epoch."""

    pid: int
    sentinel: int
    control_plane: int | None
    starts: int
    ready: bool
    shutting_down: bool
    started: float
    workers: int
    running: int
    release: str
    """The version that runs; empty where it is too old to say."""
    tier: int = 0
    """Of containment (docs/guarantees.md); 0 of a keeper that does not say."""
    degraded: bool = False
    """No control group can be made for new workers at the moment."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a shutdown is. `left` are the seconds before what is still alive is killed."""

    alive: int
    total: int
    left: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """Everything is gone; `killed` processes had to be killed."""

    killed: int


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The keeper is of another version now; `workers` were not touched.

    `took` and `held` are seconds: from the request to the answer, and for how many of them nothing was read.
    A control plane of that version is there once their number is above `starts`.
    """

    former: str
    release: str
    workers: int
    took: float
    held: float
    starts: int


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of a worker's output. `at` is in seconds since the Unix epoch; `partial` when it ends inside a line."""

    worker: str
    stream: str
    at: float
    data: bytes
    partial: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """`bytes` of output are missing here, because the reader was too slow."""

    bytes: int


@dataclass(frozen=True, slots=True)
class TailEnd:
    """What was remembered has been told; what follows happens from now on."""


class Client:
    """Talks to the procq of one project. Methods raise NotRunning where there is none, else ProcqError."""

    def __init__(self, project: Project, timeout: float = 10.0) -> None:
        self._project = project
        self._timeout = timeout

    # The API

    def status(self, targets: Sequence[str] = ()) -> wire.StatusView:
        """The whole project; workers only of `targets` (queues, workers, globs)."""
        return self._call(wire.StatusView, "GET", "/v1/status", {"target": targets})

    def workers(self, targets: Sequence[str] = ()) -> tuple[wire.WorkerView, ...]:
        """The workers of `targets`, all without."""
        return self._call(wire.WorkerList, "GET", "/v1/workers", {"target": targets}).workers

    def queue(self, name: str) -> wire.QueueView:
        """One queue."""
        return self._call(wire.QueueView, "GET", f"/v1/queues/{quote(name, safe='')}")

    def scale(self, name: str, workers: str) -> wire.QueueView:
        """Overrides how many workers a queue has: `6`, `+2`, `-1`, or `auto` for what the manifest says."""
        return self._call(wire.QueueView, "PATCH", f"/v1/queues/{quote(name, safe='')}", body={"workers": workers})

    def set_running(self, targets: Sequence[str], running: bool) -> wire.Affected:
        """Starts or stops workers; they stay so until told otherwise."""
        return self._call(wire.Affected, "PATCH", "/v1/workers", {"target": targets}, {"running": running})

    def set_paused(self, targets: Sequence[str], paused: bool) -> wire.Affected:
        """Has workers take no more jobs, or some again; they stay so until told otherwise."""
        return self._call(wire.Affected, "PATCH", "/v1/workers", {"target": targets}, {"paused": paused})

    def restart(self, targets: Sequence[str], rolling: bool = False) -> wire.Affected:
        """Replaces the workers that run now: all at once, or `rolling`, as the manifest's `update` says."""
        body = {"targets": list(targets), **({"rolling": True} if rolling else {})}
        return self._call(wire.Affected, "POST", "/v1/restarts", body=body)

    def decisions(self, queue: str, limit: int = 5) -> wire.DecisionList:
        """Why a queue has as many workers as it has: the decision that holds now, and `limit` changes before it."""
        return self._call(wire.DecisionList, "GET", "/v1/decisions", {"queue": [queue], "limit": [str(limit)]})

    def plan(self, file: str | None = None) -> wire.PlanView:
        """What the manifest on disk, or another `file` in its place, would change. Raises InvalidManifest."""
        query = {"file": [os.path.abspath(file)]} if file else None
        return self._call(wire.PlanView, "GET", "/v1/plan", query)

    def events(
        self,
        after: int | None = None,
        follow: bool = True,
        *,
        query: Mapping[str, Sequence[str]] | None = None,
    ) -> Generator[wire.EventView, None, None]:
        """What happened since event `after`, or the last of all; with `follow`, what happens next.

        `query` chooses among it: `target`, `kind`, `since`, `until`, `limit` (`procq.api.events`).
        """
        headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": str(after)})
        asked = {**(query or {}), **({} if follow else {"follow": ["false"]})}
        text = urlencode(asked, doseq=True, errors="surrogateescape")
        with self._request("GET", f"/v1/events?{text}", headers=headers, timeout=None) as response:
            for line in response:
                if line.startswith(b"data: "):
                    yield wire.from_json(wire.EventView, line[6:])

    def _call(
        self,
        kind: type[T],
        method: str,
        path: str,
        query: Mapping[str, Sequence[str]] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> T:
        import json

        text = urlencode(query, doseq=True, errors="surrogateescape") if query else ""
        payload = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        with self._request(method, f"{path}?{text}" if text else path, payload, headers, self._timeout) as response:
            answer = response.read()
        try:
            return wire.from_json(kind, answer)
        except ValueError as error:
            raise Refused(f"the API answered what is not understood here ({error})", hint=_OTHER_VERSION) from None

    @contextlib.contextmanager
    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Iterator[HTTPResponse]:
        from http.client import HTTPException

        connection = self._connection(timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            if response.status >= 400:
                raise _refusal(response.status, response.read())
            yield response
        except TimeoutError:
            raise ControlPlaneSilent(
                f"the control plane of {self._project.name} has not answered for {timeout:g} s",
                hint="Workers are not affected, and a hanging control plane is replaced. `procq logs` works meanwhile.",
            ) from None
        except (ConnectionError, HTTPException) as error:
            raise ControlPlaneSilent(
                f"the control plane of {self._project.name} ended the conversation ({type(error).__name__})",
                hint="Workers are not affected. Try again: the control plane is started again by itself.",
            ) from None
        finally:
            connection.close()

    def _connection(self, timeout: float | None) -> HTTPConnection:
        from http.client import HTTPConnection

        # A connection waits for a control plane that is being replaced, because the keeper holds the listener.
        sock = self._connect(self._project.api_socket)
        sock.settimeout(timeout)
        connection = HTTPConnection("localhost", timeout=timeout)
        connection.sock = sock
        return connection

    # The keeper

    def info(self) -> KeeperInfo:
        """What the keeper says about itself."""
        for reply in self._ask({"t": "info"}, self._timeout):
            match reply:
                case {"t": "info"}:
                    return KeeperInfo(
                        pid=reply["pid"],
                        sentinel=reply["sentinel"],
                        control_plane=reply["control_plane"],
                        starts=reply["epoch"],
                        ready=reply["ready"],
                        shutting_down=reply["shutting_down"],
                        started=reply["started"] / 1e9,
                        workers=reply["workers"],
                        running=reply["running"],
                        release=reply.get("release", ""),
                        tier=reply.get("tier", 0),
                        degraded=reply.get("degraded", False),
                    )
        raise NotRunning(f"{self._project.name} is just ending")

    def stop(self, fast: bool = False) -> Iterator[Progress | Stopped]:
        """Stops everything, the keeper included; says how far it is at each change, and each second.

        `fast` kills instead of asking.
        """
        done, progress = False, _TICK
        for reply in self._ask({"t": "stop", "fast": fast, "who": f"uid {os.getuid()}, pid {os.getpid()}"}, tick=1.0):
            match progress if reply is _TICK else reply:
                case {"t": "progress"} as progress:
                    left = max(0.0, (progress["deadline"] - time.monotonic_ns()) / 1e9)
                    yield Progress(progress["alive"], progress["total"], left)
                case {"t": "stopped"}:
                    done, progress = True, _TICK
                    yield Stopped(reply["killed"])
        if not done:
            raise ProcqError(
                f"the keeper of {self._project.name} went away while it was stopping the workers",
                hint="Its sentinel ends what is left within a second. `procq status` tells.",
            )

    def upgrade(self, order: Mapping[str, Any]) -> Upgraded:
        """Has the keeper become what `order` says (`procq.core.upgrade_order`).

        Raises Refused: then all is as it was.
        """
        for reply in self._ask(order):
            match reply:
                case {"t": "upgraded"}:
                    return Upgraded(
                        former=reply["from"],
                        release=reply["to"],
                        workers=reply["workers"],
                        took=reply["took"] / 1e9,
                        held=reply["held"] / 1e9,
                        starts=reply["epoch"],
                    )
        raise ProcqError(
            f"the keeper of {self._project.name} hung up before it said what became of the upgrade",
            hint="`procq status` tells whether it runs, and which version.",
        )

    def logs(
        self, workers: Sequence[str] = (), tail: int = 0, follow: bool = False
    ) -> Iterator[Output | Gap | TailEnd]:
        """Output of `workers` (none is all): the last `tail` lines; with `follow` TailEnd, then what comes."""
        for reply in self._ask({"t": "logs", "workers": list(workers), "tail": tail, "follow": follow}):
            match reply:
                case {"t": "output"}:
                    yield Output(reply["worker"], reply["stream"], reply["time"] / 1e9, reply["data"], reply["partial"])
                case {"t": "gap"}:
                    yield Gap(reply["bytes"])
                case {"t": "tail_end"}:
                    if not follow:
                        return
                    yield TailEnd()

    def _ask(
        self, request: Mapping[str, Any], timeout: float | None = None, tick: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """The answers to a request. Where there is none for `tick` seconds that is told; for `timeout`, an error."""
        from procq.core import Link

        link: Link = Link(self._connect(self._project.keeper_socket).detach(), "client")
        try:
            link.send([request])
            waiter = select.poll()
            waiter.register(link.fileno(), select.POLLIN)
            while True:
                patience = timeout if tick is None else tick
                if not waiter.poll(None if patience is None else patience * 1000):
                    if tick is not None:
                        yield _TICK
                        continue
                    raise ProcqError(
                        f"the keeper of {self._project.name} has not answered for {timeout:g} s",
                        hint="It may be stopped (SIGSTOP) or the machine overloaded; workers are not affected.",
                    )
                for reply in link.drain():
                    if reply["t"] == "error":
                        raise Refused(reply["message"])
                    yield reply
        except ConnectionError:
            return
        finally:
            link.close()

    def _connect(self, path: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(path)
        except OSError as error:
            sock.close()
            # No number: the path is longer than a socket's can be, so nothing can run there.
            if error.errno is None or error.errno in _NOT_THERE:
                raise NotRunning(f"{self._project.name} is not running", hint="`procq up` starts it.") from None
            raise ProcqError(f"cannot connect to {path}: {error.strerror}") from error
        return sock


def _refusal(status: int, body: bytes) -> ProcqError:
    try:
        problem = wire.from_json(wire.ProblemView, body)
    except ValueError:
        if status == _BUSY:
            return Refused("the control plane is busy: too many connections are open", hint="Try again in a moment.")
        return Refused(f"the API answered {status}", hint=_OTHER_VERSION)
    if problem.type == wire.MANIFEST_PROBLEM:
        return InvalidManifest(problem.detail, hint=problem.hint)
    return Refused(problem.detail or problem.title, hint=problem.hint)
