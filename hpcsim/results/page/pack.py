"""Columns as short texts for a page: as few bytes a value as it needs, deflated, in base64. ``unpack.js`` reads them.

The first bytes of all values come first, then their second bytes, and so on: alike bytes together deflate better.
A packed column is a mapping that JSON can hold; ``unpack`` is the same as ``unpack.js``, for who reads a page.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Packed = dict[str, Any]


def whole(values: npt.NDArray[Any] | pa.ChunkedArray, *, changes: bool = False) -> Packed:
    """Whole numbers below 2**53, some of which may be unknown (null).

    ``changes`` packs the differences instead, which are small where a column changes slowly; it is ignored where
    something is unknown.
    """
    known = None
    if isinstance(values, (pa.ChunkedArray, pa.Array)):
        known = values.is_valid().to_numpy(zero_copy_only=False) if values.null_count else None
        values = (values.fill_null(0) if values.null_count else values).to_numpy(zero_copy_only=False)
    numbers = np.asarray(values, np.int64)
    if changes and known is None:
        numbers = np.diff(numbers, prepend=0)
    there = numbers if known is None else numbers[known]
    base = int(there.min()) if there.size else 0
    codes = numbers - base
    if known is not None:
        codes = np.where(known, codes + 1, 0)
    width = max(1, (int(codes.max()).bit_length() + 7) // 8) if codes.size else 1
    packed = {"kind": "whole", "count": numbers.size, "base": base, "width": width}
    packed |= {"nulls": known is not None, "changes": changes and known is None}
    return packed | {"data": _deflated(_planes(codes.astype("<u8"), 8)[:width].tobytes())}


def real(values: npt.NDArray[Any] | pa.ChunkedArray) -> Packed:
    """Numbers to seven digits; NaN is what is unknown."""
    if isinstance(values, (pa.ChunkedArray, pa.Array)):
        values = values.to_numpy(zero_copy_only=False)
    numbers = np.asarray(values, np.float64).astype("<f4")
    return {"kind": "real", "count": numbers.size, "data": _deflated(_planes(numbers, 4).tobytes())}


def named(column: pa.ChunkedArray) -> Packed:
    """Texts that repeat themselves: each once, and a number for each row."""
    encoded = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
    encoded = encoded.unify_dictionaries().combine_chunks()
    if len(encoded) and len(encoded.dictionary) > len(encoded):  # names that only other rows of the table had
        encoded = pc.dictionary_encode(encoded.cast(pa.string()))
    if isinstance(encoded, pa.ChunkedArray):  # of no rows
        return {"kind": "named", "names": texts([]), "codes": whole(np.zeros(0, np.int64))}
    return {"kind": "named", "names": texts(encoded.dictionary.to_pylist()), "codes": whole(encoded.indices)}


def texts(column: list[str | None] | pa.ChunkedArray) -> Packed:
    """Texts as they come, or null."""
    rows = column if isinstance(column, list) else column.to_pylist()
    content = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()
    return {"kind": "texts", "count": len(rows), "data": _deflated(content)}


def size_of(packed: Mapping[str, Any]) -> int:
    """How many characters of a page a packed column takes."""
    return len(json.dumps(packed))


def unpack(packed: Mapping[str, Any]) -> list[Any] | npt.NDArray[np.float64]:
    """What was packed: floats with NaN for what is unknown, or a list of texts."""
    if packed["kind"] == "named":
        names, codes = unpack(packed["names"]), unpack(packed["codes"])
        return [None if code != code else names[int(code)] for code in codes]
    content = zlib.decompress(b64decode(packed["data"]))
    if packed["kind"] == "texts":
        rows: list[Any] = json.loads(content)
        return rows
    count = packed["count"]
    if not count:
        return np.zeros(0)
    planes = np.frombuffer(content, np.uint8).reshape(-1, count).T
    if packed["kind"] == "real":
        return np.ascontiguousarray(planes).view("<f4")[:, 0].astype(np.float64)
    codes = (planes.astype(np.int64) << (8 * np.arange(packed["width"]))).sum(axis=1)
    numbers = (codes + packed["base"] - packed["nulls"]).astype(np.float64)
    if packed["changes"]:
        numbers = np.cumsum(numbers)
    return np.where(codes == 0, np.nan, numbers) if packed["nulls"] else numbers


def _planes(numbers: npt.NDArray[Any], size: int) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(numbers.view(np.uint8).reshape(-1, size).T)


def _deflated(content: bytes) -> str:
    return b64encode(zlib.compress(content, 6)).decode("ascii")
