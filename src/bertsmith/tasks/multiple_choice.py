"""Questions with several choices, one of them right: each is scored beside the question, and the scores are compared.

Where there is a context, it is read with the question and a choice, in windows if it is long (Zellers et al. 2018).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from bertsmith.baselines import majority, tfidf_cosine
from bertsmith.calibration import fit_temperature
from bertsmith.data.batch import Batch, Window, pack
from bertsmith.data.choices import LABEL_NAMES, WAYS, choice_columns, read_choices
from bertsmith.data.columns import plain_name
from bertsmith.data.readers import Row
from bertsmith.errors import DataError, nearest
from bertsmith.model.config import EncoderConfig
from bertsmith.model.networks import ChoiceNetwork
from bertsmith.tasks.foreign_model import adopt
from bertsmith.tasks.target import Answered, Target, log_odds, place_of
from bertsmith.tasks.task import Adopted, Coupling, Decided, Example, FoundColumns, Labels, Marks, RowReader, Task
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.windows import WindowSettings, cut_windows, pieces_of


class MultipleChoiceSettings(WindowSettings):
    temperature: float = Field(1.0, gt=0, description="what scores are divided by; fitted to held-out data")


@dataclass(frozen=True, slots=True)
class ChoiceRequest:
    """A question with at least two choices. context: what to know for it, or what the choices go on from."""

    question: str
    choices: tuple[str, ...]
    context: str | None = None


@dataclass(frozen=True, slots=True)
class ChoicePrediction:
    """label: index of the likeliest choice, from 0. score: its probability. scores: of each choice, in their order.

    num_windows: windows that a choice was read in, the most of them. num_cut_tokens: tokens that were not read.
    """

    label: int
    choice: str
    score: float
    scores: tuple[float, ...]
    num_windows: int = 1
    num_cut_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChoiceWindow(Window):
    """choice: which one it holds. opens: whether it is the first of all windows of its question."""

    choice: int
    opens: bool


@dataclass(frozen=True, slots=True)
class ChoicePart:
    """The logit of a choice in one window."""

    choice: int
    logit: float


class MultipleChoice(Task[ChoiceRequest, ChoicePrediction]):
    """A softmax over the choices of a question; of a choice's windows the best one counts."""

    name = "multiple_choice"
    Settings = MultipleChoiceSettings
    Request = ChoiceRequest
    Prediction = ChoicePrediction
    coupling: ClassVar[Coupling] = "example"
    spare_fields: ClassVar = frozenset({"context"})
    readers: ClassVar[Mapping[str, RowReader]] = dict.fromkeys(
        (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet"), read_choices
    )
    metrics: ClassVar = {"accuracy": 1}
    settings: MultipleChoiceSettings

    @classmethod
    def adopted(cls, folder: Path) -> Adopted | None:
        """Another library's model of choices."""
        return adopt(folder, "BertForMultipleChoice", lambda values: cls())

    def find_columns(self, rows: Sequence[Row], given: Mapping[str, str], *, labelled: bool = True) -> FoundColumns:
        """Those of the fields' names; the right choice also under other usual ones, where one alone is there."""
        found = dict(Task.find_columns(self, rows, given, labelled=labelled).by_field)
        known = list(dict.fromkeys(name for row in rows for name in row.values))
        others = [name for name in known if plain_name(name) in LABEL_NAMES and name not in found.values()]
        if labelled and self.answer_field not in found and len(others) == 1:
            found[self.answer_field] = others[0]
        if "choices" not in found and "choices" not in given:
            numbered = choice_columns(tuple(known), "1")
            hint = f"; {numbered[0]!r} begins at 1, but labels count from 0: use letters" if numbered else ""
            names = ", ".join(map(repr, known))
            raise DataError(f"{rows[0].path}: no choices among the columns {names}; expected {WAYS}{hint}")
        return FoundColumns(found, ", ".join(f"{name}: column {column!r}" for name, column in found.items()))

    def request(self, record: Mapping[str, Any] | tuple[Any, ...] | str, where: str = "request") -> ChoiceRequest:
        if isinstance(record, Mapping) and isinstance(record.get("choices"), str):
            record = {**record, "choices": _listed(record["choices"], where)}
        request = Task.request(self, record, where)
        if len(request.choices) < 2:
            raise DataError(f"{where}: expected two choices or more: found {list(request.choices)!r:.80}")
        return request

    def example(self, record: Mapping[str, Any], where: str) -> Example[ChoiceRequest]:
        """The answer is an index counted from 0, a choice's text, or its letter from A on, in this order."""
        example = Task.example(self, record, where)
        return Example(example.request, _index(example.answer, example.request.choices, where), where)

    def answer(self, value: Any, where: str) -> int | str:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and value.strip():
            text = value.strip()
            return int(text) if text.isdecimal() and len(text) < 10 else text  # a longer one is no index
        raise DataError(f"{where}: expected the right choice's index, letter or text in 'label': found {value!r:.60}")

    # Training

    def encode(
        self, item: Example[ChoiceRequest] | ChoiceRequest, tokenizer: Tokenizer, rng: np.random.Generator
    ) -> list[Window]:
        """The windows of all choices, choice by choice."""
        request, where = (item.request, item.where) if isinstance(item, Example) else (item, "request")
        first, *seconds = pieces_of(tokenizer, [_first(request), *_seconds(request)])
        targets = {"label": item.answer} if isinstance(item, Example) else {}
        return [
            ChoiceWindow(
                window.input_ids,
                window.token_type_ids,
                targets,
                window.num_cut_tokens,
                continues=place > 0,
                choice=choice,
                opens=choice == place == 0,
            )
            for choice, second in enumerate(seconds)
            for place, window in enumerate(cut_windows(tokenizer, [first, second], self.settings, slide=0, where=where))
        ]

    def collate(self, windows: Sequence[Window]) -> Batch:
        """A question's windows stand side by side: where one opens, the next question begins."""
        rows = [window for window in windows if isinstance(window, ChoiceWindow)]
        labels = [row.targets["label"] for row in rows if row.opens and row.targets]
        targets = {}
        if labels:
            targets = {
                "labels": torch.tensor(labels),
                "choices": torch.tensor([row.choice for row in rows]),
                "questions": torch.tensor([row.opens for row in rows]).long().cumsum(0) - 1,
            }
        return Batch(pack(windows), targets, {"choice": len(labels)})

    def build(self, config: EncoderConfig) -> ChoiceNetwork:
        return ChoiceNetwork(config)

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        scores = network(batch.packed).float()
        labels, choices = batch.targets["labels"], batch.targets["choices"]
        most = int(choices.max()) + 1
        cells = scores.new_full((len(labels) * most,), -torch.inf)
        best = cells.scatter_reduce(0, batch.targets["questions"] * most + choices, scores, "amax")
        return {"choice": F.cross_entropy(best.view(-1, most), labels, reduction="sum")}

    # Prediction

    def outputs(self, network: nn.Module, batch: Batch) -> list[Any]:
        return list(network(batch.packed).float().cpu())

    def decode(self, window: Window, outputs: Any, tokenizer: Tokenizer) -> ChoicePart:
        assert isinstance(window, ChoiceWindow)
        return ChoicePart(window.choice, float(outputs))

    def merge(self, request: ChoiceRequest, parts: Sequence[Any], num_cut_tokens: int) -> ChoicePrediction:
        logits = _best_logits(parts) / self.settings.temperature
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        label = int(scores.argmax())
        num_windows = int(np.bincount([part.choice for part in parts]).max())
        return ChoicePrediction(
            label, request.choices[label], float(scores[label]), tuple(scores.tolist()), num_windows, num_cut_tokens
        )

    def explained(self, answered: Answered, choice: str | None = None) -> Target:
        """A choice against the others, by its number from 0, its letter or its text; each in its best window."""
        request = answered.request
        index = answered.prediction.label
        if choice is not None:
            letters = [chr(ord("A") + place) for place in range(len(request.choices))]
            known = range(len(request.choices))
            index = place_of(choice, known, "choice", request.choices if choice in request.choices else letters)
        best: dict[int, int] = {}
        for number, window in enumerate(answered.windows):
            held = best.setdefault(window.choice, number)
            if answered.outputs[number] > answered.outputs[held]:
                best[window.choice] = number
        return Target.over(
            answered,
            [best[place] for place in sorted(best)],
            self.outputs,
            lambda outputs: log_odds(torch.stack(list(outputs)) / self.settings.temperature, index),
            name=request.choices[index],
            unit="log-odds",
        )

    # Judging

    def marks(self, examples: Sequence[Example[ChoiceRequest]], predictions: Sequence[ChoicePrediction]) -> Marks:
        """[n, 1]: 1 where the choice is right, else 0."""
        right = [float(p.label == e.answer) for e, p in zip(examples, predictions, strict=True)]
        return np.array(right).reshape(-1, 1)

    def metrics_of(self, marks: Marks) -> dict[str, float]:
        return {"accuracy": float(marks[:, 0].mean())}

    def confidences(
        self, examples: Sequence[Example[ChoiceRequest]], predictions: Sequence[ChoicePrediction]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.array([p.score for p in predictions]), self.marks(examples, predictions)[:, 0]

    def confusion(
        self, examples: Sequence[Example[ChoiceRequest]], predictions: Sequence[ChoicePrediction]
    ) -> tuple[list[Labels], list[Labels]]:
        """The places of the known and of the given choice, from 1: a model may prefer a place."""
        known: list[Labels] = [(f"choice {example.answer + 1}",) for example in examples]
        return known, [(f"choice {prediction.label + 1}",) for prediction in predictions]

    def decided(self, prediction: ChoicePrediction) -> Decided:
        return Decided((f"choice {prediction.label + 1}",), prediction.score)

    def tuned(self, examples: Sequence[Example[ChoiceRequest]], parts: Sequence[Sequence[Any]]) -> Self:
        """The temperature under which the known choices are likeliest."""
        rows = [_best_logits(row) for row in parts]
        table = np.full((len(rows), max(map(len, rows), default=0)), -np.inf)
        for place, row in enumerate(rows):
            table[place, : len(row)] = row
        temperature = fit_temperature(table, np.array([example.answer for example in examples]))
        return type(self)(self.settings.model_copy(update={"temperature": temperature}))

    def baselines(
        self, train: Sequence[Example[ChoiceRequest]], test: Sequence[Example[ChoiceRequest]]
    ) -> dict[str, Sequence[ChoicePrediction]]:
        """The place that is mostly right in training; the choice whose words are most like the question's."""
        (place,) = majority([str(example.answer) for example in train], 1)
        words = [text for example in train for text in self.texts(example.request)]
        pairs = [(" ".join(filter(None, (r.context, r.question))), c) for r in _requests(test) for c in r.choices]
        cosines = tfidf_cosine(words, [first for first, _ in pairs], [second for _, second in pairs])
        ends = np.cumsum([len(request.choices) for request in _requests(test)])
        likest = [int(row.argmax()) for row in np.split(cosines, ends[:-1])]
        return {
            "commonest place": [_certain(r, min(int(place), len(r.choices) - 1)) for r in _requests(test)],
            "TF-IDF cosine": [_certain(r, label) for r, label in zip(_requests(test), likest, strict=True)],
        }


def _listed(cell: str, where: str) -> list[Any]:
    """The choices in a cell of a table."""
    try:
        choices = json.loads(cell)
    except (ValueError, RecursionError):
        choices = None
    if not isinstance(choices, list):
        raise DataError(f"{where}: choices that are no list: {cell!r:.60}; expected {WAYS}")
    return choices


def _first(request: ChoiceRequest) -> str:
    return request.question if request.context is None else request.context


def _seconds(request: ChoiceRequest) -> list[str]:
    if request.context is None or not request.question:
        return list(request.choices)
    return [f"{request.question} {choice}" for choice in request.choices]


def _requests(examples: Sequence[Example[ChoiceRequest]]) -> list[ChoiceRequest]:
    return [example.request for example in examples]


def _best_logits(parts: Sequence[ChoicePart]) -> NDArray[np.float64]:
    """[choices]: of each choice the logit of its best window."""
    logits = np.full(max(part.choice for part in parts) + 1, -np.inf)
    for part in parts:
        logits[part.choice] = max(logits[part.choice], part.logit)
    return logits


def _certain(request: ChoiceRequest, label: int) -> ChoicePrediction:
    scores = tuple(float(place == label) for place in range(len(request.choices)))
    return ChoicePrediction(label, request.choices[label], 1.0, scores)


def _index(answer: int | str, choices: Sequence[str], where: str) -> int:
    if isinstance(answer, int):
        if answer in range(len(choices)):
            return answer
        raise DataError(f"{where}: a label that is no choice: {answer} of {len(choices)}, which count from 0")
    if answer in choices:
        return choices.index(answer)
    place = ord(answer.upper()) - ord("A") if len(answer) == 1 else -1
    if place in range(len(choices)):
        return place
    raise DataError(f"{where}: a label that is no choice: {answer!r:.60}; {nearest(answer, choices)}")
