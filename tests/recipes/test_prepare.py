"""Preparation: from text files to a corpus, with an account; the same bytes each time; nothing half written."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from bertsmith.data.corpus import Corpus
from bertsmith.errors import DataError, SettingsError
from bertsmith.recipes.prepare import PrepareReport, PrepareSettings, prepare
from bertsmith.text.tokenizer import Tokenizer

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one", "two", "three", ".", "##s"]
TEXT = "One two.\nThree.\n\nTwos ones.\nWho.\n"
# one=5 two=6 three=7 .=8 ##s=9; "who" is unknown.
IDS = [[[5, 6, 8], [7, 8]], [[6, 9, 5, 9, 8], [1, 8]]]


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    Tokenizer.from_vocab(TOKENS).save(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def run(tokenizer: Path, *files: Path, output: str = "corpus", **settings: object) -> tuple[PrepareReport, Path]:
    folder = tokenizer.parent / output
    report = prepare(PrepareSettings.of({"files": files, "tokenizer": tokenizer, "output_dir": folder, **settings}))
    return report, folder


def read(folder: Path) -> list[list[list[int]]]:
    corpus = Corpus.open(folder, verify_hashes=True)
    return [[corpus.sentence(i).tolist() for i in corpus.document_sentences(d)] for d in range(corpus.num_documents)]


def test_a_worked_example(tmp_path: Path, tokenizer: Path) -> None:
    report, folder = run(tokenizer, write(tmp_path / "a.txt", TEXT))
    assert read(folder) == IDS
    assert (report.num_documents, report.num_sentences, report.num_tokens) == (2, 4, 12)
    assert report.unknown_fraction == 1 / 12
    assert report.num_text_bytes == len(TEXT)
    assert report.formats == {
        str(tmp_path / "a.txt"): "sentences: 100% of its lines are one whole sentence, 1 are blank"
    }
    assert (report.skipped, report.replaced, report.divided) == ({}, {}, {})
    files = Corpus.open(folder).manifest.files
    assert report.num_corpus_bytes == sum((folder / name).stat().st_size for name in files)


def test_the_corpus_carries_its_tokenizer(tmp_path: Path, tokenizer: Path) -> None:
    _, folder = run(tokenizer, write(tmp_path / "a.txt", TEXT))
    carried = Tokenizer.load(folder)
    assert carried.fingerprint == Tokenizer.load(tokenizer).fingerprint == Corpus.open(folder).manifest.tokenizer


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, tokenizer: Path) -> None:
    path = write(tmp_path / "a.txt", TEXT)
    (_, first), (_, second) = run(tokenizer, path, output="first"), run(tokenizer, path, output="second")
    assert sorted(os.listdir(first)) == sorted(os.listdir(second))
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()


def test_several_files_of_several_formats_keep_their_order(tmp_path: Path, tokenizer: Path) -> None:
    table = write(tmp_path / "b.jsonl.gz", gzip.compress(b'{"text": "Three. Two."}\n{"text": "One."}\n'))
    report, folder = run(tokenizer, table, write(tmp_path / "a.txt", TEXT))
    assert read(folder) == [[[7, 8], [6, 8]], [[5, 8]], *IDS]
    assert list(report.formats) == [str(tmp_path / name) for name in ("b.jsonl.gz", "a.txt")]


def test_sentences_without_tokens_are_left_out_and_counted(tmp_path: Path, tokenizer: Path) -> None:
    report, folder = run(tokenizer, write(tmp_path / "a.txt", "One two.\n\u200b\n\n\u200b\n"), format="sentences")
    assert read(folder) == [[[5, 6, 8]]]
    assert report.skipped == {"sentence without tokens": 2}


def test_what_was_cut_is_in_the_report_and_in_the_manifest(tmp_path: Path, tokenizer: Path) -> None:
    path = write(tmp_path / "a.txt", b"one two three two one two\nbad \xff\nthree\n")
    report, folder = run(
        tokenizer, path, format="sentences", errors="skip", max_sentence_characters=16, max_document_sentences=2
    )
    assert read(folder) == [[[5, 6, 7], [6, 5, 6]], [[7]]]
    assert report.skipped == {"invalid UTF-8": 1}
    assert report.divided == {"document": 1, "sentence": 1}
    preparation = json.loads((folder / "corpus.json").read_text())["preparation"]
    assert preparation["skipped"] == report.skipped
    assert preparation["divided"] == report.divided
    assert [source["name"] for source in preparation["sources"]] == ["a.txt"]


def test_progress_hears_bytes_with_their_total(tmp_path: Path, tokenizer: Path) -> None:
    path = write(tmp_path / "a.txt", TEXT)
    heard: list[tuple[str, int, int | None]] = []
    settings = PrepareSettings(files=(path,), tokenizer=tokenizer, output_dir=tmp_path / "corpus")
    prepare(settings, lambda *state: heard.append(state))
    assert heard[-1] == ("prepare", len(TEXT), len(TEXT))
    packed = settings.model_copy(update={"files": (write(tmp_path / "a.txt.gz", gzip.compress(TEXT.encode())),)})
    prepare(packed, lambda *state: heard.append(state))
    assert heard[-1] == ("prepare", len(TEXT), None)


def test_bad_text_leaves_the_earlier_corpus_as_it_was(tmp_path: Path, tokenizer: Path) -> None:
    good, bad = write(tmp_path / "a.txt", TEXT), write(tmp_path / "b.txt", b"One.\n\xff\n")
    _, folder = run(tokenizer, good)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(DataError, match=r"b\.txt, line 2: invalid UTF-8"):
        run(tokenizer, good, bad)
    assert sorted(os.listdir(tmp_path)) == before
    assert read(folder) == IDS


@pytest.mark.parametrize("text", ["", "\n\n", "\u200b\n"])
def test_files_without_text_are_refused(tmp_path: Path, tokenizer: Path, text: str) -> None:
    with pytest.raises(DataError, match="expected"):
        run(tokenizer, write(tmp_path / "a.txt", text))
    assert not (tmp_path / "corpus").exists()


def test_a_missing_file_is_told_before_any_work(tmp_path: Path, tokenizer: Path) -> None:
    with pytest.raises(DataError, match=r"b\.txt: no such file"):
        run(tokenizer, write(tmp_path / "a.txt", TEXT), tmp_path / "b.txt")


def test_an_output_folder_with_other_things_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "corpus").mkdir()
    write(tmp_path / "corpus/thesis.txt", "mine")
    with pytest.raises(SettingsError, match="no part of a corpus; choose another output folder"):
        run(tokenizer, write(tmp_path / "a.txt", TEXT))


def test_settings_name_the_nearest() -> None:
    with pytest.raises(SettingsError, match="unknown setting 'output'; did you mean 'output_dir'"):
        PrepareSettings.of({"files": ["a.txt"], "tokenizer": "t", "output_dir": "o", "output": "x"})
    with pytest.raises(SettingsError, match="files"):
        PrepareSettings.of({"files": [], "tokenizer": "t", "output_dir": "o"})


@pytest.mark.slow
@pytest.mark.shared
def test_real_articles(shared: Path, tmp_path: Path) -> None:
    words = (shared / "vocab/bert-base-uncased-vocab.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    Tokenizer.from_vocab(words).save(tmp_path / "tokenizer")
    report, folder = run(tmp_path / "tokenizer", shared / "text/enwiki2015/enwiki.part00.txt.xz")
    assert Corpus.open(folder, verify_hashes=True).num_tokens == report.num_tokens > 6_000_000
    assert report.unknown_fraction < 0.001
    assert (report.skipped, report.replaced) == ({}, {})
