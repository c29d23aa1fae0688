"""The text of a trace file, plain or gzip: read in blocks of whole lines, written all or not at all.

A few kilobytes of gzip can unpack to more than any memory holds, so what is read is bounded.
"""

from __future__ import annotations

import gzip
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np

from hpcsim.errors import InputError
from hpcsim.workload.job import Int64s

BLOCK_BYTES = 4 << 20
LONGEST_LINE_BYTES = 1 << 20
MOST_LINES = 1 << 24
LARGEST_WHOLE_BYTES = 128 << 20  # of a file that is read at once
MOST_UNPACKED = 200  # times the size of a packed file; traces unpack to 5 to 15 times
SMALL_BYTES = 64 << 20  # unpacked, of which no file is suspected
LARGEST_NUMBER = 2**53  # above it a float no longer holds every whole number
_GZIP_MAGIC = b"\x1f\x8b"


def line_blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """The file's text in blocks of whole lines, each with the number (from 1) of its first line.

    A file whose name ends in ``.gz`` is unpacked. Every block ends in a newline, also the last one.
    Raises ``InputError`` for a file that is missing, not a file, empty, larger than any trace, or not what its name
    says.
    """
    first_line, rest, found = 1, b"", False
    with _opened(path) as stream:
        for raw in _chunks(path, stream):
            if not found and raw.startswith(_GZIP_MAGIC) and path.suffix.lower() != ".gz":
                raise InputError(f"{path}: found gzip-compressed data; its name should end in {path.suffix}.gz")
            found = True
            cut = raw.rfind(b"\n") + 1
            if cut:
                block = rest + raw[:cut]
                next_line = first_line + block.count(b"\n")
                if next_line > MOST_LINES:
                    raise InputError(f"{path}: found more than {MOST_LINES:,} lines, the most that are read")
                yield first_line, block
                first_line = next_line
                rest = raw[cut:]
            else:
                rest += raw
            if len(rest) > LONGEST_LINE_BYTES:
                raise InputError(
                    f"{path}:{first_line}: found a line of more than {LONGEST_LINE_BYTES} bytes,"
                    " expected the text of a trace"
                )
    if not found:
        raise InputError(f"{path}: the file is empty, expected a trace")
    if rest:
        yield first_line, rest + b"\n"


def whole_content(path: Path) -> bytes:
    """All of the file, unpacked if its name ends in ``.gz``; raises as ``line_blocks``."""
    with _opened(path) as stream:
        chunks: list[bytes] = []
        for chunk in _chunks(path, stream):
            chunks.append(chunk)
            if sum(map(len, chunks)) > LARGEST_WHOLE_BYTES:
                raise InputError(f"{path}: larger than {LARGEST_WHOLE_BYTES >> 20} MiB, the most that are read")
    content = b"".join(chunks)
    if not content:
        raise InputError(f"{path}: the file is empty, expected a trace")
    return content


def content_lines(block: bytes, first_line: int, comment: bytes | None = None) -> tuple[bytes, Int64s]:
    """The block without blank lines and lines that begin with ``comment``, and the number of each line."""
    has_comment = comment is not None and (block.startswith(comment) or b"\n" + comment in block)
    if not has_comment and b"\n\n" not in block and not block.startswith(b"\n"):
        return block, np.arange(first_line, first_line + block.count(b"\n"), dtype=np.int64)
    lines = block.split(b"\n")
    kept = [i for i, line in enumerate(lines) if line and not (has_comment and line.startswith(cast(bytes, comment)))]
    text = b"".join(lines[i] + b"\n" for i in kept)
    return text, np.asarray(kept, np.int64) + first_line


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to: it takes the place of ``path`` only if nothing went wrong."""
    beside = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_file(path: Path, parts: Iterable[bytes]) -> None:
    """Write the parts as one file, gzip-compressed if its name ends in ``.gz``; same parts, same bytes."""
    try:
        with replacing(path) as beside, open(beside, "wb") as raw:
            if path.suffix.lower() == ".gz":
                with gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed:
                    packed.writelines(parts)
            else:
                raw.writelines(parts)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _opened(path: Path) -> IO[bytes]:
    try:
        if not (path.is_file() or path.is_dir()) and path.exists():
            raise InputError(f"{path}: a pipe or a device, expected a file: it is read more than once")
        if path.suffix.lower() == ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        return open(path, "rb")
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _chunks(path: Path, stream: IO[bytes]) -> Iterator[bytes]:
    unpacked = 0
    try:
        while chunk := stream.read(BLOCK_BYTES):
            unpacked += len(chunk)
            if unpacked > SMALL_BYTES and path.suffix.lower() == ".gz":
                packed = path.stat().st_size
                if unpacked > MOST_UNPACKED * packed:
                    raise InputError(
                        f"{path}: found gzip data that unpack to more than {MOST_UNPACKED} times their {packed} bytes,"
                        " expected a trace; if it is one, unpack it first"
                    )
            yield chunk
    except gzip.BadGzipFile as error:
        raise InputError(f"{path}: found data that is not gzip, though the name ends in .gz") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: the gzip data is damaged or cut off ({error})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
