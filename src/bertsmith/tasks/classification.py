"""Classification of one text or a pair of texts into one of several labels (Devlin et al. 2019, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from bertsmith.data.batch import Batch, Window, pack
from bertsmith.data.columns import check_labels, class_name, find_columns
from bertsmith.data.readers import Row
from bertsmith.errors import DataError, nearest
from bertsmith.model.config import EncoderConfig
from bertsmith.model.networks import SequenceNetwork
from bertsmith.settings import Settings
from bertsmith.tasks.task import Example, FoundColumns, Task
from bertsmith.text.tokenizer import Tokenizer


class ClassificationSettings(Settings):
    labels: tuple[str, ...] = Field((), description="label names in the order of the logits; empty: from the data")
    max_length: int = Field(512, ge=3, description="longest input, in tokens; what exceeds it is cut and counted")

    @field_validator("labels")
    @classmethod
    def _labels_differ(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(labels) == 1 or len(set(labels)) < len(labels) or "" in labels:
            raise ValueError(f"expected two names or more, none empty and none twice, not {', '.join(labels)}")
        return labels


@dataclass(frozen=True, slots=True)
class TextRequest:
    """A text, or two texts whose relation is asked for."""

    text: str
    text_pair: str | None = None


@dataclass(frozen=True, slots=True)
class LabelPrediction:
    """label: the likeliest. score: its probability. scores: the probability of every label.

    num_cut_tokens: tokens of the request that did not fit and were not read.
    """

    label: str
    score: float
    scores: dict[str, float]
    num_cut_tokens: int = 0


class Classification(Task[TextRequest, LabelPrediction]):
    """One softmax over the labels, on the pooled first token."""

    name = "classification"
    Settings = ClassificationSettings
    Request = TextRequest
    Prediction = LabelPrediction
    metrics: ClassVar = {"accuracy": 1, "f1_macro": 1, "matthews_correlation": 1}
    settings: ClassificationSettings

    def labels(self) -> tuple[str, ...]:
        return self.settings.labels

    def find_columns(self, rows: Sequence[Row], given: Mapping[str, str], *, labelled: bool = True) -> FoundColumns:
        """By the names that such columns usually have, else by content; refused where there is doubt."""
        found = find_columns(
            rows, text=given.get("text"), pair=given.get("text_pair"), label=given.get("label"), labelled=labelled
        )
        fields = {"text": found.text, "text_pair": found.pair, "label": found.label}
        return FoundColumns({name: column for name, column in fields.items() if column is not None}, found.reason)

    def answer(self, value: Any, where: str) -> str:
        """The class's name: white space is dropped, `1` and `1.0` of typed files are both `"1"`."""
        name = class_name(value)
        if not name:
            raise DataError(f"{where}: no label: {value!r:.60}")
        return name

    def fitted(self, examples: Sequence[Example[TextRequest]]) -> Self:
        """Label names from the examples, in numeric order where all are whole numbers, else in that of their strings.

        Where the settings name labels already, every example has to carry one of them.
        """
        found = {example.answer for example in examples}
        if self.settings.labels:
            check_labels([e.answer for e in examples], [e.where for e in examples], self.settings.labels)
            return self
        if len(found) < 2:
            raise DataError(f"classification needs at least two labels in the training data, found {sorted(found)}")
        whole = all(label.lstrip("-").isdigit() for label in found)
        labels = tuple(sorted(found, key=int)) if whole else tuple(sorted(found))
        return type(self)(self.settings.model_copy(update={"labels": labels}))

    def encode(
        self, item: Example[TextRequest] | TextRequest, tokenizer: Tokenizer, rng: np.random.Generator
    ) -> list[Window]:
        request = item.request if isinstance(item, Example) else item
        encoding = tokenizer.encode(request.text, request.text_pair, max_length=self.settings.max_length)
        window = Window(encoding.input_ids, encoding.token_type_ids, {}, encoding.num_cut_tokens)
        return [replace(window, targets={"label": self._index(item)}) if isinstance(item, Example) else window]

    def collate(self, windows: Sequence[Window]) -> Batch:
        labels = [window.targets["label"] for window in windows if window.targets]
        targets = {"labels": torch.tensor(labels)} if labels else {}
        return Batch(pack(windows), targets, {"classification": len(labels)})

    def build(self, config: EncoderConfig) -> SequenceNetwork:
        return SequenceNetwork(config, len(self.settings.labels))

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits = network(batch.packed).float()
        return {"classification": F.cross_entropy(logits, batch.targets["labels"], reduction="sum")}

    def outputs(self, network: nn.Module, batch: Batch) -> list[Any]:
        return list(network(batch.packed).float())

    def decode(self, window: Window, outputs: Any, tokenizer: Tokenizer) -> list[float]:
        """The probability of each label."""
        probabilities: list[float] = outputs.softmax(-1).tolist()
        return probabilities

    def merge(self, request: TextRequest, parts: Sequence[Any], num_cut_tokens: int) -> LabelPrediction:
        (probabilities,) = parts
        scores = dict(zip(self.settings.labels, probabilities, strict=True))
        label = max(scores, key=scores.__getitem__)
        return LabelPrediction(label, scores[label], scores, num_cut_tokens)

    def score(
        self, examples: Sequence[Example[TextRequest]], predictions: Sequence[LabelPrediction]
    ) -> dict[str, float]:
        """accuracy; f1, unweighted mean over the labels; matthews_correlation."""
        from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

        known = [example.answer for example in examples]
        given = [prediction.label for prediction in predictions]
        return {
            "accuracy": float(accuracy_score(known, given)),
            "f1_macro": float(f1_score(known, given, average="macro", zero_division=0.0)),
            "matthews_correlation": float(matthews_corrcoef(known, given)),
        }

    def _index(self, example: Example[TextRequest]) -> int:
        try:
            return self.settings.labels.index(example.answer)
        except ValueError:
            raise DataError(
                f"{example.where}: label {example.answer!r} is not one of the model's; "
                f"{nearest(example.answer, self.settings.labels)}"
            ) from None
