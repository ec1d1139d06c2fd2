"""The corpus on disk: what is written is read back, bytes are the same each time, damage is found."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.data.corpus import Corpus, CorpusWriter, corpus_folder
from bertsmith.errors import DataError, FileFormatError, SettingsError

# Two documents: ids 1..6 in sentences of 2 and 1, and of 3 tokens.
DOCUMENTS = [[[1, 2], [3]], [[4, 5, 6]]]


def write(folder: Path, documents: list[list[list[int]]], vocab_size: int = 100, shard_tokens: int = 1 << 28) -> Path:
    folder.mkdir(exist_ok=True)
    with CorpusWriter(folder, vocab_size, shard_tokens) as writer:
        for document in documents:
            writer.add([np.array(sentence, dtype=np.int32) for sentence in document])
        writer.finish("fingerprint", {"note": "x"})
    return folder


def read(corpus: Corpus) -> list[list[list[int]]]:
    return [
        [corpus.sentence(index).tolist() for index in corpus.document_sentences(document)]
        for document in range(corpus.num_documents)
    ]


def test_a_worked_example(tmp_path: Path) -> None:
    corpus = Corpus.open(write(tmp_path / "c", DOCUMENTS), verify_hashes=True)
    assert read(corpus) == DOCUMENTS
    assert (corpus.num_documents, corpus.num_sentences, corpus.num_tokens, corpus.vocab_size) == (2, 3, 6, 100)
    assert corpus.sentence_lengths.tolist() == [2, 1, 3]
    assert corpus.document_sentences(1) == range(2, 3)
    assert corpus.sentence(2).dtype == np.uint16
    assert (tmp_path / "c/tokens-00000.bin").read_bytes() == np.arange(1, 7, dtype="<u2").tobytes()
    assert (tmp_path / "c/sentences.bin").read_bytes() == np.array([0, 2, 3, 6], dtype="<i8").tobytes()
    assert (tmp_path / "c/documents.bin").read_bytes() == np.array([0, 2, 3], dtype="<i8").tobytes()


SENTENCE = st.lists(st.integers(0, 99_999), min_size=1, max_size=5)


@given(st.lists(st.lists(SENTENCE, min_size=1, max_size=4), min_size=1, max_size=6), st.integers(1, 8))
def test_what_is_written_is_read_back_from_any_number_of_shards(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[list[int]]], shard_tokens: int
) -> None:
    folder = write(tmp_path_factory.mktemp("corpus"), documents, 100_000, shard_tokens)
    corpus = Corpus.open(folder, verify_hashes=True)
    assert read(corpus) == documents
    assert corpus.sentence(0).dtype == np.uint32


@given(
    st.lists(st.lists(st.lists(SENTENCE, min_size=1, max_size=3), min_size=1, max_size=4), min_size=1, max_size=4),
    st.integers(1, 12),
)
def test_corpora_put_together_are_the_corpus_of_all_their_documents(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[list[list[int]]]], shard_tokens: int
) -> None:
    folder = tmp_path_factory.mktemp("corpora")
    whole = write(folder / "whole", [document for part in parts for document in part], 100_000, shard_tokens)
    (folder / "merged").mkdir()
    with CorpusWriter(folder / "merged", 100_000, shard_tokens) as writer:
        for place, part in enumerate(parts):
            writer.extend(Corpus.open(write(folder / str(place), part, 100_000, 5)))
        writer.finish("fingerprint", {"note": "x"})
    assert {file.name: file.read_bytes() for file in (folder / "merged").iterdir()} == {
        file.name: file.read_bytes() for file in whole.iterdir()
    }


def test_ids_are_views_that_cannot_be_written(tmp_path: Path) -> None:
    ids = Corpus.open(write(tmp_path / "c", DOCUMENTS)).sentence(0)
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 1


@pytest.mark.parametrize(("vocab_size", "size"), [(1 << 16, 2), ((1 << 16) + 1, 4)])
def test_ids_are_as_wide_as_the_vocabulary_asks(tmp_path: Path, vocab_size: int, size: int) -> None:
    corpus = Corpus.open(write(tmp_path / "c", [[[vocab_size - 1]]], vocab_size))
    assert corpus.sentence(0).tolist() == [vocab_size - 1]
    assert corpus.sentence(0).itemsize == size


def test_the_same_documents_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", DOCUMENTS), write(tmp_path / "b", DOCUMENTS)
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()
    assert Corpus.open(first).fingerprint == Corpus.open(second).fingerprint
    assert Corpus.open(write(tmp_path / "c", [*DOCUMENTS, [[7]]])).fingerprint != Corpus.open(first).fingerprint


def test_a_corpus_without_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected documents with at least one token"):
        write(tmp_path / "c", [])


def test_the_split_is_by_content_and_covers_all(tmp_path: Path) -> None:
    documents = [[[i, i + 1]] for i in range(200)] + [[[i, i + 1]] for i in range(50)]
    corpus = Corpus.open(write(tmp_path / "c", documents, 1000))
    train, validation = corpus.split(0.2)
    assert sorted([*train.documents, *validation.documents]) == list(range(250))
    assert 20 < validation.num_documents < 80
    held_out = set(validation.documents.tolist())
    assert all((i in held_out) == (i + 200 in held_out) for i in range(50))
    number = int(validation.documents[3])
    assert validation.sentence(validation.document_sentences(3)[0]).tolist() == [number % 200, number % 200 + 1]
    assert len(validation.sentence_lengths) == corpus.num_sentences
    with pytest.raises(DataError, match="too few to hold out"):
        Corpus.open(write(tmp_path / "d", DOCUMENTS)).split(0.001)


def test_a_folder_that_is_no_corpus_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"corpus\.json is missing; make one with: bertsmith prepare"):
        Corpus.open(tmp_path)


@pytest.mark.parametrize("name", ["tokens-00000.bin", "sentences.bin", "documents.bin", "hashes.bin"])
def test_missing_and_truncated_files_are_found(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "c", DOCUMENTS)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1])
    with pytest.raises(FileFormatError, match=rf"{name}: expected {len(data)} bytes, found {len(data) - 1} bytes"):
        Corpus.open(folder)
    (folder / name).unlink()
    with pytest.raises(FileFormatError, match=rf"{name}: expected {len(data)} bytes, found missing"):
        Corpus.open(folder)


@pytest.mark.parametrize("name", ["tokens-00000.bin", "sentences.bin", "documents.bin", "hashes.bin"])
def test_a_changed_byte_is_found_on_request(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "c", DOCUMENTS)
    data = bytearray((folder / name).read_bytes())
    data[1] ^= 1
    (folder / name).write_bytes(bytes(data))
    with pytest.raises(FileFormatError, match=rf"{name}: its SHA-256 is not the one in corpus.json"):
        Corpus.open(folder, verify_hashes=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": "else"}, "not the manifest of a corpus: format is 'else'"),
        ({"version": 2}, "version 2, this bertsmith reads 1"),
        ({"num_tokens": 0}, "num_tokens"),
        ({"num_tokens": 7}, "disagree on the counts"),
        ({"num_sentences": 4}, "disagree on the counts"),
        ({"num_documents": 1}, "disagree on the counts"),
        ({"dtype": "<u4"}, "disagree on the counts"),
        ({"surprise": 1}, "unknown setting 'surprise'"),
        ({"files": {}}, "missing files"),
        ({"files": {"../../etc/passwd": {"num_bytes": 1, "sha256": "0" * 64}}}, "unknown files"),
    ],
)
def test_an_impossible_manifest_is_refused(tmp_path: Path, change: dict[str, object], told: str) -> None:
    folder = write(tmp_path / "c", DOCUMENTS)
    manifest = json.loads((folder / "corpus.json").read_text())
    (folder / "corpus.json").write_text(json.dumps(manifest | change))
    with pytest.raises(FileFormatError, match=told):
        Corpus.open(folder)


def test_a_new_corpus_replaces_an_old_one_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "c"
    for documents, shard_tokens in [(DOCUMENTS, 1), (DOCUMENTS[:1], 100)]:
        with corpus_folder(target) as folder:
            (folder / "vocab.txt").write_text("companion")
            write(folder, documents, shard_tokens=shard_tokens)
        assert read(Corpus.open(target)) == documents
    assert os.listdir(tmp_path) == ["c"]
    assert not (target / "tokens-00001.bin").exists()


def test_a_failure_leaves_the_old_corpus_and_nothing_else(tmp_path: Path) -> None:
    target = write(tmp_path / "c", DOCUMENTS)
    with pytest.raises(KeyboardInterrupt), corpus_folder(target) as folder:
        (folder / "tokens-00000.bin").write_bytes(b"half")
        raise KeyboardInterrupt
    assert read(Corpus.open(target)) == DOCUMENTS
    assert os.listdir(tmp_path) == ["c"]


@pytest.mark.parametrize("with_corpus", [False, True])
def test_a_folder_with_other_things_is_left_alone(tmp_path: Path, with_corpus: bool) -> None:
    target = write(tmp_path / "c", DOCUMENTS) if with_corpus else tmp_path / "c"
    target.mkdir(exist_ok=True)
    (target / "thesis.txt").write_text("mine")
    with (
        pytest.raises(SettingsError, match=r"holds 'thesis\.txt', which is no part of a corpus"),
        corpus_folder(target),
    ):
        pass
    assert (target / "thesis.txt").read_text() == "mine"


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    with corpus_folder(tmp_path / "c") as folder:
        write(folder, DOCUMENTS)
    assert read(Corpus.open(tmp_path / "c")) == DOCUMENTS
