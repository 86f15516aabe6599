"""What is asked for, by a file or by variables. A file is read here, so in a thread."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

from procq.telemetry.asked import file
from procq.telemetry.config import Config, read
from procq.telemetry.document import MAX_BYTES


def configured(environ: Mapping[str, str]) -> Config:
    """By the file that a variable names: then the others count only where the file refers to them. Else by those."""
    found = file(environ)
    if found is None:
        return read(environ)
    from procq.telemetry.declared import declared, off

    variable, path = found
    name = f"{path} ({variable})"
    try:
        text = _text(path)
    except OSError as error:
        return off(name, f"cannot be read: {error.strerror or error}; take the variable out, or mend this")
    except UnicodeDecodeError:
        return off(name, "is no text in UTF-8")
    return declared(text, name, environ)


def _text(path: str) -> str:
    # Not to be waited for: what is opened may be a pipe that nobody writes to.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise OSError(0, "it is no file")
        data = opened.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(0, "it is larger than 1 MiB")
    return data.decode("utf-8-sig")
