"""CSV and TSV: quoting, separators, headers and broken rows."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.data.delimited import Layout, read_delimited
from bertsmith.data.lines import Fault, Reading
from bertsmith.errors import DataError, SettingsError

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def records(path: Path, reading: Reading | None = None) -> list[tuple[int, dict[str, str]] | Fault]:
    return list(read_delimited(path, reading or Reading()))


def test_a_quoted_field_may_hold_commas_quotes_and_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"good, ""very""\nbook",1\n\nbad,0\n')
    assert records(path) == [
        (2, {"text": 'good, "very"\nbook', "label": "1"}),
        (5, {"text": "bad", "label": "0"}),
    ]


@given(st.lists(st.tuples(CELL, CELL), min_size=1))
def test_what_the_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    path = write(tmp_path_factory.mktemp("csv") / "a.csv", out.getvalue())
    read = [tuple(record[1].values()) for record in records(path) if not isinstance(record, Fault)]
    assert read == rows


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_the_separator_is_the_one_in_the_header(tmp_path: Path, sign: str) -> None:
    path = write(tmp_path / "a.csv", f"text{sign}label\n1{sign}2\n")
    assert records(path) == [(2, {"text": "1", "label": "2"})]


def test_a_quote_in_a_glue_tsv_is_a_character(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'sentence\tlabel\n"so-called" film\t1\n" no end\t0\n"whole"\t0\n')
    values = [record[1]["sentence"] for record in records(path) if not isinstance(record, Fault)]
    assert values == ['"so-called" film', '" no end', '"whole"']


@pytest.mark.parametrize("text", ['"text"\t"label"\n"a b"\t"1"\n', 'text\tlabel\n"a ""b"""\t1\n'])
def test_a_tsv_that_can_only_be_quoted_is_read_so(tmp_path: Path, text: str) -> None:
    record = records(write(tmp_path / "a.tsv", text))[0]
    assert not isinstance(record, Fault)
    assert record[1]["text"] in ("a b", 'a "b"')


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected a header and rows, found no text"),
        ("\n \n\r\n", "expected a header and rows, found no text"),
        ("text,label,text\n", "line 1: the header names the column 'text' twice"),
        ("A very good film that I would see again.,1\n", "line 1: expected a header, found '.*'"),
        ("nice,1\nbad,0\n", "line 1: expected a header, found '1'.*--column-names text label"),
        ("text,,label\n", "line 1: expected a header, found ''"),
        ('text,label\n"never closed,1\nbad,0\n', "line 2: a quoted field opens here and does not close"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DataError, match=rf"a\.csv.*{told}"):
        records(write(tmp_path / "a.csv", text))


def test_the_index_column_of_pandas_has_a_name(tmp_path: Path) -> None:
    assert records(write(tmp_path / "a.csv", ",text\n0,good\n")) == [(2, {"unnamed": "0", "text": "good"})]


def test_ragged_and_misquoted_rows_are_faults_with_their_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\ngood,1\nbad\n"a"b,1\nfine,1,2\n')
    faults = [str(record) for record in records(path) if isinstance(record, Fault)]
    assert [fault.split(": ", 1)[1] for fault in faults] == [
        "wrong number of fields (1 where the header has 2; separated by ',', quoted)",
        "broken quoting (',' expected after '\"')",
        "wrong number of fields (3 where the header has 2; separated by ',', quoted)",
    ]
    assert [fault.split(": ")[0][-6:] for fault in faults] == ["line 3", "line 4", "line 5"]


def test_bad_text_spoils_its_whole_row_or_is_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b'text,label\n"two\nl\xffnes",1\ngood,0\n')
    fault = records(path)[0]
    assert isinstance(fault, Fault)
    assert (fault.kind, fault.where.endswith("line 3")) == ("invalid UTF-8", True)
    replacing = Reading("replace")
    assert records(path, replacing)[0] == (2, {"text": "two\nl\ufffdnes", "label": "1"})
    assert replacing.replaced == {"invalid UTF-8": 1}


def test_a_field_longer_than_the_limit_of_the_csv_module(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n" + "long " * 100_000 + ",1\n")
    record = records(path)[0]
    assert not isinstance(record, Fault)
    assert len(record[1]["text"]) == 500_000


def test_a_line_without_end_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n" + "long " * 1000 + ",1\n")
    with pytest.raises(DataError, match="line 2: line too long"):
        records(path, Reading(max_line_bytes=1000))


def test_names_stand_in_for_a_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'A very good film that I would see again.,1\n"bad, bad",0\n')
    assert list(read_delimited(path, Reading(), Layout(("text", "label")))) == [
        (1, {"text": "A very good film that I would see again.", "label": "1"}),
        (2, {"text": "bad, bad", "label": "0"}),
    ]


def test_a_run_may_name_the_columns_of_its_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "fine\t1\n")
    assert records(path, Reading(column_names=("text", "label"))) == [(1, {"text": "fine", "label": "1"})]
    assert list(read_delimited(path, Reading(column_names=("text", "label")), Layout(("a", "b")))) == [
        (1, {"a": "fine", "b": "1"})
    ]


def test_a_layout_decides_on_delimiter_and_quoting(tmp_path: Path) -> None:
    """By its own look the file is separated by commas, and its first field is quoted."""
    path = write(tmp_path / "a.txt", '"a", b\t1\n"c" and "d"\t0\n')
    layout = Layout(("text", "label"), delimiter="\t", quoted=False)
    assert [record[1] for record in read_delimited(path, Reading(), layout) if not isinstance(record, Fault)] == [
        {"text": '"a", b', "label": "1"},
        {"text": '"c" and "d"', "label": "0"},
    ]


def test_a_header_may_come_with_a_known_dialect(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", 'text\tlabel\n"so-called\t1\n')
    assert list(read_delimited(path, Reading(), Layout(quoted=False))) == [(2, {"text": '"so-called', "label": "1"})]


def test_the_last_fields_may_be_optional(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "x\n1\t2\n1\t2\t3\n1\t2\t3\t4\n")
    few, two, three, many = read_delimited(path, Reading(), Layout(("a", "b", "c"), num_optional=1))
    assert (two, three) == ((2, {"a": "1", "b": "2"}), (3, {"a": "1", "b": "2", "c": "3"}))
    assert str(few).endswith(r"(1 where 3 names are given; separated by '\t', without quoting)")
    assert str(many).endswith(r"(4 where 3 names are given; separated by '\t', without quoting)")


@pytest.mark.parametrize("names", [("a", "a"), ("a", "")])
def test_names_have_to_differ(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="expected different names"):
        list(read_delimited(write(tmp_path / "a.csv", "1,2\n"), Reading(), Layout(names)))
