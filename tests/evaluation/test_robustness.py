"""Flips and failures counted on models whose answers are known beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from toys import WORDS, toy_config, toy_text, toy_tokenizer

from bertsmith.errors import SettingsError
from bertsmith.evaluation.checks import Case, run_checks
from bertsmith.evaluation.robustness import robustness
from bertsmith.inference.predictor import Predictor
from bertsmith.tasks.classification import Classification, ClassificationSettings
from bertsmith.tasks.question_answering import QuestionAnswering
from bertsmith.tasks.task import Example, Task
from bertsmith.tasks.token_classification import TokenClassification
from bertsmith.text.noise import TextChange, changes
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train

TASK = Classification(ClassificationSettings(labels=("no", "yes")))


def cased_tokenizer() -> Tokenizer:
    return Tokenizer.from_vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS], lowercase=False)


def trained(task: Task, tokenizer: Tokenizer, examples: list[Example]) -> Predictor:
    torch.manual_seed(0)
    network = task.build(toy_config(vocab_size=tokenizer.vocab_size))
    settings = TrainingSettings(
        max_steps=80, per_device_train_batch_size=16, learning_rate=3e-3, precision="fp32", device="cpu"
    )
    train(task, network, tokenizer, examples, settings)
    return Predictor(task, network.eval(), tokenizer, "fp32")


def by_name(name: str, rate: float = 1.0) -> TextChange:
    return next(change for change in changes(rate, 0.5) if change.name == name)


def halves(num: int, seed: int) -> list[Example]:
    """Texts of words of one half of the vocabulary; yes: of the first."""
    rng = np.random.default_rng(seed)
    texts = [toy_text(rng, 5, WORDS[:20] if i % 2 else WORDS[20:]) for i in range(num)]
    return [TASK.example({"text": text, "label": ("no", "yes")[i % 2]}, f"row {i}") for i, text in enumerate(texts)]


def test_capitals_that_a_cased_model_has_never_seen_are_all_one_answer() -> None:
    predictor = trained(TASK, cased_tokenizer(), halves(64, 0))
    examples = halves(40, 1)
    found = robustness(predictor, examples, [by_name("lower case"), by_name("upper case")])
    assert found.main == "accuracy"
    assert found.before["accuracy"].value == 1.0
    assert found.left_out == ()
    lower, upper = found.effects
    assert (lower.num_changed, lower.num_flips, lower.num_lost) == (0, 0, 0)
    assert lower.metrics["accuracy"].difference.value == 0
    # Every piece is [UNK]: one label for all, and half of the examples have the other.
    assert (upper.num_changed, upper.num_flips, upper.num_lost, upper.num_gained) == (40, 20, 20, 0)
    assert upper.metrics["accuracy"].first == 0.5
    assert upper.metrics["accuracy"].verdict == "worse"
    failure = upper.failures[0]
    assert failure.after.texts[0] == failure.before.texts[0].upper()
    assert failure.before.given["label"] != failure.after.given["label"]


def test_the_same_changes_are_drawn_again_and_others_with_another_seed() -> None:
    predictor = trained(TASK, toy_tokenizer(), halves(32, 0))
    first, again, other = (
        robustness(predictor, halves(20, 1), [by_name("swapped letters", 0.5)], seed=seed).effects for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_changes_that_would_move_answers_are_left_out() -> None:
    record = {"words": ["ba", "be"], "tags": ["O", "B-A"]}
    examples = [TokenClassification().example(record, "row 1")]
    task = TokenClassification().fitted(examples)
    predictor = Predictor(task, task.build(toy_config()).eval(), toy_tokenizer(), "fp32")
    found = robustness(predictor, examples, changes(1.0, 0.5))
    assert found.left_out == ("punctuation", "dropped words")
    assert all(effect.num_flips is not None for effect in found.effects)


def question(context: str, answer: str) -> Example:
    record = {"question": "who won it", "context": context, "answers": answer}
    return QuestionAnswering().example(record, "row 1")


def test_a_known_answer_stays_where_it_is_and_as_it_is() -> None:
    example = question("Anna Petrova defeated Mary Johnson yesterday", "Mary Johnson")
    changed = QuestionAnswering().changed(example, by_name("swapped letters"), np.random.default_rng(0))
    request = changed.request
    assert request.context[22:34] == "Mary Johnson"
    assert request.context != example.request.context
    assert request.question != example.request.question
    assert changed.answer == example.answer


def test_an_answer_changes_its_case_with_the_text_around_it() -> None:
    example = question("Anna beat Mary.", "Mary")
    changed = QuestionAnswering().changed(example, by_name("upper case"), np.random.default_rng(0))
    assert changed.request.context == "ANNA BEAT MARY."
    assert [(answer.text, answer.start) for answer in changed.answer] == [("MARY", 10)]


def test_words_stay_as_many_as_their_tags() -> None:
    task = TokenClassification()
    example = task.example({"words": ["Anna", "saw", "New", "York"], "tags": ["B-P", "O", "B-L", "I-L"]}, "row 1")
    for change in changes(1.0, 0.5):
        if task.takes(change):
            changed = task.changed(example, change, np.random.default_rng(0))
            assert len(changed.request.words) == 4
            assert changed.answer == example.answer


class Loud(Classification):
    """Answers yes to texts with an exclamation mark, by a network that it does not need."""

    def merge(self, request: Any, parts: Any, num_cut_tokens: int) -> Any:
        logits = [0.0, 9.0] if "!" in request.text else [9.0, 0.0]
        return super().merge(request, [logits], num_cut_tokens)


def test_checks_count_what_must_be_answered_and_what_must_stay() -> None:
    task = Loud(ClassificationSettings(labels=("no", "yes")))
    predictor = Predictor(task, task.build(toy_config()).eval(), toy_tokenizer(), "fp32")

    def known(text: str, label: str) -> Example:
        return task.example({"text": text, "label": label}, "row")

    def same(*texts: str) -> tuple[Any, ...]:
        return tuple(task.request(text) for text in texts)

    cases = [
        Case("loud", "MFT", "sound", (known("ba!", "yes"),), "row 1"),
        Case("loud", "MFT", "sound", (known("be!", "yes"), known("be", "yes")), "row 2"),
        Case("end", "INV", "form", same("ba", "ba."), "row 3"),
        Case("end", "INV", "form", same("ba", "ba,", "ba!"), "row 4"),
        Case("loud", "MFT", "sound", (known("bi", "no"),), "row 5"),
    ]
    loud, end = run_checks(predictor, cases)
    assert (loud.test, loud.kind, loud.capability, loud.num_cases, loud.num_failed) == ("loud", "MFT", "sound", 3, 1)
    assert loud.failures[0].texts == ("be",)
    assert loud.failures[0].said == {"must be": "yes", "was": "no"}
    assert (end.num_cases, end.num_failed, end.failure_rate.value) == (2, 1, 0.5)
    assert end.failures[0].texts == ("ba", "ba!")
    assert end.failures[0].said == {"first": "no", "then": "yes"}


def test_where_nothing_is_decided_there_are_no_flips_and_no_invariance() -> None:
    task = Classification(ClassificationSettings(problem_type="regression"))
    predictor = Predictor(task, task.build(toy_config()).eval(), toy_tokenizer(), "fp32")
    examples = [task.example({"text": text, "label": value}, text) for text, value in (("ba be", 1.0), ("bi", 0.0))]
    (effect,) = robustness(predictor, examples, [by_name("dropped words")]).effects
    assert effect.num_flips is None
    with pytest.raises(SettingsError, match="invariance tests need decisions"):
        run_checks(predictor, [Case("same", "INV", "", tuple(task.request(text) for text in ("ba", "be")), "row 1")])
