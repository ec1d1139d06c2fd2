"""Documents to search in: an id, a text, a title, facts; read from folders and tables. Knows no index."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from bertsmith.data.lines import Fault, Reading, read_lines, sift
from bertsmith.data.readers import TABLE_SUFFIXES, Row, read_table
from bertsmith.errors import DataError
from bertsmith.files import bare_suffix
from bertsmith.search.markup import read_page

Fact: TypeAlias = str | int | float | bool
PAGE_SUFFIXES = (".html", ".htm", ".xhtml")
TEXT_SUFFIXES = (".txt", ".md", ".rst", ".text", *PAGE_SUFFIXES)
_OTHER_SUFFIXES = (".xml", ".pdf", ".doc", ".docx", ".odt", ".rtf", ".epub", ".ppt", ".pptx", ".xls", ".xlsx")
"""Of documents whose bytes are not the text that people read."""
LONGEST_ID = 1_000
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17})?")
_ID_NAMES = ("id", "_id", "docid", "doc_id", "document", "url")
_TITLE_NAMES = ("title", "heading", "name")
_TEXT_NAMES = ("text", "body", "content", "contents", "passage", "document_text", "question")


@dataclass(frozen=True, slots=True)
class Document:
    """metadata: facts by name, that searches can be narrowed by. where: its file and row, for messages."""

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Fact] = field(default_factory=dict)
    where: str = field(default="", compare=False, repr=False)

    @property
    def sha256(self) -> str:
        """Of everything in it: whether it changed."""
        said = json.dumps([self.title, self.text, dict(sorted(self.metadata.items()))], ensure_ascii=True)
        return hashlib.sha256(said.encode()).hexdigest()


def read_documents(paths: Sequence[Path], reading: Reading | None = None) -> Iterator[Document]:
    """The documents of folders, text files and tables, in order.

    A text file is a document, its path below the folder its id; an HTML page too, by the text that its readers see. A
    row of a table is one: its id, title and text are found by the columns' names, the other columns are its metadata.
    Raises `DataError` for what is none of them; under the policy `skip` a file that cannot be read is left out, a table
    from there on, and `reading` tells which and why.
    """
    reading = reading or Reading()
    for path in paths:
        if path.is_dir():
            files = _files_of(path, reading)
            for file in files:
                yield from _of_file(file, file.relative_to(path).as_posix(), reading)
        elif path.is_file():
            yield from _of_file(path, path.name, reading)
        else:
            raise DataError(f"{path}: no such file or folder")


def _files_of(folder: Path, reading: Reading) -> list[Path]:
    """Those that are read, by name; hidden ones and folders are passed by, files of other kinds told."""
    files, others = [], Counter[str]()
    for file in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in file.relative_to(folder).parts) or not file.is_file():
            continue
        suffix = bare_suffix(file)
        if suffix in (*TEXT_SUFFIXES, *TABLE_SUFFIXES):
            files.append(file)
        else:
            others[f"a file of another kind ({suffix or 'no ending'})"] += 1
    if not files:
        known = ", ".join((*TEXT_SUFFIXES, *TABLE_SUFFIXES))
        raise DataError(f"{folder}: no documents in this folder; those are {known}")
    reading.skipped.update(others)
    return files


def _of_file(path: Path, name: str, reading: Reading) -> Iterator[Document]:
    try:
        yield from _read(path, name, reading)
    except DataError as error:
        if reading.errors != "skip":
            raise
        reading.skipped[f"a file that cannot be read ({error})"] += 1


def _read(path: Path, name: str, reading: Reading) -> Iterator[Document]:
    if bare_suffix(path) in TABLE_SUFFIXES:
        yield from sift((_of_row(row, name) for row in read_table(path, reading)), reading)
        return
    if bare_suffix(path) in _OTHER_SUFFIXES:
        raise DataError(f"{path}: not a text; save its text as .txt, .html, or as a table (.jsonl, .csv)")
    lines = [line.text for line in read_lines(path, reading)]
    text, title = "\n".join(lines).strip("\n"), _heading(lines)
    if bare_suffix(path) in PAGE_SUFFIXES:
        page = read_page(text)
        text, title = page.text, page.title
    if text.strip():
        yield Document(name, text, title, where=str(path))
    else:
        reading.skipped["a file without a text"] += 1


def _heading(lines: Sequence[str]) -> str:
    """Of Markdown, its first heading."""
    first = next((line.strip() for line in lines if line.strip()), "")
    return first.lstrip("#").strip() if first.startswith("#") else ""


def _of_row(row: Row, name: str) -> Document | Fault:
    values = row.values
    text_name = _first(values, _TEXT_NAMES)
    if text_name is None:
        detail = f"it is looked for in {', '.join(_TEXT_NAMES)}, found {', '.join(values)}"
        return Fault(row.where, "a document without a text", detail)
    id_name, title_name = _first(values, _ID_NAMES), _first(values, _TITLE_NAMES)
    text = values[text_name]
    if not isinstance(text, str) or not text.strip():
        return Fault(row.where, "a document without a text", text_name)
    found = values[id_name] if id_name is not None else f"{name}:{row.number}"
    if isinstance(found, bool) or not isinstance(found, str | int) or not str(found).strip():
        return Fault(row.where, "a document without an id", f"{id_name}: {found!r:.60}")
    title = values[title_name] if title_name is not None else ""
    own = {id_name, title_name, text_name}
    is_text = bare_suffix(row.path) in (".csv", ".tsv")  # whose cells do not say what they are
    facts = {key: fact_of(value) if is_text and isinstance(value, str) else value for key, value in values.items()}
    metadata = {key: value for key, value in facts.items() if key not in own and _is_fact(value)}
    return Document(str(found), text, title if isinstance(title, str) else "", metadata, row.where)


def _first(values: Mapping[str, Any], names: Sequence[str]) -> str | None:
    plain = {key.strip().lower(): key for key in values}
    return next((plain[name] for name in names if name in plain), None)


def fact_of(text: str) -> Fact:
    """A number, true or false, where a text is written so; else the text: `007` and `1e5` are names.

    >>> [fact_of(text) for text in ("2024", "-1.5", "true", "007", "en")]
    [2024, -1.5, True, '007', 'en']
    """
    if text in ("true", "false"):
        return text == "true"
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text


def _is_fact(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int | bool)


def check_document(document: Document) -> None:
    """Raises `DataError` for what no index takes."""
    where = f"{document.where}{': ' if document.where else ''}document {document.id[:60]!r}"
    if not document.id.strip() or len(document.id) > LONGEST_ID:
        raise DataError(f"{where}: an id has 1 to {LONGEST_ID:,} characters, not only spaces")
    if not document.text.strip():
        raise DataError(f"{where}: its text is empty")
    for text in (document.id, document.title, document.text, *document.metadata):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{where}: half a character (a lone surrogate) at {error.start}") from None
    for name, value in document.metadata.items():
        if not _is_fact(value):
            raise DataError(
                f"{where}: metadata {name!r}: expected a text, a number or true or false, found {value!r:.60}"
            )
