"""Pictures in plain Python: reads binary PPM, averages, writes PNG. Slow for large ones, as real jobs are."""

from __future__ import annotations

import math
import re
import struct
import zlib
from dataclasses import dataclass

PPM = re.compile(rb"P6\s+(\d+)\s+(\d+)\s+255\s")
LIGHT: list[float] = [
    (value / 255) ** 2.2 for value in range(256)
]  # colours are stored by perception, and averaged by light


@dataclass(frozen=True, slots=True)
class Picture:
    """Rows of red, green and blue, one byte each."""

    width: int
    height: int
    pixels: bytes


def read_ppm(data: bytes) -> Picture:
    """The picture in a binary PPM with one byte a colour. Raises ValueError for anything else."""
    header = PPM.match(data)
    if header is None:
        raise ValueError("not a binary PPM with 255 as its largest value")
    width, height, pixels = int(header[1]), int(header[2]), data[header.end() :]
    if len(pixels) != width * height * 3:
        raise ValueError(f"{width} × {height} pixels need {width * height * 3} bytes, there are {len(pixels)}")
    return Picture(width, height, pixels)


def write_ppm(picture: Picture) -> bytes:
    """The picture as a binary PPM."""
    return b"P6 %d %d 255\n" % (picture.width, picture.height) + picture.pixels


def shrink(picture: Picture, width: int) -> Picture:
    """Smaller by a whole factor, so that it is about `width` wide; each pixel is the average of those it stands for."""
    factor = max(1, min(picture.width // width, picture.height))
    columns, rows = picture.width // factor, picture.height // factor
    averages = bytearray()
    for row in range(rows):
        for column in range(columns):
            averages += _average(picture, column * factor, row * factor, factor)
    return Picture(columns, rows, bytes(averages))


def _average(picture: Picture, left: int, top: int, size: int) -> bytes:
    starts = [((top + row) * picture.width + left) * 3 for row in range(size)]
    return bytes(_mean([picture.pixels[at + colour : at + size * 3 : 3] for at in starts]) for colour in range(3))


def _mean(rows: list[bytes]) -> int:
    light = sum(LIGHT[value] for row in rows for value in row) / sum(map(len, rows))
    return round(math.pow(light, 1 / 2.2) * 255)


def write_png(picture: Picture) -> bytes:
    """The picture as a PNG."""
    stride = picture.width * 3
    rows = b"".join(b"\0" + picture.pixels[y * stride : (y + 1) * stride] for y in range(picture.height))
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
