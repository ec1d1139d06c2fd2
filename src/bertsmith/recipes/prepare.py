"""Text files to a corpus on disk that pre-training reads: documents, sentences, ids, and an account of what was cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from pydantic import Field

from bertsmith.data.corpus import CorpusWriter, Ids, corpus_folder
from bertsmith.data.documents import Document, DocumentFormat, DocumentRules, FoundFormat, read_documents
from bertsmith.data.lines import ErrorPolicy, Reading
from bertsmith.errors import DataError
from bertsmith.files import COMPRESSIONS, sha256
from bertsmith.settings import Settings
from bertsmith.text.pieces import PieceCache
from bertsmith.text.tokenizer import Tokenizer

Progress = Callable[[str, int, int | None], None]
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


def prepare(settings: PrepareSettings, progress: Progress | None = None) -> PrepareReport:
    """Write the corpus of `settings.files` into `settings.output_dir`, whole or not at all, and say what was met.

    `progress` hears the bytes of text read so far, with the total where it is known. The corpus holds the tokenizer
    too. Raises `DataError` for files that cannot be used, `SettingsError` where the output folder holds other things.
    """
    started = time.monotonic()
    total = _total_bytes(settings.files)
    tokenizer = Tokenizer.load(settings.tokenizer)
    reading = Reading(settings.errors)
    formats: dict[str, str] = {}

    def on_format(path: Path, found: FoundFormat) -> None:
        formats[str(path)] = f"{found.format}: {found.reason}"

    rules = DocumentRules(
        settings.format, settings.text_column, settings.max_sentence_characters, settings.max_document_sentences
    )
    num_unknown = 0
    with corpus_folder(settings.output_dir) as folder, CorpusWriter(folder, tokenizer.vocab_size) as writer:
        tokenizer.save(folder)
        for block in _tokenized(read_documents(settings.files, reading, rules, on_format), tokenizer):
            num_unknown += sum(_add(writer, sentences, tokenizer.unk_id, reading) for sentences in block)
            if progress is not None:
                progress("prepare", reading.num_bytes, total)
        counters = {"skipped": reading.skipped, "replaced": reading.replaced, "divided": reading.divided}
        account = {name: dict(sorted(counter.items())) for name, counter in counters.items()}
        sources = [{"name": path.name, "sha256": sha256(path), "format": formats[str(path)]} for path in settings.files]
        manifest = writer.finish(
            tokenizer.fingerprint, {"sources": sources, "num_unknown_tokens": num_unknown, **account}
        )
    return PrepareReport(
        num_documents=manifest.num_documents,
        num_sentences=manifest.num_sentences,
        num_tokens=manifest.num_tokens,
        num_unknown_tokens=num_unknown,
        num_text_bytes=reading.num_bytes,
        num_corpus_bytes=sum(entry.num_bytes for entry in manifest.files.values()),
        seconds=time.monotonic() - started,
        formats=formats,
        **account,
    )


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
