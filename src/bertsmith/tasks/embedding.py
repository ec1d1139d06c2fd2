"""Embedding: texts as vectors whose cosine says how alike they are (Reimers and Gurevych 2019).

Each text is read alone. What pairs of texts are trained for is the objective, an object of `pair_objectives.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor, nn

from bertsmith.baselines import tfidf_cosine
from bertsmith.data.batch import Batch, Window, pack
from bertsmith.data.columns import find_columns
from bertsmith.data.readers import Row
from bertsmith.errors import DataError
from bertsmith.model.checkpoints import speaks_hugging_face
from bertsmith.model.config import EncoderConfig
from bertsmith.model.networks import EmbeddingNetwork, Pooling
from bertsmith.tasks.pair_objectives import (
    FIRST_NEGATIVE,
    PAIR,
    TEXT,
    Alike,
    Contrastive,
    Cosine,
    EmbeddingPrediction,
    EmbeddingRequest,
    ObjectiveName,
    PairObjective,
    StepTexts,
    need_scores,
)
from bertsmith.tasks.sentence_folder import sentence_files
from bertsmith.tasks.task import CoupledTask, Coupling, Example, FoundColumns, Marks
from bertsmith.text.tokenizer import Ids, Tokenizer
from bertsmith.text.windows import WindowSettings, cut_windows, pieces_of

# Column names are compared in lower case, without signs; a pair of the first ones comes before a pair by content.
_PAIR_NAMES = (
    ("text", "textpair"),
    ("anchor", "positive"),
    ("query", "positive"),
    ("question", "positive"),
    ("text", "positive"),
)
_NEGATIVE_NAMES = ("negatives", "negative")
_SCORE_NAMES = ("score", "similarity", "similarityscore", "relatednessscore", "label", "isduplicate")


class EmbeddingSettings(WindowSettings):
    objective: ObjectiveName | None = Field(
        None,
        description="what pairs are trained for: contrastive (the partner against all others of a step), cosine (a "
        "known similarity), pair (alike, 1, or not, 0); None: as the scores of the training data are",
    )
    pooling: Pooling = Field("mean", description="of a text's tokens: their mean, their max, or the first one (cls)")
    normalize: bool = Field(True, description="give vectors of length 1")
    prompt: str = Field("", description="what stands before every text")
    scale: float = Field(20.0, gt=0, description="contrastive: what cosines are multiplied by, 1 / temperature")
    margin: float = Field(0.5, gt=0, le=2, description="pair: cosine distance from which unlike texts are far enough")
    score_range: tuple[float, float] | None = Field(
        None, description="cosine: the scores that mean cosine 0 and 1; None: 0 to 1, or what the training data reaches"
    )

    @field_validator("score_range")
    @classmethod
    def _rises(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and value[0] >= value[1]:
            raise ValueError(f"expected the lower score first, not {value[0]:g} and {value[1]:g}")
        return value


@dataclass(frozen=True, slots=True)
class TextPart:
    """The vector of one window; role: of its text in the request."""

    role: int
    num_tokens: int
    vector: NDArray[np.float32]


class Embedding(CoupledTask[EmbeddingRequest, EmbeddingPrediction]):
    """Bi-encoder: each text becomes a vector on its own; a long one is the mean of its windows, weighted by tokens."""

    name = "embedding"
    Settings = EmbeddingSettings
    Request = EmbeddingRequest
    Prediction = EmbeddingPrediction
    answer_field = "score"
    answer_optional: ClassVar = True
    settings: EmbeddingSettings

    @property
    def objective(self) -> PairObjective:
        match self.settings.objective:
            case "cosine":
                return Cosine(*(self.settings.score_range or (0.0, 1.0)))
            case "pair":
                return Alike(self.settings.margin)
        return Contrastive(self.settings.scale)

    @property
    def metrics(self) -> Mapping[str, int]:
        return self.objective.metrics

    @property
    def coupling(self) -> Coupling:  # type: ignore[override]
        return self.objective.coupling

    # Reading

    def request(self, record: Mapping[str, Any] | tuple[Any, ...] | str, where: str = "request") -> EmbeddingRequest:
        """As every request; a single negative may be a text by itself, and fields without a value may be there."""
        if isinstance(record, Mapping):
            record = {name: value for name, value in record.items() if value is not None}
            if isinstance(record.get("negatives"), str):
                record["negatives"] = (record["negatives"],)
        return super().request(record, where)

    def example(self, record: Mapping[str, Any], where: str) -> Example[EmbeddingRequest]:
        """A pair of texts, with its score if it has one."""
        request = self.request({name: value for name, value in record.items() if name != self.answer_field}, where)
        if request.text_pair is None:
            raise DataError(f"{where}: no value in 'text_pair': embeddings are trained and judged on pairs of texts")
        score = record.get(self.answer_field)
        return Example(request, None if score is None else self.answer(score, where), where)

    def answer(self, value: Any, where: str) -> float:
        """A finite number."""
        try:
            score = float(value)
        except (TypeError, ValueError):
            score = math.nan
        if not math.isfinite(score):
            raise DataError(f"{where}: expected a number in {self.answer_field!r}, found {value!r:.60}")
        return score

    def find_columns(self, rows: Sequence[Row], given: Mapping[str, str], *, labelled: bool = True) -> FoundColumns:
        """By the names that such columns usually have, else by content."""
        plain = {"".join(filter(str.isalnum, name.lower())): name for row in rows for name in row.values}
        pair = next(((plain[one], plain[other]) for one, other in _PAIR_NAMES if one in plain and other in plain), None)
        if pair is None or "text" in given or "text_pair" in given:
            columns = find_columns(rows, text=given.get("text"), pair=given.get("text_pair"), labelled=False)
            pair = (columns.text, columns.pair or "")
        found = dict(zip(("text", "text_pair"), pair, strict=True))
        found["negatives"] = next((plain[name] for name in _NEGATIVE_NAMES if name in plain), "")
        if labelled:
            found[self.answer_field] = next((plain[name] for name in _SCORE_NAMES if name in plain), "")
        found = {name: column for name, column in found.items() if column} | dict(given)
        return FoundColumns(found, "; ".join(f"{name}: column {column!r}" for name, column in found.items()))

    def texts(self, request: EmbeddingRequest) -> list[str]:
        return [request.text, *([] if request.text_pair is None else [request.text_pair]), *request.negatives]

    def fitted(self, examples: Sequence[Example[EmbeddingRequest]]) -> Self:
        """The objective and the range of scores, where the settings leave them open; every score has to fit them.

        Pairs without scores mean `contrastive`, those with 0 and 1 alone `pair`, any other scores `cosine`.
        """
        scores = [example.answer for example in examples if example.answer is not None]
        objective = self.settings.objective
        if objective is None:
            objective = "contrastive" if not scores else "pair" if {0.0, 1.0}.issuperset(scores) else "cosine"
        changes: dict[str, Any] = {"objective": objective}
        if objective != "contrastive":
            need_scores(examples, objective)
        if objective == "cosine" and self.settings.score_range is None:
            changes["score_range"] = _range(scores)
        task = type(self)(self.settings.model_copy(update=changes))
        task.objective.check(examples)
        return task

    # Training

    def encode(
        self, item: Example[EmbeddingRequest] | EmbeddingRequest, tokenizer: Tokenizer, rng: np.random.Generator
    ) -> list[Window]:
        """The windows of each text, one text after another."""
        request, where = (item.request, item.where) if isinstance(item, Example) else (item, "text")
        roles = [TEXT, *([] if request.text_pair is None else [PAIR])]
        roles += [FIRST_NEGATIVE + place for place in range(len(request.negatives))]
        wholes = pieces_of(tokenizer, [self.settings.prompt + text for text in self.texts(request)])
        windows: list[Window] = []
        for role, whole in zip(roles, wholes, strict=True):
            targets: dict[str, Any] = {"role": role}
            if isinstance(item, Example):
                targets |= {"key": _key(whole.ids), "score": self.objective.cosine(item.answer)}
            parts = cut_windows(tokenizer, [whole], self.settings, where=where)
            windows += [
                Window(
                    part.input_ids, part.token_type_ids, targets, part.num_cut_tokens, continues=part is not parts[0]
                )
                for part in parts
            ]
        return windows

    def collate(self, windows: Sequence[Window]) -> Batch:
        targets = {
            "roles": torch.tensor([window.targets["role"] for window in windows]),
            "continues": torch.tensor([window.continues for window in windows]),
        }
        if "key" not in windows[0].targets:
            return Batch(pack(windows), targets, {self.objective.name: 0})
        targets["keys"] = torch.tensor([window.targets["key"] for window in windows])
        targets["scores"] = torch.tensor([window.targets["score"] for window in windows])
        num_pairs = sum(window.targets["role"] == TEXT and not window.continues for window in windows)
        return Batch(pack(windows), targets, {self.objective.name: num_pairs})

    def build(self, config: EncoderConfig) -> EmbeddingNetwork:
        return EmbeddingNetwork(config, self.settings.pooling, normalize=self.settings.normalize)

    def represent(self, network: nn.Module, batch: Batch) -> Tensor:
        vectors: Tensor = network(batch.packed).float()
        return vectors

    def couple(self, representations: Tensor, batch: Batch) -> dict[str, Tensor]:
        objective = self.objective
        return {objective.name: objective.loss(StepTexts.of(representations, batch))}

    # Prediction

    def outputs(self, network: nn.Module, batch: Batch) -> list[Any]:
        return list(self.represent(network, batch))

    def decode(self, window: Window, outputs: Any, tokenizer: Tokenizer) -> TextPart:
        return TextPart(window.targets["role"], window.num_tokens, outputs.cpu().numpy())

    def merge(self, request: EmbeddingRequest, parts: Sequence[TextPart], num_cut_tokens: int) -> EmbeddingPrediction:
        by_role: dict[int, list[TextPart]] = {}
        for part in parts:
            by_role.setdefault(part.role, []).append(part)
        vectors = {role: self.vector(windows) for role, windows in by_role.items()}
        text, pair = vectors[TEXT], vectors.get(PAIR)
        return EmbeddingPrediction(
            tuple(text.tolist()),
            None if pair is None else tuple(pair.tolist()),
            None if pair is None else _cosine(text, pair),
            tuple(_cosine(text, vector) for role, vector in vectors.items() if role >= FIRST_NEGATIVE),
            num_cut_tokens,
            len(parts),
        )

    def vector(self, parts: Sequence[TextPart]) -> NDArray[np.float32]:
        """A text's vector from those of its windows: float32 [H]."""
        if len(parts) == 1:
            return parts[0].vector
        weights = np.array([part.num_tokens for part in parts], dtype=np.float32)
        vector: NDArray[np.float32] = weights @ np.stack([part.vector for part in parts]) / weights.sum()
        if self.settings.normalize:
            vector /= max(float(np.linalg.norm(vector)), 1e-12)
        return vector

    # Judging

    def marks(self, examples: Sequence[Example[EmbeddingRequest]], predictions: Sequence[EmbeddingPrediction]) -> Marks:
        if not isinstance(self.objective, Contrastive):
            need_scores(examples, self.objective.name)
        return self.objective.marks(examples, predictions)

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        return self.objective.metrics_of(marks)

    def credit(self, marks: Marks) -> NDArray[np.float64]:
        return self.objective.credit(marks)

    def baselines(
        self, train: Sequence[Example[EmbeddingRequest]], test: Sequence[Example[EmbeddingRequest]]
    ) -> dict[str, Sequence[EmbeddingPrediction]]:
        """The cosine of TF-IDF rows, where pairs have scores."""
        if isinstance(self.objective, Contrastive):
            return {}
        known = [text for example in train for text in self.texts(example.request)]
        first, second = ([getattr(example.request, name) or "" for example in test] for name in ("text", "text_pair"))
        cosines = tfidf_cosine(known, first, second).tolist()
        return {"TF-IDF cosine": [EmbeddingPrediction((), similarity=cosine) for cosine in cosines]}

    # Keeping

    def companions(self, network: nn.Module) -> dict[str, Any]:
        """What sentence-transformers reads the folder by, where the encoder is one that it knows."""
        assert isinstance(network, EmbeddingNetwork)
        if not speaks_hugging_face(network):
            return {}
        settings = self.settings
        return sentence_files(
            network.config.hidden_size,
            settings.pooling,
            normalize=settings.normalize,
            max_length=settings.max_length,
            prompt=settings.prompt,
        )


def _key(ids: Ids) -> int:
    """Equal for texts that the model cannot tell apart: 64 bits of a hash of their pieces."""
    return int.from_bytes(blake2b(ids.tobytes(), digest_size=8).digest(), "little", signed=True)


def _cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    return float(first @ second) / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-12)


def _range(scores: Sequence[float]) -> tuple[float, float]:
    low, high = min(scores), max(scores)
    if low == high:
        raise DataError(f"all pairs have the score {low:g}, from which nothing can be learned")
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
