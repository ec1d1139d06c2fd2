"""An index on a Qdrant server, for more documents than one machine holds: the methods of `Searched`, and of a writer.

A passage is a point with two vectors: the encoder's, and a sparse one of BM25's weights by piece, whose rarity the
server multiplies in. Passages of a changed document are written before those of its former self are taken out.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException

from bertsmith.data.batch import blocks
from bertsmith.errors import DataError, SettingsError
from bertsmith.runtime.progress import Progress
from bertsmith.search.documents import Document, check_document
from bertsmith.search.encoder import TextEncoder
from bertsmith.search.filters import Condition
from bertsmith.search.index import BATCH_DOCUMENTS, Upserted, embedded_text
from bertsmith.search.passages import PassageSettings, cut_document
from bertsmith.search.store import MOST_QUERY_PIECES, StoredPassage
from bertsmith.text.tokenizer import Ids

DENSE, WORDS, FACTS = "dense", "words", "-facts"
K1, B = 1.2, 0.75
"""BM25's, as SQLite has them; weights are worked out when a passage is written, with a mean length that is supposed."""
SUPPOSED_FILL = 0.75
"""Of the longest passage, the mean one."""


class QdrantIndex:
    """The collection of that name, made where it is not there. encoder: gives vectors and pieces; always needed.

    Raises `SettingsError` for another encoder or other passages than the collection's, or where no server answers.
    """

    def __init__(self, client: QdrantClient, name: str, encoder: TextEncoder, passages: PassageSettings | None = None):
        self.client, self.name, self.encoder = client, name, encoder
        self.tokenizer = encoder.predictor.tokenizer
        self.passage_settings = passages or PassageSettings()
        facts = {"encoder": encoder.sha256, "passages": self.passage_settings.model_dump(mode="json")}
        try:
            if not client.collection_exists(name + FACTS):
                self._create(facts)
            (kept,) = client.retrieve(name + FACTS, [0])
        except (OSError, ApiException) as error:
            raise SettingsError(f"Qdrant does not answer: {error}") from None
        for fact, value in facts.items():
            if (kept.payload or {}).get(fact) != value:
                raise SettingsError(f"the collection {name!r} was made with other {fact}; give it another name")

    has_vectors = True

    def _create(self, facts: Mapping[str, Any]) -> None:
        size = models.VectorParams(size=self.encoder.width, distance=models.Distance.COSINE)
        words = models.SparseVectorParams(modifier=models.Modifier.IDF)
        if not self.client.collection_exists(self.name):
            self.client.create_collection(self.name, vectors_config={DENSE: size}, sparse_vectors_config={WORDS: words})
        one = models.VectorParams(size=1, distance=models.Distance.COSINE)
        self.client.create_collection(self.name + FACTS, vectors_config=one)
        self.client.upsert(self.name + FACTS, [models.PointStruct(id=0, vector=[1.0], payload=dict(facts))])

    # Writing

    def upsert(self, documents: Iterable[Document], progress: Progress | None = None) -> Upserted:
        """Add documents, or change those of the same id; what is there already as it is costs nothing."""
        counts: Counter[str] = Counter()
        seen: set[str] = set()
        with (progress or Progress()).phase("indexing", unit="documents") as phase:
            for batch in blocks(documents, BATCH_DOCUMENTS):
                for document in batch:
                    check_document(document)
                    if document.id in seen:
                        raise DataError(f"two documents have the id {document.id!r:.80}; an id names one document")
                    seen.add(document.id)
                counts.update(self._write(batch))
                phase.advance(len(batch))
        return Upserted(counts["added"], counts["changed"], counts["unchanged"], counts["passages"])

    def _write(self, batch: Sequence[Document]) -> Counter[str]:
        known = self._known([document.id for document in batch])
        fresh = [document for document in batch if known.get(document.id) != document.sha256]
        counts = Counter(unchanged=len(batch) - len(fresh))
        for document in fresh:
            cut = cut_document(document, self.tokenizer, self.passage_settings)
            texts = [document.text[passage.start : passage.end] for passage in cut]
            vectors = self.encoder.vectors([embedded_text(document.title, text) for text in texts])
            points = [
                models.PointStruct(
                    id=_number(document, place),
                    vector={DENSE: vector.tolist(), WORDS: self._weights(passage.pieces)},
                    payload={
                        "document": document.id,
                        "sha256": document.sha256,
                        "place": place,
                        "title": document.title,
                        "text": text,
                        "start": passage.start,
                        "end": passage.end,
                        "metadata": dict(document.metadata),
                        **({"whole": document.text} if place == 0 else {}),
                    },
                )
                for place, (passage, text, vector) in enumerate(zip(cut, texts, vectors, strict=True))
            ]
            self.client.upsert(self.name, points, wait=True)
            former = models.Filter(must=[_is("document", document.id)], must_not=[_is("sha256", document.sha256)])
            self.client.delete(self.name, models.FilterSelector(filter=former), wait=True)
            counts["changed" if document.id in known else "added"] += 1
            counts["passages"] += len(points)
        return counts

    def delete(self, ids: Sequence[str]) -> int:
        """How many of these documents were there and are no more."""
        known = self._known(ids)
        if known:
            wanted = models.Filter(must=[models.FieldCondition(key="document", match=models.MatchAny(any=list(known)))])
            self.client.delete(self.name, models.FilterSelector(filter=wanted), wait=True)
        return len(known)

    def _known(self, ids: Sequence[str]) -> dict[str, str]:
        """The hashes of those documents that are there."""
        wanted = models.Filter(
            must=[models.FieldCondition(key="document", match=models.MatchAny(any=list(ids))), _is("place", 0)]
        )
        points, _ = self.client.scroll(self.name, scroll_filter=wanted, limit=2 * len(ids) + 1)
        return {point.payload["document"]: point.payload["sha256"] for point in points if point.payload}

    def _weights(self, pieces: Ids) -> models.SparseVector:
        counts = Counter(np.asarray(pieces).tolist())
        supposed = SUPPOSED_FILL * self.passage_settings.passage_tokens
        longer = K1 * (1 - B + B * len(pieces) / supposed)
        weights = [count * (K1 + 1) / (count + longer) for count in counts.values()]
        return models.SparseVector(indices=list(counts), values=weights)

    # Searching

    def by_words(self, pieces: Sequence[int], limit: int, conditions: Sequence[Condition]) -> list[tuple[int, float]]:
        asked = list(dict.fromkeys(map(int, pieces)))[:MOST_QUERY_PIECES]
        if not asked:
            return []
        query = models.SparseVector(indices=asked, values=[1.0] * len(asked))
        found = self.client.query_points(
            self.name, query=query, using=WORDS, limit=limit, query_filter=_filter(conditions)
        )
        return [(int(point.id), float(point.score)) for point in found.points]

    def by_vectors(
        self, vectors: NDArray[np.float32], limit: int, conditions: Sequence[Condition]
    ) -> list[list[tuple[int, float]]]:
        rows = []
        for vector in vectors:
            found = self.client.query_points(
                self.name, query=vector.tolist(), using=DENSE, limit=limit, query_filter=_filter(conditions)
            )
            rows.append([(int(point.id), float(point.score)) for point in found.points])
        return rows

    def passages(self, numbers: Sequence[int]) -> Mapping[int, StoredPassage]:
        points = self.client.retrieve(self.name, [int(number) for number in numbers]) if len(numbers) else []
        return {
            int(point.id): StoredPassage(*(point.payload[name] for name in _PASSAGE))
            for point in points
            if point.payload
        }

    def document(self, id_: str) -> Document | None:
        wanted = models.Filter(must=[_is("document", id_), _is("place", 0)])
        points, _ = self.client.scroll(self.name, scroll_filter=wanted, limit=1)
        if not points or points[0].payload is None:
            return None
        payload = points[0].payload
        return Document(id_, payload["whole"], payload["title"], payload["metadata"])


