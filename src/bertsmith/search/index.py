"""An index in a folder: the store, its tokenizer, its vectors in memory, and the graph beside them.

D/index.sqlite    documents, passages, words, vectors
D/tokenizer/      the pieces that words are searched by
D/graph.*         made from the vectors, and made again where it does not fit
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bertsmith.errors import DataError, FileFormatError, SettingsError
from bertsmith.files import atomic_folder, recover_folder
from bertsmith.runtime.interruption import raise_if_asked
from bertsmith.runtime.progress import Progress
from bertsmith.search.connection import is_empty
from bertsmith.search.documents import Document, check_document
from bertsmith.search.encoder import TextEncoder
from bertsmith.search.filters import Condition
from bertsmith.search.graph import Graph, GraphSettings
from bertsmith.search.held import VectorMemory
from bertsmith.search.passages import PassageSettings, cut_document
from bertsmith.search.store import FILE, NewPassage, Store, StoredPassage
from bertsmith.text.tokenizer import Tokenizer

TOKENIZER = "tokenizer"
BATCH_DOCUMENTS = 64
"""Written in one transaction; what a killed writer loses."""
BATCH_CHARACTERS = 4_000_000
"""Of long documents fewer are written together: a batch is held in memory with all its pieces and vectors."""


@dataclass(frozen=True)
class Upserted:
    """num_unchanged: documents that were there already, as they are. num_cut_passages: that the encoder did not read
    to their ends.
    """

    num_added: int = 0
    num_changed: int = 0
    num_unchanged: int = 0
    num_passages: int = 0
    num_cut_passages: int = 0

    def warn(self) -> None:
        """Of passages that were cut, for the caller of the method that calls this."""
        if self.num_cut_passages:
            told = f"{self.num_cut_passages} of {self.num_passages} passages were cut to the model's max_length"
            warnings.warn(told, stacklevel=3)


class Index:
    """As `Searched` wants it, and to be written. notes: what a user should read, of caches that did not fit."""

    def __init__(self, folder: Path, store: Store, tokenizer: Tokenizer):
        self.folder, self.store, self.tokenizer = folder, store, tokenizer
        self.passage_settings = PassageSettings.of(store.facts["passages"], str(store.path))
        self.graph_settings = GraphSettings.of(store.facts["graph"], str(store.path))
        self.memory = VectorMemory(store, folder, self.width, self.graph_settings)

    @property
    def notes(self) -> list[str]:
        return self.memory.notes

    @classmethod
    def create(
        cls,
        folder: Path,
        tokenizer: Tokenizer,
        encoder: TextEncoder | None = None,
        encoder_folder: Path | None = None,
        passages: PassageSettings | None = None,
        graph: GraphSettings | None = None,
    ) -> Self:
        """A new, empty index. encoder_folder: where searches find the encoder when nobody names it."""
        recover_folder(folder / TOKENIZER)
        own = {TOKENIZER, *(f"{FILE}{end}" for end in ("", "-wal", "-shm"))}
        if cls.is_there(folder) or (folder.exists() and any(file.name not in own for file in folder.iterdir())):
            raise SettingsError(f"{folder}: not empty, and no index; name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        facts = {
            "encoder": None if encoder is None else encoder.sha256,
            "encoder_folder": None if encoder_folder is None else str(encoder_folder.resolve()),
            "width": None if encoder is None else encoder.width,
            "tokenizer": tokenizer.fingerprint,
            "passages": (passages or PassageSettings()).model_dump(mode="json"),
            "graph": (graph or GraphSettings()).model_dump(mode="json"),
        }
        with atomic_folder(folder / TOKENIZER) as temporary:
            tokenizer.save(temporary)
        return cls(folder, Store(folder, facts), tokenizer)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Raises `FileFormatError` where there is none or it is damaged."""
        store = Store(folder)
        tokenizer = Tokenizer.load(folder / TOKENIZER)
        if tokenizer.fingerprint != store.facts["tokenizer"]:
            raise FileFormatError(f"{folder / TOKENIZER}: not the tokenizer that this index was made with")
        return cls(folder, store, tokenizer)

    @staticmethod
    def is_there(folder: Path) -> bool:
        """Not one whose making was cut off: `create` makes that one again."""
        return (folder / FILE).is_file() and not is_empty(folder / FILE)

    def close(self) -> None:
        self.store.close()

    # The encoder

    @property
    def width(self) -> int:
        """Numbers of a vector; 0 without vectors."""
        return int(self.store.facts["width"] or 0)

    @property
    def has_vectors(self) -> bool:
        return self.store.facts["encoder"] is not None

    def check_encoder(self, encoder: TextEncoder) -> None:
        """Raises `SettingsError` for another one than the index's."""
        if encoder.sha256 != self.store.facts["encoder"]:
            raise SettingsError(
                f"{self.folder}: its vectors were made with another model ({self.store.facts['encoder'][:12]}..., "
                f"not {encoder.sha256[:12]}...); vectors of two models cannot be compared: make the index anew"
            )

    def load_encoder(self, folder: Path | None = None) -> TextEncoder:
        """From there, or from where the index remembers it."""
        place = folder or Path(self.store.facts["encoder_folder"] or "")
        if not place.is_dir() or (not self.store.facts["encoder_folder"] and folder is None):
            raise SettingsError(f"{self.folder}: its model is not at {place} any more; name it with --model")
        encoder = TextEncoder.load(place)
        self.check_encoder(encoder)
        return encoder

    # Writing

    def upsert(
        self, documents: Iterable[Document], encoder: TextEncoder | None = None, progress: Progress | None = None
    ) -> Upserted:
        """Add documents, or change those of the same id; what is there already as it is costs nothing.

        A batch is written as a whole: who is killed goes on with the same call.
        """
        if self.has_vectors:
            assert encoder is not None, "an index with vectors is written with its encoder"
            self.check_encoder(encoder)
        total = Upserted()
        with (progress or Progress()).phase("indexing", unit="documents") as phase:
            for batch in batches(documents):
                raise_if_asked()
                total = _sum(total, self._write(batch, encoder))
                phase.advance(len(batch))
        total.warn()
        return total

    def _write(self, batch: Sequence[Document], encoder: TextEncoder | None) -> Upserted:
        known = self.store.sha256_of([document.id for document in batch])
        fresh = [document for document in batch if known.get(document.id) != document.sha256]
        cut = [cut_document(document, self.tokenizer, self.passage_settings) for document in fresh]
        vectors: Any = None
        num_cut = 0
        if encoder is not None and self.has_vectors:
            texts = [
                embedded_text(document.title, document.text[passage.start : passage.end])
                for document, passages in zip(fresh, cut, strict=True)
                for passage in passages
            ]
            embedded = encoder.embedded(texts)
            vectors, num_cut = iter(embedded.vectors), embedded.truncation.num_cut_examples
        rows = [
            (
                document,
                [
                    NewPassage(passage.start, passage.end, passage.pieces, None if vectors is None else next(vectors))
                    for passage in passages
                ],
            )
            for document, passages in zip(fresh, cut, strict=True)
        ]
        if rows:
            self.store.put(rows)
        changed = sum(document.id in known for document in fresh)
        num_passages = sum(len(passages) for _, passages in rows)
        return Upserted(len(fresh) - changed, changed, len(batch) - len(fresh), num_passages, num_cut)

    def delete(self, ids: Sequence[str]) -> int:
        """How many of these documents were there and are no more."""
        return self.store.delete(ids)

    def build_graph(self) -> None:
        """Make the graph over all vectors of now; searches go on meanwhile, by the earlier one or exactly."""
        with self.store.reading():
            held = self.memory.now()
        graph = Graph.build(self.folder, held.numbers, held.rows, held.revision, self.graph_settings)
        with self.store.reading():
            self.memory.take(graph)

    # Searching

    def by_words(self, pieces: Sequence[int], limit: int, conditions: Sequence[Condition]) -> list[tuple[int, float]]:
        with self.store.reading():
            return self.store.by_words(pieces, limit, conditions)

    def by_vectors(
        self, vectors: NDArray[np.float32], limit: int, conditions: Sequence[Condition]
    ) -> list[list[tuple[int, float]]]:
        """Of each query the passages with the highest cosine: exact, or by the graph where there is one that fits."""
        with self.store.reading():
            held = self.memory.now()
            chosen = self.store.numbers(conditions) if conditions else None
        return held.nearest(vectors, limit, chosen)

    def passages(self, numbers: Sequence[int]) -> Mapping[int, StoredPassage]:
        with self.store.reading():
            return self.store.passages(numbers)

    def document(self, id_: str) -> Document | None:
        return self.store.document(id_)

    @property
    def num_documents(self) -> int:
        return self.store.num_documents

    def fact_names(self) -> set[str]:
        with self.store.reading():
            return self.store.fact_names()


def batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """What is written together: at most so many documents, of at most so many characters or one alone.

    Raises `DataError` for a document that cannot be kept or the second one of an id, after the batches before it.
    """
    batch, size = list[Document](), 0
    seen = dict[str, str]()
    for document in documents:
        if batch and (len(batch) == BATCH_DOCUMENTS or size + len(document.text) > BATCH_CHARACTERS):
            yield batch
            batch, size = [], 0
        check_document(document)
        if document.id in seen:
            places = " and ".join(filter(None, (seen[document.id], document.where)))
            told = f"two documents have the id {document.id!r:.80}{': ' if places else ''}{places}"
            raise DataError(f"{told}; an id names one document")
        seen[document.id] = document.where
        batch.append(document)
        size += len(document.text)
    if batch:
        yield batch


def encoder_of(folder: Path) -> str | None:
    """The hash of the encoder that an index was made with; None without vectors. Raises as `Index.open` does."""
    store = Store(folder)
    found: str | None = store.facts["encoder"]
    store.close()
    return found


def embedded_text(title: str, text: str) -> str:
    """What the encoder reads of a passage."""
    return f"{title} {text}" if title else text


def _sum(one: Upserted, other: Upserted) -> Upserted:
    return Upserted(
        one.num_added + other.num_added,
        one.num_changed + other.num_changed,
        one.num_unchanged + other.num_unchanged,
        one.num_passages + other.num_passages,
        one.num_cut_passages + other.num_cut_passages,
    )
