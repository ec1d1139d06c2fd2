"""One question of the quickstart: the same network fine-tuned with and without pre-training, beside two baselines."""

from __future__ import annotations

import csv
import hashlib
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bertsmith.baselines import majority, tfidf_logistic
from bertsmith.catalog.python_docs import LabelledRows, Row, top_module
from bertsmith.evaluation.compare import compare
from bertsmith.evaluation.intervals import mean_interval
from bertsmith.files import atomic_file
from bertsmith.inference.predictor import Predictions, load
from bertsmith.recipes.finetune import FinetuneReport, finetune, finetune_settings
from bertsmith.recipes.quickstart.results import (
    MAJORITY,
    OVERLAP,
    PRETRAINED,
    TFIDF,
    UNTRAINED,
    QuestionFacts,
    Score,
    Verdict,
)
from bertsmith.runtime.progress import Progress
from bertsmith.training.judge import Metrics
from bertsmith.training.settings import TrainingSettings

History = Sequence[tuple[int, Metrics]]

VALIDATION_FRACTION = 0.1
EXAMPLES_SHOWN = 4


@dataclass(frozen=True)
class Question:
    """What is asked, and the rows with the answers."""

    name: str
    title: str
    explanation: str
    rows: LabelledRows

    @property
    def has_pairs(self) -> bool:
        return self.rows.train[0].text_pair is not None

    def steps_per_epoch(self, batch_size: int) -> int:
        return math.ceil(len(self.rows.train) * (1 - VALIDATION_FRACTION) / batch_size)


@dataclass(frozen=True)
class Fold:
    """The files of a question. `validation` chooses the checkpoint, `held_out` is looked at once, at the end."""

    train: Path
    validation: Path
    held_out: Path


@dataclass(frozen=True, slots=True)
class Answers:
    """The label that a model or a baseline gives every held-out row, in order."""

    name: str
    labels: tuple[str, ...]

    def accuracy(self, truth: Sequence[str]) -> float:
        return sum(a == b for a, b in zip(self.labels, truth, strict=True)) / len(truth)


def write_rows(question: Question, folder: Path, seed: int) -> Fold:
    """The rows as CSV, for training and for the reader; the validation part has modules of its own, too."""
    chosen = _validation_modules(question.rows.train, seed)
    parts = {
        "train": [row for row in question.rows.train if top_module(row.source) not in chosen],
        "validation": [row for row in question.rows.train if top_module(row.source) in chosen],
        "held-out": question.rows.held_out,
    }
    for name, rows in parts.items():
        _write_csv(folder / f"{question.name}-{name}.csv", rows, question.has_pairs)
    return Fold(*(folder / f"{question.name}-{name}.csv" for name in parts))


def _validation_modules(rows: Sequence[Row], seed: int) -> set[str]:
    """Modules with a tenth of the rows, drawn at random; huge ones last: one alone would leave little to train on."""
    sizes = Counter(top_module(row.source) for row in rows)
    wanted = VALIDATION_FRACTION * len(rows)

    def order(module: str) -> tuple[bool, bytes]:
        return sizes[module] > wanted / 2, hashlib.sha256(f"{seed}/{module}".encode()).digest()

    chosen: set[str] = set()
    for module in sorted(sizes, key=order):
        if sum(sizes[name] for name in chosen) >= wanted:
            break
        chosen.add(module)
    return chosen


def fine_tune(
    question: Question, fold: Fold, model: Path, output_dir: Path, training: TrainingSettings, progress: Progress
) -> FinetuneReport:
    """Fine-tune the pre-trained (or untrained) network in `model`."""
    settings = finetune_settings("classification").of(
        {
            "train_file": fold.train,
            "validation_file": fold.validation,
            "model": str(model),
            "output_dir": output_dir,
            "overwrite_output_dir": True,
            "text_column": "text",
            "text_pair_column": "text_pair" if question.has_pairs else None,
            "label_column": "label",
            "dropout": 0.1,
            "training": training,
        }
    )
    return finetune("classification", settings, progress)


