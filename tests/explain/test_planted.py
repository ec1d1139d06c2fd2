"""Planted words: where one word decides, every explainer of decisions has to name it first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from toys import WORDS, toy_config, toy_tokenizer

from bertsmith.explain.explanation import ExplainerSettings, explain
from bertsmith.inference.predictor import Predictor
from bertsmith.tasks import TASKS
from bertsmith.tasks.classification import Classification
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train

PLANTED = {"gu": "good", "bu": "bad"}
OTHERS = tuple(word for word in WORDS if word not in PLANTED)
NUM_ASKED, LEAST_SHARE = 40, 0.95


def rows(num: int, seed: int) -> list[dict[str, Any]]:
    """Texts of 5 to 12 words, one of which, anywhere, says the label.

    Others have none and a third label, since of two labels a network need know the word of one alone.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(num):
        words = list(rng.choice(OTHERS, size=rng.integers(5, 13)))
        word = str(rng.choice([*PLANTED, ""]))
        if word:
            words[int(rng.integers(len(words)))] = word
        found.append({"text": " ".join(words), "label": PLANTED.get(word, "neither")})
    return found


def asked(num: int, seed: int) -> list[dict[str, Any]]:
    """Such texts with a planted word."""
    return [row for row in rows(3 * num, seed) if row["label"] != "neither"][:num]


def trained(task: Any, records: list[dict[str, Any]], num_steps: int) -> Predictor:
    examples = [task.example(record, "row") for record in records]
    task = task.fitted(examples).within(toy_config().max_position_embeddings)
    torch.manual_seed(0)
    network = task.build(toy_config())
    settings = TrainingSettings(
        max_steps=num_steps,
        per_device_train_batch_size=32,
        learning_rate=3e-3,
        warmup_fraction=0.2,
        precision="fp32",
    )
    train(task, network, toy_tokenizer(), examples, settings)
    return Predictor(task, network.eval(), toy_tokenizer(), precision="fp32")


@pytest.fixture(scope="module")
def classifier() -> Predictor:
    return trained(Classification(), rows(900, 1), 250)


@pytest.mark.parametrize("explainer", ["integrated_gradients", "gradient_x_input", "occlusion"])
def test_the_word_that_decides_a_class_comes_first(classifier: Predictor, explainer: str) -> None:
    named = 0
    settings = ExplainerSettings(explainer=explainer, num_random=0)
    for row in asked(NUM_ASKED, 2):
        found = explain(classifier, classifier.task.request(row["text"]), settings)
        assert found.target.name == row["label"], "the model has not learned its task"
        named += max(found.words, key=lambda word: word.score).word in PLANTED
    assert named >= LEAST_SHARE * NUM_ASKED


def test_its_figures_say_that_it_can_be_believed(classifier: Predictor) -> None:
    found = [explain(classifier, classifier.task.request(row["text"])) for row in asked(10, 3)]
    assert np.mean([one.faithfulness.comprehensiveness for one in found]) > 0.3
    assert np.mean([one.faithfulness.sufficiency for one in found]) < 0.1
    assert np.mean([one.faithfulness.beaten for one in found]) > 0.8
    assert all(one.completeness and one.completeness.holds for one in found)


def test_a_class_that_a_word_speaks_against_gives_it_the_lowest_score(classifier: Predictor) -> None:
    for row in asked(10, 4):
        other = "bad" if row["label"] == "good" else "good"
        settings = ExplainerSettings(target=other, num_random=0)
        found = explain(classifier, classifier.task.request(row["text"]), settings)
        assert found.target.probability is not None
        assert found.target.probability < 0.5
        assert min(found.words, key=lambda word: word.score).word in PLANTED


def test_the_word_after_which_a_tag_stands_comes_first() -> None:
    """A word is B-A where `gu` stands before it, and O elsewhere; asked is why it is."""
    rng = np.random.default_rng(5)
    records = []
    for _ in range(600):
        words = list(rng.choice(OTHERS, size=8))
        place = int(rng.integers(7))
        words[place] = "gu"
        records.append({"words": words, "tags": ["B-A" if i == place + 1 else "O" for i in range(8)]})
    predictor = trained(TASKS["token_classification"](), records[:-NUM_ASKED], 250)
    named = 0
    for record in records[-NUM_ASKED:]:
        place = record["tags"].index("B-A")
        found = explain(
            predictor,
            predictor.task.request({"words": record["words"]}),
            ExplainerSettings(target=f"{place}=B-A", num_random=0),
        )
        named += max(found.words, key=lambda word: word.score).word == "gu"
    assert named >= LEAST_SHARE * NUM_ASKED
