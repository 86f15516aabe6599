"""Writes a number of workers into the text of a manifest, and changes no other byte of it.

    set_workers    the text with the number in it
    find           the file that holds a queue
    save           replaces a file by an edited one

The number goes where the marks of the parsed nodes say that the old one stands; what comes out is read again and must
mean the same but for that number. What cannot be edited so is refused, with what to do instead.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from procq.errors import ManifestError, ProcqError, did_you_mean
from procq.manifest import nodes, schema
from procq.manifest.beside import Beside, read_file
from procq.manifest.expand import Variables
from procq.manifest.fields import Fields, Found
from procq.manifest.nodes import Node, Scalar
from procq.manifest.source import MAX_BYTES, Source
from procq.manifest.syntax import read
from procq.manifest.units import Refused
from procq.model import MAX_WORKERS

_BOM = b"\xef\xbb\xbf"
_NUMBER = re.compile(r"[0-9]{1,9}")
_RANGE = re.compile(r"[0-9]*\.\.[0-9]*")
_MANIFEST = "the manifest"


def set_workers(text: bytes, queue: str, workers: int, name: str = _MANIFEST) -> bytes:
    """`text` with `workers` as the number of `queue`: one line changes, or one is added where the queue has none.

    `name` is what messages call the text. Raises ProcqError where the number cannot be written there, ManifestError
    where the text is no manifest.
    """
    if not 0 <= workers <= MAX_WORKERS:
        raise ProcqError(f"{workers} workers are not possible:", f"a queue has between 0 and {MAX_WORKERS}.")
    source = Source(text, name)
    root = _root(source)
    key, node = _queue(root, queue, name)
    if not isinstance(node, nodes.Mapping):
        raise ProcqError(
            f'queue "{queue}" is one line in {name} and has no place for a number:',
            f"write `{queue}:` and below it, indented, `command: …` and `workers: {workers}`.",
        )
    wanted = _meaning(root)
    _workers_of(wanted, queue, workers)
    own = node.get("workers")
    if own is not None:
        candidates = iter([_replaced(source, text, own[1], queue, workers)])
    else:
        candidates = _inserted(source, text, key, node, workers)
    for candidate in candidates:
        if _means(candidate, wanted, name):
            return candidate
    raise ProcqError(
        f'the number of workers of "{queue}" cannot be written into {name} without changing more than that:',
        f"add `workers: {workers}` to the queue by hand.",
    )


def find(path: Path, queue: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The file that says what `queue` is: the manifest at `path`, or one that it includes.

    `environ` is what `${NAME}` in names of files is taken from. Raises ProcqError where none of them says it.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise ProcqError(
            f"{path} is a Procfile, which has no numbers of workers:",
            "write a manifest `procq.yaml`; its smallest form is a line `queues:` and below it those of the Procfile, "
            "indented.",
        )
    source = Source(_read(os.fspath(path)), str(path))
    root = _root(source)
    names = _names(root)
    if queue in names:
        return path
    for included in _included(source, root, path, environ):
        more = _names(_root(included))
        if queue in more:
            return Path(included.path)
        names += more
    raise _no_queue(queue, names, str(path))


def _included(source: Source, root: nodes.Mapping, path: Path, environ: Mapping[str, str]) -> Iterator[Source]:
    variables = Variables(environ)
    top = Fields(schema.ROOT, variables, Found(source, root, variables))
    beside = Beside(path, read_file)
    try:
        for found, name in top.items(schema.ENV_FILE):
            variables.add(beside.variables(found, name))
        for found, pattern in top.items(schema.INCLUDE):
            yield from beside.manifests(found, pattern)
    except Refused:
        raise ManifestError.whole(
            source.path, "the names of the files it includes cannot be read", "`procq check` says why"
        ) from None
    source.raise_if_faulty()


def save(path: Path, edit: Callable[[bytes], bytes]) -> bool:
    """Replaces the file by what `edit` makes of its bytes; False where that is the same, and nothing is written.

    Symbolic links are followed, mode and owner kept, and the file is replaced at once or not at all. Raises ProcqError
    where it cannot be written, or was changed by somebody else meanwhile; and what `edit` raises.
    """
    try:
        real = os.path.realpath(path, strict=True)
        directory = os.open(os.path.dirname(real), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _lock(directory, path)
            return _save(path, real, directory, edit)
        finally:
            os.close(directory)
    except OSError as error:
        raise ProcqError(
            f"{path} cannot be saved ({error.strerror}):", "nothing was changed; check its permissions and the disk."
        ) from error


# --- text ---------------------------------------------------------------------------------------------------------


def _root(source: Source) -> nodes.Mapping:
    """The tree of a text. Raises ManifestError where it has a problem of syntax, ProcqError where it is no manifest."""
    root = read(source)
    source.raise_if_faulty()
    if not isinstance(root, nodes.Mapping):
        raise ManifestError.whole(source.path, "this is not a manifest", "a manifest has a key `queues`")
    return root


def _queue(root: nodes.Mapping, queue: str, name: str) -> tuple[Scalar, Node]:
    entry = root.get("queues")
    queues = entry[1] if entry is not None else None
    if not isinstance(queues, nodes.Mapping):
        raise ProcqError(f"{name} has no queues.", "A manifest has them under `queues:`; a Procfile takes no numbers.")
    found = queues.get(queue)
    if found is None:
        raise _no_queue(queue, _names(root), name)
    return found


def _names(root: nodes.Mapping) -> list[str]:
    entry = root.get("queues")
    return [key.text for key, _ in entry[1].entries] if entry and isinstance(entry[1], nodes.Mapping) else []


def _no_queue(queue: str, names: Sequence[str], name: str) -> ProcqError:
    return ProcqError(f'there is no queue "{queue}" in {name}:', did_you_mean(queue, names, "look at its names."))


Meaning = str | list["Meaning"] | dict[str, "Meaning"] | None


def _meaning(node: Node) -> dict[str, Meaning]:
    """Everything that a text says, as plain data: all of its values, none of its layout."""
    meant = _plain(node)
    return meant if isinstance(meant, dict) else {}


def _plain(node: Node) -> Meaning:
    match node:
        case Scalar():
            return node.text
        case nodes.Mapping(entries=entries):
            return {key.text: _plain(value) for key, value in entries}
        case nodes.Sequence(items=items):
            return [_plain(item) for item in items]
        case nodes.Faulty():
            return None


def _workers_of(meaning: dict[str, Meaning], queue: str, workers: int) -> None:
    queues = meaning["queues"]
    assert isinstance(queues, dict)
    keys = queues[queue]
    assert isinstance(keys, dict)
    keys["workers"] = str(workers)


def _means(text: bytes, wanted: dict[str, Meaning], name: str) -> bool:
    source = Source(text, name)
    root = read(source)
    return not source.faulty and root is not None and _meaning(root) == wanted


def _offset(source: Source, text: bytes, line: int, column: int) -> int:
    """Where a character of the decoded text is in the bytes. `line` may be the one after the last."""
    start = len(_BOM) if text.startswith(_BOM) else 0
    for _ in range(line):
        end = text.find(b"\n", start)
        start = len(text) if end < 0 else end + 1
    return start + (len(source.lines[line][:column].encode()) if column else 0)


def _replaced(source: Source, text: bytes, node: Node, queue: str, workers: int) -> bytes:
    """With another number in place of the one at `node`."""
    if not isinstance(node, Scalar):
        raise ProcqError(f'workers of "{queue}" is not a number:', "write one there, then save again.")
    shown = source.lines[node.line][node.column : node.column + node.length] if node.text else "empty"
    by_hand = f"change it by hand, or leave --save out: `procq scale {queue}={workers}` holds without the file."
    if "${" in node.text:
        raise ProcqError(f'workers of "{queue}" is {shown}, which stands for what is in the environment:', by_hand)
    if _RANGE.fullmatch(node.text):
        raise ProcqError(f'workers of "{queue}" is the range {shown}, and one number would end it:', by_hand)
    quote = shown[:1] if shown[:1] in ("'", '"') else ""
    if node.text and shown != f"{quote}{node.text}{quote}":
        raise ProcqError(f'workers of "{queue}" does not stand in one line as a plain number:', by_hand)
    if not _NUMBER.fullmatch(node.text):
        raise ProcqError(f'workers of "{queue}" is {shown}, which is not a number:', by_hand)
    start = _offset(source, text, node.line, node.column) + len(quote)
    return text[:start] + str(workers).encode() + text[start + len(node.text) :]


def _inserted(source: Source, text: bytes, queue: Scalar, node: nodes.Mapping, workers: int) -> Iterator[bytes]:
    """With a new line, in all the places where it may be valid, the nicest first."""
    keys = [key for key, _ in node.entries]
    command = next((n for n, key in enumerate(keys) if key.text == "command"), None)
    lines = [keys[0].line]
    if command is not None:
        last = _last_line(source, queue.text, keys[command])
        lines = [*(at for at in dict.fromkeys(last) if at < len(source.lines)), keys[command].line, *lines]
    for line in lines:
        at = _offset(source, text, line, 0)
        if at > 0 and text[at - 1 : at] == b"\n":  # never after a last line that has no end: that would change it too
            ending = b"\r\n" if text[:at].endswith(b"\r\n") else b"\n"
            yield text[:at] + b" " * keys[0].column + f"workers: {workers}".encode() + ending + text[at:]


def _last_line(source: Source, queue: str, key: Scalar) -> tuple[int, int]:
    """The line after the value of a key of a queue: without the empty lines that may be a part of it, and with them."""
    root = yaml.compose(source.text, Loader=yaml.CSafeLoader)
    value = _value(_value(_value(root, "queues"), queue), key.text)
    while isinstance(value, yaml.SequenceNode) and value.value:
        value = value.value[-1]
    mark = value.end_mark
    after = mark.line + 1 if mark.column else mark.line
    kept = after
    while kept > key.line + 1 and not source.lines[kept - 1].strip():
        kept -= 1
    return kept, after


def _value(node: yaml.Node, name: str) -> yaml.Node:
    assert isinstance(node, yaml.MappingNode)
    return next(value for key, value in node.value if key.value == name)


# --- files --------------------------------------------------------------------------------------------------------


def _lock(directory: int, path: Path) -> None:
    """Only one procq at a time: the second would otherwise find its file changed a moment too late."""
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ProcqError(f"somebody else is saving a file beside {path}:", "try again.") from None
    except OSError:
        pass  # a file system without locks


def _save(path: Path, real: str, directory: int, edit: Callable[[bytes], bytes]) -> bool:
    before = os.stat(real)
    old = _read(real)
    new = edit(old)
    if new == old:
        return False
    if before.st_nlink > 1:
        raise ProcqError(
            f"{path} has other names (hard links), which would keep the old text:", "change the file by hand."
        )
    base = os.path.basename(real)
    beside = f".{base[:200]}.{secrets.token_hex(6)}"
    try:
        _write(beside, directory, new, before)
        if os.path.realpath(path) != real or not _same(before, os.stat(real)) or _read(real) != old:
            raise ProcqError(f"{path} was changed by somebody else at the same moment:", "look at it and save again.")
        os.rename(beside, base, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside, dir_fd=directory)
        raise
    os.fsync(directory)
    return True


def _write(name: str, directory: int, data: bytes, like: os.stat_result) -> None:
    """A new file with the mode and the owner of another, on the disk when this returns."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o600, dir_fd=directory)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        made = os.fstat(descriptor)
        if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
            os.fchown(descriptor, like.st_uid, like.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
        os.fsync(descriptor)


def _same(old: os.stat_result, new: os.stat_result) -> bool:
    """Whether a file is the one it was."""
    kept = ("st_dev", "st_ino", "st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns")
    return all(getattr(old, name) == getattr(new, name) for name in kept)


def _read(path: str) -> bytes:
    # A FIFO would block without O_NONBLOCK, before it can be seen to be one.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ProcqError(f"{path} is not a regular file.", "Name a file.")
        return file.read(MAX_BYTES + 1)