def answer(
    question: Question,
    tune: Callable[[str], FinetuneReport],
    baselines: Sequence[Answers],
    *,
    batch_size: int,
    seed: int,
    device: str,
) -> QuestionFacts:
    """Fine-tune twice (`tune` is told which model), answer the held-out rows, compare."""
    rows, truth = question.rows.held_out, [row.label for row in question.rows.held_out]
    modules = [top_module(row.source) for row in rows]
    runs = {model: tune(model) for model in (PRETRAINED, UNTRAINED)}
    predictions = {model: _predict(run.output_dir, rows, device) for model, run in runs.items()}
    answers = [
        *(Answers(model, tuple(p.label for p in said.predictions)) for model, said in predictions.items()),
        *baselines,
    ]
    correct = {said.name: [a == b for a, b in zip(said.labels, truth, strict=True)] for said in answers}
    strongest = max(baselines, key=lambda said: said.accuracy(truth)).name
    training = runs[PRETRAINED].training
    right, wrong = _drawn_verdicts(rows, predictions[PRETRAINED], seed)
    return QuestionFacts(
        name=question.name,
        title=question.title,
        explanation=question.explanation,
        counts=question.rows.counts(),
        num_modules=len(set(modules)),
        num_steps=training.num_steps,
        num_epochs=training.num_steps / question.steps_per_epoch(batch_size),
        num_cut_rows=predictions[PRETRAINED].num_cut_requests,
        scores=tuple(
            Score(said.name, mean_interval(correct[said.name], modules), _f1_macro(truth, said.labels))
            for said in answers
        ),
        baseline=strongest,
        against_baseline=compare(correct[PRETRAINED], correct[strongest], modules),
        against_untrained=compare(correct[PRETRAINED], correct[UNTRAINED], modules),
        losses=_losses(*(run.training.history for run in runs.values())),
        right=right,
        wrong=wrong,
    )


def baselines_of(question: Question) -> tuple[Answers, ...]:
    """Answers without a network; these train on the rows that validate the networks, too."""
    train, held_out = (
        [(row.text,) if row.text_pair is None else (row.text, row.text_pair) for row in rows]
        for rows in (question.rows.train, question.rows.held_out)
    )
    labels = [row.label for row in question.rows.train]
    words = {TFIDF: False} if not question.has_pairs else {OVERLAP: True, TFIDF: False}
    learned = {name: tfidf_logistic(train, labels, held_out, overlap=overlap) for name, overlap in words.items()}
    constant = Answers(MAJORITY, tuple(majority(labels, len(held_out))))
    return (*(Answers(name, tuple(scores.best())) for name, scores in learned.items()), constant)


def _f1_macro(known: Sequence[str], given: Sequence[str]) -> float:
    """F1 averaged over the labels without weights."""
    from sklearn.metrics import f1_score

    return float(f1_score(known, given, average="macro", zero_division=0.0))


def _losses(with_: History, without: History) -> tuple[tuple[int, float, float], ...]:
    return tuple(
        (step, ours["classification"], theirs["classification"])
        for (step, ours), (_, theirs) in zip(with_, without, strict=True)
    )


def _predict(folder: Path, rows: Sequence[Row], device: str) -> Predictions:
    predictor = load(folder, device=device)
    requests = [predictor.task.request({"text": row.text, "text_pair": row.text_pair}) for row in rows]
    return predictor.run(requests)


def _drawn_verdicts(
    rows: Sequence[Row], said: Predictions, seed: int
) -> tuple[tuple[Verdict, ...], tuple[Verdict, ...]]:
    """A few right and a few wrong answers, drawn at random."""
    verdicts = [
        Verdict(row.source, row.text, row.text_pair, prediction.label, prediction.score, row.label)
        for row, prediction in zip(rows, said.predictions, strict=True)
    ]
    random.Random(seed).shuffle(verdicts)
    right = [verdict for verdict in verdicts if verdict.label == verdict.truth]
    wrong = [verdict for verdict in verdicts if verdict.label != verdict.truth]
    return tuple(right[:EXAMPLES_SHOWN]), tuple(wrong[:EXAMPLES_SHOWN])


def _write_csv(path: Path, rows: Sequence[Row], has_pairs: bool) -> None:
    names = ["text", "text_pair", "label", "source"] if has_pairs else ["text", "label", "source"]
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(names)
        table.writerows([getattr(row, name) for name in names] for row in rows)
