"""An index on a Qdrant server, for more documents than one machine holds: the methods of `Searched`, and of a writer.

A passage is a point with two vectors: the encoder's, and a sparse one of BM25's weights by piece, whose rarity the
server multiplies in. Passages of a changed document are written before those of its former self are taken out, its
first one last: where that is there, and of one hash, the document is whole.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException

from bertsmith.errors import DataError, SettingsError
from bertsmith.runtime.progress import Progress
from bertsmith.search.documents import Document
from bertsmith.search.encoder import TextEncoder
from bertsmith.search.filters import Condition
from bertsmith.search.index import Upserted, batches, embedded_text
from bertsmith.search.passages import Passage, PassageSettings, cut_document
from bertsmith.search.store import StoredPassage
from bertsmith.text.tokenizer import Ids

DENSE, WORDS, FACTS = "dense", "words", "-facts"
BATCH_POINTS = 256
"""Sent in one request, which a server takes up to some megabytes of."""
K1, B = 1.2, 0.75
"""BM25's, as SQLite has them; weights are worked out when a passage is written, with a mean length that is supposed."""
SUPPOSED_FILL = 0.75
"""Of the longest passage, the mean one."""
MOST_LOOKED_AT = 1_000
"""Documents whose facts are looked at for their names; a mistaken filter is not worth a look at all of more."""
_PASSAGE = ("document", "title", "text", "start", "end", "metadata")
"""What is kept of each point that a `StoredPassage` has, in its order."""


def connect(place: str) -> QdrantClient:
    """place: a server's URL, or a folder that the client keeps collections in by itself, for trials."""
    if place.startswith(("http://", "https://")):
        return QdrantClient(url=place, check_compatibility=False)
    return QdrantClient(path=place)


def facts_of(client: QdrantClient, name: str) -> Mapping[str, Any] | None:
    """What a collection was made with: `encoder` (hash), `encoder_folder`, `passages`; None where it is not."""
    with _answering(name):
        if not client.collection_exists(name + FACTS):
            return None
        (kept,) = client.retrieve(name + FACTS, [0])
        return kept.payload or {}


@contextmanager
def _answering(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ApiException) as error:
        raise SettingsError(f"collection {name!r}: Qdrant does not answer: {error}") from None


