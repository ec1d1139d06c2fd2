"""A corpus on disk: token ids in memory-mapped shards, with the borders of sentences and documents. Knows no text.

`corpus.json` is written last and lists every file with its size and SHA-256; a folder without it is no corpus. The same
documents give the same bytes. All numbers are little-endian.

| file | holds |
| --- | --- |
| `tokens-00000.bin`, ... | ids of whole documents, uint16 or uint32 |
| `sentences.bin` | int64 [num_sentences + 1]: where each sentence begins, in tokens of the whole corpus |
| `documents.bin` | int64 [num_documents + 1]: where each document begins, in sentences |
| `hashes.bin` | uint64 [num_documents]: of each document's ids |
| `marks.bin` | uint8 [num_tokens]: what each token continues (`marks.py`); not in every corpus |

Other files that were in the folder then, such as the tokenizer's, are companions: listed, not read here.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bertsmith.errors import DataError, FileFormatError, SettingsError
from bertsmith.files import atomic_folder, read_json, sha256, write_json
from bertsmith.settings import Settings

MANIFEST = "corpus.json"
FORMAT = "bertsmith corpus"
VERSION = 1
SHARD_TOKENS = 1 << 28
BLOCK_TOKENS = 1 << 22

_SHARD = re.compile(r"tokens-\d{5}\.bin")
_BORDERS = ("sentences.bin", "documents.bin", "hashes.bin")
MARKS = "marks.bin"

Ids = NDArray[Any]


class FileEntry(Settings):
    """What the manifest says of one file."""

    num_bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Manifest(Settings):
    """What `corpus.json` says. preparation: how the text was read and what was cut or skipped, for people."""

    format: Literal["bertsmith corpus"]
    version: Literal[1]
    num_documents: int = Field(ge=1)
    num_sentences: int = Field(ge=1)
    num_tokens: int = Field(ge=1)
    vocab_size: int = Field(ge=1, le=1 << 32)
    tokenizer: str
    dtype: Literal["<u2", "<u4"]
    files: dict[str, FileEntry]
    companions: tuple[str, ...]
    preparation: dict[str, Any]


class CorpusWriter:
    """Writes a corpus into an existing folder, document by document, in bounded memory. Not atomic by itself.

    has_marks: whether tokens come with marks, all of them.
    """

    def __init__(self, folder: Path, vocab_size: int, shard_tokens: int = SHARD_TOKENS, *, has_marks: bool = False):
        self.num_documents = self.num_sentences = self.num_tokens = 0
        self._folder = folder
        self._vocab_size = vocab_size
        self.has_marks = has_marks
        self._shard_tokens = shard_tokens
        self._room = 0
        self._dtype = np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")
        self._files: dict[str, _HashedFile] = {}
        self._sentences, self._documents, self._hashes = (self._open(name) for name in _BORDERS)
        self._sentences.write(np.zeros(1, dtype="<i8"))
        self._documents.write(np.zeros(1, dtype="<i8"))
        self._marks = self._open(MARKS) if has_marks else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._files.values():
            file.close()

    def add(self, sentences: Sequence[Ids], marks: Sequence[NDArray[np.uint8]] = ()) -> None:
        """Append one document: the ids of its sentences, none empty, at least one; with marks, as many of each."""
        lengths = np.fromiter(map(len, sentences), dtype="<i8", count=len(sentences))
        assert len(lengths)
        assert lengths.min() > 0
        ids = np.concatenate(sentences)
        assert int(ids.min()) >= 0
        assert int(ids.max()) < self._vocab_size
        if self._room < len(ids):
            self._open_shard()
        stored = ids.astype(self._dtype)
        self._shard.write(stored)
        self._room -= len(ids)
        self._sentences.write(self.num_tokens + np.cumsum(lengths, dtype="<i8"))
        self.num_tokens += len(ids)
        self.num_sentences += len(lengths)
        self.num_documents += 1
        self._documents.write(np.array([self.num_sentences], dtype="<i8"))
        if self._marks is not None:
            joined = np.concatenate(marks).astype(np.uint8)
            assert len(joined) == len(ids)
            self._marks.write(joined)
        self._hashes.write(np.frombuffer(hashlib.blake2b(stored.tobytes(), digest_size=8).digest(), dtype="<u8"))

    def extend(self, corpus: Corpus) -> None:
        """Append all documents of `corpus`, of the same vocabulary: the same bytes as by `add`, much faster."""
        assert corpus.vocab_size == self._vocab_size
        sentences, documents, hashes = corpus.borders
        starts = sentences[documents]  # of each document, in tokens; the last one is the corpus's end
        first = 0
        while first < corpus.num_documents:
            last = int(np.searchsorted(starts, starts[first] + self._room, side="right")) - 1
            if last <= first:
                self._open_shard()
                last = max(first + 1, int(np.searchsorted(starts, starts[first] + self._room, side="right")) - 1)
            for ids in corpus.ids(int(starts[first]), int(starts[last])):
                self._shard.write(ids)
            self._room -= int(starts[last] - starts[first])
            first = last
        self._sentences.write(sentences[1:] + self.num_tokens)
        self._documents.write(documents[1:] + self.num_sentences)
        self._hashes.write(hashes)
        if self._marks is not None:
            for start in range(0, corpus.num_tokens, BLOCK_TOKENS):
                self._marks.write(corpus.marks_between(start, start + BLOCK_TOKENS))
        self.num_documents += corpus.num_documents
        self.num_sentences += corpus.num_sentences
        self.num_tokens += corpus.num_tokens

    def finish(self, tokenizer: str, preparation: Mapping[str, Any]) -> Manifest:
        """Close the files and write the manifest; `tokenizer` is the tokenizer's fingerprint.

        Raises `DataError` if no document was added.
        """
        if not self.num_documents:
            raise DataError("expected documents with at least one token, found none")
        manifest = Manifest(
            format=FORMAT,
            version=VERSION,
            num_documents=self.num_documents,
            num_sentences=self.num_sentences,
            num_tokens=self.num_tokens,
            vocab_size=self._vocab_size,
            tokenizer=tokenizer,
            dtype="<u2" if self._dtype.itemsize == 2 else "<u4",
            files={name: file.close() for name, file in sorted(self._files.items())},
            companions=tuple(sorted(file.name for file in self._folder.iterdir() if file.name not in self._files)),
            preparation=dict(preparation),
        )
        write_json(self._folder / MANIFEST, manifest.model_dump())
        return manifest

    def _open_shard(self) -> None:
        others = len(_BORDERS) + (self._marks is not None)
        name = f"tokens-{len(self._files) - others:05d}.bin"
        self._shard, self._room = self._open(name), self._shard_tokens

    def _open(self, name: str) -> _HashedFile:
        self._files[name] = _HashedFile(self._folder / name)
        return self._files[name]


class _HashedFile:
    """A file that knows its size and SHA-256 while it is written."""

    def __init__(self, path: Path):
        self._file: IO[bytes] = path.open("wb", buffering=1 << 18)
        self._hash = hashlib.sha256()
        self._num_bytes = 0

    def write(self, values: NDArray[Any]) -> None:
        data = values.tobytes()
        self._file.write(data)
        self._hash.update(data)
        self._num_bytes += len(data)

    def close(self) -> FileEntry:
        self._file.close()
        return FileEntry(num_bytes=self._num_bytes, sha256=self._hash.hexdigest())


class Corpus:
    """A corpus opened for reading; ids come as views into the memory-mapped files."""

    def __init__(self, folder: Path, manifest: Manifest):
        self.folder = folder
        self.manifest = manifest
        self.num_documents = manifest.num_documents
        self.num_sentences = manifest.num_sentences
        self.num_tokens = manifest.num_tokens
        self.vocab_size = manifest.vocab_size
        shards = sorted(name for name in manifest.files if _SHARD.fullmatch(name))
        self._shards = [self._map(name, manifest.dtype) for name in shards]
        self._shard_starts = [0, *np.cumsum([len(shard) for shard in self._shards]).tolist()]
        self._sentences = self._map("sentences.bin", "<i8")
        self._documents = self._map("documents.bin", "<i8")
        self._hashes = self._map("hashes.bin", "<u8")
        self._marks = self._map(MARKS, "<u1") if MARKS in manifest.files else None

    @classmethod
    def open(cls, folder: Path | str, *, verify_hashes: bool = False) -> Self:
        """The corpus in `folder`, its sizes checked; with `verify_hashes` every byte.

        Raises `FileFormatError` where the folder is no corpus, is damaged or was written by a later version.
        """
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise FileFormatError(f"{folder}: no corpus, {MANIFEST} is missing; make one with: bertsmith prepare")
        manifest = _read_manifest(folder / MANIFEST)
        for name, entry in manifest.files.items():
            path = folder / name
            size = path.stat().st_size if path.is_file() else None
            if size != entry.num_bytes:
                found = "missing" if size is None else f"{size:,} bytes"
                raise FileFormatError(f"{path}: expected {entry.num_bytes:,} bytes, found {found}; prepare it again")
            if verify_hashes and sha256(path) != entry.sha256:
                raise FileFormatError(f"{path}: its SHA-256 is not the one in {MANIFEST}; prepare it again")
        corpus = cls(folder, manifest)
        corpus._check_borders()
        return corpus

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all the data, for the records of runs that use it."""
        return hashlib.sha256(
            "".join(entry.sha256 for _, entry in sorted(self.manifest.files.items())).encode()
        ).hexdigest()

    @property
    def sentence_lengths(self) -> NDArray[np.int64]:
        """int64 [num_sentences]: tokens of each sentence."""
        return np.diff(self._sentences)

    @property
    def borders(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
        """What `sentences.bin`, `documents.bin` and `hashes.bin` hold."""
        return self._sentences, self._documents, self._hashes

    def ids(self, start: int, end: int) -> Iterator[Ids]:
        """Tokens `start` to `end` of the whole corpus, in views of at most `BLOCK_TOKENS`."""
        while start < end:
            shard = bisect_right(self._shard_starts, start) - 1
            offset = self._shard_starts[shard]
            until = min(end, start + BLOCK_TOKENS, self._shard_starts[shard + 1])
            yield self._shards[shard][start - offset : until - offset]
            start = until

    def sentence(self, index: int) -> Ids:
        """The ids of one sentence, a read-only view: uint16 or uint32 [length]."""
        start, end = int(self._sentences[index]), int(self._sentences[index + 1])
        shard = bisect_right(self._shard_starts, start) - 1
        offset = self._shard_starts[shard]
        return self._shards[shard][start - offset : end - offset]

    @property
    def has_marks(self) -> bool:
        return self._marks is not None

    def marks(self, index: int) -> NDArray[np.uint8] | None:
        """uint8 [length]: the marks of one sentence's tokens; None where the corpus has none."""
        if self._marks is None:
            return None
        return self.marks_between(int(self._sentences[index]), int(self._sentences[index + 1]))

    def marks_between(self, start: int, end: int) -> NDArray[np.uint8]:
        """Those of tokens `start` to `end` of the whole corpus."""
        assert self._marks is not None
        return self._marks[start:end]

    def document_sentences(self, document: int) -> range:
        """The indices of the sentences of one document."""
        return range(int(self._documents[document]), int(self._documents[document + 1]))

    def split(self, validation_fraction: float) -> tuple[CorpusPart, CorpusPart]:
        """Training and validation documents, by each document's hash: equal documents fall on one side.

        Raises `DataError` where a side would be empty.
        """
        assert 0 < validation_fraction < 1
        held_out = self._hashes < np.uint64(validation_fraction * 2**64)
        if held_out.all() or not held_out.any():
            raise DataError(
                f"{self.folder}: {self.num_documents} documents are too few to hold out {validation_fraction:.1%} of"
            )
        return CorpusPart(self, np.flatnonzero(~held_out)), CorpusPart(self, np.flatnonzero(held_out))

    def _map(self, name: str, dtype: str) -> NDArray[Any]:
        # A plain array over the map: slices of np.memmap cost ten times as much.
        return np.asarray(np.memmap(self.folder / name, dtype=np.dtype(dtype), mode="r"))

    def _check_borders(self) -> None:
        tokens = self._shard_starts[-1]
        ends = (int(self._sentences[-1]), int(self._documents[-1]))
        num_marks = tokens if self._marks is None else len(self._marks)
        sizes = (len(self._sentences) - 1, len(self._documents) - 1, len(self._hashes))
        if (
            tokens != self.num_tokens
            or num_marks != tokens
            or ends != (self.num_tokens, self.num_sentences)
            or sizes != (self.num_sentences, self.num_documents, self.num_documents)
        ):
            raise FileFormatError(f"{self.folder}: {MANIFEST} and the files disagree on the counts; prepare it again")


@dataclass(frozen=True, slots=True)
class CorpusPart:
    """Some documents of a corpus, numbered anew; sentences keep their indices."""

    corpus: Corpus
    documents: NDArray[np.int64]

    @property
    def num_documents(self) -> int:
        return len(self.documents)

    @property
    def sentence_lengths(self) -> NDArray[np.int64]:
        """Of all the sentences of the corpus."""
        return self.corpus.sentence_lengths

    def sentence(self, index: int) -> Ids:
        """As `Corpus.sentence`."""
        return self.corpus.sentence(index)

    def marks(self, index: int) -> NDArray[np.uint8] | None:
        """As `Corpus.marks`."""
        return self.corpus.marks(index)

    def document_sentences(self, document: int) -> range:
        """As `Corpus.document_sentences`, of the part's document."""
        return self.corpus.document_sentences(int(self.documents[document]))


def _read_manifest(path: Path) -> Manifest:
    values = read_json(path)
    if values.get("format") != FORMAT:
        raise FileFormatError(f"{path}: not the manifest of a corpus: format is {values.get('format')!r}")
    if values.get("version") != VERSION:
        raise FileFormatError(
            f"{path}: version {values.get('version')!r}, this bertsmith reads {VERSION}; prepare it again or upgrade"
        )
    try:
        manifest = Manifest.of(values, str(path))
    except SettingsError as error:
        raise FileFormatError(f"{error}") from None
    unknown = [name for name in manifest.files if name not in (*_BORDERS, MARKS) and not _SHARD.fullmatch(name)]
    missing = [name for name in (*_BORDERS, "tokens-00000.bin") if name not in manifest.files]
    if unknown or missing:
        raise FileFormatError(f"{path}: unknown files {unknown}, missing files {missing}")
    return manifest


@contextmanager
def corpus_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to write a corpus into, which becomes `path` as a whole when the block ends well.

    A corpus that is there already is replaced then, and not before. Raises `SettingsError` where `path` holds anything
    else.
    """
    path = path.resolve()
    _refuse_foreign(path)
    if not path.exists():
        with atomic_folder(path) as folder:
            yield folder
        return
    fresh, old = (path.with_name(f".{path.name}.{word}-{os.getpid()}") for word in ("new", "old"))
    with atomic_folder(fresh) as folder:
        yield folder
    path.rename(old)
    fresh.rename(path)
    shutil.rmtree(old)


def _refuse_foreign(path: Path) -> None:
    if not path.exists():
        return
    names = {file.name for file in path.iterdir()} if path.is_dir() else {path.name}
    known: set[str] = set()
    if MANIFEST in names:
        manifest = _read_manifest(path / MANIFEST)
        known = {MANIFEST, *manifest.files, *manifest.companions}
    foreign = sorted(names - known)
    if foreign:
        raise SettingsError(f"{path}: holds {foreign[0]!r}, which is no part of a corpus; choose another output folder")
