"""A knowledge graph within an encoder (Liu et al. 2020, K-BERT): facts beside a text's entities, seen by those alone.

Where an entity occurs, each of its facts is put beside it as a branch. A branch's tokens count on from the entity's
last position (soft positions), see each other and the entity, and nothing else; the entity sees the text and its
branches; the rest of the text sees the text (the visible matrix). So every token sees one of a few sets of tokens, and
attention is exact over these sets, without a mask: see `Places`.

Knows ids; the heads over the encoder never see the branches. Shapes: T tokens of the text, B of branches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from bertsmith.kernels.attention import Layout, Places, draw_layout
from bertsmith.model.id_sequences import IdSequences
from bertsmith.model.packed import Packed
from bertsmith.settings import Settings

Ids = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class Entity(Settings):
    """ids: of its pieces. branches: of each of its facts those of relation and object."""

    ids: Ids
    branches: Annotated[tuple[Ids, ...], Field(min_length=1)]


class KnowledgeGraph(Settings):
    """Facts by their entities, no two of the same pieces. continuations: the vocabulary's pieces that go on a word."""

    entities: tuple[Entity, ...] = Field(description="entities with their facts, as ids")
    continuations: tuple[int, ...] = Field(description="ids of pieces that go on a word")


@dataclass(frozen=True)
class SentenceTrees:
    """packed: the batch's sequences and, behind them, every branch as one of its own. layout: who sees whom."""

    packed: Packed
    layout: Layout


@dataclass(frozen=True, slots=True)
class _Branch:
    """ids of a fact, with the type of its entity's last token and the position after it."""

    ids: Sequence[int]
    token_type: int
    first_position: int


class Knowledge:
    """The graph, ready to be put beside texts."""

    def __init__(self, graph: KnowledgeGraph):
        self._entities = graph.entities
        self.sequences = IdSequences([entity.ids for entity in graph.entities], frozenset(graph.continuations))

    def grown(self, packed: Packed, num_positions: int | None) -> SentenceTrees | None:
        """The sequences with the branches of the entities in them; None where no entity occurs.

        num_positions: what the model has; of a branch that goes beyond, the rest is left out.
        """
        ids, types, positions = (
            values.cpu().numpy() for values in (packed.input_ids, packed.token_type_ids, packed.position_ids)
        )
        branches: list[_Branch] = []
        sets: list[tuple[NDArray[Any], NDArray[Any]]] = []
        end, behind = 0, packed.num_tokens
        for length in packed.lengths:
            start, end = end, end + length
            text = np.arange(start, end)
            alone = np.ones(length, dtype=np.bool_)
            for found in self.sequences.find(ids[start:end]):
                entity = text[found.start : found.end]
                last = int(entity[-1])
                own = list(self._branches(found.number, int(types[last]), int(positions[last]) + 1, num_positions))
                if not own:
                    continue
                places = []
                for branch in own:
                    places.append(np.arange(behind, behind + len(branch.ids)))
                    behind += len(branch.ids)
                alone[found.start : found.end] = False
                sets.append((entity, np.concatenate([text, *places])))
                sets += [(place, np.concatenate([entity, place])) for place in places]
                branches += own
            if alone.any():
                sets.append((text[alone], text))
        return _trees(packed, branches, sets) if branches else None

    def _branches(
        self, number: int, token_type: int, first_position: int, num_positions: int | None
    ) -> Iterator[_Branch]:
        room = None if num_positions is None else num_positions - first_position
        for branch in self._entities[number].branches:
            if branch[:room]:
                yield _Branch(branch[:room], token_type, first_position)


def _trees(
    packed: Packed, branches: Sequence[_Branch], sets: Sequence[tuple[NDArray[Any], NDArray[Any]]]
) -> SentenceTrees:
    device = packed.input_ids.device

    def behind(values: torch.Tensor, more: list[Any]) -> torch.Tensor:
        return torch.cat([values, torch.from_numpy(np.concatenate(more).astype(np.int64)).to(device)])

    grown = Packed(
        behind(packed.input_ids, [np.array(branch.ids) for branch in branches]),
        behind(packed.token_type_ids, [np.full(len(branch.ids), branch.token_type) for branch in branches]),
        behind(packed.position_ids, [branch.first_position + np.arange(len(branch.ids)) for branch in branches]),
        (*packed.lengths, *(len(branch.ids) for branch in branches)),
    )
    queries, keys = (torch.from_numpy(np.concatenate(side)) for side in zip(*sets, strict=True))
    layout = draw_layout([len(q) for q, _ in sets], [len(k) for _, k in sets], device=device)
    return SentenceTrees(grown, layout.at(Places(queries.to(device), keys.to(device))))
