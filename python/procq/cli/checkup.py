"""What `procq doctor` looks at. Each check reads, and gives its findings."""

from __future__ import annotations

import argparse
import os
import platform
import resource
import stat
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procq.errors import ManifestError, NoManifest, NotRunning, ProcqError
from procq.paths import Project, locate, run_root, state_root
from procq.text import count, duration

if TYPE_CHECKING:
    from procq.model import Manifest

OLDEST_KERNEL = (5, 4)
_A_WORKER = 7
"""Descriptors of the keeper for one worker: two streams, two sockets, its process, its log and that one's index."""
_BASE = 64
_PR_GET_CHILD_SUBREAPER = 37
_SANE_WATCHES = 8192


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the result. `verdict` is good, weak (it will do) or bad; `hint` says what to do."""

    subject: str
    verdict: str
    text: str
    hint: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As it stands in the JSON document."""
        return asdict(self)


def findings(options: argparse.Namespace) -> Iterator[Finding]:
    """All of them, in the order in which one would look."""
    yield from _versions()
    yield from _kernel()
    yield from _cgroup()
    project, found = _project(options)
    manifest = None
    if project is None:
        yield found
    else:
        loaded = _manifest(project)
        manifest = loaded[0]
        yield from loaded[1]
        yield from _readable_by_others(project)
    yield from _telemetry(manifest)
    yield from _limits(manifest)
    yield from _inotify()
    yield from _directories(project)
    if project is not None:
        yield from _running(project)


def _versions() -> Iterator[Finding]:
    from procq.core import PROTOCOL, VERSION

    python = platform.python_version()
    yield Finding("procq", "good", f"{VERSION}, protocol {PROTOCOL}, Python {python} at {sys.executable}")


def _kernel() -> Iterator[Finding]:
    """T1: what keeps workers from being left behind."""
    release = platform.release()
    numbers = tuple(int(part) for part in release.replace("-", ".").split(".")[:2] if part.isdecimal())
    if platform.system() != "Linux":
        yield Finding("kernel", "bad", f"{platform.system()} {release}", "procq runs on Linux, kernel 5.4 or newer.")
        return
    if numbers < OLDEST_KERNEL:
        yield Finding("kernel", "bad", f"Linux {release} is older than 5.4", "Use a newer kernel.")
        return
    lacking = [name for name, works in (("pidfd", _has_pidfd()), ("subreaper", _has_subreaper())) if not works]
    if lacking:
        yield Finding(
            "kernel",
            "bad",
            f"Linux {release} has no {' and no '.join(lacking)}",
            "A sandbox may forbid it: look there.",
        )
    else:
        yield Finding("kernel", "good", f"Linux {release}: pidfd, subreaper and death signal (T1)")


def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def _has_subreaper() -> bool:
    import ctypes

    answer = ctypes.c_int()
    code: int = ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    return code == 0


def _cgroup() -> Iterator[Finding]:
    """T2, a control group a worker; T3, a PID namespace around all of them."""
    from procq import core
    from procq.cli import tiers

    found = core.containment()
    if found.lack is None:
        missing = tiers.controllers_missing(found)
        limits = "" if not missing else f"; no controller of {' and '.join(missing)}: those limits are only watched"
        yield Finding("cgroup", "good", f"T2 can be had: each worker gets a control group in {found.cgroup}{limits}")
    else:
        text = f"T2 cannot be had: {found.why}; workers are held together by their marks (T1)"
        yield Finding("cgroup", "weak", text, tiers.remedy(found.lack, root=os.geteuid() == 0))
    lack = tiers.namespace_lack()
    if lack is None:
        yield Finding("namespace", "good", "T3 can be had: `procq up --tier 3`")
    else:
        yield Finding("namespace", "weak", f"T3 cannot be had: {lack[0]}", lack[1])


def _project(options: argparse.Namespace) -> tuple[Project | None, Finding]:
    try:
        project = locate(options.file, options.name, os.environ)
    except NoManifest as error:
        return None, Finding("manifest", "weak", error.message, error.hint)
    except ProcqError as error:
        return None, Finding("manifest", "bad", error.message, error.hint)
    return project, Finding("manifest", "good", project.manifest)


