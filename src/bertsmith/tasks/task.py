"""The contract that training, evaluation, prediction, explanation and serving know instead of any task.

A task is an immutable object: its settings, with what training data taught it (label names, say). It owns what is
particular to one kind of problem; how networks are trained, batched or saved is none of its business.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from bertsmith.data.batch import Batch, Window
from bertsmith.data.lines import Reading
from bertsmith.data.readers import Row
from bertsmith.errors import DataError, nearest
from bertsmith.model.config import EncoderConfig
from bertsmith.model.networks import Network
from bertsmith.settings import Settings
from bertsmith.tasks.target import Answered, Target, place_of
from bertsmith.text.noise import TextChange
from bertsmith.text.tokenizer import Tokenizer

RequestT = TypeVar("RequestT")
PredictionT = TypeVar("PredictionT")

RowReader: TypeAlias = Callable[[Path, Reading], Iterator[Row]]
Writer: TypeAlias = Callable[[Sequence[Any], Sequence[Any]], Any]
Coupling: TypeAlias = Literal["window", "example", "step"]
Changeable: TypeAlias = Literal["freely", "in place", "never"]
Marks: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = tuple[str, ...]
NO_NUMBERS = np.empty(0)
ID = "id"
"""The field of a request that tells it from others and is no text."""
IN_TABLES = "in_tables"
"""In the metadata of a prediction's field: whether tables for people show it; unsaid: where it fits into a cell."""
LENGTHS = ("max_length", "max_target_length")
"""Settings that a model's positions are a limit to, of tasks that have them."""
CORRELATIONS = frozenset({"matthews_correlation", "pearson", "spearmanr"})
"""Metrics that may be below zero."""


@lru_cache
def _checker(request_type: type) -> TypeAdapter[Any]:
    return TypeAdapter(request_type)


@dataclass(frozen=True, slots=True)
class Example(Generic[RequestT]):
    """A request with its known answer: a row of training or evaluation.

    where: names the row in errors. groups: further columns of the row, by which results can be told apart. num_rows:
    how many rows of its file it was put together from.
    """

    request: RequestT
    answer: Any
    where: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    num_rows: int = 1


@dataclass(frozen=True, slots=True)
class FoundColumns:
    """Which column of a file fills which field of a request or its answer; reason: why these, for people."""

    by_field: Mapping[str, str]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Samples that a task keeps in a folder, not in a table; fingerprint: what models trained on them remember."""

    samples: Sequence[Any]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Adopted:
    """A model from elsewhere as a task's: `place` holds its config, weights and tokenizer; note: what is supposed."""

    task: Any
    place: Path
    tokenizer: Tokenizer
    note: str


