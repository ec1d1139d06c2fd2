"""Searching an index: by words (BM25), by meaning (vectors), by both, and in the order of a trained reranker.

The two ways are fused by their ranks, 1 / (60 + rank) added up (Cormack et al. 2009).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

from bertsmith.data.batch import Truncation
from bertsmith.errors import DataError, SettingsError, nearest
from bertsmith.inference.predictor import Predictor
from bertsmith.search.documents import Document
from bertsmith.search.encoder import TextEncoder
from bertsmith.search.filters import MOST_NAMES, Condition, conditions_of
from bertsmith.search.index import Index
from bertsmith.search.provenance import Provenance
from bertsmith.search.store import StoredPassage
from bertsmith.text.tokenizer import Tokenizer

Mode: TypeAlias = Literal["hybrid", "bm25", "dense"]
Ranked: TypeAlias = list[tuple[int, float]]
"""Passages' numbers with a score, the best first."""

MOST_QUERY_PIECES = 256
"""Different pieces of a query that are searched by; of a longer one the first."""
RANK_CONSTANT = 60
CANDIDATES = 100
"""Passages of each way that are fused, at least."""
MOST_CANDIDATES = 10_000
"""Looked at where passages of few documents stand before all others and only one of each is wanted."""
RERANKED = 50
"""Of the best ones that a reranker reads."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage of a document: `text` is what stands from `start` to `end` of it, in characters.

    score: BM25, cosine, fused ranks, or the reranker's probability, as was asked. bm25_rank, dense_rank: its place by
    each way, from 1, where it was among the candidates.
    """

    document: str
    title: str
    text: str
    start: int
    end: int
    score: float
    metadata: Mapping[str, Any] = field(default_factory=dict)
    bm25_rank: int | None = None
    dense_rank: int | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """wanted: hits of each query."""

    queries: Sequence[str]
    mode: Mode
    wanted: int
    conditions: Sequence[Condition]
    per_document: int | None
    provenance: Provenance


class Searched(Protocol):
    """What a searcher needs of an index, wherever it lies."""

    tokenizer: Tokenizer

    @property
    def has_vectors(self) -> bool: ...

    def by_words(self, pieces: Sequence[int], limit: int, conditions: Sequence[Condition]) -> Ranked: ...

    def by_vectors(self, vectors: Any, limit: int, conditions: Sequence[Condition]) -> list[Ranked]: ...

    def passages(self, numbers: Sequence[int]) -> Mapping[int, StoredPassage]: ...

    def document(self, id_: str) -> Document | None: ...

    @property
    def num_documents(self) -> int: ...

    def fact_names(self) -> set[str] | None:
        """Of all documents' metadata; None where they are too many to look at."""


