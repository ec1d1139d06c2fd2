"""A classifier of texts with scikit-learn's face: for pipelines, grid search and cross-validation, without files.

Stands on the one trainer and the one predictor; what it does is what `finetune` does for the task classification.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from bertsmith.artifact import Artifact, save_artifact
from bertsmith.data.split import split_rows
from bertsmith.errors import DataError, SettingsError
from bertsmith.inference.predictor import Predictor
from bertsmith.model.lora import LoraTarget, merged
from bertsmith.model.networks import Network
from bertsmith.recipes.start import (
    NEW_TRAINING,
    NewModelSettings,
    Start,
    adapted,
    refuse_long,
    refuse_to_adapt_new,
    start_from,
    start_new,
)
from bertsmith.runtime.device import Precision
from bertsmith.tasks import Example
from bertsmith.tasks.classification import Classification, LabelPrediction, TextRequest
from bertsmith.text.windows import LongTextPolicy
from bertsmith.training.adaptation import AdaptationSettings, rate_factors, trained_weights
from bertsmith.training.judge import Hooks, Metrics
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train

Examples = list[Example[TextRequest]]
NAME = "BertClassifier"
"""What errors in its parameters begin with."""


class BertClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """One label for a text or a pair of texts.

    model: folder or hub name of a pre-trained model; None: small, new weights. learning_rate, epochs: None for those of
    `finetune`. max_steps: optimizer steps, instead of the epochs. max_length: in tokens; longer texts are read in
    windows with `stride` tokens in common, or treated as `truncation` says (head, tail, head_tail, error).
    class_weight: of each label in the loss, by label; "balanced": the inverse of its frequency. train: what changes
    beside the head: all, top_layers (with num_top_layers), nothing (head) or adapters (lora), merged after training.
    seed: of new weights, order, dropout and the validation split; the same gives the same classifier.

    Fitted: classes_ (as the labels were given, sorted), predictor_ (a `Predictor`), training_ (what happened),
    truncation_ (what did not fit into max_length, each text once), notes_ (what to know of it). `fit` and `predict`
    warn where texts were cut. `save` keeps a fitted classifier; a pickle of one runs whatever is in it when it is read.

    >>> BertClassifier("models/minilm").fit(texts, labels).predict(["A delight."])  # doctest: +SKIP
    array(['positive'], dtype='<U8')
    """

    # Else scikit-learn would take these for metadata, as they are not called X and y.
    __metadata_request__fit: ClassVar = {"texts": UNUSED, "labels": UNUSED}
    __metadata_request__predict: ClassVar = {"texts": UNUSED}
    __metadata_request__predict_proba: ClassVar = {"texts": UNUSED}

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        learning_rate: float | None = None,
        epochs: float | None = None,
        max_steps: int | None = None,
        batch_size: int = 32,
        max_length: int = 512,
        truncation: LongTextPolicy = "windows",
        stride: int = 128,
        class_weight: Mapping[Any, float] | str | None = None,
        train: str = "all",
        num_top_layers: int | None = None,
        layer_learning_rate_decay: float = 1.0,
        lora_rank: int = 8,
        lora_alpha: float = 8.0,
        lora_dropout: float = 0.0,
        lora_targets: tuple[LoraTarget, ...] = ("query", "value"),
        seed: int = 0,
        device: str = "auto",
        precision: Precision = "auto",
    ):
        self.model = model
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.max_length = max_length
        self.truncation = truncation
        self.stride = stride
        self.class_weight = class_weight
        self.train = train
        self.num_top_layers = num_top_layers
        self.layer_learning_rate_decay = layer_learning_rate_decay
        self.lora_rank = lora_rank
        self.lora_alpha = lora_alpha
        self.lora_dropout = lora_dropout
        self.lora_targets = lora_targets
        self.seed = seed
        self.device = device
        self.precision = precision

    def fit(self, texts: Any, labels: Any, validation_split: float = 0.1) -> Self:
        """Train on texts, a list, array or series of strings, or of two columns of them, with a label for each.

        validation_split: share of the texts, of each class its part, that chooses the best epoch and the temperature of
        the probabilities; 0: none, the last weights are taken.
        """
        requests = _requests(texts)
        check_consistent_length(requests, labels)
        self.classes_, indices = _classes(labels)
        names = _names(self.classes_)
        examples = [
            Example(request, names[index], f"text {place}")
            for place, (request, index) in enumerate(zip(requests, indices.tolist(), strict=True), start=1)
        ]
        task = self._task(names, indices)
        adaptation = AdaptationSettings.of(
            {name: getattr(self, name) for name in AdaptationSettings.model_fields}, NAME
        )
        training = self._training()
        torch.manual_seed(training.seed)
        known, held_out, notes = self._split(examples, validation_split)
        start, training = self._start(task.fitted(examples), known, training, adaptation)
        refuse_long(start, examples)
        changed = () if adaptation.train == "all" else (trained_weights(start.network),)
        self.notes_ = (*notes, *start.notes, *changed)
        self._train(start, known, held_out, training, adaptation)
        self.truncation_ = self.training_.truncation
        if self.truncation_.num_cut_tokens:
            warnings.warn(f"cut in training, to fit into max_length: {self.truncation_}", stacklevel=2)
        return self

    def predict(self, texts: Any) -> NDArray[Any]:
        """[n]: the likeliest label of each text."""
        best = self.predict_proba(texts).argmax(1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def predict_proba(self, texts: Any) -> NDArray[np.float64]:
        """[n, labels]: probabilities in the order of `classes_`."""
        check_is_fitted(self)
        found = self.predictor_.run(_requests(texts))
        predictions: list[LabelPrediction] = found.predictions
        if found.num_cut_requests:
            told = f"{found.num_cut_requests:,} of {len(predictions):,} texts were cut to the model's max_length"
            warnings.warn(told, stacklevel=2)
        rows = [list(prediction.scores.values()) for prediction in predictions]
        return np.array(rows, dtype=np.float64).reshape(-1, len(self.classes_))

    def save(self, folder: str | Path) -> None:
        """Write what was fitted as a folder that `bertsmith.load`, the command line and other tools read."""
        check_is_fitted(self)
        fitted = self.predictor_
        assert isinstance(fitted.network, Network)
        save_artifact(Path(folder), Artifact(fitted.task, fitted.network, fitted.tokenizer))

    def _task(self, names: Sequence[str], indices: NDArray[np.intp]) -> Classification:
        """With the weights that `class_weight` stands for, in scikit-learn's sense."""
        weights = compute_class_weight(self.class_weight, classes=self.classes_, y=self.classes_[indices])
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise SettingsError(f"class_weight: expected numbers from 0 on, found {self.class_weight!r}")
        values = {"labels": names, "max_length": self.max_length, "truncation": self.truncation, "stride": self.stride}
        if self.class_weight is not None:
            values["class_weights"] = dict(zip(names, weights.tolist(), strict=True))
        return Classification.from_dict(values, NAME)

    def _training(self) -> TrainingSettings:
        return TrainingSettings.of(
            {
                "learning_rate": self.learning_rate,
                "num_train_epochs": self.epochs,
                "max_steps": self.max_steps,
                "per_device_train_batch_size": self.batch_size,
                "seed": self.seed,
                "device": self.device,
                "precision": self.precision,
            },
            NAME,
        )

    def _split(self, examples: Examples, validation_split: float) -> tuple[Examples, Examples, tuple[str, ...]]:
        if not 0 <= validation_split < 1:
            raise SettingsError(f"validation_split is a share, from 0 to below 1, not {validation_split!r}")
        if validation_split == 0:
            return examples, [], ()
        texts = [Classification().split_key(example.request) for example in examples]
        try:
            split = split_rows(texts, [example.answer for example in examples], validation_split, self.seed)
        except DataError as error:
            raise DataError(f"{error}, or validation_split=0 to go without") from None
        sides = ([examples[row] for row in side.tolist()] for side in (split.train, split.validation))
        return *sides, tuple(split.warnings())  # type: ignore[return-value]

    def _start(
        self, task: Classification, examples: Examples, training: TrainingSettings, adaptation: AdaptationSettings
    ) -> tuple[Start, TrainingSettings]:
        if self.model is not None:
            start = start_from(task, str(self.model), {})
            return start, adapted(start, adaptation, training)
        refuse_to_adapt_new(adaptation)
        texts = [text for example in examples for text in task.texts(example.request)]
        unsaid = {name: value for name, value in NEW_TRAINING.items() if getattr(training, name) is None}
        return start_new(task, texts, NewModelSettings(), {}), training.model_copy(update=unsaid)

    def _train(
        self,
        start: Start,
        known: Examples,
        held_out: Examples,
        training: TrainingSettings,
        adaptation: AdaptationSettings,
    ) -> None:
        """Leaves the best weights in `predictor_`, adapters merged, the temperature fitted."""
        predictor = Predictor(start.task, start.network, start.tokenizer, training.precision)
        best: dict[str, torch.Tensor] = {}

        def evaluate() -> Metrics:
            return start.task.score(held_out, predictor.run(held_out).predictions)

        def keep(step: int, metrics: Metrics) -> None:
            best.update({name: value.detach().clone() for name, value in start.network.state_dict().items()})

        hooks = Hooks(evaluate, keep) if held_out else Hooks()
        factors = rate_factors(start.network, adaptation)
        self.training_ = train(
            start.task, start.network, start.tokenizer, known, training, rate_factors=factors, hooks=hooks
        )
        if held_out:
            start.network.load_state_dict(best)
        if adaptation.train == "lora":
            predictor = replace(predictor, network=merged(start.network))
        if held_out:
            parts = predictor.run(held_out, keep_parts=True).parts
            predictor = replace(predictor, task=start.task.tuned(held_out, parts))
        self.predictor_ = predictor

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        return tags


