"""Embedding: texts as vectors whose cosine says how alike they are (Reimers and Gurevych 2019).

Each text is read alone. What pairs of texts are trained for is the objective, an object of `pair_objectives.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor, nn

from bertsmith.baselines import lsa_vectors, tfidf_cosine
from bertsmith.data.batch import Batch, Window, pack, rows_of
from bertsmith.data.columns import find_columns, plain_name
from bertsmith.data.pairs import read_pairs
from bertsmith.data.readers import TABLE_SUFFIXES, Row
from bertsmith.errors import DataError, SettingsError
from bertsmith.metrics.similarity import accuracy_threshold
from bertsmith.model.checkpoints import speaks_hugging_face
from bertsmith.model.config import EncoderConfig
from bertsmith.model.networks import EmbeddingNetwork, Pooling
from bertsmith.tasks.foreign_encoder import read_foreign_encoder
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
    Unsaid,
    need_scores,
    suited_objective,
)
from bertsmith.tasks.sentence_folder import sentence_files
from bertsmith.tasks.target import Answered, Target, one_of
from bertsmith.tasks.task import Adopted, CoupledTask, Coupling, Example, FoundColumns, Marks, RowReader
from bertsmith.text.tokenizer import Ids, Tokenizer
from bertsmith.text.windows import WindowSettings, cut_windows, pieces_of

Vector: TypeAlias = NDArray[np.floating]

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
    threshold: float | None = Field(
        None, description="pair: similarity from which texts are alike; fitted on validation data"
    )
    score_range: tuple[float, float] | None = Field(
        None,
        description="cosine: the scores that mean cosine 0 and 1; None: whole numbers around those of training",
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
    vector: Vector


class Embedding(CoupledTask[EmbeddingRequest, EmbeddingPrediction]):
    """Bi-encoder: each text becomes a vector on its own; a long one is the mean of its windows, weighted by tokens."""

    name = "embedding"
    Settings = EmbeddingSettings
    Request = EmbeddingRequest
    Prediction = EmbeddingPrediction
    answer_field = "score"
    answer_optional: ClassVar = True
    spare_fields: ClassVar = frozenset({"text_pair", "negatives"})
    readers: ClassVar[Mapping[str, RowReader]] = dict.fromkeys(TABLE_SUFFIXES, read_pairs)
    settings: EmbeddingSettings

    @property
    def objective(self) -> PairObjective:
        match self.settings.objective:
            case "cosine":
                return Cosine(*(self.settings.score_range or (0.0, 1.0)))
            case "pair":
                return Alike(self.settings.margin, self.settings.threshold)
            case "contrastive":
                return Contrastive(self.settings.scale)
        return Unsaid(self.settings.scale)

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
            raise DataError(f"{where}: no number in {self.answer_field!r}: {value!r:.60}")
        return score

    def find_columns(self, rows: Sequence[Row], given: Mapping[str, str], *, labelled: bool = True) -> FoundColumns:
        """By the names that such columns usually have, else by content."""
        plain = {plain_name(name): name for row in rows for name in row.values}
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

    def notices(self, examples: Sequence[Example[EmbeddingRequest]]) -> list[str]:
        """Partners that stand in several pairs, which are then no negatives of one another."""
        repeated = len(examples) - len({example.request.text_pair for example in examples})
        if self.settings.objective != "contrastive" or not repeated:
            return []
        return [
            f"{repeated} of {len(examples)} pairs repeat another's second text, which is then no negative of theirs"
        ]

    def fitted(self, examples: Sequence[Example[EmbeddingRequest]]) -> Self:
        """The objective and the range of scores, where the settings leave them open; every score has to fit them."""
        objective = self.settings.objective or suited_objective(examples)
        changes: dict[str, Any] = {"objective": objective}
        if objective != "contrastive":
            need_scores(examples, objective)
        if objective == "cosine" and self.settings.score_range is None:
            changes["score_range"] = _range([example.answer for example in examples])
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
            windows += rows_of(cut_windows(tokenizer, [whole], self.settings, where=where), targets)
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
        return list(self.represent(network, batch).cpu())

    def decode(self, window: Window, outputs: Any, tokenizer: Tokenizer) -> TextPart:
        return TextPart(window.targets["role"], window.num_tokens, outputs.numpy())

    def merge(self, request: EmbeddingRequest, parts: Sequence[TextPart], num_cut_tokens: int) -> EmbeddingPrediction:
        by_role: dict[int, list[TextPart]] = {}
        for part in parts:
            by_role.setdefault(part.role, []).append(part)
        prediction = self._prediction(request, [self._vector(windows) for windows in by_role.values()])
        return replace(prediction, num_cut_tokens=num_cut_tokens, num_windows=max(map(len, by_role.values())))

    def _prediction(self, request: EmbeddingRequest, vectors: Sequence[Vector]) -> EmbeddingPrediction:
        """From the vectors of the request's texts, in their order."""
        text, *others = vectors
        pair = None if request.text_pair is None else others.pop(0)
        return EmbeddingPrediction(
            tuple(text.tolist()),
            None if pair is None else tuple(pair.tolist()),
            None if pair is None else _cosine(text, pair),
            tuple(_cosine(text, negative) for negative in others),
        )

    def _vector(self, parts: Sequence[TextPart]) -> Vector:
        """A text's vector from those of its windows: [H]."""
        if len(parts) == 1:
            return parts[0].vector
        weights = np.array([part.num_tokens for part in parts], dtype=np.float32)
        vector: Vector = weights @ np.stack([part.vector for part in parts]) / weights.sum()
        if self.settings.normalize:
            vector /= max(float(np.linalg.norm(vector)), 1e-12)
        return vector

    def explained(self, answered: Answered, choice: str | None = None) -> Target:
        """The cosine of the text and its pair, or of the text and a negative, `negatives 0` say.

        Each text is changed beside the other as it is, the mean of both: two texts without words are alike.
        """
        request = answered.request
        roles = {} if request.text_pair is None else {"text_pair": PAIR}
        roles |= {f"negatives {place}": FIRST_NEGATIVE + place for place in range(len(request.negatives))}
        if not roles:
            raise SettingsError("one text has no similarity to explain; give a second one, as text_pair")
        name = next(iter(roles)) if choice is None else one_of(choice, roles, "text to compare with")
        numbers = [n for n, window in enumerate(answered.windows) if window.targets["role"] in (TEXT, roles[name])]
        windows = [answered.windows[number] for number in numbers]
        weights = torch.tensor([float(window.num_tokens) for window in windows])
        is_text = torch.tensor([window.targets["role"] == TEXT for window in windows])

        def vectors_of(outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
            vectors = torch.stack(list(outputs)) * weights[:, None]
            return vectors[is_text].sum(0), vectors[~is_text].sum(0)

        text, other = vectors_of([answered.outputs[number] for number in numbers])

        def value(outputs: Sequence[Tensor]) -> Tensor:
            changed_text, changed_other = vectors_of(outputs)
            cosines = torch.cosine_similarity(changed_text, other, 0), torch.cosine_similarity(text, changed_other, 0)
            return torch.stack(cosines).mean()

        every = tuple(tuple(range(window.num_tokens)) for window in windows)
        return Target.over(
            answered,
            numbers,
            self.outputs,
            value,
            name=f"similarity of text and {name}",
            reads=None if self.settings.pooling == "cls" else every,
        )

    # Judging

    def marks(self, examples: Sequence[Example[EmbeddingRequest]], predictions: Sequence[EmbeddingPrediction]) -> Marks:
        return self.objective.marks(examples, predictions)

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        return self.objective.metrics_of(marks)

    def credit(self, marks: Marks) -> NDArray[np.float64]:
        return self.objective.credit(marks)

    def tuned(self, examples: Sequence[Example[EmbeddingRequest]], parts: Sequence[Sequence[TextPart]]) -> Self:
        """With the threshold that calls most of the held-out pairs right, where pairs are alike or not."""
        if self.settings.objective != "pair":
            return self
        predictions = [self.merge(e.request, row, 0) for e, row in zip(examples, parts, strict=True)]
        similarities, alike = self.marks(examples, predictions)[:, :2].T
        threshold = accuracy_threshold(similarities, alike)
        return type(self)(self.settings.model_copy(update={"threshold": threshold}))

    def baselines(
        self, train: Sequence[Example[EmbeddingRequest]], test: Sequence[Example[EmbeddingRequest]]
    ) -> dict[str, Sequence[EmbeddingPrediction]]:
        """The cosine of TF-IDF rows where all pairs have scores; else vectors by latent semantic analysis."""
        known = [text for example in train for text in self.texts(example.request)]
        requests = [example.request for example in test]
        if all(example.answer is not None for example in test):
            pairs = [request.text for request in requests], [request.text_pair or "" for request in requests]
            cosines = tfidf_cosine(known, *pairs) + self._shift(known, train)
            return {"TF-IDF cosine": [EmbeddingPrediction((), similarity=cosine) for cosine in cosines.tolist()]}
        vectors = iter(lsa_vectors(known, [text for request in requests for text in self.texts(request)]))
        return {
            "LSA": [self._prediction(request, [next(vectors) for _ in self.texts(request)]) for request in requests]
        }

    def _shift(self, known: Sequence[str], train: Sequence[Example[EmbeddingRequest]]) -> float:
        """What brings the cosines of TF-IDF to this model's threshold from their own best one in training."""
        if self.settings.threshold is None:
            return 0.0
        pairs = [e.request.text for e in train], [e.request.text_pair or "" for e in train]
        alike = np.array([e.answer for e in train], dtype=float)
        return self.settings.threshold - accuracy_threshold(tfidf_cosine(known, *pairs), alike)

    # Keeping

    @classmethod
    def adopted(cls, folder: Path) -> Adopted | None:
        """A folder of sentence-transformers, or of a pre-trained BERT, whose tokens are averaged."""
        found = read_foreign_encoder(folder)
        if found is None:
            return None
        task = cls(EmbeddingSettings.of(found.settings, str(folder))).within(found.num_positions)
        return Adopted(task, found.place, found.tokenizer, found.note)

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


def _cosine(first: Vector, second: Vector) -> float:
    return float(first @ second) / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-12)


def _range(scores: Sequence[float]) -> tuple[float, float]:
    """The scale that the scores seem to be on."""
    low, high = min(scores), max(scores)
    if low == high:
        raise DataError(f"all pairs have the score {low:g}, from which nothing can be learned")
    # Scales end at whole numbers, and other files may reach what the training data does not.
    return float(math.floor(low)), float(math.ceil(high))
