"""The vectors of an index in memory, as of the last look at its store, and the graph that fits them.

Shapes: n vectors, H numbers a vector, q queries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bertsmith.errors import FileFormatError, SettingsError
from bertsmith.search.graph import RECORD, Graph, GraphSettings
from bertsmith.search.store import Store
from bertsmith.search.vectors import nearest

NARROW_FRACTION = 0.5
"""Of the passages that a filter leaves, up to which the graph is of no use: it finds neighbours, not those that fit."""


@dataclass(frozen=True)
class Held:
    """Of one moment, whatever other threads do. numbers: int64 [n], rising. rows: float32 [n, H]."""

    numbers: NDArray[np.int64]
    rows: NDArray[np.float32]
    graph: Graph | None = None
    revision: int = -1

    def nearest(
        self, vectors: NDArray[np.float32], limit: int, chosen: NDArray[np.int64] | None
    ) -> list[list[tuple[int, float]]]:
        """Of each query the numbers of the highest cosines, with them; chosen: the only ones wanted, all held."""
        numbers, rows = self.numbers, self.rows
        is_narrow = chosen is not None and len(chosen) <= NARROW_FRACTION * len(numbers)
        if self.graph is not None and not is_narrow and len(numbers) > limit:
            return self._by_graph(self.graph, vectors, limit, numbers if chosen is None else chosen)
        if chosen is not None:
            places = np.searchsorted(numbers, chosen)
            numbers, rows = numbers[places], rows[places]
        found = nearest(vectors, numbers, rows, limit)
        return [_pairs(*row) for row in zip(found.numbers, found.scores, strict=True)]

    def _by_graph(
        self, graph: Graph, vectors: NDArray[np.float32], limit: int, alive: NDArray[np.int64]
    ) -> list[list[tuple[int, float]]]:
        """Candidates from the graph, those added since it was made, and their exact cosines."""
        candidates = graph.nearest(vectors, 2 * limit).numbers
        newer = self.numbers[np.searchsorted(self.numbers, graph.record.newest, side="right") :]
        found = []
        for query, row in zip(vectors, candidates, strict=True):
            numbers = np.union1d(row[row > 0], newer)
            numbers = numbers[_among(numbers, alive)]
            rows = self.rows[np.searchsorted(self.numbers, numbers)]
            best = nearest(query[None], numbers, rows, limit)
            found.append(_pairs(best.numbers[0], best.scores[0]))
        return found


class VectorMemory:
    """Reads of the store what changed. notes: what a user should read, of graphs that did not fit."""

    def __init__(self, store: Store, folder: Path, width: int, settings: GraphSettings):
        self.store, self.folder, self.width, self.settings = store, folder, width, settings
        self.notes: list[str] = []
        self._held = Held(np.empty(0, np.int64), np.empty((0, width), np.float32))
        self._graph_seen: tuple[int, int] | None = None

    def now(self) -> Held:
        """Of the moment that the store is read at: within its `reading`."""
        self._read_changes()
        if len(self._held.numbers) >= self.settings.graph_from_passages:
            self._open_graph()
        return self._held

    def take(self, graph: Graph) -> None:
        """A graph that was made just now."""
        self._graph_seen = self._graph_stamp()
        self._held = replace(self._held, graph=graph)

    def _read_changes(self) -> None:
        """Vectors of a number never change, so only new ones are read."""
        revision = self.store.revision
        held = self._held
        if revision == held.revision:
            return
        newest = int(held.numbers[-1]) if len(held.numbers) else 0
        numbers, rows = self.store.vectors_after(newest, self.width)
        stays = _among(held.numbers, self.store.numbers())
        # At a million passages a copy is gigabytes: none where there is nothing to put together.
        if stays.any():
            kept = (held.numbers, held.rows) if stays.all() else (held.numbers[stays], held.rows[stays])
            is_more = len(numbers) > 0
            numbers = np.concatenate([kept[0], numbers]) if is_more else kept[0]
            rows = np.concatenate([kept[1], rows]) if is_more else kept[1]
        self._held = Held(numbers, rows, held.graph, revision)

    def _open_graph(self) -> None:
        """The one beside the store, where it is another than before."""
        stamp = self._graph_stamp()
        if stamp is None or stamp == self._graph_seen:
            return
        self._graph_seen = stamp
        try:
            graph = Graph.open(self.folder, self.width, self.settings)
        except (FileFormatError, SettingsError) as error:
            if self._graph_stamp() != stamp:
                return  # it is being made anew: the next look finds it
            self.notes.append(f"{error}; the search is exact, and slower, until bertsmith index makes the graph anew")
            graph = None
        self._held = replace(self._held, graph=graph)

    def _graph_stamp(self) -> tuple[int, int] | None:
        try:
            status = (self.folder / RECORD).stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns


def _among(numbers: NDArray[np.int64], rising: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `numbers` are among `rising`."""
    if not len(rising):
        return np.zeros(len(numbers), dtype=bool)
    places = np.minimum(np.searchsorted(rising, numbers), len(rising) - 1)
    found: NDArray[np.bool_] = rising[places] == numbers
    return found


def _pairs(numbers: NDArray[np.int64], scores: NDArray[np.float32]) -> list[tuple[int, float]]:
    return list(zip(numbers.tolist(), scores.tolist(), strict=True))
