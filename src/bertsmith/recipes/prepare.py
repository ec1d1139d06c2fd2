"""Text files to a corpus on disk that pre-training reads: documents, sentences, ids, and an account of what was cut."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith import __version__
from bertsmith.data.corpus import VERSION, Corpus, CorpusWriter, corpus_folder
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
from bertsmith.data.marking import open_marking
from bertsmith.data.parallel import read_parallel
from bertsmith.data.spans import document_spans, fingerprint
from bertsmith.errors import DataError, SettingsError
from bertsmith.files import COMPRESSIONS, sha256
from bertsmith.recipes.corpus_writing import Cutter, Met, open_writer, write_documents
from bertsmith.scale.runner import ScaleSettings
from bertsmith.scale.runners import open_runner
from bertsmith.scale.shards import Account, Heard, Shard, Work, locked, refuse_empty, shards_folder, work_off
from bertsmith.settings import Settings
from bertsmith.text.pieces import PieceCache
from bertsmith.text.segmentation import SegmenterName
from bertsmith.text.tokenizer import Tokenizer

MOST_UNKNOWN = 0.5
"""Share of a corpus that may be [UNK]: what is above is in a language that the tokenizer was not made for."""


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
    parallel: bool = Field(
        default=False,
        description="the files are translations of one another, line by line: each line of all of them is a document "
        "(for pretrain --sentence-task pair)",
    )
    errors: ErrorPolicy = Field(
        default="error",
        description="on what is no clean UTF-8 text: error (stop and name the place), replace (by U+FFFD) or skip",
    )
    max_sentence_characters: int = Field(default=4096, ge=16, description="characters; longer sentences are divided")
    max_document_sentences: int = Field(default=10_000, ge=1, description="sentences; longer documents are divided")
    segmenter: SegmenterName | None = Field(
        default=None,
        description="whole words of scripts that do not separate them (Chinese): blanks (the text has them separated) "
        "or jieba (extra chinese); for --mask-unit word",
    )
    phrases: Path | None = Field(
        default=None,
        description="dictionary, a phrase a line and after a tab its kind, phrase or entity; for --mask-unit phrase or "
        "entity",
    )
    scale: ScaleSettings = ScaleSettings()
    shard_bytes: int = Field(
        default=64 << 20,
        ge=1,
        title="Scale",
        description="bytes of text a shard, which one worker does at a time; cut between documents of unpacked files",
    )


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What became of the text. skipped, replaced, divided: counts by reason. formats: by file, with the reason.

    marked: tokens that continue a word of the segmenter, a phrase, an entity of the dictionary.
    """

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
    marked: dict[str, int]
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


def prepare(settings: PrepareSettings | Mapping[str, Any], progress: Heard | None = None) -> PrepareReport:
    """Write the corpus of `settings.files` into `settings.output_dir`, whole or not at all, and say what was met.

    `progress` hears the bytes of text read so far, with the total where it is known; with workers, the shards that are
    done. The corpus holds the tokenizer too; it is the same whoever does the work. Raises `DataError` for files that
    cannot be used, `SettingsError` where the output folder holds other things.
    """
    started = time.monotonic()
    settings = settings if isinstance(settings, PrepareSettings) else PrepareSettings.of(settings)
    if settings.parallel:
        _refuse_parallel(settings)
    total = _total_bytes(settings.files)
    tokenizer = Tokenizer.load(settings.tokenizer)
    marking = open_marking(tokenizer, settings.segmenter, settings.phrases)
    with corpus_folder(settings.output_dir) as folder, open_writer(folder, tokenizer, marking) as writer:
        tokenizer.save(folder)
        if settings.scale.on is None:
            met = _read_here(writer, marking or PieceCache(tokenizer), settings, progress, total)
        else:
            met = _read_by_workers(writer, tokenizer, settings, progress)
        _refuse_unmarked(met, settings)
        _refuse_unknown(met.num_unknown, writer.num_tokens, settings)
        sources = [
            {"name": path.name, "sha256": sha256(path), "format": met.formats[str(path)]} for path in settings.files
        ]
        manifest = writer.finish(
            tokenizer.fingerprint, {"sources": sources, "num_unknown_tokens": met.num_unknown, **met.counts()}
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
        **met.counts(),
    )


def _refuse_unmarked(met: Met, settings: PrepareSettings) -> None:
    if settings.phrases is not None and not met.marked["phrase"]:
        raise DataError(
            f"{settings.phrases}: no phrase of several tokens occurs in {', '.join(map(str, settings.files[:3]))}: is "
            "it the dictionary of another language, or another case?"
        )


