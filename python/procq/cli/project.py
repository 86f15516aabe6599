"""From the options of a verb to the project it is about."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from procq import paths

if TYPE_CHECKING:
    from procq.client import Client

TARGETS = "a queue, one worker as `queue.3`, or a pattern over either, as `mail*` or `'mail.*'`"


def project_of(options: argparse.Namespace, *, must_exist: bool = False) -> paths.Project:
    """The project the command line names, or the one here."""
    return paths.locate(options.file, options.name, os.environ, must_exist=must_exist)


def client_of(options: argparse.Namespace, timeout: float = 10.0) -> Client:
    """A client of that project's procq, which waits so many seconds for an answer."""
    from procq.client import Client

    return Client(project_of(options), timeout)
