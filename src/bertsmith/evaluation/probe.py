"""What each layer of an encoder knows: a linear probe on its frozen states, beside a control that only memory solves.

A probe is a logistic regression on standardized states (Alain and Bengio 2017; Tenney et al. 2019). Its control learns
labels that were drawn at random for each word (Hewitt and Liang 2019): what it gets right, the probe could have learned
by heart; selectivity is the difference. Shapes: n decisions, H hidden size, L labels.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertsmith.errors import DataError
from bertsmith.evaluation.intervals import Interval, Marked, bootstrap, mean_interval
from bertsmith.evaluation.probe_states import States
from bertsmith.runtime.interruption import raise_if_asked
from bertsmith.runtime.progress import Progress
from bertsmith.tasks.task import Example, Task

MAX_ITERATIONS = 1000
NEVER = np.float32(-1e4)
"""The score of a label that no decision of training has."""


@dataclass(frozen=True, slots=True)
class LayerProbe:
    """metrics: the task's own, of the probe in place of a head. accuracy: of its decisions.

    control: accuracy of the probe for random labels. selectivity: accuracy minus control, on the same decisions.
    """

    name: str
    metrics: dict[str, Interval]
    accuracy: Interval
    control: Interval
    selectivity: Interval


@dataclass(frozen=True)
class Probing:
    """layers: the embeddings and every layer. majority: accuracy of always the commonest label of training.

    baselines: the main metric of the task's own simple answers. metric: the main one. warnings: of fits that did not
    end.
    """

    task: str
    metric: str
    layers: tuple[LayerProbe, ...]
    majority: Interval
    baselines: dict[str, Interval]
    num_train_examples: int
    num_train_decisions: int
    num_test_examples: int
    num_test_decisions: int
    num_labels: int
    warnings: tuple[str, ...]

    @property
    def shown(self) -> tuple[str, ...]:
        """The metrics for tables beside the accuracy; a tagger has one for each tag, which are not."""
        return tuple(
            name for name in (self.metric, "f1_macro") if name in self.layers[0].metrics and name != "accuracy"
        )

    @property
    def best(self) -> LayerProbe:
        """By the main metric."""
        return max(self.layers, key=lambda layer: layer.metrics[self.metric].value)


def probe(
    task: Task[Any, Any],
    train: tuple[Sequence[Example[Any]], States],
    test: tuple[Sequence[Example[Any]], States],
    *,
    penalty: float = 1.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Probing:
    """Fit a probe and its control to every layer's states of `train`, and judge them on those of `test`.

    penalty: of the squared weights, beside the sum of the decisions' losses. seed: of the control's labels. Intervals
    are by drawing examples again, with all of their decisions. Raises `DataError` where training has one label alone.
    """
    (train_examples, known), (test_examples, asked) = train, test
    labels = task.labels() or ()
    if len(np.unique(known.labels)) < 2:
        raise DataError(f"a probe needs two labels in training, found {[labels[i] for i in np.unique(known.labels)]}")
    controls = _control_labels(known, asked, len(labels), seed)
    groups = asked.examples.astype(str).tolist()
    unfinished = 0
    layers = []
    with (progress or Progress()).phase("fitting probes", total=len(known.layers), unit="layers") as phase:
        for place, (ours, theirs) in enumerate(zip(known.layers, asked.layers, strict=True)):
            raise_if_asked()
            scaled = _standardized(ours, theirs)
            scores, ended = _fitted(*scaled, known.labels, len(labels), penalty)
            control, control_ended = _fitted(*scaled, controls[0], len(labels), penalty)
            unfinished += (not ended) + (not control_ended)
            right = (scores.argmax(1) == asked.labels).astype(float)
            by_heart = (control.argmax(1) == controls[1]).astype(float)
            parts = zip(test_examples, asked.parts(scores), strict=True)
            predictions = [task.merge(example.request, part, 0) for example, part in parts]
            layers.append(
                LayerProbe(
                    f"layer {place}" if place else "embeddings",
                    bootstrap(Marked(task.metrics_of, task.marks(test_examples, predictions))),
                    mean_interval(right, groups),
                    mean_interval(by_heart, groups),
                    mean_interval(right - by_heart, groups),
                )
            )
            phase.advance(1)
    metric = next(name for name in task.metrics if name in layers[0].metrics)
    told = [f"{unfinished} fits did not end within {MAX_ITERATIONS:,} iterations; a larger penalty helps"]
    return Probing(
        task.name,
        metric,
        tuple(layers),
        mean_interval((asked.labels == np.bincount(known.labels).argmax()).astype(float), groups),
        _baselines(task, train_examples, test_examples, metric),
        len(train_examples),
        len(known.labels),
        len(test_examples),
        len(asked.labels),
        len(labels),
        tuple(told if unfinished else ()),
    )


def _control_labels(
    train: States, test: States, num_labels: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of the decisions of both sides: one label for each word, drawn as often as training has it."""
    shares = np.bincount(train.labels, minlength=num_labels) / len(train.labels)
    words = sorted({*train.words, *test.words})
    drawn = np.random.default_rng(seed).choice(num_labels, size=len(words), p=shares)
    label_of = dict(zip(words, drawn.tolist(), strict=True))
    first, second = (np.array([label_of[word] for word in side.words], dtype=np.int64) for side in (train, test))
    return first, second


def _standardized(
    train: NDArray[np.float32], test: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both sides with the mean and the deviation of training taken out."""
    mean, deviation = train.mean(0), np.maximum(train.std(0), 1e-6)
    return (train - mean) / deviation, (test - mean) / deviation


def _fitted(
    train: NDArray[np.float32], test: NDArray[np.float32], labels: NDArray[np.int64], num_labels: int, penalty: float
) -> tuple[NDArray[np.float32], bool]:
    """Logits [n, L] of the decisions in `test`, and whether the fit came to its end."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scores = np.full((len(test), num_labels), NEVER, dtype=np.float32)
    present = np.unique(labels)
    if len(present) == 1:
        scores[:, present] = 0.0
        return scores, True
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model = LogisticRegression(C=1 / penalty, max_iter=MAX_ITERATIONS).fit(train, labels)
    logits = model.decision_function(test)
    scores[:, model.classes_] = np.stack([np.zeros_like(logits), logits], axis=1) if logits.ndim == 1 else logits
    return scores, not any(issubclass(one.category, ConvergenceWarning) for one in caught)


def _baselines(
    task: Task[Any, Any], train: Sequence[Example[Any]], test: Sequence[Example[Any]], metric: str
) -> dict[str, Interval]:
    try:
        answers = task.baselines(train, test)
    except DataError:
        return {}
    return {
        name: bootstrap(Marked(task.metrics_of, task.marks(test, given)))[metric] for name, given in answers.items()
    }
