"""Classification of one text or a pair: a label, several labels, or a number (Devlin et al. 2019, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from bertsmith.data.batch import Batch, Window, pack, rows_of
from bertsmith.data.columns import find_columns
from bertsmith.data.readers import Row
from bertsmith.errors import DataError, FileFormatError
from bertsmith.model.checkpoints import CONFIG
from bertsmith.model.config import EncoderConfig
from bertsmith.model.networks import SequenceNetwork
from bertsmith.tasks.foreign_model import adopt, labels_of
from bertsmith.tasks.label_classes import MultiLabel, SingleLabel
from bertsmith.tasks.label_numbers import Regression
from bertsmith.tasks.label_problems import ClassificationSettings, Problem, ProblemType, Verdict
from bertsmith.tasks.target import Answered, Target, Unit, log_odds, one_of
from bertsmith.tasks.task import Adopted, Decided, Example, FoundColumns, Labels, Marks, Task
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.windows import cut_windows, pieces_of

PROBLEMS: dict[ProblemType, type[Problem]] = {
    "single_label": SingleLabel,
    "multi_label": MultiLabel,
    "regression": Regression,
}


@dataclass(frozen=True, slots=True)
class TextRequest:
    """A text, or two texts whose relation is asked for."""

    text: str
    text_pair: str | None = None


@dataclass(frozen=True, slots=True)
class LabelPrediction:
    """label: the likeliest; None of a regression. score: its probability, or the value of a regression.

    scores: the probability of every label. labels: those above their thresholds, where there may be several.
    num_cut_tokens: tokens of the request that did not fit and were not read. num_windows: in how many it was read.
    """

    label: str | None
    score: float
    scores: dict[str, float]
    labels: tuple[str, ...] = ()
    num_cut_tokens: int = 0
    num_windows: int = 1


class Classification(Task[TextRequest, LabelPrediction]):
    """Logits from the pooled first token; what they mean is the problem's, one of `PROBLEMS`."""

    name = "classification"
    Settings = ClassificationSettings
    Request = TextRequest
    Prediction = LabelPrediction
    settings: ClassificationSettings

    @cached_property
    def problem(self) -> Problem:
        return PROBLEMS[self.settings.problem_type](self.settings)

    @property
    def metrics(self) -> Mapping[str, int]:
        return self.problem.metrics

    def labels(self) -> tuple[str, ...] | None:
        return None if self.settings.problem_type == "regression" else self.settings.labels

    def config_fields(self) -> dict[str, Any]:
        names = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}} if self.labels() is None else {}
        kind = {"single_label": "single_label_classification", "multi_label": "multi_label_classification"}
        problem = self.settings.problem_type
        return {**super().config_fields(), **names, "problem_type": kind.get(problem, problem)}

    @classmethod
    def adopted(cls, folder: Path) -> Adopted | None:
        """Another library's sequence classifier; one label alone is a regression, as that library has it."""

        def make(values: Mapping[str, Any]) -> Classification:
            labels, kind = labels_of(values, folder), values.get("problem_type")
            problem: ProblemType = "multi_label" if kind == "multi_label_classification" else "single_label"
            if kind == "regression" or (kind is None and len(labels) == 1):
                problem = "regression"
            if (problem == "regression") != (len(labels) == 1):
                raise FileFormatError(
                    f"{folder / CONFIG}: problem_type {kind!r} with {len(labels)} outputs: a regression has one here, "
                    "everything else two or more"
                )
            fields = {"problem_type": problem} | ({} if problem == "regression" else {"labels": labels})
            return cls(ClassificationSettings.of(fields, str(folder / CONFIG)))

        return adopt(folder, "BertForSequenceClassification", make)

    def find_columns(self, rows: Sequence[Row], given: Mapping[str, str], *, labelled: bool = True) -> FoundColumns:
        """By the names that such columns usually have, else by content; refused where there is doubt."""
        found = find_columns(
            rows,
            text=given.get("text"),
            pair=given.get("text_pair"),
            label=given.get("label"),
            labelled=labelled,
            classes=self.settings.problem_type == "single_label",
        )
        fields = {"text": found.text, "text_pair": found.pair, "label": found.label}
        return FoundColumns({name: column for name, column in fields.items() if column is not None}, found.reason)

    def request(self, record: Mapping[str, Any] | tuple[Any, ...] | str, where: str = "request") -> TextRequest:
        request = super().request(record, where)
        if self.settings.pairs is not None and self.settings.pairs != (request.text_pair is not None):
            trained, found = ("two texts", "one") if self.settings.pairs else ("one text", "two")
            asked = "text and text_pair" if self.settings.pairs else "text alone"
            raise DataError(f"{where}: the model was trained on {trained} a request, found {found}; ask with {asked}")
        return request

    def answer(self, value: Any, where: str) -> Any:
        return self.problem.answer(value, where)

    def fitted(self, examples: Sequence[Example[TextRequest]]) -> Self:
        """Label names and weights from the examples; where the settings name labels already, they must be those."""
        learned = self.problem.learned([e.answer for e in examples], [e.where for e in examples])
        kinds = {example.request.text_pair is not None for example in examples}
        if self.settings.pairs is None and len(kinds) == 1:
            learned["pairs"] = kinds.pop()
        return type(self)(self.settings.model_copy(update=learned))

    def check(self, examples: Sequence[Example[TextRequest]]) -> None:
        """Numbers may be any, and all the same."""
        if self.settings.problem_type != "regression":
            super().check(examples)

    def encode(
        self, item: Example[TextRequest] | TextRequest, tokenizer: Tokenizer, rng: np.random.Generator
    ) -> list[Window]:
        """Every window of a long text is an example of its label."""
        request = item.request if isinstance(item, Example) else item
        texts = [request.text] if request.text_pair is None else [request.text, request.text_pair]
        targets = {"label": self.problem.target(item.answer, item.where)} if isinstance(item, Example) else {}
        where = item.where if isinstance(item, Example) else "text"
        return rows_of(cut_windows(tokenizer, pieces_of(tokenizer, texts), self.settings, where=where), targets)

    def collate(self, windows: Sequence[Window]) -> Batch:
        labels = [window.targets["label"] for window in windows if window.targets]
        if not labels:
            return Batch(pack(windows), {}, {"classification": 0})
        targets = torch.tensor(labels)
        weight = float(self.problem.text_weights(targets).sum())
        return Batch(pack(windows), {"labels": targets}, {"classification": weight})

    def build(self, config: EncoderConfig) -> SequenceNetwork:
        network = SequenceNetwork(config, self.problem.num_logits)
        nn.init.constant_(network.classifier.bias, self.problem.first_bias)
        return network

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        values = self.problem.loss(network(batch.packed).float(), batch.targets["labels"])
        return {"classification": values.sum()}

    def outputs(self, network: nn.Module, batch: Batch) -> list[Any]:
        return list(network(batch.packed).float().cpu())

    def decode(self, window: Window, outputs: Any, tokenizer: Tokenizer) -> list[float]:
        """The logits."""
        logits: list[float] = outputs.tolist()
        return logits

    def merge(self, request: TextRequest, parts: Sequence[Any], num_cut_tokens: int) -> LabelPrediction:
        return _prediction(self.problem.verdict(self._merged(parts)), num_cut_tokens, len(parts))

    def target(self, outputs: Any, choice: Any = None) -> Tensor:
        """The log-odds of a label, `choice`, by its index, or of the likeliest; of a regression the value."""
        values: Tensor = outputs
        if self.settings.problem_type == "regression":
            return values[0]
        index = int(values.argmax()) if choice is None else choice
        values = values / self.settings.temperature
        return values[index] if self.settings.problem_type == "multi_label" else log_odds(values, index)

    def explained(self, answered: Answered, choice: str | None = None) -> Target:
        """A label, in all windows, whose logits are merged as they are for a prediction."""
        numbers = range(len(answered.windows))
        if self.settings.problem_type == "regression":
            name, index = one_of(choice, ("value",), "number to explain") if choice is not None else "value", 0
        else:
            name = answered.prediction.label if choice is None else one_of(choice, self.settings.labels, "label")
            index = self.settings.labels.index(name)

        def value(outputs: Sequence[Tensor]) -> Tensor:
            rows = torch.stack(list(outputs))
            return self.target(rows.mean(0) if self.settings.window_merging == "mean" else rows.amax(0), index)

        unit: Unit = "score" if self.settings.problem_type == "regression" else "log-odds"
        return Target.over(answered, numbers, self.outputs, value, name=name, unit=unit)

    def marks(self, examples: Sequence[Example[TextRequest]], predictions: Sequence[LabelPrediction]) -> Marks:
        return self.problem.marks([e.answer for e in examples], [_verdict(p) for p in predictions])

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        return self.problem.metrics_of(marks)

    def credit(self, marks: Marks) -> Marks:
        return self.problem.credit(marks)

    def confidences(
        self, examples: Sequence[Example[TextRequest]], predictions: Sequence[LabelPrediction]
    ) -> tuple[Marks, Marks]:
        return self.problem.confidences([e.answer for e in examples], [_verdict(p) for p in predictions])

    def confusion(
        self, examples: Sequence[Example[TextRequest]], predictions: Sequence[LabelPrediction]
    ) -> tuple[list[Labels], list[Labels]]:
        match self.settings.problem_type:
            case "single_label":
                return [(e.answer,) for e in examples], [(str(p.label),) for p in predictions]
            case "multi_label":
                return [e.answer for e in examples], [p.labels for p in predictions]
        return [], []

    def decided(self, prediction: LabelPrediction) -> Decided:
        match self.settings.problem_type:
            case "single_label":
                return Decided((str(prediction.label),), prediction.score)
            case "multi_label":
                scores = prediction.scores.values()
                return Decided(prediction.labels, min((max(p, 1 - p) for p in scores), default=None))
        return Decided()

    def tuned(self, examples: Sequence[Example[TextRequest]], parts: Sequence[Sequence[Any]]) -> Self:
        logits = np.array([self._merged(part) for part in parts])
        update = self.problem.tuned([example.answer for example in examples], logits)
        return type(self)(self.settings.model_copy(update=update))

    def baselines(
        self, train: Sequence[Example[TextRequest]], test: Sequence[Example[TextRequest]]
    ) -> dict[str, Sequence[LabelPrediction]]:
        known, asked = ([tuple(self.texts(e.request)) for e in side] for side in (train, test))
        if len({len(texts) for texts in (*known, *asked)}) > 1:
            raise DataError("baselines need one text in every row, or two in every row")
        found = self.problem.baselines(known, [example.answer for example in train], asked)
        return {name: [_prediction(verdict, 0, 1) for verdict in verdicts] for name, verdicts in found.items()}

    def _merged(self, parts: Sequence[Any]) -> Marks:
        rows = np.array(parts, dtype=float)
        merged: Marks = rows.mean(axis=0) if self.settings.window_merging == "mean" else rows.max(axis=0)
        return merged


def _prediction(verdict: Verdict, num_cut_tokens: int, num_windows: int) -> LabelPrediction:
    return LabelPrediction(verdict.label, verdict.score, verdict.scores, verdict.labels, num_cut_tokens, num_windows)


def _verdict(prediction: LabelPrediction) -> Verdict:
    return Verdict(prediction.label, prediction.score, prediction.scores, prediction.labels)
