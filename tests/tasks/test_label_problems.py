"""One label, several, or a number: losses, verdicts and metrics by hand, and what bad answers get."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from toys import WORDS, toy_config, toy_tokenizer

from bertsmith.errors import DataError, SettingsError
from bertsmith.inference.predictor import Predictor
from bertsmith.tasks.classification import Classification, TextRequest
from bertsmith.tasks.label_classes import MultiLabel, SingleLabel
from bertsmith.tasks.label_numbers import Regression
from bertsmith.tasks.label_problems import ClassificationSettings, Verdict
from bertsmith.tasks.task import Example
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train

AB = ClassificationSettings(labels=("a", "b"))
ABC = ClassificationSettings(problem_type="multi_label", labels=("a", "b", "c"))


def examples(answers: list[Any]) -> list[Example[TextRequest]]:
    return [Example(TextRequest(WORDS[5 * i % 40]), answer, f"row {i + 1}") for i, answer in enumerate(answers)]


def test_class_weights_weigh_the_loss_and_what_it_is_divided_by() -> None:
    # Logits 0: each text's cross-entropy is ln 2, times the weight of its label: a 3, b 1. Mean: 4 ln 2 / 4.
    problem = SingleLabel(AB.model_copy(update={"class_weights": {"a": 3.0}}))
    values, weights = problem.loss(torch.zeros(2, 2), torch.tensor([0, 1])), problem.text_weights(torch.tensor([0, 1]))
    torch.testing.assert_close(values, torch.tensor([3.0, 1.0]) * math.log(2))
    assert weights.tolist() == [3.0, 1.0]
    expected = torch.nn.functional.cross_entropy(
        torch.tensor([[1.0, 0], [2, 5]]), torch.tensor([0, 1]), weight=torch.tensor([3.0, 1.0])
    )
    values = problem.loss(torch.tensor([[1.0, 0], [2, 5]]), torch.tensor([0, 1]))
    torch.testing.assert_close(values.sum() / weights.sum(), expected)


@pytest.mark.parametrize(
    ("answers", "labels"),
    [(["10", "-1", "9"], ("-1", "9", "10")), (["²", "1"], ("1", "²")), (["--1", "2"], ("--1", "2"))],
)
def test_labels_that_are_whole_numbers_stand_in_their_order(answers: list[str], labels: tuple[str, ...]) -> None:
    assert SingleLabel(ClassificationSettings()).learned(answers, [""] * len(answers))["labels"] == labels


def test_balanced_weights_are_the_inverse_of_frequency() -> None:
    # 3 a, 1 b: 4 / (2 * 3) and 4 / (2 * 1).
    learned = SingleLabel(ClassificationSettings(balanced=True)).learned(["a", "a", "b", "a"], [""] * 4)
    assert learned["class_weights"] == {"a": pytest.approx(2 / 3), "b": 2.0}


def test_focal_loss_by_hand() -> None:
    # p of the label is 0.5: (1 - 0.5)^2 ln 2.
    values = SingleLabel(AB.model_copy(update={"focal_gamma": 2.0})).loss(torch.zeros(1, 2), torch.tensor([0]))
    assert values.item() == pytest.approx(0.25 * math.log(2))


def test_focal_loss_of_a_certain_answer_has_a_gradient() -> None:
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    values = SingleLabel(AB.model_copy(update={"focal_gamma": 0.5})).loss(logits, torch.tensor([0]))
    values.sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0, 0.0]]


def test_temperature_softens_and_keeps_the_order() -> None:
    logits = np.array([2.0, 0.0])
    sharp, soft = (
        SingleLabel(AB).verdict(logits),
        SingleLabel(AB.model_copy(update={"temperature": 2.0})).verdict(logits),
    )
    assert sharp.score == pytest.approx(1 / (1 + math.exp(-2)))
    assert soft.score == pytest.approx(1 / (1 + math.exp(-1)))
    assert sharp.label == soft.label == "a"


def test_macro_f1_leaves_out_a_class_that_neither_side_has() -> None:
    # c is neither known nor given; a: 2*1/(2*1+0+1) = 2/3, b: 2*1/(2*1+1+0) = 2/3.
    problem = SingleLabel(ClassificationSettings(labels=("a", "b", "c")))
    marks = problem.marks(["a", "a", "b"], [Verdict(label, 1.0, {}) for label in "abb"])
    assert problem.metrics_of(marks)["f1_macro"] == pytest.approx(2 / 3)
    # Given once and never known, it counts with 0: a 2/3, b 1, c 0.
    marks = problem.marks(["a", "a", "b"], [Verdict(label, 1.0, {}) for label in "acb"])
    assert problem.metrics_of(marks)["f1_macro"] == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_thresholds_decide_which_of_several_labels_are_given() -> None:
    logits = np.array([0.0, -1.0, 3.0])  # probabilities 0.5, 0.27, 0.95
    assert MultiLabel(ABC).verdict(logits).labels == ("a", "c")
    assert MultiLabel(ABC.model_copy(update={"thresholds": (0.6, 0.2, 0.5)})).verdict(logits).labels == ("b", "c")


def test_several_labels_by_hand() -> None:
    # known {a}, {b, c}; given {a, b}, {b}. Decisions: 2 right of 3 given and 3 known: micro 2*2/(3+3).
    # f1: a 1, b 2*1/(1+2) = 2/3, c 0. No text has exactly its labels.
    problem = MultiLabel(ABC)
    verdicts = [Verdict("a", 1.0, {}, ("a", "b")), Verdict("b", 1.0, {}, ("b",))]
    marks = problem.marks([("a",), ("b", "c")], verdicts)
    found = problem.metrics_of(marks)
    assert found == {
        "f1_micro": pytest.approx(2 / 3),
        "f1_macro": pytest.approx((1 + 2 / 3 + 0) / 3),
        "exact_match": 0.0,
    }


@pytest.mark.parametrize(
    ("value", "answer"), [("a|b", ("a", "b")), ("", ()), (["b", "a", "b"], ("b", "a")), ([1, 2.0], ("1", "2"))]
)
def test_several_labels_from_a_cell_or_a_list(value: Any, answer: tuple[str, ...]) -> None:
    assert MultiLabel(ABC).answer(value, "row 1") == answer


def test_thresholds_are_fitted_to_each_label() -> None:
    # b is right from a probability of 0.2 on, the others from 0.5 on.
    logits = np.array([[4.0, -1.2, -4], [-4, -1.3, 4], [4, -4, -4], [-4, -4, 4], [4, -1.2, 4], [-4, -4, -4]])
    answers = [("a", "b"), ("b", "c"), ("a",), ("c",), ("a", "b", "c"), ()]
    update = MultiLabel(ABC).tuned(answers, logits)
    tuned = MultiLabel(ABC.model_copy(update=update))
    assert [tuned.verdict(row).labels for row in logits] == answers


def test_correlations_by_hand_ties_have_their_mean_rank() -> None:
    # Ranks of known 1 2.5 2.5 4 and given 1 2 3 4: Pearson of the ranks is 4.5 / sqrt(4.5 * 5).
    problem = Regression(ClassificationSettings(problem_type="regression"))
    marks = problem.marks([0.0, 1.0, 1.0, 5.0], [Verdict(None, value, {}) for value in (0.1, 0.2, 0.3, 0.4)])
    found = problem.metrics_of(marks)
    assert found["spearmanr"] == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert found["mean_squared_error"] == pytest.approx((0.01 + 0.64 + 0.49 + 4.6**2) / 4)
    assert problem.metrics_of(np.array([[1.0, 2.0], [3.0, 2.0]]))["pearson"] == 0.0  # one side says nothing


@pytest.mark.parametrize("value", [float("nan"), "nan", "inf", "four", None, True])
def test_a_target_that_is_no_finite_number_is_refused_with_its_place(value: Any) -> None:
    with pytest.raises(DataError, match=r"row 3: not a .*number: "):
        Regression(ClassificationSettings(problem_type="regression")).answer(value, "row 3")


@pytest.mark.parametrize(
    "asked", [{"balanced": True}, {"class_weights": {"a": 2.0}}, {"focal_gamma": 2.0}, {"labels": ("a", "b")}]
)
def test_a_regression_refuses_what_is_for_labels(asked: dict[str, Any]) -> None:
    task = Classification(ClassificationSettings(problem_type="regression", **asked))
    (name,) = asked
    with pytest.raises(SettingsError, match=f"{name} would change nothing: leave out --{name.replace('_', '-')}, or"):
        task.fitted(examples([2.0, 4.0]))


def test_a_regression_starts_from_the_mean() -> None:
    """(2 + 4 + 9) / 3 = 5, whatever the text, up to what the new weights of the head add."""
    task = Classification(ClassificationSettings(problem_type="regression")).fitted(examples([2.0, 4.0, 9.0]))
    network = task.build(toy_config()).eval()
    assert float(network.classifier.bias) == 5.0
    (prediction,) = Predictor(task, network, toy_tokenizer(), precision="fp32").predict(["ba be"])
    assert prediction.score == pytest.approx(5.0, abs=0.5)


def test_a_weight_for_an_unknown_label_names_the_nearest() -> None:
    problem = SingleLabel(ClassificationSettings(class_weights={"goood": 2.0}))
    with pytest.raises(DataError, match="no label 'goood'; did you mean 'good'"):
        problem.learned(["good", "bad"], ["", ""])


@pytest.mark.parametrize(
    ("settings", "answers"),
    [
        (ClassificationSettings(problem_type="regression"), [0.5, 1.5, 3.0, 4.5]),
        (ClassificationSettings(problem_type="multi_label"), [("a",), ("a", "b"), ("b", "c"), ()]),
        (ClassificationSettings(balanced=True, focal_gamma=1.0), ["a", "b", "b", "b"]),
    ],
)
def test_every_problem_is_learned_by_heart(settings: ClassificationSettings, answers: list[Any]) -> None:
    rows = examples(answers)
    task = Classification(settings).fitted(rows)
    torch.manual_seed(0)
    network = task.build(toy_config())
    chosen = TrainingSettings(max_steps=200, learning_rate=5e-3, precision="fp32", warmup_fraction=0.05)
    train(task, network, toy_tokenizer(), rows, chosen)
    predictor = Predictor(task, network, toy_tokenizer(), precision="fp32")
    assert task.score(rows, predictor.run(rows).predictions)[next(iter(task.metrics))] > 0.99
    assert Classification.from_dict(task.to_dict(), "test") == task


def test_long_texts_are_read_in_windows_whose_logits_are_merged() -> None:
    rows = [Example(TextRequest(" ".join(WORDS[:30])), "a"), Example(TextRequest("ba"), "b")]
    task = Classification(ClassificationSettings(max_length=12, stride=2)).fitted(rows)
    torch.manual_seed(0)
    predictor = Predictor(task, task.build(toy_config()), toy_tokenizer(), precision="fp32")
    found = predictor.run(rows, keep_parts=True)
    # 30 pieces, 10 a window, 2 shared: windows start at 0, 8, 16, and the last at 24 of which it takes 22 to 30.
    assert [prediction.num_windows for prediction in found.predictions] == [4, 1]
    assert (found.num_windowed_requests, found.num_cut_tokens) == (1, 0)
    mean, largest = np.mean(found.parts[0], axis=0), np.max(found.parts[0], axis=0)
    assert found.predictions[0].scores["a"] == pytest.approx(1 / (1 + math.exp(mean[1] - mean[0])))
    by_max = Classification(task.settings.model_copy(update={"window_merging": "max"}))
    assert by_max.merge(rows[0].request, found.parts[0], 0).scores["a"] == pytest.approx(
        1 / (1 + math.exp(largest[1] - largest[0]))
    )


def test_a_policy_that_refuses_long_texts_names_the_row() -> None:
    task = Classification(ClassificationSettings(max_length=8, truncation="error", labels=("a", "b")))
    row = Example(TextRequest(" ".join(WORDS[:30])), "a", "reviews.csv, row 7")
    with pytest.raises(DataError, match=r"reviews.csv, row 7: 32 tokens .* more than max_length 8"):
        task.encode(row, toy_tokenizer(), np.random.default_rng(0))
