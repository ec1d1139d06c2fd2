"""Queries to an index, as one function."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.errors import SettingsError
from bertsmith.inference.predictor import Predictor, load
from bertsmith.recipes.qdrant import open_collection
from bertsmith.runtime.progress import Progress
from bertsmith.search.documents import fact_of
from bertsmith.search.filters import BORDERS
from bertsmith.search.provenance import Provenance
from bertsmith.search.searcher import Hit, Mode, Searcher, checked_reranker, open_index
from bertsmith.settings import Settings

_FILTER = re.compile(r"([^=<>]*)(>=|<=|=|>|<)(.*)", re.DOTALL)
_BORDERS = {sign: border for border, sign in BORDERS.items()}


class QuerySettings(Settings):
    """How passages are found, for whoever looks for some."""

    mode: Mode | None = Field(
        None, description="bm25: by words; dense: by meaning; hybrid: by both; None: hybrid where there are vectors"
    )
    filter: tuple[str, ...] = Field(
        (), description="NAME=VALUE or NAME>=VALUE (also <=, <, >) that a document's metadata must meet; several: all"
    )
    model: Path | None = Field(None, description="the index's model, where it moved")
    reranker: Path | None = Field(None, description="model for reranking, which puts the best passages in order")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")


class SearchSettings(QuerySettings):
    """One search."""

    folder: Path = Field(description="index, as bertsmith index makes it; with --qdrant-url the collection's name")
    query: tuple[str, ...] = Field(min_length=1, description="what to look for; several are searched one by one")
    limit: int = Field(10, ge=1, le=1_000, description="passages for each query")
    per_document: int | None = Field(None, ge=1, description="passages of one document at most; None: any number")
    qdrant_url: str | None = Field(None, description="Qdrant server that the index lies on, or a client's folder")


def search(
    settings: SearchSettings, progress: Progress | None = None, provenance: Provenance | None = None
) -> list[list[Hit]]:
    """The hits of each query; `progress` hears of an index without documents. provenance: as in `Searcher.search`.

    Raises `SettingsError` or `DataError` for what cannot be asked, `FileFormatError` without an index.
    """
    searcher = _searcher(settings)
    found = searcher.search(
        settings.query,
        limit=settings.limit,
        mode=settings.mode,
        filters=filters_of(settings.filter),
        per_document=settings.per_document,
        provenance=provenance,
    )
    if not any(found) and not searcher.index.num_documents:
        (progress or Progress()).note(f"warning: {settings.folder}: no documents are in this index")
    return found


def _searcher(settings: SearchSettings) -> Searcher:
    if settings.qdrant_url is None:
        return open_searcher(settings.folder, settings)
    reranker = _reranker(settings)
    index = open_collection(settings.qdrant_url, str(settings.folder), settings.model, settings.device)
    return Searcher(index, lambda: index.encoder, checked_reranker(reranker))


def open_searcher(folder: Path, settings: QuerySettings) -> Searcher:
    """The index in `folder` with the models that are named. Raises what `open_index` does."""
    return open_index(folder, model=settings.model, reranker=_reranker(settings))


def _reranker(settings: QuerySettings) -> Predictor | None:
    return None if settings.reranker is None else load(settings.reranker, device=settings.device)


def filters_of(texts: tuple[str, ...]) -> dict[str, Any] | None:
    """`year>=2020` and `language=en` as a mapping; a name given several times with `=` may be any of the values.

    >>> filters_of(("year>=2020", "language=en", "language=de"))
    {'year': {'gte': 2020}, 'language': ['en', 'de']}
    """
    found: dict[str, Any] = {}
    for text in texts:
        parts = _FILTER.fullmatch(text)
        if parts is None:
            raise SettingsError(f"filter: {text!r:.60} has no =, >=, <=, > or <")
        name, sign, value = (part.strip() for part in parts.groups())
        if not name:
            raise SettingsError(f"filter: {text!r:.60} has no name before {sign}")
        is_border = sign != "="
        if isinstance(found.get(name, {} if is_border else []), dict) != is_border:
            raise SettingsError(f"filter: {name!r:.60} is asked for a value and for a border: one of them says it")
        if is_border:
            found[name] = {**found.get(name, {}), _BORDERS[sign]: fact_of(value)}
        else:
            found[name] = [*found.get(name, []), fact_of(value)]
    return {
        name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in found.items()
    } or None
