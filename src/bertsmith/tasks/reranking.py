"""Reranking: a query's passages put in the order of their relevance, each read together with the query.

One logit a pair (Nogueira and Cho 2019); a long passage is read in windows, and is as relevant as the best of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from bertsmith.baselines import Bm25
from bertsmith.calibration import fit_binary_temperature
from bertsmith.data.batch import Batch, Window, pack, rows_of
from bertsmith.data.columns import plain_name
from bertsmith.data.readers import TABLE_SUFFIXES, Row
from bertsmith.errors import DataError
from bertsmith.metrics.ranking import average_precision, ndcg, reciprocal_rank
from bertsmith.model.config import EncoderConfig
from bertsmith.model.networks import SequenceNetwork
from bertsmith.tasks.ranking_records import (
    NAMES,
    RankingPrediction,
    RerankingRequest,
    by_query,
    gathered_told,
    ranked,
    read_ranked,
    relevance_of,
)
from bertsmith.tasks.target import Answered, Target, place_of
from bertsmith.tasks.task import Coupling, Decided, Example, FoundColumns, Marks, RowReader, Task, by_place
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.turns import cut_turns
from bertsmith.text.windows import WindowSettings, pieces_of


class RerankingSettings(WindowSettings):
    objective: Literal["pointwise", "pairwise"] = Field(
        "pointwise",
        description="pointwise: each passage's relevance by itself; pairwise: the order of every two of a query's",
    )
    max_relevance: float | None = Field(
        None, gt=0, description="the label that means wholly relevant; None: 1, or the highest of the training data"
    )
    temperature: float = Field(
        1.0, gt=0, description="pointwise: what logits are divided by; fitted to held-out passages"
    )


@dataclass(frozen=True, slots=True)
class PassagePart:
    """The logit of one window; passage: its place in the request."""

    passage: int
    logit: float


class Reranking(Task[RerankingRequest, RankingPrediction]):
    """One logit a pair, of which the sigmoid is the score.

    pointwise: binary cross-entropy on the relevance, from 0 to 1. pairwise: RankNet (Burges et al. 2005), the logistic
    loss on the difference of two logits, averaged over the pairs of a query's passages that differ in relevance.
    """

    name = "reranking"
    Settings = RerankingSettings
    Request = RerankingRequest
    Prediction = RankingPrediction
    answer_field = "labels"
    metrics: ClassVar = {"ndcg@10": 1, "mrr@10": 1, "map": 1}
    spare_fields: ClassVar = frozenset({"id"})
    readers: ClassVar[Mapping[str, RowReader]] = dict.fromkeys(TABLE_SUFFIXES, read_ranked)
    coupling: ClassVar[Coupling] = "example"
    settings: RerankingSettings

    # Reading

    def request(self, record: Mapping[str, Any] | tuple[Any, ...] | str, where: str = "request") -> RerankingRequest:
        """As every request; a single passage may be a text by itself."""
        if isinstance(record, tuple):
            record = by_place(record, ("query", "passages", "id"), where)
        if isinstance(record, Mapping) and isinstance(record.get("passages"), str):
            record = {**record, "passages": (record["passages"],)}
        if isinstance(record, Mapping) and not isinstance(record.get("id", ""), str):
            record = {**record, "id": "" if record["id"] is None else str(record["id"])}
        request = super().request(record, where)
        if not request.passages:
            raise DataError(f"{where}: no passages to put in order")
        if not request.query and not isinstance(request.query, str):
            raise DataError(f"{where}: a dialogue without a turn; a query is a text, or a list of turns")
        return request

    def example(self, record: Mapping[str, Any], where: str) -> Example[RerankingRequest]:
        """A query with passages and a label for each."""
        example = super().example(record, where)
        num_labels, num_passages = len(example.answer), len(example.request.passages)
        if num_labels != num_passages:
            raise DataError(f"{where}: labels and passages of different number: {num_labels} and {num_passages}")
        return example

    def answer(self, value: Any, where: str) -> tuple[float, ...]:
        """The relevance of each passage: finite, 0 or more."""
        labels = value if isinstance(value, list | tuple) else [value]
        return tuple(relevance_of(label, where) for label in labels)

    def find_columns(self, rows: Sequence[Row], given: Mapping[str, str], *, labelled: bool = True) -> FoundColumns:
        """By the names that such columns usually have."""
        plain = {plain_name(name): name for row in rows for name in row.values}
        found = dict(given)
        for field, names in NAMES.items():
            column = next((plain[name] for name in names if name in plain), None)
            if column is not None and (labelled or field != self.answer_field):
                found.setdefault(field, column)
        return FoundColumns(found, "; ".join(f"{field}: column {column!r}" for field, column in found.items()))

    def gathered(self, examples: Sequence[Example[RerankingRequest]]) -> list[Example[RerankingRequest]]:
        """One example a query, with the passages of all its rows."""
        return by_query(examples)

    def texts(self, request: RerankingRequest) -> list[str]:
        return [*request.turns, *request.passages]

    def split_key(self, request: RerankingRequest) -> str:
        """What is asked: its passages may stand under other queries too."""
        return "\0".join(request.turns)

    def notices(self, examples: Sequence[Example[RerankingRequest]]) -> list[str]:
        """What was put together, and queries of which there is nothing to find, or nothing to compare."""
        irrelevant = sum(max(example.answer) == 0 for example in examples)
        alike = sum(not _differ(example) for example in examples) - irrelevant
        counts = {
            "have no relevant passage, and count as 0 in the metrics": irrelevant,
            "have equally relevant passages alone": alike,
        }
        return [
            *gathered_told(examples),
            *(f"{count} of {len(examples)} queries {what}" for what, count in counts.items() if count),
        ]

    def fitted(self, examples: Sequence[Example[RerankingRequest]]) -> Self:
        """The highest label, where the settings leave it open. Refuses data from which no order can be learned."""
        labels = [label for example in examples for label in example.answer]
        if self.settings.objective == "pairwise" and not any(_differ(example) for example in examples):
            raise DataError("no query has passages of different relevance, which the objective 'pairwise' compares")
        if len(set(labels)) < 2:
            alike = f"all {len(labels)} passages have the label {labels[0]:g}: there is no order to learn or to measure"
            raise DataError(alike if labels else "there are no passages")
        highest = self.settings.max_relevance or max(1.0, *labels)
        task = type(self)(self.settings.model_copy(update={"max_relevance": highest}))
        task.check(examples)
        return task

    def check(self, examples: Sequence[Example[RerankingRequest]]) -> None:
        """No label is above the highest; held-out passages may all be alike."""
        highest = self.settings.max_relevance or math.inf
        for example in examples:
            if max(example.answer) > highest:
                raise DataError(
                    f"{example.where}: the label {max(example.answer):g} is above max_relevance, {highest:g}"
                )

    # Training

    def encode(
        self, item: Example[RerankingRequest] | RerankingRequest, tokenizer: Tokenizer, rng: np.random.Generator
    ) -> list[Window]:
        """The windows of each passage beside the query, one passage after another."""
        request, where = (item.request, item.where) if isinstance(item, Example) else (item, "passage")
        turns = request.turns
        pieces = pieces_of(tokenizer, [*turns, *request.passages])
        asked, passages = pieces[: len(turns)], pieces[len(turns) :]
        windows: list[Window] = []
        for place, passage in enumerate(passages):
            targets: dict[str, Any] = {"passage": place}
            if isinstance(item, Example):
                targets |= {"label": item.answer[place], "comparable": _differ(item)}
            windows += rows_of(cut_turns(tokenizer, asked, passage, self.settings, where=where), targets)
        return windows

    def collate(self, windows: Sequence[Window]) -> Batch:
        name = self.settings.objective
        if "label" not in windows[0].targets:
            return Batch(pack(windows), {}, {name: 0})
        firsts = [window.targets for window in windows if not window.continues]
        targets = {
            "continues": torch.tensor([window.continues for window in windows]),
            "passages": torch.tensor([target["passage"] for target in firsts]),
            "labels": torch.tensor([target["label"] for target in firsts], dtype=torch.float32),
        }
        num_queries = sum(target["comparable"] and target["passage"] == 0 for target in firsts)
        return Batch(pack(windows), targets, {name: len(firsts) if name == "pointwise" else num_queries})

    def build(self, config: EncoderConfig) -> SequenceNetwork:
        return SequenceNetwork(config, num_labels=1)

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits = _best_of_windows(self._logits(network, batch), ~batch.targets["continues"])
        labels = batch.targets["labels"]
        if self.settings.objective == "pointwise":
            goals = labels / (self.settings.max_relevance or 1.0)
            return {"pointwise": F.binary_cross_entropy_with_logits(logits, goals, reduction="sum")}
        queries = (batch.targets["passages"] == 0).cumsum(0) - 1
        return {"pairwise": _ranknet(logits, labels, queries)}

    def _logits(self, network: nn.Module, batch: Batch) -> Tensor:
        """[windows]."""
        logits: Tensor = network(batch.packed).float().squeeze(-1)
        return logits

    # Prediction

    def outputs(self, network: nn.Module, batch: Batch) -> list[Any]:
        return list(self._logits(network, batch).cpu())

    def decode(self, window: Window, outputs: Any, tokenizer: Tokenizer) -> PassagePart:
        return PassagePart(window.targets["passage"], float(outputs))

    def merge(self, request: RerankingRequest, parts: Sequence[PassagePart], num_cut_tokens: int) -> RankingPrediction:
        logits = _best_logits(parts)
        scores = torch.tensor(logits, dtype=torch.float64).div(self.settings.temperature).sigmoid().tolist()
        num_windows = max(Counter(part.passage for part in parts).values())
        return ranked(logits, scores, num_cut_tokens, num_windows)

    def explained(self, answered: Answered, choice: str | None = None) -> Target:
        """The relevance of the passage ranked first, or of the one numbered `choice` from 0, in its best window."""
        passages = answered.request.passages
        place = answered.prediction.ranking[0]
        if choice is not None:
            place = place_of(choice, range(len(passages)), "passage", passages)
        windows = [n for n, window in enumerate(answered.windows) if window.targets["passage"] == place]
        best = max(windows, key=lambda number: float(answered.outputs[number]))
        return Target.over(
            answered,
            (best,),
            self.outputs,
            lambda outputs: self.target(outputs[0]) / self.settings.temperature,
            name=f"relevance of passage {place}",
            unit="log-odds",
        )

    # Judging

    def marks(self, examples: Sequence[Example[RerankingRequest]], predictions: Sequence[RankingPrediction]) -> Marks:
        """Of each query ndcg@10 (the gain is the label), reciprocal rank and average precision (relevant: above 0)."""
        rows = []
        for example, prediction in zip(examples, predictions, strict=True):
            labels, scores = np.array(example.answer), np.array(prediction.scores)
            rows.append((ndcg(labels, scores), reciprocal_rank(labels, scores), average_precision(labels, scores)))
        return np.array(rows, dtype=np.float64).reshape(-1, 3)

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        """Means over the queries; one without a relevant passage counts as 0."""
        return dict(zip(self.metrics, marks.mean(0).tolist(), strict=True))

    def confidences(
        self, examples: Sequence[Example[RerankingRequest]], predictions: Sequence[RankingPrediction]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of each passage, relevant or not; none of graded labels, or where only the order was trained."""
        scores = np.array([score for prediction in predictions for score in prediction.scores])
        labels = np.array([label for example in examples for label in example.answer])
        if self.settings.objective != "pointwise" or not np.isin(labels, (0, 1)).all():
            return super().confidences(examples, predictions)
        return np.maximum(scores, 1 - scores), ((scores >= 0.5) == (labels == 1)).astype(np.float64)

    def decided(self, prediction: RankingPrediction) -> Decided:
        """Whether the best passage is relevant; nothing where only the order was trained."""
        if self.settings.objective != "pointwise" or not prediction.scores:
            return Decided()
        best = max(prediction.scores)
        return Decided(("relevant" if best >= 0.5 else "none relevant",), max(best, 1 - best))

    def agrees(self, first: RankingPrediction, second: RankingPrediction, *, in_place: bool = False) -> bool:
        """Whether both put the same passage first."""
        return first.ranking[:1] == second.ranking[:1]

    def tuned(self, examples: Sequence[Example[RerankingRequest]], parts: Sequence[Sequence[PassagePart]]) -> Self:
        """The temperature for which scores are the best bet on relevance; 1 where only the order was trained."""
        if self.settings.objective != "pointwise" or not examples:
            return self
        logits = np.concatenate([_best_logits(row) for row in parts])
        labels = np.concatenate([example.answer for example in examples])
        temperature = fit_binary_temperature(logits, labels / (self.settings.max_relevance or 1.0))
        return type(self)(self.settings.model_copy(update={"temperature": temperature}))

    def baselines(
        self, train: Sequence[Example[RerankingRequest]], test: Sequence[Example[RerankingRequest]]
    ) -> dict[str, Sequence[RankingPrediction]]:
        """BM25, with the words' weights of all passages, each counted once."""
        requests = [example.request for example in (*train, *test)]
        bm25 = Bm25(list(dict.fromkeys(passage for request in requests for passage in request.passages)))
        scores = [bm25.scores(" ".join(example.request.turns), example.request.passages).tolist() for example in test]
        return {"BM25": [ranked(row, row) for row in scores]}


def _differ(example: Example[RerankingRequest]) -> bool:
    """Whether there is an order among the passages."""
    return len(set(example.answer)) > 1


def _best_logits(parts: Sequence[PassagePart]) -> list[float]:
    """Of each passage the logit of its best window."""
    logits = [-math.inf] * (max(part.passage for part in parts) + 1)
    for part in parts:
        logits[part.passage] = max(logits[part.passage], part.logit)
    return logits


def _best_of_windows(logits: Tensor, first: Tensor) -> Tensor:
    """[windows] -> [passages]; first: [windows], whether a window begins a passage."""
    lengths = torch.bincount(first.cumsum(0) - 1)
    best: Tensor = torch.segment_reduce(logits, "max", lengths=lengths)
    return best


def _ranknet(logits: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """Summed over the queries, the mean over those pairs of its passages of which one is more relevant; all: [n]."""
    more, less = ((queries[:, None] == queries) & (labels[:, None] > labels)).nonzero(as_tuple=True)
    losses = F.softplus(logits[less] - logits[more])
    num_pairs = torch.bincount(queries[more], minlength=1).to(losses.dtype)
    return (losses / num_pairs[queries[more]]).sum()
