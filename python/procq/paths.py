"""Where a project's sockets, lock and logs are.

One project is one manifest file (and, with `--name`, one copy of it). Its place follows from the path alone, so that
every command finds a running procq without reading the manifest, even one that has become unreadable.
Kept free of heavy imports: every command starts here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from procq.errors import NoManifest, ProcqError, UsageError
from procq.names import NAME_RULE, is_name

MANIFESTS = ("procq.yaml", "procq.yml", "Procfile")
"""File names looked for when none is given, the first that exists wins."""

SOCKET_PATH_MAX = 107
"""Bytes a unix socket's path may have, its final NUL not counted."""

_READABLE = 20


class UnsafeDirectory(ProcqError):
    """A directory for sockets exists but cannot be trusted."""


@dataclass(frozen=True, slots=True)
class Project:
    """One manifest and the directories that belong to it. All paths are absolute."""

    manifest: str
    name: str
    run_dir: str
    state_dir: str

    @property
    def keeper_socket(self) -> str:
        """Socket of the keeper: info, stop, logs."""
        return os.path.join(self.run_dir, "keeper.sock")

    @property
    def api_socket(self) -> str:
        """Socket of the HTTP API."""
        return os.path.join(self.run_dir, "api.sock")

    @property
    def lock(self) -> str:
        """File that a running procq holds locked for life."""
        return os.path.join(self.run_dir, "lock")

    @property
    def log_file(self) -> str:
        """Where `procq up -d` writes what it would have shown in the terminal."""
        return os.path.join(self.state_dir, "procq.log")

    def prepare(self) -> None:
        """Creates the private directories. Raises UnsafeDirectory where one cannot be trusted."""
        _check_socket_path(self.api_socket if len(self.api_socket) > len(self.keeper_socket) else self.keeper_socket)
        private_directory(os.path.dirname(self.run_dir))
        private_directory(self.run_dir)
        private_directory(os.path.dirname(self.state_dir))
        private_directory(self.state_dir)


def locate(
    file: str | None,
    instance: str | None,
    environ: Mapping[str, str],
    *,
    directory: str = ".",
    must_exist: bool = False,
) -> Project:
    """The project of `file`, or of the manifest found in `directory`.

    Without `file`, a manifest that runs is preferred to one that merely exists. Raises NoManifest where there is
    nothing to choose from, or where `must_exist` and the file does not; UsageError for a bad `instance`.
    """
    if instance is not None and not is_name(instance):
        raise UsageError(
            f'"{instance}" cannot be a name',
            hint=f"Use {NAME_RULE}.",
        )
    if file is None:
        project = _find(instance, environ, directory, prefer_running=not must_exist)
    else:
        project = _project(os.path.join(directory, file), instance, environ)
    if must_exist and not os.path.isfile(project.manifest):
        raise NoManifest.at(project.manifest)
    return project


def _find(instance: str | None, environ: Mapping[str, str], directory: str, *, prefer_running: bool) -> Project:
    candidates = [_project(os.path.join(directory, name), instance, environ) for name in MANIFESTS]
    if prefer_running:
        for project in candidates:
            if os.path.exists(project.keeper_socket):
                return project
    for project in candidates:
        if os.path.exists(project.manifest):
            return project
    raise NoManifest(os.path.abspath(directory), MANIFESTS)


def _project(path: str, instance: str | None, environ: Mapping[str, str]) -> Project:
    directory, name = os.path.split(os.path.abspath(path))
    directory = os.path.realpath(directory)
    key = key_of(directory, name, instance)
    return Project(
        manifest=os.path.join(directory, name),
        name=instance or os.path.basename(directory) or "root",
        run_dir=_run_dir(environ, key),
        state_dir=os.path.join(state_root(environ), key),
    )


def key_of(directory: str, file: str, instance: str | None) -> str:
    """A name for files about a manifest, of a copy of it, that no other one has."""
    text = "\0".join((directory, file, instance or ""))
    digest = hashlib.blake2b(os.fsencode(text), digest_size=5).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", instance or os.path.basename(directory)).strip(".-") or "procq"
    return f"{readable[:_READABLE]}-{digest}"


def run_root(environ: Mapping[str, str]) -> str:
    """Directory of all run directories of this user that are made now."""
    return _run_roots(environ)[0]


def _run_roots(environ: Mapping[str, str]) -> list[str]:
    """The session's directory, that of a service, the login's, and a private one under /tmp: those that are there.

    All are tried whatever XDG_RUNTIME_DIR says, so that cron, `su` and a login find each other's and what systemd runs.
    """
    user = os.getuid()
    candidates = (environ.get("XDG_RUNTIME_DIR", ""), f"/run/procq-{user}", f"/run/user/{user}")
    there = dict.fromkeys(each for each in candidates if os.path.isabs(each) and _owned_directory(each))
    return [*(os.path.join(each, "procq") for each in there), f"/tmp/procq-{user}"]


def _run_dir(environ: Mapping[str, str], key: str) -> str:
    """Where it runs, else where it would run."""
    places = [os.path.join(root, key) for root in _run_roots(environ)]
    running = (
        place for place in places if _owned_directory(place) and os.path.exists(os.path.join(place, "keeper.sock"))
    )
    return next(running, places[0])


def state_root(environ: Mapping[str, str]) -> str:
    """Directory of all state directories of this user: beside the sockets for one without a home."""
    base = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):
        return os.path.join(base, "procq")
    home = environ.get("HOME") or os.path.expanduser("~")
    if os.path.isabs(home):
        return os.path.join(home, ".local", "state", "procq")
    return os.path.join(run_root(environ), "state")


def private_directory(path: str) -> None:
    """Makes `path` a directory of this user alone. Raises UnsafeDirectory where it is somebody else's, or a link."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        found = os.lstat(path)
    except OSError as error:
        raise UnsafeDirectory(
            f"cannot create the directory {path}: {error.strerror}",
            hint="Set XDG_RUNTIME_DIR and XDG_STATE_HOME to directories of yours.",
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeDirectory(
            f"{path} is not a directory (links are not followed here)", hint="Remove it, then try again."
        )
    if found.st_uid != os.getuid():
        raise UnsafeDirectory(
            f"{path} belongs to user {found.st_uid}, not to you",
            hint="Set XDG_RUNTIME_DIR to a directory of yours, or ask that user to remove it.",
        )
    if found.st_mode & 0o077:
        os.chmod(path, 0o700, follow_symlinks=True)


def _owned_directory(path: str) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _check_socket_path(path: str) -> None:
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_MAX:
        raise UnsafeDirectory(
            f"the path of the socket {path} has {length} bytes, and the system allows {SOCKET_PATH_MAX}",
            hint="Set XDG_RUNTIME_DIR to a directory with a shorter path.",
        )
