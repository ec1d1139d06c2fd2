"""Labels of a tagging model, and examples' tags as these: in the model's scheme, and as indices that can be learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bertsmith.data.columns import check_labels
from bertsmith.errors import DataError, nearest
from bertsmith.tasks.tag_records import TagRequest
from bertsmith.tasks.task import Example
from bertsmith.text.tags import OUTSIDE, Grammar, Scheme, grammar_of, repaired


@dataclass(frozen=True)
class TagLabels:
    """labels: tags in the order of the logits, which are spelled by `scheme`."""

    labels: tuple[str, ...]
    scheme: Scheme

    @cached_property
    def grammar(self) -> Grammar:
        """Which may follow which."""
        return grammar_of(self.labels, self.scheme)

    def of(self, example: Example[TagRequest]) -> list[str]:
        """An example's tags in this scheme."""
        return repaired(example.answer, self.scheme)

    def learned(self, example: Example[TagRequest], read: NDArray[np.bool_]) -> NDArray[np.int64]:
        """[words]: the labels that can be learned, a valid sequence; of words that are not read there is none, -1."""
        tags = self.of(example)
        if not read.all():
            tags = repaired([tag if seen else OUTSIDE for tag, seen in zip(tags, read, strict=True)], self.scheme)
        indices = [self._index(tag, example.where) if seen else -1 for tag, seen in zip(tags, read, strict=True)]
        return np.array(indices, dtype=np.int64)

    def check(self, examples: Sequence[Example[TagRequest]]) -> None:
        """A `DataError` for tags that are no labels."""
        strange = [
            (tag, f"{example.where}, word {place}")
            for example in examples
            for place, tag in enumerate(self.of(example), start=1)
            if tag not in self._indices
        ]
        check_labels([tag for tag, _ in strange], [where for _, where in strange], self.labels)

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {label: index for index, label in enumerate(self.labels)}

    def _index(self, tag: str, where: str) -> int:
        if tag not in self._indices:
            raise DataError(f"{where}: tag {tag!r} is not one of the model's; {nearest(tag, self._indices)}")
        return self._indices[tag]