def _manifest(project: Project) -> tuple[Manifest | None, list[Finding]]:
    from procq import manifest

    try:
        loaded = manifest.load(Path(project.manifest), os.environ)
    except ManifestError as error:
        problems = count(max(1, len(error.problems)), "problem")
        what = f"{project.manifest} does not load: {problems}"
        return None, [Finding("manifest", "bad", what, "`procq check` shows each of them.")]
    workers = sum(queue.workers for queue in loaded.queues.values())
    text = f"{project.manifest}: {count(len(loaded.queues), 'queue')}, {count(workers, 'worker')}"
    return loaded, [Finding("manifest", "good", text)]


def _readable_by_others(project: Project) -> Iterator[Finding]:
    """Who can write the manifest, or replace it, decides what runs as you."""
    path = os.path.realpath(project.manifest)
    loose = []
    for each in (path, *map(str, Path(path).parents)):
        try:
            found = os.stat(each)
        except OSError:
            continue
        shared = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid != os.getegid())
        sticky = found.st_mode & stat.S_ISVTX and stat.S_ISDIR(found.st_mode)
        if (shared and not sticky) or found.st_uid not in {0, os.geteuid()}:
            loose.append(each)
    if loose:
        text = f"others can write {loose[0]}, and so decide what runs as you"
        yield Finding("manifest", "weak", text, f"chmod go-w {loose[0]}, or move the manifest.")
    elif os.path.exists(path):
        yield Finding("manifest", "good", "only you can change it")


def _telemetry(manifest: Manifest | None) -> Iterator[Finding]:
    """Whether what is to be sent can be, and somebody receives it, as far as this environment says."""
    from procq.telemetry.config import Signal
    from procq.telemetry.configured import configured
    from procq.telemetry.packages import lacking
    from procq.telemetry.unsent import no_receiver, remedy, sending

    here = "This looked at the environment of this command."
    config = configured(os.environ)
    for trouble in config.troubles:
        yield Finding("telemetry", "weak", trouble, here)
    for extra, package in lacking(config):
        text = f"telemetry is asked for, and the Python package {package} is missing where procq is installed"
        yield Finding("telemetry", "weak", text, f"`pip install '{extra}'` there, and restart procq.")
    queues = sending(manifest) if manifest else ()
    if queues and not config.broken and Signal.LOGS not in config.ways:
        advice = remedy(os.environ)
        yield Finding("telemetry", "weak", no_receiver(queues), f"{advice[0].upper()}{advice[1:]}. {here}")


def _limits(manifest: Manifest | None) -> Iterator[Finding]:
    queues = manifest.queues.values() if manifest else ()
    workers = sum(queue.most or queue.workers for queue in queues)
    needed = _BASE + workers * _A_WORKER
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most >= needed:
        shown = "any number of" if most == resource.RLIM_INFINITY else f"{most:,}"
        enough = f", {count(workers, 'worker')} may need {needed:,}" if workers else ""
        yield Finding("files", "good", f"{shown} files may be open{enough}")
    else:
        text = f"only {most:,} files may be open, {count(workers, 'worker')} may need {needed:,}"
        yield Finding("files", "bad", text, "Raise the hard limit: `ulimit -Hn`, LimitNOFILE= or limits.conf.")
    most = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if os.geteuid() == 0 or most == resource.RLIM_INFINITY:
        yield Finding("processes", "good", "any number of processes")
    elif most >= workers * 2 + _BASE:
        yield Finding("processes", "good", f"{most:,} processes of yours may run")
    else:
        text = f"only {most:,} processes of yours may run, threads counted, and there are to be {workers:,} workers"
        yield Finding("processes", "bad", text, "Raise it: `ulimit -u`, LimitNPROC= or limits.conf.")


