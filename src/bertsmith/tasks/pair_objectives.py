"""What vectors of pairs of texts are trained for, and judged by: three objects with one face.

Knows vectors and scores; not tokens, windows' making or networks. Shapes: w windows, p pairs, m negatives, H width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bertsmith.data.batch import Batch
from bertsmith.errors import DataError
from bertsmith.metrics.ranking import reciprocal_ranks_among
from bertsmith.metrics.similarity import accuracy_threshold, correlations, rank_credit
from bertsmith.tasks.task import Coupling, Example, Marks

ObjectiveName: TypeAlias = Literal["contrastive", "cosine", "pair"]
Examples: TypeAlias = Sequence[Example["EmbeddingRequest"]]

TEXT, PAIR, FIRST_NEGATIVE = 0, 1, 2
"""Roles of a text in its example."""

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """A text; or a pair of texts, with further texts that belong to the first one less."""

    text: str
    text_pair: str | None = None
    negatives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EmbeddingPrediction:
    """embedding: of the text. embedding_pair, similarity: of the second text, and the cosine of both.

    negative_similarities: the cosine of the text and each negative. num_windows: windows that a text was
    read in, the most of them. num_cut_tokens: tokens that did not fit and were not read.
    """

    embedding: tuple[float, ...]
    embedding_pair: tuple[float, ...] | None = None
    similarity: float | None = None
    negative_similarities: tuple[float, ...] = ()
    num_cut_tokens: int = 0
    num_windows: int = 1


Predictions: TypeAlias = Sequence[EmbeddingPrediction]


@dataclass(frozen=True)
class StepTexts:
    """Of length 1: anchors, partners [p, H] and negatives [m, H]. keys: equal for equal texts. scores: [p] cosines."""

    anchors: Tensor
    partners: Tensor
    negatives: Tensor
    anchor_keys: Tensor
    partner_keys: Tensor
    negative_keys: Tensor
    scores: Tensor

    @classmethod
    def of(cls, vectors: Tensor, batch: Batch) -> Self:
        """vectors: [w, H], in the order of the batch's windows: each text's follow one another, as do an example's."""
        first = ~batch.targets["continues"]
        weights = torch.tensor(batch.packed.lengths, device=vectors.device, dtype=vectors.dtype)
        sums = vectors.new_zeros(int(first.sum()), vectors.shape[1])
        texts = F.normalize(sums.index_add(0, first.cumsum(0) - 1, vectors * weights[:, None]), dim=-1)
        roles, keys, scores = (batch.targets[name][first] for name in ("roles", "keys", "scores"))
        anchor, partner, negative = roles == TEXT, roles == PAIR, roles >= FIRST_NEGATIVE
        return cls(
            texts[anchor],
            texts[partner],
            texts[negative],
            keys[anchor],
            keys[partner],
            keys[negative],
            scores[anchor].to(texts.dtype),
        )

    @property
    def cosines(self) -> Tensor:
        """[p]."""
        return (self.anchors * self.partners).sum(-1)


class PairObjective(ABC):
    """metrics, coupling, marks, credit: as in the task contract."""

    name: ClassVar[ObjectiveName]
    metrics: ClassVar[Mapping[str, int]]
    coupling: ClassVar[Coupling] = "example"

    @abstractmethod
    def check(self, examples: Examples) -> None:
        """A `DataError` that counts and shows the examples whose score cannot be."""

    @abstractmethod
    def cosine(self, score: Any) -> float:
        """The cosine that a pair of this score should have."""

    @abstractmethod
    def loss(self, texts: StepTexts) -> Tensor:
        """Summed over the pairs."""

    def marks(self, examples: Examples, predictions: Predictions) -> Marks:
        """The cosine and the score of each pair."""
        need_scores(examples, self.name)
        rows = [(given.similarity, known.answer) for known, given in zip(examples, predictions, strict=True)]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    @abstractmethod
    def metrics_of(self, marks: Marks) -> dict[str, float]: ...

    @abstractmethod
    def credit(self, marks: Marks) -> NDArray[np.float64]: ...


