"""Who workers run as: names and numbers of users and groups, looked up in this system."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Iterable
from typing import TypeVar

from procq.errors import did_you_mean
from procq.manifest.units import Refused
from procq.model import User

T = TypeVar("T")


class People:
    """Looks users and groups up, each once in the life of this object."""

    def __init__(self) -> None:
        self._users: dict[str, pwd.struct_passwd | None] = {}
        self._groups: dict[str, int] = {}
        self._lists: dict[tuple[str, int], tuple[int, ...]] = {}

    def entry(self, user: str) -> pwd.struct_passwd | None:
        """What is known of a user; None for a number of which nothing is known. Raises Refused for an unknown name."""
        if user not in self._users:
            self._users[user] = _user(user)
        return self._users[user]

    def gid(self, group: str) -> int:
        """The number of a group. Raises Refused for an unknown name."""
        if group not in self._groups:
            self._groups[group] = _group(group)
        return self._groups[group]

    def user(self, user: str, group: str | None, groups: list[str] | None) -> User | None:
        """Who runs workers; None where that is who runs procq already. Raises Refused."""
        entry = self.entry(user)
        if entry is None and group is None:
            raise Refused(f"user {user} is not known to this system, so its group is not either", "add `group: …`")
        uid = int(user) if entry is None else entry.pw_uid
        gid = self.gid(group) if group is not None else entry.pw_gid if entry is not None else 0
        if os.geteuid() != 0:
            _only_oneself(uid, gid if group is not None else None, groups)
            return None
        more = [self.gid(each) for each in groups] if groups is not None else self._supplementary(entry, gid)
        home, shell = (entry.pw_dir or "/", entry.pw_shell or "/bin/sh") if entry else ("/", "/bin/sh")
        return User(entry.pw_name if entry else user, uid, gid, tuple(sorted(set(more))), home, shell)

    def _supplementary(self, entry: pwd.struct_passwd | None, gid: int) -> Iterable[int]:
        if entry is None:
            return ()
        key = (entry.pw_name, gid)
        if key not in self._lists:
            self._lists[key] = tuple(os.getgrouplist(*key))
        return self._lists[key]


def _only_oneself(uid: int, gid: int | None, groups: list[str] | None) -> None:
    if uid != os.geteuid():
        own = _name(os.geteuid())
        raise Refused(f"only root may run workers as somebody else, and procq runs as {own}", "start procq as root")
    if gid not in (None, os.getegid()) or groups is not None:
        raise Refused("only root may give workers other groups", "start procq as root, or take the groups out")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _user(user: str) -> pwd.struct_passwd | None:
    entry = _known(pwd.getpwnam, user)
    if entry is None and user.isdecimal():
        return _known(pwd.getpwuid, int(user))
    if entry is None:
        raise _unknown("user", user, (each.pw_name for each in pwd.getpwall()))
    return entry


def _group(group: str) -> int:
    entry = _known(grp.getgrnam, group)
    if entry is None and group.isdecimal():
        return int(group)
    if entry is None:
        raise _unknown("group", group, (each.gr_name for each in grp.getgrall()))
    return entry.gr_gid


K = TypeVar("K")


def _known(look: Callable[[K], T], key: K) -> T | None:
    try:
        return look(key)
    except (KeyError, OverflowError, UnicodeError, ValueError):
        return None


def _unknown(what: str, name: str, choices: Iterable[str]) -> Refused:
    otherwise = f"name one that exists, or add it: {'groupadd' if what == 'group' else 'useradd'} {name}"
    return Refused(f'there is no {what} "{name}" on this system', did_you_mean(name, choices, otherwise))
