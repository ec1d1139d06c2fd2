"""Counting words: equal to the tokenizer's own separation of the whole text, however the file is cut and packed."""

from __future__ import annotations

import gzip
import lzma
import random
import resource
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from bertsmith.errors import DataError
from bertsmith.text import words as words_module
from bertsmith.text.words import BadUtf8, WordCounts, count_words

UNCASED = BertNormalizer(lowercase=True)
CASED = BertNormalizer(lowercase=False)
# Every blank and control character, so that what Python, bytes and BERT take for blanks can differ.
ODD = (
    "\t\n\r \x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u3000\0\ufffd\u200b\ufeff"
    "aAéÉe\u0301\u0345!«。中國ΣİｱヴﷺᾂÅ가"
)


def whole(text: str, normalizer: BertNormalizer) -> Counter[str]:
    """The words of a text in one piece."""
    found = BertPreTokenizer().pre_tokenize_str(normalizer.normalize_str(text))
    return Counter(word for word, _ in found if len(word) <= 100)


def count(*files: Path, cap: int = 1000, bad_utf8: BadUtf8 = "error") -> WordCounts:
    return count_words(files, UNCASED, max_distinct_words=cap, bad_utf8=bad_utf8)


@settings(deadline=None)
@given(st.text(st.sampled_from(ODD) | st.characters(exclude_categories=["Cs"]), max_size=200), st.booleans())
def test_counting_by_chunks_equals_the_whole_text(
    tmp_path_factory: pytest.TempPathFactory, text: str, lowercase: bool
) -> None:
    path = tmp_path_factory.mktemp("words") / "text.txt"
    path.write_text(text, encoding="utf-8", newline="")
    normalizer = UNCASED if lowercase else CASED
    assert count_words([path], normalizer, max_distinct_words=1000).counts == whole(text, normalizer)


@settings(deadline=None)
@given(st.text("ab é中国!\n", max_size=120), st.integers(8, 40))
def test_block_borders_do_not_show(tmp_path_factory: pytest.TempPathFactory, text: str, block_bytes: int) -> None:
    path = tmp_path_factory.mktemp("words") / "text.txt"
    # A blank at least every few characters: only a longer stretch without any boundary may be cut.
    text = " ".join(text[i : i + 2] for i in range(0, len(text), 2))
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words_module, "BLOCK_BYTES", block_bytes)
        assert count(path).counts == whole(text, UNCASED)


def test_compressed_files_and_mixed_line_ends(tmp_path: Path) -> None:
    text = "one two\r\ntwo\rthree\n\n\nthree three\0!\n"
    (tmp_path / "a.txt").write_bytes(text.encode())
    with gzip.open(tmp_path / "a.txt.gz", "wb") as file:
        file.write(text.encode())
    with lzma.open(tmp_path / "a.txt.xz", "wb") as file:
        file.write(text.encode())
    expected = {"three": 3, "two": 2, "!": 1, "one": 1}
    for name in ("a.txt", "a.txt.gz", "a.txt.xz"):
        assert count(tmp_path / name).counts == expected
    both = count(tmp_path / "a.txt", tmp_path / "a.txt.gz")
    assert (both.num_words, both.counts["three"]) == (14, 6)
    assert list(both.counts) == ["three", "two", "!", "one"]


@pytest.mark.parametrize("cap", [1, 7, 50, 299, 300, 301])
def test_the_cap_keeps_the_most_frequent_whatever_the_order(
    tmp_path: Path, cap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words_module, "BLOCK_BYTES", 200)
    monkeypatch.setattr(words_module, "MAX_RUNS", 3)
    words = [f"w{number}" for number in range(300) for _ in range(1 + number % 7)]
    expected = dict(sorted(Counter(words).items(), key=lambda entry: (-entry[1], entry[0]))[:cap])
    paths = [tmp_path / f"{number}.txt" for number in range(3)]
    for seed in range(2):
        random.Random(seed).shuffle(words)
        for number, path in enumerate(paths):
            path.write_text("\n".join(words[number::3]))
        for files in (paths, paths[::-1]):
            found = count(*files, cap=cap)
            assert list(found.counts.items()) == list(expected.items())
            assert found.num_rare_distinct_words == 300 - len(expected)
            assert found.num_rare_words == len(words) - sum(expected.values())


