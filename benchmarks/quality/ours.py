"""bertsmith's side: its own task, trainer and predictor on the same rows with the same hyper-parameters."""

from __future__ import annotations

from typing import Any

import torch

from bertsmith.inference.predictor import Predictor
from bertsmith.recipes.start import Start, start_from
from bertsmith.runtime.device import pick_device, pick_precision
from bertsmith.runtime.progress import Progress
from bertsmith.tasks import Example, Task, task_class
from bertsmith.training.optimizer import OptimizerSettings
from bertsmith.training.result import TrainingResult
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train
from quality.marks import Marks, answer_marks, label_marks, tag_marks, value_marks
from quality.results import Answered
from quality.rows import Record, Rows
from quality.sets import DROPOUT, MAX_GRAD_NORM, WARMUP_FRACTION, WEIGHT_DECAY, QualitySet

CPU = pick_device("cpu")
HIGHEST_SCORE = 5.0


def run_bertsmith(quality: QualitySet, rows: Rows, seed: int, model: str) -> Answered:
    """Fine-tune the checkpoint in folder `model`, answer the test rows with the last weights."""
    start, result = fine_tuned(quality, rows, seed, model)
    predictor = Predictor(start.task, start.network, start.tokenizer)
    predictions = predictor.run([example.request for example in make_examples(start.task, rows.test)])
    notes = {
        "dtype": pick_precision("auto", CPU),
        "training_tokens_per_second": round(result.tokens_per_second, 1),
        "num_cut_train_tokens": result.truncation.num_cut_tokens,
        "num_cut_test_tokens": predictions.num_cut_tokens,
        "num_windowed_test_examples": predictions.num_windowed_requests,
    }
    return Answered(marks_of(quality, rows, predictions.predictions), notes)


def fine_tuned(quality: QualitySet, rows: Rows, seed: int, model: str) -> tuple[Start, TrainingResult]:
    """The checkpoint in folder `model` after training on the rows as the set says."""
    task = make_task(quality, rows)
    train_examples = make_examples(task, rows.train)
    torch.manual_seed(seed)  # of the new head's weights
    changes = {"hidden_dropout_prob": DROPOUT, "attention_probs_dropout_prob": DROPOUT}
    start = start_from(task.fitted(train_examples), model, changes)
    settings = TrainingSettings(
        num_train_epochs=quality.num_epochs,
        per_device_train_batch_size=quality.batch_size,
        learning_rate=quality.learning_rate,
        lr_scheduler_type="linear",
        warmup_fraction=WARMUP_FRACTION,
        optimizer=OptimizerSettings(weight_decay=WEIGHT_DECAY, max_grad_norm=MAX_GRAD_NORM),
        seed=seed,
        device="cpu",
    )
    samples = start.task.training_examples(train_examples)
    result = train(start.task, start.network, start.tokenizer, samples, settings, progress=Progress())
    return start, result


def make_task(quality: QualitySet, rows: Rows) -> Task[Any, Any]:
    """The set's task as its hyper-parameters say."""
    kind = task_class(quality.task)
    settings: dict[str, Any] = {
        "max_length": quality.max_length,
        "truncation": "windows" if quality.windows else "head",
        "stride": quality.stride,
    }
    if quality.task == "classification" and isinstance(rows.train[0]["label"], float):
        settings["problem_type"] = "regression"
    if quality.task == "token_classification":
        settings |= {"context_tokens": quality.context_tokens, "joined_words": quality.joined_words}
    if quality.task == "embedding":
        settings |= {"objective": "cosine", "pooling": "mean", "score_range": (0.0, HIGHEST_SCORE)}
    task: Task[Any, Any] = kind(kind.Settings(**settings))  # type: ignore[call-arg]
    return task


def make_examples(task: Task[Any, Any], records: list[Record]) -> list[Example[Any]]:
    """The task's own examples of records, whose keys are its fields."""
    return [task.example(record, f"row {number}") for number, record in enumerate(records, start=1)]


def marks_of(quality: QualitySet, rows: Rows, predictions: list[Any]) -> Marks:
    """The yardstick's marks of bertsmith's predictions."""
    known = [record.get("label", record.get("score")) for record in rows.test]
    match quality.task:
        case "token_classification":
            return tag_marks([record["tags"] for record in rows.test], [each.tags for each in predictions])
        case "question_answering":
            return answer_marks([record["answers"]["text"] for record in rows.test], [e.answer for e in predictions])
        case "multiple_choice":
            return label_marks([*map(str, known)], [str(each.label) for each in predictions], list("0123"))
        case "embedding":
            return value_marks(known, [each.similarity for each in predictions])
    if isinstance(known[0], float):
        return value_marks(known, [each.score for each in predictions])
    labels = sorted({record["label"] for record in rows.train})
    return label_marks(known, [each.label for each in predictions], labels)
