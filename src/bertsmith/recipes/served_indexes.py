"""The indexes of a server, each with what searches it and, where a reader is known, what answers from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from bertsmith.errors import SettingsError
from bertsmith.inference.predictor import Predictor, load
from bertsmith.recipes.ask import Reader, open_answerer
from bertsmith.runtime.progress import Progress
from bertsmith.search.answer import Answerer, KeptAnswers
from bertsmith.search.encoder import TextEncoder
from bertsmith.search.index import encoder_of
from bertsmith.search.searcher import Searcher, open_index


@dataclass(frozen=True)
class ServedIndexes:
    """By the indexes' names."""

    searchers: dict[str, Searcher] = field(default_factory=dict)
    answerers: dict[str, Answerer] = field(default_factory=dict)


def open_indexes(
    folders: Mapping[str, Path],
    encoders: Mapping[str, TextEncoder],
    *,
    reader: Path | None,
    reranker: Path | None,
    device: str,
    progress: Progress,
) -> ServedIndexes:
    """All of them, loaded; a reader of several once. encoders: of the models that are served anyway, by their hash;
    their weights are held once.

    Raises `SettingsError` for a reader without an index, and what opening raises.
    """
    if not folders and (reader is not None or reranker is not None):
        raise SettingsError("reader and reranker are for indexes: name one with --index")
    loaded: Predictor | None = None if reranker is None else load(reranker, device=device)
    load_reader = cache(partial(Reader.load, device=device))
    found = ServedIndexes()
    for name, folder in folders.items():
        known = encoders.get(encoder_of(folder) or "")
        searcher = open_index(folder, encoder=known, reranker=loaded)
        if searcher.index.has_vectors:
            _ = searcher.encoder  # now, and not at the first request
        if reader is not None or KeptAnswers.read(folder) is not None:
            found.answerers[name], warnings = open_answerer(
                folder, reader=reader, searcher=searcher, load_reader=load_reader
            )
            for warning in warnings:
                progress.note(f"warning: {name}: {warning}")
        found.searchers[name] = searcher
        progress.note(f"{name}: index, from {folder}{', answers' if name in found.answerers else ''}")
    return found