def _inotify() -> Iterator[Finding]:
    """How a saved manifest is noticed."""
    import ctypes

    watches = _number("/proc/sys/fs/inotify/max_user_watches")
    descriptor = ctypes.CDLL(None, use_errno=True).inotify_init1(os.O_CLOEXEC)
    if descriptor < 0:
        why = os.strerror(ctypes.get_errno())
        hint = "Raise fs.inotify.max_user_instances (sysctl). Until then a saved manifest is noticed within 10 s."
        yield Finding("inotify", "weak", f"no more files can be watched ({why})", hint)
        return
    os.close(descriptor)
    if watches is not None and watches < _SANE_WATCHES:
        hint = "Raise fs.inotify.max_user_watches (sysctl) if others use them up."
        yield Finding("inotify", "weak", f"only {watches:,} files can be watched", hint)
    else:
        yield Finding("inotify", "good", "saved manifests are noticed at once")


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def _directories(project: Project | None) -> Iterator[Finding]:
    """Sockets, the log of `up -d`, and what is remembered of manifests."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    for subject, path, variable in (
        ("sockets", run_root(os.environ), "XDG_RUNTIME_DIR"),
        ("state", state_root(os.environ), "XDG_STATE_HOME"),
        ("cache", os.path.join(cache, "procq"), "XDG_CACHE_HOME"),
    ):
        # What it lacks costs a second of loading, and no more.
        yield _directory(subject, path, variable, "weak" if subject == "cache" else "bad")
    if project is not None:
        from procq.paths import SOCKET_PATH_MAX

        length = len(os.fsencode(project.keeper_socket))
        if length > SOCKET_PATH_MAX:
            text = f"the path of a socket has {length} bytes, the system allows {SOCKET_PATH_MAX}"
            yield Finding("sockets", "bad", text, "Set XDG_RUNTIME_DIR to a directory with a shorter path.")


def _directory(subject: str, path: str, variable: str, worst: str) -> Finding:
    """The directory, or the nearest one in which it would be made."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        parent = Path(path).parent
        while not parent.exists():
            parent = parent.parent
        if os.access(parent, os.W_OK | os.X_OK):
            return Finding(subject, "good", f"{path} will be made")
        return Finding(subject, worst, f"{path} cannot be made: {parent} is not yours", f"Set {variable}.")
    except OSError as error:
        return Finding(subject, worst, f"{path}: {error.strerror}", f"Set {variable}.")
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        return Finding(subject, worst, f"{path} is not a directory of yours", f"Remove it, or set {variable}.")
    if not os.access(path, os.W_OK | os.X_OK):
        return Finding(subject, worst, f"{path} cannot be written", f"chmod u+rwx {path}, or set {variable}.")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return Finding(subject, "weak", f"{path} can be written by others", f"chmod go-w {path}")
    return Finding(subject, "good", path)


def _running(project: Project) -> Iterator[Finding]:
    from procq.client import Client, ControlPlaneSilent
    from procq.core import VERSION

    client = Client(project, timeout=3.0)
    try:
        info = client.info()
    except NotRunning:
        yield Finding("running", "good", f"{project.name} is not running: `procq up` starts it")
        return
    except ProcqError as error:
        yield Finding("running", "bad", error.message, error.hint)
        return
    try:
        status = client.status()
    except ControlPlaneSilent as error:
        yield Finding("running", "bad", error.message, error.hint)
        return
    except ProcqError as error:
        yield Finding("running", "bad", error.message, error.hint)
        return
    in_tier = f" in T{info.tier}" if info.tier else ""
    workers = count(info.running, "worker")
    text = f"{status.project} is up {duration(status.up_for)}{in_tier}, keeper {info.pid}, {workers}"
    yield Finding("running", "good", text)
    if info.degraded:
        text = "no control group can be made at the moment: new workers are held together by their marks (T1)"
        yield Finding("running", "weak", text, "`procq logs` shows since when; limits of descendants are one cause.")
    if status.procq_version is not None and status.procq_version != VERSION:
        text = f"it runs procq {status.procq_version}, installed is {VERSION}"
        yield Finding("running", "weak", text, "`procq upgrade` takes it to the installed one; no worker is restarted.")
    if status.manifest_error is not None:
        what = "the manifest on disk is not in force"
        yield Finding("running", "weak", what, "`procq status` shows why; the one before it stays in force.")
