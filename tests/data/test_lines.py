"""Lines: newlines, encodings, packed and broken files, lines without end, and the three policies."""

from __future__ import annotations

import gzip
import lzma
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.data import lines as module
from bertsmith.data.lines import ErrorPolicy, Fault, Reading, first_lines, read_lines, sift
from bertsmith.errors import DataError


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def texts(path: Path, reading: Reading | None = None) -> list[str]:
    return [line.text for line in read_lines(path, reading or Reading())]


def test_all_three_newlines_end_a_line_and_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbfone\ntwo\r\nthree\rfour\r\n\r\nfive")
    assert texts(path) == ["one", "two", "three", "four", "", "five"]
    assert [line.number for line in read_lines(path, Reading())] == [1, 2, 3, 4, 5, 6]


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8")), st.sampled_from(["\n", "\r\n", "\r"])
        )
    ),
    st.integers(1, 7),
)
def test_lines_do_not_depend_on_the_blocks_they_are_read_in(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[str, str]], block: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    # A line that begins with a newline character would join a lone carriage return before it.
    data = "a" + "".join(f"{text}x{newline}" for text, newline in parts)
    path.write_bytes(data.encode())
    expected = data.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", block)
        assert texts(path) == expected


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst"])
def test_packed_files_read_alike(tmp_path: Path, suffix: str) -> None:
    data = "größer\nkleiner\n".encode() * 1000
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": pa.Codec("zstd").compress}[suffix]
    assert texts(write(tmp_path / f"a.txt{suffix}", bytes(pack(data)))) == ["größer", "kleiner"] * 1000


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_a_truncated_packed_file_is_named(tmp_path: Path, suffix: str) -> None:
    data = bytes(range(32, 127)) * 40 + b"\n"
    data = b"".join(data[i:] + data[:i] for i in range(0, 3800, 3))
    pack = {".gz": gzip.compress, ".xz": lzma.compress, ".zst": pa.Codec("zstd").compress}[suffix]
    whole = bytes(pack(data))
    path = write(tmp_path / f"a.txt{suffix}", whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"a\.txt\{suffix}: (damaged|expected)"):
        texts(path)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_a_plain_file_with_a_packed_name_is_told(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DataError, match=rf"expected \{suffix} data as the name says"):
        texts(write(tmp_path / f"a.txt{suffix}", b"plain text\n" * 100))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("text".encode("utf-16"), "UTF-16 text; re-save it as UTF-8"),
        (b"\xfe\xff" + "text".encode("utf-16-be"), "UTF-16"),
        (gzip.compress(b"text", mtime=0), "gzip data; name it with .gz"),
        (lzma.compress(b"text"), "xz data; name it with .xz"),
        (bytes(pa.Codec("zstd").compress(b"text")), "zstd data; name it with .zst"),
        (b"PAR1....PAR1", "Parquet data"),
        (b"PK\x03\x04....", "zip archive or spreadsheet"),
    ],
)
def test_what_is_no_text_is_called_by_its_name(tmp_path: Path, data: bytes, told: str) -> None:
    with pytest.raises(DataError, match=f"expected UTF-8 text, found .*{told}"):
        texts(write(tmp_path / "a.txt", data))


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        texts(tmp_path / "none.txt")


BAD = {
    "invalid UTF-8": (b"b\xffd", "b\ufffdd"),
    "NUL character": (b"b\0d", "b\ufffdd"),
}


@pytest.mark.parametrize("kind", BAD)
def test_the_policies_on_bad_lines(tmp_path: Path, kind: str) -> None:
    bad, mended = BAD[kind]
    path = write(tmp_path / "a.txt", b"one\n" + bad + b"\nthree\n")
    with pytest.raises(DataError, match=rf"a\.txt, line 2: {kind} \(.*2.*\)\n.*'replace'"):
        texts(path)
    replacing, skipping = Reading("replace"), Reading("skip")
    assert texts(path, replacing) == ["one", mended, "three"]
    assert replacing.replaced == {kind: 1}
    assert texts(path, skipping) == ["one", "three"]
    assert skipping.skipped == {kind: 1}


def test_a_lone_surrogate_is_invalid_utf8(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: invalid UTF-8"):
        texts(write(tmp_path / "a.txt", "\ud800".encode("utf-8", "surrogatepass")))


def test_the_first_ten_faults_are_shown(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"\xff\n" * 30)
    with pytest.raises(DataError) as caught:
        texts(path)
    assert str(caught.value).count("invalid UTF-8") == 10
    assert "line 10:" in str(caught.value)
    assert "line 11:" not in str(caught.value)
    assert "\n... and 20 more, 30 in all\n" in str(caught.value)


def test_ten_faults_are_all(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        texts(write(tmp_path / "a.txt", b"\xff\n" * 10))
    assert "more" not in str(caught.value)


def test_a_file_that_is_bad_throughout_is_not_read_to_its_end(tmp_path: Path) -> None:
    path, reading = write(tmp_path / "a.txt", b"\xff\n" * 3_000_000), Reading()
    with pytest.raises(DataError, match=r"\.\.\. and at least 9,990 more, at least 10,000 in all"):
        texts(path, reading)
    assert reading.num_bytes < path.stat().st_size / 2


@pytest.mark.parametrize("policy", ["error", "replace", "skip"])
def test_a_line_without_end_in_bounded_memory(tmp_path: Path, policy: ErrorPolicy) -> None:
    path = tmp_path / "a.txt.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"first\n")
        for _ in range(48):
            file.write("ä".encode() * (1 << 19))
        file.write(b"\nlast\n")
    reading = Reading(policy, max_line_bytes=(4 << 20) + 1)  # odd: the limit falls into a character
    tracemalloc.start()
    try:
        if policy == "error":
            with pytest.raises(DataError, match=r"line 2: line too long \(over 4,194,305 bytes; break it into lines\)"):
                texts(path, reading)
        else:
            sizes = [(line.number, len(line.text), line.part) for line in read_lines(path, reading)]
            assert sizes[0] == (1, 5, False)
            assert sizes[-1] == (3, 4, False)
            assert all(part for _, _, part in sizes[1:-1])
            assert sum(size for _, size, _ in sizes[1:-1]) == (48 << 19 if policy == "replace" else 0)
            assert (reading.replaced if policy == "replace" else reading.skipped) == {"line too long": 1}
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_sift_stops_yielding_at_the_first_fault() -> None:
    seen = []
    with pytest.raises(DataError, match="here: odd\n"):
        for item in sift([2, Fault("here", "odd"), 4], Reading()):
            seen.append(item)
    assert seen == [2]
    assert list(sift([2, Fault("here", "odd"), 4], Reading("skip"))) == [2, 4]


def test_the_first_lines_are_few_whatever_the_file_holds(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"x\n" * 3000)
    assert first_lines(path) == ["x"] * 1000
    endless = write(tmp_path / "b.txt", b"x" * (5 << 20))
    assert first_lines(endless) == ["x" * (1 << 20)]
