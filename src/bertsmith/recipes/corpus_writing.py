"""Documents to a corpus: their sentences cut into ids, with marks if wanted, and an account of what was met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np

from bertsmith.data.corpus import CorpusWriter, Ids
from bertsmith.data.documents import Document
from bertsmith.data.lines import Reading
from bertsmith.data.marking import Marking
from bertsmith.data.marks import ids_of, marks_of
from bertsmith.runtime.interruption import raise_if_asked
from bertsmith.scale.shards import Account
from bertsmith.text.pieces import PieceCache
from bertsmith.text.tokenizer import Tokenizer

_BLOCK_CHARACTERS = 1 << 20

Cutter: TypeAlias = PieceCache | Marking
"""Texts to ids, fast, or with marks."""


@dataclass
class Met:
    """What was met in reading, apart from the documents themselves. num_read: documents before any was dropped."""

    formats: dict[str, str] = field(default_factory=dict)
    num_read: int = 0
    num_unknown: int = 0
    num_bytes: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)
    divided: Counter[str] = field(default_factory=Counter)
    marked: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, dict[str, int]]:
        names = ("skipped", "replaced", "divided", "marked")
        counters: dict[str, Counter[str]] = {name: getattr(self, name) for name in names}
        return {name: dict(sorted(counter.items())) for name, counter in counters.items()}

    def add(self, account: Account) -> None:
        """What a shard's maker met, too."""
        self.num_read += account["num_read"]
        self.num_unknown += account["num_unknown"]
        self.num_bytes += account["num_bytes"]
        for name in ("skipped", "replaced", "divided", "marked"):
            getattr(self, name).update(account[name])


def open_writer(folder: Path, tokenizer: Tokenizer, marking: Marking | None) -> CorpusWriter:
    """Into `folder`; not atomic by itself."""
    return CorpusWriter(folder, tokenizer.vocab_size, has_marks=marking is not None)


def write_documents(
    writer: CorpusWriter,
    documents: Iterable[Document],
    cutter: Cutter,
    reading: Reading,
    on_block: Callable[[], None] = raise_if_asked,
) -> Met:
    """Write all documents; `on_block` is called when some of them were."""
    met = Met(skipped=reading.skipped, replaced=reading.replaced, divided=reading.divided)
    for block in _cut(documents, cutter):
        met.num_read += len(block)
        met.num_unknown += sum(_add(writer, sentences, cutter.tokenizer.unk_id, reading) for sentences in block)
        on_block()
    met.marked = cutter.counts if isinstance(cutter, Marking) else Counter()
    met.num_bytes = reading.num_bytes
    return met


def _add(writer: CorpusWriter, sentences: list[Ids], unknown_id: int, reading: Reading) -> int:
    """Write a document, without the sentences that have no tokens; how many of its tokens are unknown."""
    kept = [ids for ids in sentences if len(ids)]
    if len(kept) < len(sentences):
        reading.skipped["sentence without tokens"] += len(sentences) - len(kept)
    if not kept:
        return 0
    if writer.has_marks:
        marks = [marks_of(ids).astype(np.uint8) for ids in kept]
        kept = [ids_of(ids) for ids in kept]
        writer.add(kept, marks)
    else:
        writer.add(kept)
    return sum(int(np.count_nonzero(ids == unknown_id)) for ids in kept)


def _cut(documents: Iterable[Document], cutter: Cutter) -> Iterator[list[list[Ids]]]:
    """The ids of the documents' sentences, in blocks of documents."""
    for block in _blocks(documents):
        ids: Iterator[Ids] = iter(cutter.batch([sentence for document in block for sentence in document.sentences]))
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
