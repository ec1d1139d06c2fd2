"""Text files to a corpus on disk that pre-training reads: documents, sentences, ids, and an account of what was cut."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from pydantic import Field

from bertsmith import __version__
from bertsmith.data.corpus import VERSION, Corpus, CorpusWriter, Ids, corpus_folder
from bertsmith.data.documents import (
    Document,
    DocumentFormat,
    DocumentRules,
    FoundFormat,
    find_format,
    find_text_column,
    read_documents,
)
from bertsmith.data.lines import ErrorPolicy, Reading, Span
from bertsmith.data.spans import document_spans, fingerprint
from bertsmith.errors import DataError
from bertsmith.files import COMPRESSIONS, sha256
from bertsmith.runtime.interruption import raise_if_asked
from bertsmith.scale.runner import ScaleSettings
from bertsmith.scale.runners import open_runner
from bertsmith.scale.shards import Account, Heard, Shard, Work, locked, refuse_empty, shards_folder, work_off
from bertsmith.settings import Settings
from bertsmith.text.pieces import PieceCache
from bertsmith.text.tokenizer import Tokenizer

_BLOCK_CHARACTERS = 1 << 20


class PrepareSettings(Settings):
    """What `bertsmith prepare` needs to know."""

    files: tuple[Path, ...] = Field(min_length=1, description="text files or tables, each also .gz, .xz or .zst")
    tokenizer: Path = Field(description="folder of the tokenizer")
    output_dir: Path = Field(description="folder for the corpus; a corpus there is replaced")
    format: DocumentFormat | None = Field(
        default=None,
        description="sentences (one a line, a blank line between documents), lines (one document a line), files (one "
        "document a file), wiki (<doc> marks) or table (one document a row); recognised for each file if not given",
    )
    text_column: str | None = Field(default=None, description="text column of tables; found if not given")
    errors: ErrorPolicy = Field(
        default="error",
        description="on what is no clean UTF-8 text: error (stop and name the place), replace (by U+FFFD) or skip",
    )
    max_sentence_characters: int = Field(default=4096, ge=16, description="characters; longer sentences are divided")
    max_document_sentences: int = Field(default=10_000, ge=1, description="sentences; longer documents are divided")
    scale: ScaleSettings = ScaleSettings()
    shard_bytes: int = Field(
        default=64 << 20,
        ge=1,
        title="Scale",
        description="bytes of text a shard, which one worker does at a time; cut between documents of unpacked files",
    )


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What became of the text. skipped, replaced, divided: counts by reason. formats: by file, with the reason."""

    num_documents: int
    num_sentences: int
    num_tokens: int
    num_unknown_tokens: int
    num_text_bytes: int
    num_corpus_bytes: int
    seconds: float
    skipped: dict[str, int]
    replaced: dict[str, int]
    divided: dict[str, int]
    formats: dict[str, str]

    @property
    def unknown_fraction(self) -> float:
        """Share of the tokens that are `[UNK]`."""
        return self.num_unknown_tokens / self.num_tokens

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / self.seconds

    @property
    def bytes_per_second(self) -> float:
        """Bytes of unpacked text."""
        return self.num_text_bytes / self.seconds


def prepare(settings: PrepareSettings, progress: Heard | None = None) -> PrepareReport:
    """Write the corpus of `settings.files` into `settings.output_dir`, whole or not at all, and say what was met.

    `progress` hears the bytes of text read so far, with the total where it is known; with workers, the shards that are
    done. The corpus holds the tokenizer too; it is the same whoever does the work. Raises `DataError` for files that
    cannot be used, `SettingsError` where the output folder holds other things.
    """
    started = time.monotonic()
    total = _total_bytes(settings.files)
    tokenizer = Tokenizer.load(settings.tokenizer)
    with corpus_folder(settings.output_dir) as folder, CorpusWriter(folder, tokenizer.vocab_size) as writer:
        tokenizer.save(folder)
        if settings.scale.on is None:
            met = _read_here(writer, tokenizer, settings, progress, total)
        else:
            met = _read_by_workers(writer, tokenizer, settings, progress)
        sources = [
            {"name": path.name, "sha256": sha256(path), "format": met.formats[str(path)]} for path in settings.files
        ]
        manifest = writer.finish(
            tokenizer.fingerprint, {"sources": sources, "num_unknown_tokens": met.num_unknown, **met.faults()}
        )
    if settings.scale.on is not None:
        shutil.rmtree(shards_folder(settings.output_dir.resolve()), ignore_errors=True)
    return PrepareReport(
        num_documents=manifest.num_documents,
        num_sentences=manifest.num_sentences,
        num_tokens=manifest.num_tokens,
        num_unknown_tokens=met.num_unknown,
        num_text_bytes=met.num_bytes,
        num_corpus_bytes=sum(entry.num_bytes for entry in manifest.files.values()),
        seconds=time.monotonic() - started,
        formats=met.formats,
        **met.faults(),
    )


@dataclass
class _Met:
    """What was met in reading, apart from the documents themselves. num_read: documents before any was dropped."""

    formats: dict[str, str] = field(default_factory=dict)
    num_read: int = 0
    num_unknown: int = 0
    num_bytes: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)
    divided: Counter[str] = field(default_factory=Counter)

    def faults(self) -> dict[str, dict[str, int]]:
        counters = {"skipped": self.skipped, "replaced": self.replaced, "divided": self.divided}
        return {name: dict(sorted(counter.items())) for name, counter in counters.items()}

    def add(self, account: Account) -> None:
        """What a shard's maker met, too."""
        self.num_read += account["num_read"]
        self.num_unknown += account["num_unknown"]
        self.num_bytes += account["num_bytes"]
        for name in ("skipped", "replaced", "divided"):
            getattr(self, name).update(account[name])