def _refuse_unknown(num_unknown: int, num_tokens: int, settings: PrepareSettings) -> None:
    if num_unknown > MOST_UNKNOWN * num_tokens:
        raise DataError(
            f"{', '.join(map(str, settings.files[:3]))}: {num_unknown / num_tokens:.0%} of the tokens are [UNK]: "
            f"{settings.tokenizer} does not know this language; learn a tokenizer with such text among its files "
            "(bertsmith tokenizer report says how one fits)"
        )


def _read_here(
    writer: CorpusWriter, cutter: Cutter, settings: PrepareSettings, progress: Heard | None, total: int | None
) -> Met:
    reading, formats = Reading(settings.errors), dict[str, str]()

    def on_format(path: Path, found: FoundFormat) -> None:
        formats[str(path)] = f"{found.format}: {found.reason}"

    def on_block() -> None:
        if progress is not None:
            progress("prepare", reading.num_bytes, total)

    documents: Iterable[Document]
    if settings.parallel:
        formats = {str(path): "parallel: as given" for path in settings.files}
        documents = _parallel(settings, reading)
    else:
        documents = read_documents(settings.files, reading, _rules(settings), on_format)
    met = write_documents(writer, documents, cutter, reading, on_block)
    met.formats = formats
    return met


def _parallel(settings: PrepareSettings, reading: Reading) -> Iterator[Document]:
    """Each line of all files as a document, a sentence in each language."""
    for found in read_parallel(settings.files, reading):
        yield Document(list(found.texts), found.path, found.line)


def _refuse_parallel(settings: PrepareSettings) -> None:
    if len(settings.files) < 2:
        raise SettingsError("parallel: translations stand in two files or more, one a language")
    if settings.format or settings.scale.on is not None:
        other = "format" if settings.format else "scale.on"
        raise SettingsError(f"parallel: such files are read line by line, in this process; leave out {other}")


def _rules(settings: PrepareSettings) -> DocumentRules:
    return DocumentRules(
        settings.format, settings.text_column, settings.max_sentence_characters, settings.max_document_sentences
    )


@dataclass(frozen=True)
class _Part:
    """A file, or a span of one, and how it is read; `rules` say the format and the column."""

    path: Path
    span: Span | None
    errors: ErrorPolicy
    rules: DocumentRules


def _read_by_workers(
    writer: CorpusWriter, tokenizer: Tokenizer, settings: PrepareSettings, progress: Heard | None
) -> Met:
    """The corpora of all shards, put together in the order of their text."""
    met = Met()
    shards = [shard for path in settings.files for shard in _shards(path, settings, met.formats)]
    made_with = {
        "work": ["prepare", __version__, VERSION],
        "tokenizer": tokenizer.fingerprint,
        **settings.model_dump(mode="json", include={"errors", "max_sentence_characters", "max_document_sentences"}),
    }
    if settings.segmenter or settings.phrases:
        phrases = None if settings.phrases is None else sha256(settings.phrases)
        made_with["marks"] = [settings.segmenter, phrases]
    own = settings.model_copy(
        update={
            "tokenizer": settings.tokenizer.resolve(),
            "phrases": None if settings.phrases is None else settings.phrases.resolve(),
        }
    )
    work = Work(partial(_make_corpus, own), made_with, shards)
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


def _make_corpus(settings: PrepareSettings, part: _Part, folder: Path) -> Account:
    """In a worker: the corpus of one shard, if it has any documents."""
    tokenizer = Tokenizer.load(settings.tokenizer)
    marking = open_marking(tokenizer, settings.segmenter, settings.phrases)
    reading = Reading(part.errors, span=part.span)
    with open_writer(folder, tokenizer, marking) as writer:
        documents = read_documents([part.path], reading, part.rules)
        met = write_documents(writer, documents, marking or PieceCache(tokenizer), reading)
        if writer.num_documents:
            writer.finish(tokenizer.fingerprint, {})
    counts = {"num_read": met.num_read, "num_unknown": met.num_unknown, "num_bytes": met.num_bytes}
    return {"num_documents": writer.num_documents, **counts, **met.counts()}


def _total_bytes(paths: Iterable[Path]) -> int | None:
    """Bytes of text in all files, None where some are packed; a missing file is told before any work is done."""
    paths = list(paths)
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
    if any(path.suffix.lower() in COMPRESSIONS for path in paths):
        return None
    return sum(path.stat().st_size for path in paths)