@dataclass(frozen=True)
class Contrastive(PairObjective):
    """The partner against all others of a step: cross-entropy of cosines times `scale`, one over the temperature.

    Henderson et al. 2017; sentence-transformers' MultipleNegativesRankingLoss. Negatives are the partners of the step's
    other pairs and the negatives of all, in whatever pieces the step is computed; a text that is the anchor's own, or
    its partner's once more, is none.
    """

    scale: float
    name = "contrastive"
    metrics: ClassVar = {"mrr@10": 1, "recall@1": 1}
    coupling: ClassVar[Coupling] = "step"

    def check(self, examples: Examples) -> None:
        """Scores are not looked at."""

    def cosine(self, score: Any) -> float:
        return 1.0

    def loss(self, texts: StepTexts) -> Tensor:
        logits = self.scale * texts.anchors @ torch.cat([texts.partners, texts.negatives]).T
        keys = torch.cat([texts.partner_keys, texts.negative_keys])
        same = (keys == texts.partner_keys[:, None]) | (keys == texts.anchor_keys[:, None])
        same.fill_diagonal_(False)
        places = torch.arange(len(logits), device=logits.device)
        return F.cross_entropy(logits.masked_fill(same, -torch.inf), places, reduction="sum")

    def marks(self, examples: Examples, predictions: Predictions) -> Marks:
        """Of each text the reciprocal rank of its partner, 0 below the tenth, and 1 at rank 1.

        The partner stands among all different partners of the examples and the example's own negatives, behind those
        of equal cosine; partners of the same text in other examples, and the text itself, do not compete.
        """
        requests = [example.request for example in examples]
        ranks = reciprocal_ranks_among(
            np.array([prediction.embedding for prediction in predictions], dtype=np.float32),
            np.array([prediction.embedding_pair for prediction in predictions], dtype=np.float32),
            [(request.text, request.text_pair or "") for request in requests],
            [_other_similarities(*both) for both in zip(requests, predictions, strict=True)],
        )
        return np.stack([np.where(ranks >= 0.1, ranks, 0.0), ranks == 1.0], axis=1)

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        """mrr@10, recall@1."""
        return dict(zip(self.metrics, marks.mean(0).tolist(), strict=True))

    def credit(self, marks: Marks) -> NDArray[np.float64]:
        """The reciprocal rank."""
        return marks[:, 0]


@dataclass(frozen=True)
class Cosine(PairObjective):
    """A known similarity: squared difference of the cosine and the score, scaled so that `low` is 0 and `high` is 1.

    Reimers and Gurevych 2019; sentence-transformers' CosineSimilarityLoss.
    """

    low: float
    high: float
    name = "cosine"
    metrics: ClassVar = {"spearmanr": 1, "pearson": 1}

    def check(self, examples: Examples) -> None:
        outside = (
            f"have a score outside of score_range, {self.low:g} to {self.high:g}: set it to the scale of the scores"
        )
        _refuse(examples, lambda score: not self.low <= score <= self.high, outside)

    def cosine(self, score: Any) -> float:
        return float((score - self.low) / (self.high - self.low))

    def loss(self, texts: StepTexts) -> Tensor:
        return (texts.cosines - texts.scores).square().sum()

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        """spearmanr and pearson of cosines and scores."""
        return correlations(marks[:, 0], marks[:, 1])

    def credit(self, marks: Marks) -> NDArray[np.float64]:
        """1 for a pair whose cosine has the rank that its score has, 0 for one that is as far off as can be."""
        return rank_credit(marks[:, 0], marks[:, 1])