def _requests(texts: Any) -> list[TextRequest]:
    """One request a row: a text, or a row of one text or two."""
    if isinstance(texts, str):
        raise DataError("expected a list of texts, found a single one; put it into a list")
    values = texts.to_numpy() if hasattr(texts, "to_numpy") else texts
    requests = []
    for place, row in enumerate(values.tolist() if isinstance(values, np.ndarray) else values, start=1):
        parts = [row] if isinstance(row, str) else row
        if (
            not isinstance(parts, list | tuple)
            or len(parts) not in (1, 2)
            or not all(isinstance(p, str) for p in parts)
        ):
            raise DataError(f"text {place}: expected a string, or two, found {row!r:.60}")
        requests.append(TextRequest(*parts))
    return requests


def _classes(labels: Any) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """The different labels, sorted, and the place of each text's among them."""
    for place, label in enumerate(labels, start=1):  # an array of strings would make a name of a NaN
        if label is None or label != label:
            raise DataError(f"text {place}: no label")
    values = column_or_1d(labels)
    check_classification_targets(values)
    classes, indices = np.unique(values, return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"a classifier needs two labels or more, found {classes.tolist()}")
    return classes, indices


def _names(classes: NDArray[Any]) -> list[str]:
    """What a saved model calls the labels."""
    names = [str(label) for label in classes.tolist()]
    return names if all(names) and len(set(names)) == len(names) else [f"class {place}" for place in range(len(names))]