def _read_here(
    writer: CorpusWriter, tokenizer: Tokenizer, settings: PrepareSettings, progress: Heard | None, total: int | None
) -> _Met:
    reading, formats = Reading(settings.errors), dict[str, str]()

    def on_format(path: Path, found: FoundFormat) -> None:
        formats[str(path)] = f"{found.format}: {found.reason}"

    def on_block() -> None:
        if progress is not None:
            progress("prepare", reading.num_bytes, total)

    documents = read_documents(settings.files, reading, _rules(settings), on_format)
    met = _write(writer, documents, tokenizer, reading, on_block)
    met.formats = formats
    return met


def _rules(settings: PrepareSettings) -> DocumentRules:
    return DocumentRules(
        settings.format, settings.text_column, settings.max_sentence_characters, settings.max_document_sentences
    )


def _write(
    writer: CorpusWriter,
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    reading: Reading,
    on_block: Callable[[], None] = raise_if_asked,
) -> _Met:
    """Write all documents; `on_block` is called when some of them were."""
    met = _Met(skipped=reading.skipped, replaced=reading.replaced, divided=reading.divided)
    for block in _tokenized(documents, tokenizer):
        met.num_read += len(block)
        met.num_unknown += sum(_add(writer, sentences, tokenizer.unk_id, reading) for sentences in block)
        on_block()
    met.num_bytes = reading.num_bytes
    return met


@dataclass(frozen=True)
class _Part:
    """A file, or a span of one, and how it is read; `rules` say the format and the column."""

    path: Path
    span: Span | None
    errors: ErrorPolicy
    rules: DocumentRules


def _read_by_workers(
    writer: CorpusWriter, tokenizer: Tokenizer, settings: PrepareSettings, progress: Heard | None
) -> _Met:
    """The corpora of all shards, put together in the order of their text."""
    met = _Met()
    shards = [shard for path in settings.files for shard in _shards(path, settings, met.formats)]
    made_with = {
        "work": ["prepare", __version__, VERSION],
        "tokenizer": tokenizer.fingerprint,
        **settings.model_dump(mode="json", include={"errors", "max_sentence_characters", "max_document_sentences"}),
    }
    work = Work(partial(_make_corpus, settings.tokenizer.resolve()), made_with, shards)
    folder = shards_folder(settings.output_dir.resolve())
    with locked(folder), open_runner(settings.scale) as runner:
        made = work_off(work, folder, runner, progress)
        num_read = (result.account["num_read"] for result in made)
        refuse_empty(zip((shard.part.path for shard in shards), num_read, strict=True), "text")
        for shard in made:
            met.add(shard.account)
            if shard.account["num_documents"]:
                writer.extend(Corpus.open(shard.folder))
    return met


def _shards(path: Path, settings: PrepareSettings, formats: dict[str, str]) -> Iterator[Shard]:
    """Those of one file, whose format is noted in `formats`."""
    found = FoundFormat(settings.format, "as given") if settings.format else find_format(path)
    formats[str(path)] = f"{found.format}: {found.reason}"
    rules = replace(_rules(settings), format=found.format)
    if found.format == "table":
        rules = replace(rules, text_column=find_text_column(path, Reading(settings.errors), rules))
    how = {"format": found.format, "text_column": rules.text_column}
    for span in document_spans(path, Reading(), found.format, settings.shard_bytes):
        part = _Part(path.resolve(), span, settings.errors, rules)
        yield Shard(part, {"sha256": fingerprint(path, span), **how}, f"{path}{'' if span is None else f', {span}'}")


def _make_corpus(tokenizer_folder: Path, part: _Part, folder: Path) -> Account:
    """In a worker: the corpus of one shard, if it has any documents."""
    tokenizer = Tokenizer.load(tokenizer_folder)
    reading = Reading(part.errors, span=part.span)
    with CorpusWriter(folder, tokenizer.vocab_size) as writer:
        met = _write(writer, read_documents([part.path], reading, part.rules), tokenizer, reading)
        if writer.num_documents:
            writer.finish(tokenizer.fingerprint, {})
    counts = {"num_read": met.num_read, "num_unknown": met.num_unknown, "num_bytes": met.num_bytes}
    return {"num_documents": writer.num_documents, **counts, **met.faults()}


def _add(writer: CorpusWriter, sentences: list[Ids], unknown_id: int, reading: Reading) -> int:
    """Write a document, without the sentences that have no tokens; how many of its tokens are unknown."""
    kept = [ids for ids in sentences if len(ids)]
    if len(kept) < len(sentences):
        reading.skipped["sentence without tokens"] += len(sentences) - len(kept)
    if not kept:
        return 0
    writer.add(kept)
    return sum(int(np.count_nonzero(ids == unknown_id)) for ids in kept)


def _total_bytes(paths: Iterable[Path]) -> int | None:
    """Bytes of text in all files, None where some are packed; a missing file is told before any work is done."""
    paths = list(paths)
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
    if any(path.suffix.lower() in COMPRESSIONS for path in paths):
        return None
    return sum(path.stat().st_size for path in paths)


def _tokenized(documents: Iterable[Document], tokenizer: Tokenizer) -> Iterator[list[list[Ids]]]:
    """The ids of the documents' sentences, in blocks of documents."""
    pieces = PieceCache(tokenizer)
    for block in _blocks(documents):
        ids = iter(pieces.batch([sentence for document in block for sentence in document.sentences]))
        yield [list(islice(ids, len(document.sentences))) for document in block]


def _blocks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Runs of documents with enough text for one call, and little enough to keep."""
    block: list[Document] = []
    size = 0
    for document in documents:
        block.append(document)
        size += sum(map(len, document.sentences))
        if size >= _BLOCK_CHARACTERS:
            yield block
            block, size = [], 0
    if block:
        yield block
