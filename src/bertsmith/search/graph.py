"""The sidecar: a graph (HNSW, by usearch) over an index's vectors, for indexes too large to be compared one by one.

It is a cache. What it was made of stands in a record with its hash; where that does not fit, or nothing is there, the
search is exact until the graph is made anew.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bertsmith.errors import FileFormatError, SettingsError
from bertsmith.files import atomic_file, read_json, sha256, sync, write_json
from bertsmith.search.vectors import Nearest, normalized
from bertsmith.settings import Settings

GRAPH, RECORD = "graph.usearch", "graph.json"


class GraphSettings(Settings):
    """Of the sidecar."""

    graph_from_passages: int = Field(
        200_000, ge=1, description="size from which a graph is made; below it search is exact"
    )
    connectivity: int = Field(
        24, ge=2, description="neighbours of each vector in the graph: more find more, and cost more"
    )
    expansion_add: int = Field(128, ge=1, description="vectors looked at for each one that is added")
    expansion_search: int = Field(128, ge=1, description="vectors looked at for each query")


@dataclass(frozen=True)
class GraphRecord:
    """newest: the highest number in it. revision: of the index when it was made."""

    sha256: str
    num_vectors: int
    width: int
    newest: int
    revision: int


@dataclass(frozen=True)
class Graph:
    """A graph that fits its record, mapped into memory."""

    index: Any
    record: GraphRecord

    @classmethod
    def build(
        cls,
        folder: Path,
        numbers: NDArray[np.int64],
        vectors: NDArray[np.float32],
        revision: int,
        settings: GraphSettings,
    ) -> Self:
        """Written as a whole, then its record."""
        index = _empty(vectors.shape[1], settings)
        index.add(numbers.astype(np.uint64), vectors)
        (folder / RECORD).unlink(missing_ok=True)
        with atomic_file(folder / GRAPH) as temporary:
            index.save(os.fspath(temporary))
        record = GraphRecord(
            sha256(folder / GRAPH), len(numbers), vectors.shape[1], int(numbers.max(initial=0)), revision
        )
        with atomic_file(folder / RECORD) as temporary:
            write_json(temporary, asdict(record))
        sync(folder)
        return cls(index, record)

    @classmethod
    def open(cls, folder: Path, width: int, settings: GraphSettings) -> Self | None:
        """None where there is none. Raises `FileFormatError` for one that does not fit its record."""
        if not (folder / RECORD).is_file() or not (folder / GRAPH).is_file():
            return None
        try:
            record = GraphRecord(**read_json(folder / RECORD))
        except (FileFormatError, TypeError) as error:
            raise FileFormatError(f"{folder / RECORD}: damaged: {error}") from None
        if record.width != width or sha256(folder / GRAPH) != record.sha256:
            raise FileFormatError(f"{folder / GRAPH}: damaged: its SHA-256 is not the one that was written down")
        index = _empty(width, settings)
        index.view(os.fspath(folder / GRAPH))
        return cls(index, record)

    def nearest(self, queries: NDArray[np.float32], limit: int) -> Nearest:
        """Likely nearest vectors; the scores are cosines in the graph's half precision."""
        found = self.index.search(normalized(queries), limit)
        keys = np.atleast_2d(np.asarray(found.keys)).astype(np.int64)
        scores = 1 - np.atleast_2d(np.asarray(found.distances, dtype=np.float32))
        return Nearest(keys[:, :limit], scores[:, :limit])


def _empty(width: int, settings: GraphSettings) -> Any:
    try:
        from usearch.index import Index
    except ModuleNotFoundError:
        raise SettingsError("a graph needs the package `usearch`: pip install 'bertsmith[search]'") from None
    return Index(
        ndim=width,
        metric="cos",
        dtype="f16",
        connectivity=settings.connectivity,
        expansion_add=settings.expansion_add,
        expansion_search=settings.expansion_search,
    )