@dataclass(frozen=True)
class Alike(PairObjective):
    """Alike (1) or not (0): half the squared distance of like texts, 1 - cosine; else half the square of what it lacks
    to `margin`.

    Hadsell et al. 2006; sentence-transformers' ContrastiveLoss.
    """

    margin: float
    threshold: float | None = None
    name = "pair"

    @property
    def metrics(self) -> Mapping[str, int]:  # type: ignore[override]
        return {"average_precision": 1, self._accuracy: 1}

    @property
    def _accuracy(self) -> str:
        return "best_accuracy" if self.threshold is None else "accuracy"

    def check(self, examples: Examples) -> None:
        _refuse(examples, lambda score: score not in (0, 1), "have a score that is neither 0 nor 1")

    def cosine(self, score: Any) -> float:
        return float(score)

    def loss(self, texts: StepTexts) -> Tensor:
        distances = 1 - texts.cosines
        lacking = (self.margin - distances).clamp(min=0)
        return 0.5 * torch.where(texts.scores > 0.5, distances, lacking).square().sum()

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        """average_precision, 0 without a like pair; accuracy at the threshold fitted to held-out pairs.

        Before one is fitted it is best_accuracy: at the threshold that is best for these very pairs, which flatters.
        """
        from sklearn.metrics import average_precision_score

        precision = average_precision_score(marks[:, 1], marks[:, 0]) if marks[:, 1].any() else 0.0
        return {"average_precision": float(precision), self._accuracy: float(self.credit(marks).mean())}

    def credit(self, marks: Marks) -> NDArray[np.float64]:
        """1 on the right side of the threshold."""
        threshold = self.threshold
        if threshold is None:
            threshold = accuracy_threshold(marks[:, 0], marks[:, 1])
        right: NDArray[np.float64] = ((marks[:, 0] >= threshold) == (marks[:, 1] > 0.5)).astype(np.float64)
        return right


class Unsaid(Contrastive):
    """Of an encoder that was trained elsewhere: pairs are judged by what their scores allow; the marks say how."""

    metrics: ClassVar = {**Contrastive.metrics, **Cosine.metrics, **Alike(0.5).metrics}

    def marks(self, examples: Examples, predictions: Predictions) -> Marks:
        """The marks of the objective that suits the examples, and its place in `_judges`."""
        kind = [judge.name for judge in self._judges].index(suited_objective(examples))
        marks = self._judges[kind].marks(examples, predictions)
        return np.column_stack([marks, np.full(len(marks), kind)])

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        return self._judge(marks).metrics_of(marks[:, :-1])

    def credit(self, marks: Marks) -> NDArray[np.float64]:
        return self._judge(marks).credit(marks[:, :-1])

    @property
    def _judges(self) -> tuple[PairObjective, ...]:
        return Contrastive(self.scale), Cosine(0.0, 1.0), Alike(0.5)

    def _judge(self, marks: Marks) -> PairObjective:
        return self._judges[int(marks[0, -1])]


def suited_objective(examples: Examples) -> ObjectiveName:
    """Pairs without scores are to be found again, those with 0 and 1 alone are alike or not."""
    scores = {example.answer for example in examples} - {None}
    return "contrastive" if not scores else "pair" if scores <= {0.0, 1.0} else "cosine"


def need_scores(examples: Examples, objective: str) -> None:
    """A `DataError` where an example has no score."""
    _refuse(examples, lambda score: score is None, f"have no score, which the objective {objective!r} needs")


def _refuse(examples: Examples, is_bad: Callable[[Any], bool], what: str) -> None:
    bad = [example for example in examples if is_bad(example.answer)]
    if bad:
        shown = [f"  {example.where}: {example.answer!r}" for example in bad[:_SHOWN]]
        raise DataError("\n".join([f"{len(bad)} of {len(examples)} pairs {what}:", *shown]))


def _other_similarities(request: EmbeddingRequest, prediction: EmbeddingPrediction) -> list[float]:
    """Of the negatives that are not the partner itself."""
    given = zip(request.negatives, prediction.negative_similarities, strict=True)
    return [similarity for text, similarity in given if text != request.text_pair]
