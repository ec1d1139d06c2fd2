"""One JSON document that is read whole, plain or packed; knows nothing of what is in it."""

from __future__ import annotations

import json
import lzma
import zlib
from pathlib import Path
from typing import Any

from bertsmith.data.lines import Reading, decode, mended, refuse_foreign, unreadable
from bertsmith.errors import DataError
from bertsmith.files import open_bytes


def read_json_file(path: Path, reading: Reading) -> Any:
    """What the document holds. Raises `DataError` as the two functions below do."""
    return parse_json(read_json_text(path, reading), path)


def read_json_text(path: Path, reading: Reading) -> str:
    """The document as text. Raises `DataError` for a file that is damaged or no text.

    Bytes that are no text are mended where `reading` says so; there is no part of the document to skip.
    """
    try:
        with open_bytes(path) as stream:
            data = stream.read()
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise unreadable(path, 0, error) from None
    refuse_foreign(path, data[:8])
    reading.num_bytes += len(data)
    text, fault = decode(data.removeprefix(b"\xef\xbb\xbf"), str(path))
    if fault is not None and not mended(fault, reading):
        raise DataError(f"{fault}; mend the file, or choose the errors policy 'replace' to put U+FFFD for it")
    return text


def parse_json(text: str, path: Path) -> Any:
    """What the text of the document at `path` says. Raises `DataError` where it is no JSON."""
    try:
        return json.loads(text)
    except RecursionError:
        raise DataError(f"{path}: the JSON is nested too deeply to be read") from None
    except ValueError as error:
        hint = "; if it holds one object a line, name it with .jsonl" if "Extra data" in str(error) else ""
        raise DataError(f"{path}: not valid JSON: {error}{hint}") from None