class QdrantIndex:
    """The collection of that name, made where it is not there. encoder: gives vectors and pieces; always needed.

    encoder_folder: kept in a new collection, where searches find the encoder when nobody names it. passages: None for
    the collection's own. Raises `SettingsError` for another encoder or other passages than those, or where no server
    answers, as all methods do.
    """

    has_vectors = True

    def __init__(
        self,
        client: QdrantClient,
        name: str,
        encoder: TextEncoder,
        passages: PassageSettings | None = None,
        encoder_folder: Path | None = None,
    ):
        self.client, self.name, self.encoder = client, name, encoder
        self.tokenizer = encoder.predictor.tokenizer
        kept = facts_of(client, name)
        if kept is None:
            made: dict[str, Any] = {
                "encoder": encoder.sha256,
                "encoder_folder": None if encoder_folder is None else str(encoder_folder.resolve()),
                "passages": (passages or PassageSettings()).model_dump(mode="json"),
            }
            with _answering(name):
                self._create(made)
            kept = made
        if kept["encoder"] != encoder.sha256:
            raise SettingsError(f"the collection {name!r} was made with another encoder; give it another name")
        self.passage_settings = PassageSettings.of(kept["passages"], f"collection {name!r}")
        if passages is not None and passages != self.passage_settings:
            raise SettingsError(f"the collection {name!r} was made with other passages; give it another name")

    def _create(self, facts: Mapping[str, Any]) -> None:
        size = models.VectorParams(size=self.encoder.width, distance=models.Distance.COSINE)
        words = models.SparseVectorParams(modifier=models.Modifier.IDF)
        if not self.client.collection_exists(self.name):
            self.client.create_collection(self.name, vectors_config={DENSE: size}, sparse_vectors_config={WORDS: words})
        for fact, kind in {"document": "keyword", "sha256": "keyword", "place": "integer"}.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # the local mode has no such indexes
                self.client.create_payload_index(self.name, fact, models.PayloadSchemaType(kind))
        one = models.VectorParams(size=1, distance=models.Distance.COSINE)
        self.client.create_collection(self.name + FACTS, vectors_config=one)
        self.client.upsert(self.name + FACTS, [models.PointStruct(id=0, vector=[1.0], payload=dict(facts))])

    # Writing

    def upsert(self, documents: Iterable[Document], progress: Progress | None = None) -> Upserted:
        """Add documents, or change those of the same id; what is there already as it is costs nothing."""
        counts: Counter[str] = Counter()
        with (progress or Progress()).phase("indexing", unit="documents") as phase:
            for batch in batches(documents):
                with _answering(self.name):
                    counts.update(self._write(batch))
                phase.advance(len(batch))
        total = Upserted(counts["added"], counts["changed"], counts["unchanged"], counts["passages"], counts["cut"])
        total.warn()
        return total

    def _write(self, batch: Sequence[Document]) -> Counter[str]:
        known = self._known([document.id for document in batch])
        fresh = [document for document in batch if known.get(document.id) != document.sha256]
        counts = Counter(unchanged=len(batch) - len(fresh))
        cut = [cut_document(document, self.tokenizer, self.passage_settings) for document in fresh]
        embedded = self.encoder.embedded(
            [
                embedded_text(document.title, document.text[passage.start : passage.end])
                for document, passages in zip(fresh, cut, strict=True)
                for passage in passages
            ]
        )
        vectors, counts["cut"] = iter(embedded.vectors), embedded.truncation.num_cut_examples
        for document, passages in zip(fresh, cut, strict=True):
            points = [self._point(document, place, passage, next(vectors)) for place, passage in enumerate(passages)]
            points.reverse()
            for start in range(0, len(points), BATCH_POINTS):
                self.client.upsert(self.name, points[start : start + BATCH_POINTS], wait=True)
            # Also of one that is new: a writer that was cut off may have left parts of it.
            former = models.Filter(must=[_is("document", document.id)], must_not=[_is("sha256", document.sha256)])
            self.client.delete(self.name, models.FilterSelector(filter=former), wait=True)
            counts["changed" if document.id in known else "added"] += 1
            counts["passages"] += len(points)
        return counts

    def _point(
        self, document: Document, place: int, passage: Passage, vector: NDArray[np.float32]
    ) -> models.PointStruct:
        return models.PointStruct(
            id=_number(document, place),
            vector={DENSE: vector.tolist(), WORDS: self._weights(passage.pieces)},
            payload={
                "document": document.id,
                "sha256": document.sha256,
                "place": place,
                "title": document.title,
                "text": document.text[passage.start : passage.end],
                "start": passage.start,
                "end": passage.end,
                "metadata": dict(document.metadata),
                **({"whole": document.text} if place == 0 else {}),
            },
        )

    def delete(self, ids: Sequence[str]) -> int:
        """How many of these documents were there and are no more."""
        with _answering(self.name):
            known = self._known(ids)
            if known:
                match = models.MatchAny(any=list(known))
                wanted = models.Filter(must=[models.FieldCondition(key="document", match=match)])
                self.client.delete(self.name, models.FilterSelector(filter=wanted), wait=True)
        return len(known)

    @property
    def num_documents(self) -> int:
        with _answering(self.name):
            return self.client.count(self.name, count_filter=models.Filter(must=[_is("place", 0)])).count

    @property
    def num_passages(self) -> int:
        with _answering(self.name):
            return self.client.count(self.name).count

    def _known(self, ids: Sequence[str]) -> dict[str, str]:
        """The hashes of those documents that are there; none of one whose change was cut off."""
        wanted = models.Filter(
            must=[models.FieldCondition(key="document", match=models.MatchAny(any=list(ids))), _is("place", 0)]
        )
        points, _ = self.client.scroll(
            self.name, scroll_filter=wanted, limit=2 * len(ids) + 1, with_payload=["document", "sha256"]
        )
        found: dict[str, str] = {}
        for point in points:
            payload = point.payload or {}
            found[payload["document"]] = "" if payload["document"] in found else payload["sha256"]
        return found

    def _weights(self, pieces: Ids) -> models.SparseVector:
        counts = Counter(np.asarray(pieces).tolist())
        supposed = SUPPOSED_FILL * self.passage_settings.passage_tokens
        longer = K1 * (1 - B + B * len(pieces) / supposed)
        weights = [count * (K1 + 1) / (count + longer) for count in counts.values()]
        return models.SparseVector(indices=list(counts), values=weights)

    # Searching

    def by_words(self, pieces: Sequence[int], limit: int, conditions: Sequence[Condition]) -> list[tuple[int, float]]:
        if not pieces:
            return []
        query = models.SparseVector(indices=list(pieces), values=[1.0] * len(pieces))
        with _answering(self.name):
            return self._nearest(query, WORDS, limit, _filter(conditions))

    def by_vectors(
        self, vectors: NDArray[np.float32], limit: int, conditions: Sequence[Condition]
    ) -> list[list[tuple[int, float]]]:
        narrowed = _filter(conditions)
        with _answering(self.name):
            return [self._nearest(vector.tolist(), DENSE, limit, narrowed) for vector in vectors]

    def _nearest(self, query: Any, using: str, limit: int, narrowed: models.Filter | None) -> list[tuple[int, float]]:
        found = self.client.query_points(
            self.name, query=query, using=using, limit=limit, query_filter=narrowed, with_payload=False
        )
        return [(int(point.id), float(point.score)) for point in found.points]

    def passages(self, numbers: Sequence[int]) -> Mapping[int, StoredPassage]:
        if not len(numbers):
            return {}
        with _answering(self.name):
            points = self.client.retrieve(self.name, [int(number) for number in numbers], with_payload=list(_PASSAGE))
        return {
            int(point.id): StoredPassage(*(point.payload[name] for name in _PASSAGE))
            for point in points
            if point.payload
        }

    def document(self, id_: str) -> Document | None:
        wanted = models.Filter(must=[_is("document", id_), _is("place", 0)])
        with _answering(self.name):
            points, _ = self.client.scroll(self.name, scroll_filter=wanted, limit=1)
        if not points or points[0].payload is None:
            return None
        payload = points[0].payload
        return Document(id_, payload["whole"], payload["title"], payload["metadata"])

    def fact_names(self) -> set[str] | None:
        """None where there are more than 1,000 documents: of those nothing is said of a filter that none could meet."""
        first = models.Filter(must=[_is("place", 0)])
        with _answering(self.name):
            points, more = self.client.scroll(
                self.name, scroll_filter=first, limit=MOST_LOOKED_AT, with_payload=["metadata"]
            )
        return None if more is not None else {name for point in points for name in (point.payload or {})["metadata"]}


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
