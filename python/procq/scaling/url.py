"""URLs in parts, each with where it stands. Pure.

A "#" is nothing special, nor is a "+": both are common in passwords and in what people ask of databases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class Word:
    """A part of a URL and where it stands; `text` is without percent signs."""

    text: str
    begin: int
    end: int

    @property
    def span(self) -> tuple[int, int]:
        """Which characters of the URL it is, from and up to."""
        return self.begin, self.end


@dataclass(frozen=True, slots=True)
class Url:
    """A URL in parts. An IPv6 address is in its brackets; `authority` has its percent signs."""

    whole: str
    scheme: Word
    authority: Word
    user: Word | None
    password: Word | None
    host: Word
    port: Word | None
    path: Word
    parameters: tuple[tuple[Word, Word], ...]

    def raw(self, word: Word) -> str:
        """The characters of a part, as they stand there."""
        return self.whole[word.begin : word.end]

    @property
    def options(self) -> dict[str, str]:
        """The parameters by name."""
        return {name.text: value.text for name, value in self.parameters}

    @property
    def address(self) -> str:
        """The host without brackets."""
        return self.host.text.removeprefix("[").removesuffix("]")

    def port_or(self, otherwise: int) -> int:
        """The port, as a number."""
        return otherwise if self.port is None else int(self.port.text)


def split(url: str) -> Url:
    """The parts of a URL that begins with a scheme and a colon."""
    after = url.index(":") + 1
    question = url.find("?", after)
    end = len(url) if question < 0 else question
    begin = after
    authority = Word("", after, after)
    if url.startswith("//", after):
        slash = url.find("/", after + 2, end)
        begin = end if slash < 0 else slash
        authority = Word(url[after + 2 : begin], after + 2, begin)
    user, password, host, port = _authority(authority)
    return Url(
        whole=url,
        scheme=Word(url[: after - 1].lower(), 0, after - 1),
        authority=authority,
        user=user,
        password=password,
        host=host,
        port=port,
        path=Word(unquote(url[begin:end]), begin, end),
        parameters=tuple(_parameters(url, end + 1)),
    )


def _authority(whole: Word) -> tuple[Word | None, Word | None, Word, Word | None]:
    """User, password, host and port."""
    before, at, rest = whole.text.rpartition("@")
    name, colon, secret = before.partition(":")
    middle, begin = whole.begin + len(name), whole.begin + len(before) + len(at)
    user = Word(unquote(name), whole.begin, middle) if name else None
    password = Word(unquote(secret), middle + 1, begin - 1) if colon else None
    inside, bracket, tail = rest.rpartition("]")
    outside, colon, number = tail.partition(":")
    host = f"{inside}{bracket}{outside}"
    port = Word(number, whole.end - len(number), whole.end) if colon else None
    return user, password, Word(host, begin, begin + len(host)), port


def _parameters(url: str, begin: int) -> Iterator[tuple[Word, Word]]:
    while begin < len(url):
        end = url.find("&", begin)
        end = len(url) if end < 0 else end
        name, equals, value = url[begin:end].partition("=")
        if name:
            middle = begin + len(name)
            yield Word(unquote(name), begin, middle), Word(unquote(value), middle + len(equals), end)
        begin = end + 1