def test_overlong_words_are_counted_apart(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a" * 101 + " " + "b" * 100 + " c")
    found = count(tmp_path / "a.txt")
    assert (list(found.counts), found.num_words, found.num_overlong_words) == (["b" * 100, "c"], 3, 1)


def test_bad_utf8_by_policy(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\nbad\xff word\nb\xe9 b\xe9 \xed\xa0\x80x fine\n")
    with pytest.raises(DataError, match=r"a.txt: line 2: not valid UTF-8 \(invalid start byte, byte 0xff\)"):
        count(path)
    replaced = count(path, bad_utf8="replace")
    assert replaced.counts == {"b": 2, "bad": 1, "fine": 1, "good": 1, "word": 1, "x": 1}
    skipped = count(path, bad_utf8="skip")
    assert skipped.counts == {"fine": 1, "good": 1, "word": 1}
    assert replaced.num_bad_chunks == skipped.num_bad_chunks == 4


def test_the_line_of_a_bad_byte_in_a_later_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words_module, "BLOCK_BYTES", 64)
    (tmp_path / "a.txt").write_bytes(b"ten bytes\n" * 50 + b"a \xc3(\n")
    with pytest.raises(DataError, match="line 51: not valid UTF-8"):
        count(tmp_path / "a.txt")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_encodings_are_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_text("words", encoding=encoding)
    with pytest.raises(DataError, match=r"a.txt: starts with a byte order mark of UTF-16 or UTF-32"):
        count(tmp_path / "a.txt", bad_utf8="skip")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "whole.gz", "wb") as file:
        file.write(random.Random(0).randbytes(10_000).hex().encode())
    (tmp_path / "short.gz").write_bytes((tmp_path / "whole.gz").read_bytes()[:5000])
    (tmp_path / "plain.gz").write_text("plain text")
    (tmp_path / "plain.xz").write_text("plain text")
    (tmp_path / "plain.zst").write_text("plain text")
    for name in ("short.gz", "plain.gz", "plain.xz", "plain.zst"):
        with pytest.raises(DataError, match=f"{name}: cannot be read"):
            count(tmp_path / name)
    for name in ("missing.txt", "."):
        with pytest.raises(DataError, match=str(tmp_path)):
            count(tmp_path / name)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    (tmp_path / "a.txt").write_text("a b c d")
    monkeypatch.setattr(Path, "__truediv__", lambda self, name: Path("/dev/full"))
    with pytest.raises(DataError, match="No space left on device; set TMPDIR"):
        count_words([Path(f"{tmp_path}/a.txt")], UNCASED, max_distinct_words=2)


def test_progress_in_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some words\n" * 10)
    with gzip.open(tmp_path / "b.gz", "wb") as file:
        file.write(b"more")
    calls: list[tuple[str, int, int | None]] = []

    def note(phase: str, done: int, total: int | None) -> None:
        calls.append((phase, done, total))

    count_words([tmp_path / "a.txt"], UNCASED, max_distinct_words=9, on_progress=note)
    assert calls == [("count words", 110, 110)]
    # With a compressed file nobody knows how much there is.
    count_words([tmp_path / "a.txt", tmp_path / "b.gz"], UNCASED, max_distinct_words=9, on_progress=note)
    assert calls[-1] == ("count words", 114, None)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["x", "中文，", "word "], ids=["one word", "Chinese", "words"])
def test_one_long_line_in_bounded_memory(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "a.txt"
    block = (unit * 1_000_000).encode()
    with path.open("wb") as file:
        for _ in range(20_000_000 // len(block)):
            file.write(block)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = count(path)
    grown_bytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown_bytes < 400_000_000  # the whole line at once would take five times that
    assert found.num_bytes == path.stat().st_size
