"""The findings of every task, and of hand-made answers."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.evaluation.data_check import check_data
from bertsmith.evaluation.evaluate import Evaluation, EvaluationRecord, Judged, evaluate, judge
from bertsmith.evaluation.findings import Training, findings
from bertsmith.evaluation.mistakes import confusion, label_counts, worst
from bertsmith.evaluation.page import page
from bertsmith.evaluation.slices import MAX_SLICES, slices_of
from bertsmith.inference.predictor import Predictions, Predictor
from bertsmith.tasks import TASKS
from bertsmith.tasks.classification import Classification, LabelPrediction, TextRequest
from bertsmith.tasks.task import Example

MEASURED = [name for name in TASKS if name != "pretraining"]


def predictor_of(name: str) -> tuple[Predictor, list[Any]]:
    toy = toy_task(name)
    torch.manual_seed(0)
    network = toy.task.build(toy_config()).eval()
    return Predictor(toy.task, network, toy_tokenizer(), precision="fp32"), toy.samples


@pytest.mark.parametrize("name", MEASURED)
def test_every_task_can_be_reported_on(name: str) -> None:
    predictor, samples = predictor_of(name)
    judged = judge(predictor, samples)
    found = findings(judged, Training(samples))
    assert found.main == next(iter(predictor.task.metrics))
    assert found.evaluation.num_examples == len(samples)
    assert found.data.num_trained_on == len(samples)
    assert all(set(baseline.metrics) == set(found.evaluation.metrics) for baseline in found.baselines.scores)
    assert (found.baselines.missing == "") == bool(found.baselines.scores)
    json.dumps(asdict(found), allow_nan=False)
    html = page(found, model="toy", file="toy.csv").html()
    assert found.main in html
    assert "http" not in html.replace("http://www.w3.org/1999/xlink", "")


TEMPERED = ("classification", "reranking", "question_answering", "multiple_choice", "token_classification")


@pytest.mark.parametrize("name", TEMPERED)
def test_the_reliability_without_the_temperature_is_that_of_a_model_without_one(name: str) -> None:
    predictor, samples = predictor_of(name)
    tempered = replace(predictor, task=predictor.task.tempered(3.0))
    judged = judge(tempered, samples, keep_parts=True)
    found = findings(judged, Training(samples)).tempering
    assert found is not None
    assert found.temperature == 3.0
    assert found.before == judge(predictor, samples).reliability()
    assert found.before != judged.reliability()
    assert findings(judge(tempered, samples), Training(samples)).tempering is None
    assert findings(judge(predictor, samples, keep_parts=True), Training(samples)).tempering is None


@pytest.mark.parametrize("name", TASKS)
def test_intervals_of_every_task_hold_its_metrics_and_survive_json(name: str) -> None:
    predictor, samples = predictor_of(name)
    found = evaluate(predictor, samples, intervals=True)
    assert found.metrics == {metric: interval.value for metric, interval in found.intervals.items()}
    assert evaluate(predictor, samples).metrics == found.metrics
    record = found.record("test")
    again = EvaluationRecord.from_dict(json.loads(json.dumps(record)))
    assert (again.metrics, again.calibration) == (found.intervals, found.calibration)
    assert record["precision"] == "fp32"


def test_what_was_cut_or_read_in_windows_is_one_phrase() -> None:
    cases = {
        (0, 0, 0): "nothing",
        (0, 0, 2): "nothing; 2 read in several windows",
        (1, 30, 0): "30 tokens of 1 of 9 examples",
    }
    for (examples, tokens, windowed), told in cases.items():
        assert Evaluation({}, 9, 99, examples, tokens, windowed).cut == told


LABELS = ("a", "b", "c")
TASK = Classification(Classification.Settings.of({"labels": LABELS}))


def judged_of(*rows: tuple[str, str, str, float], groups: list[dict[str, str]] | None = None) -> Judged:
    """Rows of text, known and given label, and probability."""
    examples = [
        Example(TextRequest(text), known, f"row {i}", groups[i - 1] if groups else {})
        for i, (text, known, _, _) in enumerate(rows, start=1)
    ]
    predictions = [LabelPrediction(given, score, {given: score}) for _, _, given, score in rows]
    return Judged(
        TASK, examples, Predictions(predictions, 0, 0, 0), TASK.marks(examples, predictions), precision="fp32"
    )


def test_the_worst_answers_are_the_wrong_ones_surest_first() -> None:
    judged = judged_of(("one", "a", "b", 0.4), ("two", "a", "a", 0.9), ("three " * 200, "c", "a", 0.8))
    first, second = worst(judged)
    assert (first.where, first.known, first.given["label"]) == ("row 3", "c", "a")
    assert first.texts[0].startswith("three three")
    assert len(first.texts[0]) == 400
    assert (second.where, second.given["score"]) == ("row 1", "0.4")
    assert len(worst(judged, num=1)) == 1


def test_confusions_are_counted() -> None:
    rows = [("x", "a", "b", 1.0)] * 3 + [("x", "b", "a", 1.0)] + [("x", "a", "a", 1.0)] * 5
    found = confusion(judged_of(*rows))
    assert found is not None
    assert found.labels == ("a", "b")
    assert found.counts == ((5, 3), (1, 0))
    assert found.pairs == (("a", "b", 3), ("b", "a", 1))
    assert found.can_be_drawn
    assert not replace(found, labels=tuple(map(str, range(31)))).can_be_drawn


def test_labels_are_counted_by_hand() -> None:
    rows = [("x", "a", "b", 1.0)] * 3 + [("x", "b", "a", 1.0)] + [("x", "a", "a", 1.0)] * 5
    first, second = label_counts(judged_of(*rows))
    assert (first.label, first.right, first.missed, first.wrong, first.rest) == ("a", 5, 3, 1, 0)
    assert (second.label, second.right, second.missed, second.wrong, second.rest) == ("b", 0, 1, 3, 5)
    assert (first.precision, first.recall) == (5 / 6, 5 / 8)
    assert first.f1 == pytest.approx(10 / 14)
    assert second.f1 == 0


def test_several_labels_a_text_have_counts_and_no_matrix() -> None:
    task = Classification(Classification.Settings.of({"problem_type": "multi_label", "labels": LABELS}))
    answers = [("a", "b"), ("a",), ("c",), ()]
    given = [("a",), ("a", "c"), ("c",), ("c",)]
    examples = [Example(TextRequest("x"), answer) for answer in answers]
    predictions = [LabelPrediction("a", 0.5, dict.fromkeys(LABELS, 0.5), labels) for labels in given]
    answered = Predictions(predictions, 0, 0, 0)
    judged = Judged(task, examples, answered, task.marks(examples, predictions), precision="fp32")
    assert confusion(judged) is None
    counts = [(one.label, one.right, one.missed, one.wrong, one.rest) for one in label_counts(judged)]
    assert counts == [("a", 2, 0, 0, 2), ("b", 0, 1, 0, 3), ("c", 1, 0, 2, 1)]
    html = page(findings(judged, Training(None, "none")), model="toy", file="toy.csv").html()
    assert "Label by label" in html
    assert "wrongly given" in html


def test_slices_by_hand() -> None:
    groups = [{"shop": "north"}] * 3 + [{"shop": ""}] * 3
    rows = [("x" * 10, "a", "a", 1.0)] * 3 + [("x" * 20, "b", "a", 1.0), ("x" * 30, "b", "b", 1.0)]
    found = {part.kind: part for part in slices_of(judged_of(*rows, ("x" * 40, "b", "b", 1.0), groups=groups))}
    figures = {
        kind: {one.name: (one.num, round(one.figure.value, 3)) for one in part.slices} for kind, part in found.items()
    }
    assert figures["shop"] == {"north": (3, 1.0), "(empty)": (3, 0.667)}
    assert figures["label"] == {"a": (3, 1.0), "b": (3, 0.667)}
    assert figures["length"] == {
        "10 characters": (3, 1.0),
        "20 characters": (1, 0.0),
        "30 to 40 characters": (2, 1.0),
    }
    assert "reading" not in found
    assert (found["label"].figure, found["shop"].figure) == ("share right", "accuracy")


def test_the_largest_of_many_slices_are_shown() -> None:
    groups = [{"author": str(i % 40)} for i in range(80)] + [{"author": "39"}]
    (found,) = [
        part for part in slices_of(judged_of(*[("x", "a", "a", 1.0)] * 81, groups=groups)) if part.kind == "author"
    ]
    assert len(found.slices) == MAX_SLICES
    assert found.num_left_out == 10
    assert "39" in {one.name for one in found.slices}


def test_data_are_checked_up_to_case_and_space() -> None:
    examples = [
        Example(TextRequest(text), answer) for text, answer in (("One  two", "a"), ("one two", "b"), ("x", "a"))
    ]
    found = check_data(TASK, examples, [Example(TextRequest("ONE TWO"), "a")])
    assert (found.num_repeats, found.num_conflicting, found.num_trained_on) == (1, 2, 2)
    assert found.conflicts[0].answers == ("a", "b")
    assert len(found.warnings()) == 3
    unknown = check_data(TASK, examples[1:], None)
    assert (unknown.num_repeats, unknown.num_conflicting, unknown.num_trained_on) == (0, 0, None)
    assert unknown.warnings() == []


def test_no_example_is_wrong_no_label_confused() -> None:
    judged = judged_of(*[("x", "a", "a", 1.0)] * 4)
    found = findings(judged, Training(None, "the training file is gone"))
    assert found.mistakes == ()
    assert found.confusion is not None
    assert found.confusion.pairs == ()
    html = page(found, model="toy", file="toy.csv").html()
    assert "Every answer is right" in html
    assert "No baseline: the training file is gone" in html
    assert np.isfinite([found.evaluation.intervals["accuracy"].low]).all()
