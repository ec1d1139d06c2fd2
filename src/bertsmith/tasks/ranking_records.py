"""Queries with passages: what is asked and answered, how files hold them, and the rows of one query put together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bertsmith.data.lines import Reading
from bertsmith.data.readers import Row, read_table
from bertsmith.errors import DataError
from bertsmith.tasks.task import Example

# Column names are compared in lower case, without signs; the first one that is there is taken.
# A column `id` is not among them: it may number the rows.
NAMES: Mapping[str, Sequence[str]] = {
    "query": ("query", "question", "anchor", "q"),
    "passages": ("passages", "passage", "text", "document", "doc", "sentence", "answer", "candidate", "candidates"),
    "labels": ("labels", "label", "relevance", "score", "grade", "isrelevant"),
    "id": ("queryid", "qid", "questionid", "topicid"),
}


@dataclass(frozen=True, slots=True)
class RerankingRequest:
    """A query and the passages to put in order. id: what tells queries of the same text apart, in a file of them.

    query: a text; or the turns of a dialogue, the last one the other speaker's, to which the passages may reply.
    """

    query: str | tuple[str, ...]
    passages: tuple[str, ...]
    id: str = ""

    @property
    def turns(self) -> tuple[str, ...]:
        """Of the query; a text is one."""
        return (self.query,) if isinstance(self.query, str) else self.query


@dataclass(frozen=True, slots=True)
class RankingPrediction:
    """scores: one a passage, the probability that it is relevant; after pairwise training only a number from 0 to 1.

    ranking: their places in the request, the most relevant first.

    num_windows: windows that a pair was read in, the most of them. num_cut_tokens: tokens that were not read.
    """

    scores: tuple[float, ...]
    ranking: tuple[int, ...]
    num_cut_tokens: int = 0
    num_windows: int = 1


def ranked(
    logits: Sequence[float], scores: Sequence[float], num_cut_tokens: int = 0, num_windows: int = 1
) -> RankingPrediction:
    """Passages in the order of their logits; of equal ones the first."""
    order = sorted(range(len(logits)), key=lambda place: -logits[place])
    return RankingPrediction(tuple(scores), tuple(order), num_cut_tokens, num_windows)


def read_ranked(path: Path, reading: Reading) -> Iterator[Row]:
    """The rows of a table; texts under `positive(s)` and `negative(s)` become `passages` with the `labels` 1 and 0."""
    for row in read_table(path, reading):
        positives = _listed(row, "positives", "positive")
        if not positives or not row.values.keys().isdisjoint(NAMES["passages"]):
            yield row
            continue
        negatives = _listed(row, "negatives", "negative")
        labels = [1] * len(positives) + [0] * len(negatives)
        yield replace(row, values={**row.values, "passages": positives + negatives, "labels": labels})


def _listed(row: Row, *names: str) -> list[Any]:
    """The texts under the first of the names that has any; one may stand there by itself."""
    value: Any = next((row.values[name] for name in names if row.values.get(name)), [])
    return list(value) if isinstance(value, list | tuple) else [value]


def relevance_of(label: Any, where: str) -> float:
    """Raises `DataError` for what is no finite number, 0 or more."""
    try:
        relevance = float(label)
    except (TypeError, ValueError):
        relevance = math.nan
    if not (math.isfinite(relevance) and relevance >= 0):
        raise DataError(f"{where}: expected labels that are numbers, 0 (irrelevant) or more: found {label!r:.60}")
    return relevance


def by_query(examples: Sequence[Example[RerankingRequest]]) -> list[Example[RerankingRequest]]:
    """One example a query, with the passages of all its rows in their order; named and grouped by the first row.

    Rows of one text and one `id` are one query; `gathered_told` counts them.
    """
    rows_of: dict[tuple[str | tuple[str, ...], str], list[Example[RerankingRequest]]] = {}
    for example in examples:
        rows_of.setdefault((example.request.query, example.request.id), []).append(example)
    return [
        replace(
            same[0],
            request=replace(same[0].request, passages=tuple(text for one in same for text in one.request.passages)),
            answer=tuple(label for one in same for label in one.answer),
            num_rows=len(same),
        )
        for same in rows_of.values()
    ]


def gathered_told(examples: Sequence[Example[RerankingRequest]]) -> list[str]:
    """Of how many rows the queries are, where some stand in several."""
    num_rows = sum(example.num_rows for example in examples)
    if num_rows == len(examples):
        return []
    if any(example.request.id for example in examples):
        same = "the same query and id are one"
    else:
        same = "the same query are one; --id-column names a column that tells them apart"
    return [f"{num_rows:,} rows are {len(examples):,} queries: rows with {same}"]