@dataclass(frozen=True, slots=True)
class Decided:
    """What one prediction decided, whatever is right. labels: of its decisions, where they have names.

    confidence: the probability of its least sure decision; None for a task without probabilities.
    """

    labels: Labels = ()
    confidence: float | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether the task decides nothing: a number or a vector; no label of several that may be is a decision."""
        return not self.labels and self.confidence is None


class Task(ABC, Generic[RequestT, PredictionT]):
    """One kind of problem. Subclasses name the four types, and set the columns that hold an example's answer.

    Request, Prediction: frozen dataclasses; a request's fields are also the columns of a file and the body of a web
    request. metrics: what `score` gives, 1 where higher is better, -1 where lower is; training chooses the best
    checkpoint by the first unless told otherwise. answer_optional: whether examples may go without. readers: file
    formats beyond tables, by suffix. writers: formats in which the field exchanges predictions, by name: requests and
    predictions to one JSON document. spare_fields: what a file may lack though that of training had it. coupling: what
    must stay in one batch for the loss to be right: a window stands alone, an example's windows belong together (a
    softmax over choices), or a whole step's do (in-batch negatives: see `CoupledTask`). writes_text: whether answers
    are texts that are written piece by piece, so that a new vocabulary is to have their pieces, and their case.
    changeable: which small changes of its texts leave the answer as it is: any, those that keep places, or none.
    unchanged_fields: of a request, which such changes leave as they are: what names something, and is no text.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Settings]]
    Request: ClassVar[type]
    Prediction: ClassVar[type]
    answer_field: ClassVar[str] = "label"
    answer_optional: ClassVar[bool] = False
    readers: ClassVar[Mapping[str, RowReader]] = {}
    writers: ClassVar[Mapping[str, Writer]] = {}
    spare_fields: ClassVar[frozenset[str]] = frozenset()
    coupling: ClassVar[Coupling] = "window"
    writes_text: ClassVar[bool] = False
    changeable: ClassVar[Changeable] = "freely"
    unchanged_fields: ClassVar[frozenset[str]] = frozenset({ID})

    @property
    @abstractmethod
    def metrics(self) -> Mapping[str, int]: ...

    def __init__(self, settings: Any = None):
        self.settings = self.Settings() if settings is None else settings

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.settings == self.settings

    def __hash__(self) -> int:
        return hash((self.name, self.settings.model_dump_json()))

    # Reading

    def request(self, record: Mapping[str, Any] | tuple[Any, ...] | str, where: str = "request") -> RequestT:
        """A request from a record of its fields; a text or a tuple fills the first ones. Errors name `where`."""
        names = [field.name for field in fields(self.Request)]
        if isinstance(record, str | tuple):
            record = by_place((record,) if isinstance(record, str) else record, names, where)
        if not isinstance(record, Mapping):
            raise DataError(f"{where}: expected a text or a record of {', '.join(names)}, found {record!r:.80}")
        for name in record:
            if name not in names:
                raise DataError(f"{where}: no field {name!r}; {nearest(str(name), names)}")
        try:
            request: RequestT = _checker(self.Request).validate_python(dict(record))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in problem["loc"])
            if problem["type"] == "missing" or problem["input"] is None:
                options = ", ".join(f"--{name.replace('_', '-')}" for name in names)
                ways = f"{', '.join(names)}: in a record, in the columns of a file, or by {options}"
                raise DataError(f"{where}: no value in {field!r}; {self.name} is asked with {ways}") from None
            raise DataError(f"{where}: field {field!r}: {problem['msg']} (given: {problem['input']!r:.80})") from None
        return request

    def example(self, record: Mapping[str, Any], where: str) -> Example[RequestT]:
        """An example from a record that holds the request's fields and the answer's."""
        names = {field.name for field in fields(self.Request)}
        request = self.request({name: value for name, value in record.items() if name in names}, where)
        if record.get(self.answer_field) is None:
            raise DataError(f"{where}: no value in {self.answer_field!r}")
        return Example(request, self.answer(record[self.answer_field], where), where)

    def answer(self, value: Any, where: str) -> Any:
        """The known answer as this task keeps it; text by default."""
        return str(value)

    def find_columns(self, rows: Sequence[Row], given: Mapping[str, str], *, labelled: bool = True) -> FoundColumns:
        """Which columns fill the fields that are not `given`; by default those of the same name, where there are any.

        labelled: whether the answer is looked for too.
        """
        names = [*(field.name for field in fields(self.Request)), *([self.answer_field] if labelled else [])]
        found = {name: name for name in names if any(name in row.values for row in rows)}
        return FoundColumns(found, ", ".join(f"{name}: column {name!r}" for name in found))

    def gathered(self, examples: Sequence[Example[RequestT]]) -> list[Example[RequestT]]:
        """The examples of a file's rows; for tasks whose examples are spread over several rows, put together."""
        return list(examples)

    def prepared(self, folder: Path, tokenizer: Tokenizer) -> Prepared | None:
        """The samples in a folder, for tasks whose rows are no table; None for all others."""
        return None

    def texts(self, request: RequestT) -> list[str]:
        """Every text in a request, for vocabularies and for telling whether two requests are the same."""
        return [text for name in fields(self.Request) for text in _strings(getattr(request, name.name))]

    def split_key(self, request: RequestT) -> str:
        """Requests with equal keys stay on one side of a split, and are not to be in both training and testing."""
        return "\0".join(self.texts(request))

    def notices(self, examples: Sequence[Example[RequestT]]) -> list[str]:
        """What people should know of the examples: what was mended or cannot be used, with numbers."""
        return []

    def piece_notices(self, examples: Sequence[Example[RequestT]], tokenizer: Tokenizer) -> list[str]:
        """As `notices`: what shows once a tokenizer has cut the examples into pieces."""
        return []

    def fitted(self, examples: Sequence[Example[RequestT]]) -> Self:
        """This task with what training data teaches it before any network exists, such as its label names."""
        return self

    def check(self, examples: Sequence[Example[RequestT]]) -> None:
        """Refuses held-out examples with answers that this task, fitted to others, does not know; all at once."""
        self.fitted(examples)

    def within(self, num_positions: int) -> Self:
        """This task with its lengths cut to what a model has positions for.

        Raises `SettingsError` where its other settings need more.
        """
        cut = {name: num_positions for name in LENGTHS if getattr(self.settings, name, 0) > num_positions}
        return type(self)(self.Settings.of(self.settings.said() | cut, "task"))

    # Changing

    def takes(self, change: TextChange) -> bool:
        """Whether the answer is still right where the texts are changed so."""
        return self.changeable == "freely" or (self.changeable == "in place" and change.keeps_places)

    def changed(self, example: Example[RequestT], change: TextChange, rng: np.random.Generator) -> Example[RequestT]:
        """The example with the texts of its request changed; for changes that the task `takes`."""
        assert self.takes(change), f"{self.name} does not take {change.name}"
        request: Any = example.request
        names = [name.name for name in fields(self.Request) if name.name not in self.unchanged_fields]
        values = {name: _changed(getattr(request, name), change, rng) for name in names}
        return replace(example, request=replace(request, **values))

    # Training

    def training_examples(self, examples: Sequence[Example[RequestT]]) -> Sequence[Example[RequestT]]:
        """The examples in the shape that training learns from, if that is another than they are asked in."""
        return examples

    @abstractmethod
    def encode(
        self, item: Example[RequestT] | RequestT, tokenizer: Tokenizer, rng: np.random.Generator
    ) -> list[Window]:
        """Windows of ids, with targets where `item` is an example. `rng` belongs to this item in this epoch alone."""

    @abstractmethod
    def collate(self, windows: Sequence[Window]) -> Batch:
        """Pack windows into a batch, with the counts that its losses are divided by."""

    @abstractmethod
    def build(self, config: EncoderConfig) -> Network:
        """A fresh network of `model/networks.py` for this task."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Named sums over the batch; the trainer divides each by its count over the whole step."""

    # Prediction

    @abstractmethod
    def outputs(self, network: nn.Module, batch: Batch) -> list[Any]:
        """What the network says of each window, in order: one forward pass, or a generation loop.

        What is small comes from a GPU at once, before it is cut into windows: each transfer waits for all work before.
        """

    @abstractmethod
    def decode(self, window: Window, outputs: Any, tokenizer: Tokenizer) -> Any:
        """A window's outputs reduced to what `merge` needs, small enough to be kept for a whole data set."""

    @abstractmethod
    def merge(self, request: RequestT, parts: Sequence[Any], num_cut_tokens: int) -> PredictionT:
        """The prediction for a request from its windows' parts, in order."""

    # Explanation

    def target(self, outputs: Any, choice: Any = None) -> Tensor:
        """The scalar that an explanation explains, of one window's outputs; by default the largest output."""
        values: Tensor = outputs
        return values.max() if choice is None else values[choice]

    def explained(self, answered: Answered, choice: str | None = None) -> Target:
        """What an explanation explains: what was predicted, or `choice`, in words that people write.

        By default an output of the first window, by its number. Raises `SettingsError` for a choice that there is not.
        """
        scores = answered.outputs[0]
        place = int(scores.argmax()) if choice is None else place_of(choice, range(scores.numel()), "output")
        return Target.over(
            answered, (0,), self.outputs, lambda outputs: self.target(outputs[0], place), name=f"output {place}"
        )

    # Judging

    @abstractmethod
    def marks(self, examples: Sequence[Example[RequestT]], predictions: Sequence[PredictionT]) -> Marks:
        """[n, k]: what each example contributes to the metrics, a row of numbers each."""

    @abstractmethod
    def metrics_of(self, marks: Marks) -> dict[str, float]:
        """Metrics under the field's names, of any selection of rows: all, a slice, or a draw of the bootstrap."""

    def score(self, examples: Sequence[Example[RequestT]], predictions: Sequence[PredictionT]) -> dict[str, float]:
        """The metrics of all examples."""
        return self.metrics_of(self.marks(examples, predictions))

    def metric_bounds(self, name: str) -> tuple[float, float]:
        """The least and the greatest value of a metric: of shares 0 and 1, of errors 0 and infinity."""
        if self.metrics.get(name, 1) < 0:
            return 0.0, math.inf
        return (-1.0 if name in CORRELATIONS else 0.0), 1.0

    def credit(self, marks: Marks) -> NDArray[np.float64]:
        """[n]: how right each example is, from 0 to 1; by default its first mark."""
        return marks[:, 0]

    def confidences(
        self, examples: Sequence[Example[RequestT]], predictions: Sequence[PredictionT]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of each decision its probability, and 1 where it was right, else 0; empty without probabilities."""
        return NO_NUMBERS, NO_NUMBERS

    def confusion(
        self, examples: Sequence[Example[RequestT]], predictions: Sequence[PredictionT]
    ) -> tuple[list[Labels], list[Labels]]:
        """The known and the given labels of each decision: one each, or any number; empty for a task without labels."""
        return [], []

    def decided(self, prediction: PredictionT) -> Decided:
        """What a prediction decided and how sure it is: all that can be said of requests without known answers."""
        return Decided()

    def agrees(self, first: PredictionT, second: PredictionT, *, in_place: bool = False) -> bool:
        """Whether two predictions decided the same, by their labels. in_place: places in both texts are the same."""
        return self.decided(first).labels == self.decided(second).labels

    def tuned(self, examples: Sequence[Example[RequestT]], parts: Sequence[Sequence[Any]]) -> Self:
        """This task with its temperature and thresholds fitted to held-out examples.

        parts: of each example what `decode` gave for its windows, untouched by the present temperature and thresholds,
        which `merge` applies.
        """
        return self

    @property
    def temperature(self) -> float | None:
        """What scores are divided by before they become probabilities; None for a task that has none."""
        return getattr(self.settings, "temperature", None)

    def tempered(self, temperature: float) -> Self:
        """This task with another temperature."""
        return type(self)(self.settings.model_copy(update={"temperature": temperature}))

    def baselines(
        self, train: Sequence[Example[RequestT]], test: Sequence[Example[RequestT]]
    ) -> dict[str, Sequence[PredictionT]]:
        """Simple answers that a network has to beat, by name: a prediction for every example of `test`."""
        return {}

    # Keeping

    def to_dict(self) -> dict[str, Any]:
        """JSON that `TASKS[name].from_dict` turns back into an equal task."""
        return {"name": self.name, **self.settings.model_dump(mode="json")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Self:
        return cls(cls.Settings.of({key: value for key, value in values.items() if key != "name"}, where))

    @classmethod
    def adopted(cls, folder: Path) -> Adopted | None:
        """The model in a folder that bertsmith did not write, where this task can use it as it is."""
        return None

    def labels(self) -> tuple[str, ...] | None:
        """Label names in the order of the logits, for tasks that have them."""
        return None

    def config_fields(self) -> dict[str, Any]:
        """What a saved model's `config.json` says of the task, in the Hugging Face layout."""
        labels = self.labels()
        if labels is None:
            return {}
        return {
            "id2label": {str(index): label for index, label in enumerate(labels)},
            "label2id": {label: index for index, label in enumerate(labels)},
        }

    def companions(self, network: nn.Module) -> dict[str, Any]:
        """Further JSON files of a saved model, by their path in its folder, for other libraries to read it by."""
        return {}


class CoupledTask(Task[RequestT, PredictionT]):
    """A task whose loss compares the rows of a whole step: in-batch negatives.

    The loss is split in two, so that a step of any size fits into memory: the trainer computes the representations in
    pieces, the loss and its gradient on all of them, and the pieces once more with that gradient (Gao et al. 2021).
    """

    coupling: ClassVar[Coupling] = "step"

    @abstractmethod
    def represent(self, network: nn.Module, batch: Batch) -> Tensor:
        """[windows, width]: a row for each window of the batch, in order."""

    @abstractmethod
    def couple(self, representations: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Named sums over a step; `batch` is collated from all windows of the step, in the order of the rows."""

    def loss(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return self.couple(self.represent(network, batch), batch)


def by_place(values: Sequence[Any], names: Sequence[str], where: str) -> dict[str, Any]:
    """A record of the first fields from values in their order; more values than fields are refused."""
    if len(values) > len(names):
        raise DataError(f"{where}: {len(values)} values for {len(names)} fields: {', '.join(names)}")
    return dict(zip(names, values, strict=False))


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for part in value for text in _strings(part)] if isinstance(value, list | tuple) else []


def _changed(value: Any, change: TextChange, rng: np.random.Generator) -> Any:
    if isinstance(value, str):
        return change.apply(value, rng)
    return tuple(_changed(part, change, rng) for part in value) if isinstance(value, list | tuple) else value
