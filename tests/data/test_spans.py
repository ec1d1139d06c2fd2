"""Spans: read one after another they give what the whole file gives, numbers and faults included, however it is cut."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bertsmith.data.documents import DocumentFormat, DocumentRules, read_documents
from bertsmith.data.lines import Reading, read_lines
from bertsmith.data.readers import read_table
from bertsmith.data.spans import Spans, document_spans, row_spans

CSV = '\ufefftext,label\r\n"one, ""two""",a\r\n"three\nfour\n\nfive",b\n\nsix " seven,c\nonly one field\neight,d'
JSON = (
    '\ufeff{"text": "one"}\n\n{"text": "two"}\r\nno object\n{"text": "three"}\r{"text": "four"}\n  \n{"text": "five"}'
)
SENTENCES = "One two.\nThree four.\n\n\nFive six.\n \nSeven eight.\nNine ten.\n\nEleven."
WIKI = '<doc id="1">\nOne.\n\nTwo. Three.\n</doc>\n<doc id="2">\nFour.\n</doc>\n\n<doc id="3">\nFive.\n</doc>\n'
LINES = "One two. Three four.\nFive six. Seven eight.\nNine ten. Eleven.\n"


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def rows(path: Path, spans: Spans) -> list[object]:
    return [row for span in spans for row in read_table(path, Reading("skip", span=span))]


def skipped(path: Path, spans: Spans) -> dict[str, int]:
    reading = Reading("skip")
    for reading.span in spans:
        list(read_table(path, reading))
    return dict(reading.skipped)


@pytest.mark.parametrize(("name", "text", "num"), [("t.csv", CSV, 5), ("t.jsonl", JSON, 6)])
@pytest.mark.parametrize("num_rows", [1, 2, 3, 100])
def test_a_table_in_spans_is_the_table(tmp_path: Path, name: str, text: str, num: int, num_rows: int) -> None:
    path = write(tmp_path / name, text)
    whole = rows(path, [None])
    spans = row_spans(path, Reading(), num_rows)
    assert len(spans) == -(-num // num_rows)
    assert len(whole) == num - 1
    assert rows(path, spans) == whole
    assert skipped(path, spans) == skipped(path, [None]) != {}


@given(st.lists(st.text(alphabet='ab",\n\r é', max_size=12), min_size=1, max_size=8), st.integers(1, 4))
def test_any_quoted_table_in_spans_is_the_table(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], n: int
) -> None:
    cells = [f'"{text.replace(chr(34), chr(34) * 2)}",{place}' for place, text in enumerate(texts)]
    path = write(tmp_path_factory.mktemp("tables") / "t.csv", "\n".join(["text,number", *cells]))
    whole = rows(path, [None])
    assert len(whole) == len(texts)
    assert rows(path, row_spans(path, Reading(), n)) == whole


@given(st.text(alphabet="ab\n\r é", max_size=60), st.integers(1, 4), st.integers(4, 20))
@example("aaaéaa\ra", 1, 4)  # a part ends where the line does, and the span before the next line's
def test_any_lines_in_spans_are_the_lines(
    tmp_path_factory: pytest.TempPathFactory, text: str, n: int, most: int
) -> None:
    path = write(tmp_path_factory.mktemp("lines") / "t.txt", text)

    def read(spans: Spans) -> list[object]:
        return [line for span in spans for line in read_lines(path, Reading("replace", most, span=span))]

    assert read(row_spans(path, Reading("replace", most), n)) == read([None])


def test_names_given_for_a_table_hold_in_every_span(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "one,a\ntwo,b\nthree,c\n")
    spans = row_spans(path, Reading(column_names=("text", "label")), 1)
    found = [row for span in spans for row in read_table(path, Reading(column_names=("text", "label"), span=span))]
    assert [(row.number, row.line, row.values["text"]) for row in found] == [
        (1, 1, "one"),
        (2, 2, "two"),
        (3, 3, "three"),
    ]


def test_parquet_is_cut_between_its_groups_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": [f"text {i}" for i in range(10)]}), path, row_group_size=3)
    spans = row_spans(path, Reading(), 4)
    assert [(span.begin.row, span.until.row) for span in spans if span] == [(0, 6), (6, 10)]
    assert rows(path, spans) == rows(path, [None])


@pytest.mark.parametrize(("found", "text"), [("sentences", SENTENCES), ("wiki", WIKI), ("lines", LINES)])
@pytest.mark.parametrize("num_bytes", [1, 20, 1000])
def test_documents_in_spans_are_the_documents(tmp_path: Path, found: DocumentFormat, text: str, num_bytes: int) -> None:
    path = write(tmp_path / "t.txt", text)
    spans = document_spans(path, Reading(), found, num_bytes)
    assert (len(spans) == 1) == (num_bytes == 1000)
    rules = DocumentRules(found)
    whole = list(read_documents([path], Reading(), rules))
    assert [document for span in spans for document in read_documents([path], Reading(span=span), rules)] == whole
    assert len(whole) >= 3


def test_what_cannot_be_entered_in_the_middle_stays_whole(tmp_path: Path) -> None:
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(CSV.encode()))
    assert row_spans(packed, Reading(), 1) == [None]
    assert document_spans(write(tmp_path / "t.txt", SENTENCES), Reading(), "files", 1) == [None]
