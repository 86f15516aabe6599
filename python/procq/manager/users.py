"""From the name of a user to who that is on this machine."""

from __future__ import annotations

import os
import pwd

from procq.errors import did_you_mean
from procq.model import User


def find_user(name: str) -> User:
    """The user `name`, with all groups. Raises ValueError where there is none."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        hint = did_you_mean(name, (entry.pw_name for entry in pwd.getpwall()), "`getent passwd` lists them.")
        raise ValueError(f'there is no user "{name}" on this machine: {hint}') from None
    groups = tuple(os.getgrouplist(name, found.pw_gid))
    return User(name, found.pw_uid, found.pw_gid, groups, found.pw_dir or "/", found.pw_shell or "/bin/sh")
