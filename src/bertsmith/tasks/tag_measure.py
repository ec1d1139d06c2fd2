"""How good tags are, in numbers that add up over sentences: entities by type, and tags. Knows tags, no words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertsmith.errors import DataError, nearest
from bertsmith.text.tags import OUTSIDE, Scheme, Span, read_spans, read_spans_strictly


class TagMeasure:
    """Counts of sentences, and the metrics of their sums, equal to seqeval's in its default or its strict mode.

    types: of entities, or the plain tags. A row of counts: for each type the right ones, those given and those known;
    then the right tags and all tags. Where `O` is no plain tag, it is that of words that were not read: no answer.
    Where nothing is known and nothing given, precision, recall and F1 are 0.
    """

    def __init__(self, types: Sequence[str], scheme: Scheme, *, strict: bool = False):
        self.scheme = scheme
        self.strict = strict
        self.number = {kind: place for place, kind in enumerate(types)}
        self.width = 3 * len(types) + 2
        overall = ("overall_f1", "overall_precision", "overall_recall", "overall_accuracy")
        self.names = (*(("accuracy", "f1_macro") if scheme == "plain" else overall), *(f"{kind}_f1" for kind in types))

    def row(self, known: Sequence[str], spelled: Sequence[str], given: Sequence[str], where: str) -> NDArray[Any]:
        """[width]: the counts of a sentence; `spelled`: the known tags in the scheme that `given` has."""
        row = np.zeros(self.width)
        known_spans, given_spans = self._spans(known), self._spans(given)
        for column, spans in enumerate((known_spans & given_spans, given_spans, known_spans)):
            for span in spans:
                if span.type not in self.number:
                    raise DataError(f"{where}: the model has no {span.type!r}; {nearest(span.type, self.number)}")
                row[3 * self.number[span.type] + column] += 1
        row[-2] = sum(first == second for first, second in zip(spelled, given, strict=True))
        row[-1] = len(given)
        return row

    def metrics(self, rows: NDArray[Any]) -> dict[str, float]:
        """By name, of the sum of `rows` [n, width]; overall figures are of all entities together."""
        sums = rows.sum(axis=0)
        by_type = sums[:-2].reshape(-1, 3)
        right, given, known = by_type.sum(axis=0)
        f1 = [_ratio(2 * right, given + known) for right, given, known in by_type]
        accuracy = _ratio(sums[-2], sums[-1])
        if self.scheme == "plain":
            macro = _ratio(sum(f1), float(by_type.any(axis=1).sum()))
            return dict(zip(self.names, (accuracy, macro, *f1), strict=True))
        overall = (_ratio(2 * right, given + known), _ratio(right, given), _ratio(right, known))
        return dict(zip(self.names, (*overall, accuracy, *f1), strict=True))

    def credit(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """[n]: F1 of each sentence's entities, 1 where none are known and none given; of plain tags the accuracy."""
        if self.scheme == "plain":
            right, total = rows[:, -2], rows[:, -1]
        else:
            right, given, known = rows[:, :-2].reshape(len(rows), -1, 3).sum(axis=1).T
            right, total = 2 * right, given + known
        return np.where(total > 0, right / np.maximum(total, 1), 1.0)

    def _spans(self, tags: Sequence[str]) -> set[Span]:
        if self.scheme == "plain":
            unread = OUTSIDE if OUTSIDE not in self.number else None
            return {Span(tag, place, place + 1) for place, tag in enumerate(tags) if tag != unread}
        return set(read_spans_strictly(tags, self.scheme) if self.strict else read_spans(tags))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