class Searcher:
    """An index with the models that search it. encoder: loaded when a search first needs it."""

    def __init__(
        self, index: Searched, encoder: Callable[[], TextEncoder] | None = None, reranker: Predictor | None = None
    ):
        self.index, self.reranker = index, reranker
        self._load = encoder
        self._encoder: TextEncoder | None = None

    @property
    def encoder(self) -> TextEncoder:
        if self._encoder is None:
            assert self._load is not None, "an index with vectors has an encoder"
            self._encoder = self._load()
        return self._encoder

    def search(
        self,
        queries: Sequence[str],
        *,
        limit: int = 10,
        mode: Mode | None = None,
        filters: Mapping[str, Any] | None = None,
        rerank: bool | None = None,
        per_document: int | None = None,
        provenance: Provenance | None = None,
    ) -> list[list[Hit]]:
        """The best passages for each query, best first.

        mode: None for hybrid where the index has vectors, else bm25. rerank: None for where there is a reranker.
        per_document: at most so many of one document. provenance: hears which models took part and what of the queries
        was cut; None: a warning tells that. Raises `DataError` or `SettingsError` for what cannot be asked, a
        filter that finds nothing because no document has its fact among it.
        """
        if isinstance(queries, str):
            raise DataError("search takes a list of queries, found a single one")
        if not all(query.strip() for query in queries):
            raise DataError("query: an empty text")
        mode = self.checked_mode(mode)
        if rerank and self.reranker is None:
            raise SettingsError("rerank: no reranker was given; name one with --reranker")
        if limit < 1:
            raise SettingsError(f"limit: expected 1 or more, found {limit}")
        conditions = conditions_of(filters)
        reranks = self.reranker is not None if rerank is None else rerank
        wanted = max(limit, RERANKED) if reranks else limit
        depth = max(CANDIDATES, 2 * wanted) if mode == "hybrid" or per_document else wanted
        told = Provenance() if provenance is None else provenance
        found = self._found(_Asked(queries, mode, wanted, conditions, per_document, told), depth)
        if conditions and not any(found):
            self._check_facts(conditions)
        if provenance is None:
            told.warn()
        if not reranks:
            return [hits[:limit] for hits in found]
        return [self._reranked(query, hits, told)[:limit] for query, hits in zip(queries, found, strict=True)]

    def document(self, id_: str) -> Document | None:
        """By its id, as it was given."""
        return self.index.document(id_)

    def checked_mode(self, mode: Mode | None) -> Mode:
        """None: the index's best. Raises `SettingsError` for one that is none, or that the index has no vectors for."""
        if mode is None:
            return "hybrid" if self.index.has_vectors else "bm25"
        if mode not in get_args(Mode):
            raise SettingsError(f"mode: {mode!r:.40} is none; {nearest(str(mode), get_args(Mode))}")
        if mode != "bm25" and not self.index.has_vectors:
            raise SettingsError(f"mode: {mode} needs vectors, and this index was made without a model; bm25 is there")
        return mode

    def _check_facts(self, conditions: Sequence[Condition]) -> None:
        """Raises `DataError` for one on a fact that no document has, where there are documents."""
        known = self.index.fact_names()
        if known is None or not self.index.num_documents:
            return
        for name in (condition.name for condition in conditions if condition.name not in known):
            hint = nearest(name[:60], sorted(known)[:MOST_NAMES]) if known else "they have none"
            raise DataError(f"filter {name!r:.60}: no document has this fact; {hint}")

    def _found(self, asked: _Asked, depth: int) -> list[list[Hit]]:
        """depth: candidates of each way; where one document's fill them, more are looked at."""
        words, meaning = self._candidates(asked, depth)
        found, short = [], []
        for place, (by_words, by_meaning) in enumerate(zip(words, meaning, strict=True)):
            mode = asked.mode
            ranked = by_words if mode == "bm25" else by_meaning if mode == "dense" else fused([by_words, by_meaning])
            found.append(self._hits(ranked, by_words, by_meaning, asked.wanted, asked.per_document))
            is_cut = max(len(by_words), len(by_meaning)) >= depth
            if asked.per_document and len(found[-1]) < asked.wanted and is_cut:
                short.append(place)
        if short and depth < MOST_CANDIDATES:
            deeper = self._found(replace(asked, queries=[asked.queries[place] for place in short]), 4 * depth)
            for place, hits in zip(short, deeper, strict=True):
                found[place] = hits
        return found

    def _candidates(self, asked: _Asked, depth: int) -> tuple[list[Ranked], list[Ranked]]:
        """Of each way and query the best passages; none of a way that was not asked for."""
        queries, mode, conditions = asked.queries, asked.mode, asked.conditions
        nothing: list[Ranked] = [[] for _ in queries]
        words = meaning = nothing
        if mode != "dense":
            unknown = self.index.tokenizer.unk_id  # which says nothing of what was written
            pieces = self.index.tokenizer.pieces_batch(list(queries))
            rows = [list(dict.fromkeys(row[row != unknown].tolist())) for row in pieces]
            left_out = [len(row[MOST_QUERY_PIECES:]) for row in rows]
            asked.provenance.add_cut(Truncation(len(rows), sum(map(bool, left_out)), sum(left_out)))
            words = [self.index.by_words(row[:MOST_QUERY_PIECES], depth, conditions) for row in rows]
        if mode != "bm25":
            embedded = self.encoder.embedded(list(queries))
            asked.provenance.add("encoder", self.encoder.predictor, embedded.truncation)
            meaning = self.index.by_vectors(embedded.vectors, depth, conditions)
        return words, meaning

    def _hits(
        self, ranked: Ranked, by_words: Ranked, by_meaning: Ranked, limit: int, per_document: int | None
    ) -> list[Hit]:
        bm25 = {number: rank for rank, (number, _) in enumerate(by_words, start=1)}
        dense = {number: rank for rank, (number, _) in enumerate(by_meaning, start=1)}
        of_document: dict[str, int] = defaultdict(int)
        hits: list[Hit] = []
        stored = self.index.passages([number for number, _ in ranked])
        for number, score in ranked:
            passage = stored.get(number)  # None: deleted between two looks
            if passage is None or (per_document is not None and of_document[passage.document] >= per_document):
                continue
            of_document[passage.document] += 1
            hits.append(
                Hit(
                    passage.document,
                    passage.title,
                    passage.text,
                    passage.start,
                    passage.end,
                    score,
                    passage.metadata,
                    bm25.get(number),
                    dense.get(number),
                )
            )
            if len(hits) == limit:
                break
        return hits

    def _reranked(self, query: str, hits: Sequence[Hit], provenance: Provenance) -> list[Hit]:
        """The best hits in the order of a model that reads each with the query; the others after them."""
        assert self.reranker is not None
        if not hits:
            return []
        read = list(hits[:RERANKED])
        passages = [f"{hit.title}\n{hit.text}" if hit.title else hit.text for hit in read]
        (prediction,) = self.reranker.predict([{"query": query, "passages": passages}])
        provenance.add("reranker", self.reranker)
        best = [replace(read[place], score=float(prediction.scores[place])) for place in prediction.ranking]
        return [*best, *hits[RERANKED:]]


def fused(rankings: Sequence[Ranked]) -> Ranked:
    """Reciprocal ranks added up: what stands high in either comes first; of equal ones the lower number.

    >>> fused([[(7, 2.5), (3, 1.0)], [(3, 0.9)]])[0][0]
    3
    """
    scores: dict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, (number, _) in enumerate(ranking, start=1):
            scores[number] += 1 / (RANK_CONSTANT + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def open_index(
    folder: Path | str,
    *,
    encoder: TextEncoder | None = None,
    model: Path | None = None,
    reranker: Predictor | None = None,
) -> Searcher:
    """The index in `folder`, ready to be searched.

    encoder, model: what its vectors were made with, or its folder; None for the folder that the index remembers. Raises
    `SettingsError` for another one, `FileFormatError` where there is no index.
    """
    index = Index.open(Path(folder))
    checked_reranker(reranker)
    if not index.has_vectors:
        return Searcher(index, None, reranker)
    if encoder is not None:
        index.check_encoder(encoder)
        known = encoder
        return Searcher(index, lambda: known, reranker)
    return Searcher(index, lambda: index.load_encoder(model), reranker)


def checked_reranker(reranker: Predictor | None) -> Predictor | None:
    """Raises `SettingsError` for a model of another task."""
    return None if reranker is None else reranker.for_task("reranking", "reranker")
