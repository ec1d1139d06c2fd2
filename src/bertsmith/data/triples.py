"""A user's facts, a triple a line, as the graph that an encoder puts beside texts (Liu et al. 2020, K-BERT).

A line is an entity, a relation and an object, separated by tabs: `Tim Cook<TAB>is CEO of<TAB>Apple`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bertsmith.data.entries import first_of, why_nowhere
from bertsmith.data.lines import Reading, read_lines
from bertsmith.errors import DataError
from bertsmith.model.knowledge import Entity, Knowledge, KnowledgeGraph
from bertsmith.settings import Settings
from bertsmith.text.tokenizer import Tokenizer


class KnowledgeSettings(Settings):
    """Facts that a model is trained with, and has beside what it reads from then on."""

    knowledge_file: Path | None = Field(
        None,
        description="facts, a triple a line: entity, relation, object, with tabs between; None: none, or the model's",
    )
    max_triples: int = Field(2, ge=1, description="facts of an entity at most, the first of the file")
    unused_triples: Literal["error", "keep"] = Field(
        "error", description="an entity that no training text holds: error names it, keep has its facts for later texts"
    )


@dataclass(frozen=True, slots=True)
class Uses:
    """numbers: of the entities that were met. num_with: runs, of `num_runs`, that hold some."""

    numbers: frozenset[int]
    num_runs: int
    num_with: int


@dataclass(frozen=True)
class TripleGraph:
    """The graph, with the lines that each of its entities comes from."""

    path: Path
    graph: KnowledgeGraph
    names: tuple[str, ...]
    lines: tuple[int, ...]

    def uses(self, runs: Iterable[NDArray[Any]]) -> Uses:
        """Of the entities in these runs of ids."""
        sequences = Knowledge(self.graph).sequences
        numbers = set[int]()
        num_runs = num_with = 0
        for run in runs:
            found = {each.number for each in sequences.find(np.asarray(run))}
            numbers |= found
            num_runs, num_with = num_runs + 1, num_with + bool(found)
        return Uses(frozenset(numbers), num_runs, num_with)

    def refuse_unused(self, uses: Uses) -> None:
        """A `DataError` that names the entities which were not met, the first ten."""
        numbers = sorted(set(range(len(self.names))) - uses.numbers, key=self.lines.__getitem__)
        if not numbers:
            return
        shown = [f"{self.path}, line {self.lines[n]}: {self.names[n]!r} occurs in no training text" for n in numbers]
        advice = "mend or leave out their triples, or keep them for later texts with --unused-triples keep"
        raise DataError(f"{first_of(shown)}\n{advice}")


def read_triples(path: Path, tokenizer: Tokenizer, *, max_triples: int = 2) -> TripleGraph:
    """The graph in `path`, in the pieces of `tokenizer`; entities that are the same to it are one.

    Raises `DataError`, with the first ten faults, for lines that are no triple, and for entities that the tokenizer
    does not know or that have its special tokens, which are words of no text.
    """
    branches: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    names: dict[tuple[int, ...], tuple[str, int]] = {}
    faults: list[str] = []
    for number, (name, relation, target) in _triples(path, faults):
        entity, first, second = (tuple(ids.tolist()) for ids in tokenizer.pieces_batch([name, relation, target]))
        if why := why_nowhere(entity, tokenizer):
            faults.append(f"{path}, line {number}: the entity {name!r} {why}")
            continue
        names.setdefault(entity, (name, number))
        known = branches.setdefault(entity, [])
        if first + second not in known and len(known) < max_triples:
            known.append(first + second)
    if faults:
        raise DataError(first_of(faults))
    if not branches:
        raise DataError(f"{path}: expected triples, one a line, found none")
    graph = KnowledgeGraph(
        entities=tuple(Entity(ids=entity, branches=tuple(facts)) for entity, facts in branches.items()),
        continuations=tuple(np.flatnonzero(tokenizer.is_continuation).tolist()),
    )
    return TripleGraph(path, graph, *zip(*(names[entity] for entity in branches), strict=True))


def _triples(path: Path, faults: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The good lines, by their numbers; what is wrong with others goes to `faults`."""
    for line in read_lines(path, Reading()):
        if not line.text.strip():
            continue
        parts = [part.strip() for part in line.text.split("\t")]
        if len(parts) != 3 or not all(parts):
            faults.append(
                f"{path}, line {line.number}: expected entity, relation and object with tabs between, found "
                f"{len(parts)} parts{'' if all(parts) else ', one empty'}: {line.text[:80]!r}"
            )
        else:
            yield line.number, parts