_PASSAGE = ("document", "title", "text", "start", "end", "metadata")


def _number(document: Document, place: int) -> int:
    """Of a passage, always the same: 60 bits of a hash."""
    said = f"{document.id}\0{document.sha256}\0{place}"
    return int(hashlib.sha256(said.encode()).hexdigest()[:15], 16)


def _is(name: str, value: Any) -> models.FieldCondition:
    return models.FieldCondition(key=name, match=models.MatchValue(value=value))


def _filter(conditions: Sequence[Condition]) -> models.Filter | None:
    if not conditions:
        return None
    must: list[Any] = []
    for condition in conditions:
        key = f"metadata.{condition.name}"
        if condition.among is not None:
            ways: list[Any] = [_equal(key, value) for value in condition.among]
            must.append(models.Filter(should=ways))
        if condition.borders:
            for _, value in condition.borders:
                if isinstance(value, str | bool):
                    raise DataError(
                        f"filter {condition.name!r}: Qdrant has borders for numbers alone, found {value!r:.60}"
                    )
            must.append(models.FieldCondition(key=key, range=models.Range(**dict(condition.borders))))
    return models.Filter(must=must)


def _equal(key: str, value: Any) -> models.FieldCondition:
    if isinstance(value, float):
        return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))
    return _is(key, value)
