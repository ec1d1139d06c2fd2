"""Tables of every format: rows, their places, and what is refused."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from bertsmith.data.delimited import Layout
from bertsmith.data.lines import ErrorPolicy, Reading
from bertsmith.data.readers import Row, read_table
from bertsmith.errors import DataError

VALUES = [{"text": "gut", "label": "1"}, {"text": "schlecht", "label": "0"}]


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def parquet(values: list[dict[str, object]]) -> bytes:
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.Table.from_pylist(values), sink)
    return bytes(sink.getvalue())


CONTENTS = {
    ".csv": b"text,label\ngut,1\nschlecht,0\n",
    ".tsv": b"text\tlabel\ngut\t1\nschlecht\t0\n",
    ".jsonl": "".join(json.dumps(row) + "\n" for row in VALUES).encode(),
    ".parquet": parquet([dict(row) for row in VALUES]),
}
PACKERS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": pa.Codec("zstd").compress}


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("suffix", CONTENTS)
def test_every_format_packed_or_not(tmp_path: Path, suffix: str, packed: str) -> None:
    path = write(tmp_path / f"a{suffix}{packed}", bytes(PACKERS[packed](CONTENTS[suffix])))
    assert [dict(row.values) for row in read_table(path)] == VALUES


def test_rows_know_where_they_come_from(tmp_path: Path) -> None:
    row = next(read_table(write(tmp_path / "a.csv", "text,label\n\ngut,1\n")))
    assert row == Row({"text": "gut", "label": "1"}, tmp_path / "a.csv", number=1, line=3)
    assert row.where == f"{tmp_path / 'a.csv'}, row 1 (line 3)"
    assert list(read_table(write(tmp_path / "b.parquet", CONTENTS[".parquet"])))[1].where.endswith("b.parquet, row 2")


def test_a_layout_makes_a_table_of_any_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "gut\t1\nschlecht\t0\n")
    rows = list(read_table(path, layout=Layout(("text", "label"), delimiter="\t")))
    assert [dict(row.values) for row in rows] == VALUES
    assert [row.line for row in rows] == [1, 2]


def test_rows_come_one_at_a_time(tmp_path: Path) -> None:
    rows = read_table(write(tmp_path / "a.csv", "text,label\ngut,1\nbroken\n"))
    assert next(rows).number == 1
    with pytest.raises(DataError):
        next(rows)


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.txt", "text\n", ".txt is no table format; .*: .csv"),
        ("a.cvs", "text\n", "did you mean '.csv'"),
        ("a.csv", "text,label\n", "the table has no rows"),
        ("a.jsonl", "\n\n", "the table has no rows"),
        ("a.csv", CONTENTS[".parquet"], "expected UTF-8 text, found Parquet data"),
        ("a.csv", gzip.compress(CONTENTS[".csv"], mtime=0), "found gzip data; name it with .gz"),
        ("a.parquet", CONTENTS[".csv"], "damaged, or no Parquet data in spite of its name"),
        ("a.parquet", CONTENTS[".parquet"][:-9], "damaged, or no Parquet data in spite of its name"),
        ("a.jsonl", "[1, 2]\n", "line 1: not one JSON object .found list"),
        ("a.jsonl", '[\n{"a": 1}]\n', "line 1: not one JSON object .*a JSON array. write one object a line"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "line 2: not one JSON object .Expecting value"),
        ("a.jsonl", '{"a": 1, "a": 2}\n', "line 1: not one JSON object .the key 'a' occurs twice"),
        ("a.jsonl", '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}\n", "line 1: not one JSON object .nested too deeply"),
        ("a.jsonl", '{"a": ' + "9" * 5000 + "}\n", "line 1: not one JSON object"),
        ("a.jsonl", '{"a": "\\ud83d"}\n', "line 1: lone surrogate"),
        ("a.jsonl", b'{"a": "\xff"}\n', "line 1: invalid UTF-8"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, data: str | bytes, told: str) -> None:
    with pytest.raises(DataError, match=rf"{name}.*{told}"):
        list(read_table(write(tmp_path / name, data)))


@pytest.mark.parametrize("packed", [".gz", ".xz", ".zst"])
def test_a_truncated_packed_table_is_named(tmp_path: Path, packed: str) -> None:
    data = "text,label\n" + "".join(f"{i * i} words and {i**3} more,{i % 2}\n" for i in range(5000))
    whole = bytes(PACKERS[packed](data.encode()))
    with pytest.raises(DataError, match=rf"a\.csv\{packed}"):
        list(read_table(write(tmp_path / f"a.csv{packed}", whole[: len(whole) // 2])))


def test_the_first_ten_bad_rows_are_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n" + "gut,1\nschlecht\n" * 20)
    with pytest.raises(DataError) as caught:
        list(read_table(path))
    lines = str(caught.value).splitlines()
    assert len(lines) == 12
    assert lines[0].endswith(
        "a.csv, line 3: wrong number of fields (1 where the header has 2; separated by ',', quoted)"
    )
    assert lines[10] == "... and 10 more, 20 in all"
    assert "'skip'" in lines[11]


def test_skipping_leaves_bad_rows_out_and_counts_them(tmp_path: Path) -> None:
    data = b'{"a": "x"}\nnonsense\n{"a": "\xff"}\n{"a": "\\ud800"}\n{"a": "y"}\n'
    reading = Reading("skip")
    assert [row.values["a"] for row in read_table(write(tmp_path / "a.jsonl", data), reading)] == ["x", "y"]
    assert reading.skipped == {"not one JSON object": 1, "invalid UTF-8": 1, "lone surrogate": 1}


def test_replacing_mends_text_but_no_shape(tmp_path: Path) -> None:
    reading = Reading("replace")
    path = write(tmp_path / "a.jsonl", b'{"a": "x\xff"}\n{"a": "\\ud800", "b": NaN}\n')
    assert [row.values["a"] for row in read_table(path, reading)] == ["x\ufffd", "\ufffd"]
    assert reading.replaced == {"invalid UTF-8": 1, "lone surrogate": 1}
    with pytest.raises(DataError, match="line 2: wrong number of fields"):
        list(read_table(write(tmp_path / "b.csv", "text,label\nx\n"), reading))


def test_a_whole_surrogate_pair_is_no_fault(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": "\\ud83d\\ude00", "b": NaN}\n')
    assert next(read_table(path)).values["a"] == "😀"


@pytest.mark.parametrize("policy", ["error", "skip"])
def test_a_json_line_without_end(tmp_path: Path, policy: ErrorPolicy) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": "' + "x" * 5000 + '"}\n{"a": "y"}\n')
    reading = Reading(policy, max_line_bytes=1000)
    if policy == "error":
        with pytest.raises(DataError, match="line 1: line too long"):
            list(read_table(path, reading))
    else:
        assert [row.values["a"] for row in read_table(path, reading)] == ["y"]
        assert reading.skipped == {"line too long": 1}


def test_parquet_strings_that_are_no_text(tmp_path: Path) -> None:
    strings = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0])), pa.py_buffer(b"a\xff")]
    )
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.table({"a": strings}), sink)
    path = write(tmp_path / "a.parquet", bytes(sink.getvalue()))
    with pytest.raises(DataError, match=r"a\.parquet, row 2: invalid UTF-8"):
        list(read_table(path))
    assert [row.values["a"] for row in read_table(path, Reading("skip"))] == ["a"]


def test_parquet_with_a_name_twice(tmp_path: Path) -> None:
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.table([[1], [2]], names=["a", "a"]), sink)
    with pytest.raises(DataError, match="name occurs twice"):
        list(read_table(write(tmp_path / "a.parquet", bytes(sink.getvalue()))))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("glue/SST-2/dev.tsv.xz", 872),
        ("glue/RTE/train.tsv.xz", 2490),
        ("glue/QNLI/dev.tsv.xz", 5463),
        ("glue/QQP/subset.tsv.xz", 23496),
        ("intent/banking77/train.csv.xz", 10003),
        ("zh_cls/ChnSentiCorp_htl_all.csv.xz", 7766),
        ("zh_pair/ocnli/dev.json.xz", 3000),
    ],
)
def test_real_tables_have_the_published_number_of_rows(shared: Path, name: str, count: int) -> None:
    assert sum(1 for _ in read_table(shared / name)) == count
