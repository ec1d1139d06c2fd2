from __future__ import annotations

from dataclasses import dataclass

import pytest

from bertsmith.evaluation.baselines import majority, scores, tfidf_logistic


@dataclass(frozen=True)
class Row:
    text: str
    label: str
    text_pair: str | None = None


FRUIT = ["ripe apple", "sweet pear", "sour cherry", "apple and pear", "cherry pie", "pear juice"]
METAL = ["hard iron", "dull lead", "bright copper", "iron and lead", "copper wire", "lead pipe"]


def test_majority_takes_the_commonest_label_and_the_first_by_name_of_equals() -> None:
    assert majority(["b", "a", "b"], ["a", "b"]).labels == ("b", "b")
    assert majority(["b", "a"], ["c"]).labels == ("a",)


def test_scores_by_hand() -> None:
    # Of four rows three are right. F1 of "a": precision 2/3, recall 1, so 4/5; of "b": precision 1, recall 1/2, so 2/3.
    assert scores(["a", "a", "b", "b"], ["a", "a", "a", "b"]) == pytest.approx(
        {"accuracy": 0.75, "f1_macro": (4 / 5 + 2 / 3) / 2}
    )


def test_words_that_name_a_class_are_found_and_answers_repeat() -> None:
    train = [Row(text, "fruit") for text in FRUIT] + [Row(text, "metal") for text in METAL]
    test = [Row("a sweet apple", "fruit"), Row("a copper pipe", "metal")]
    answers = tfidf_logistic(train, test)
    assert answers.labels == ("fruit", "metal")
    assert answers.metrics == {"accuracy": 1.0, "f1_macro": 1.0}
    assert tfidf_logistic(train, test) == answers


def test_overlap_of_two_texts_is_seen_where_neither_alone_says_anything() -> None:
    texts = FRUIT + METAL
    train = [Row(text, "same", f"about {text}") for text in texts]
    train += [Row(text, "other", f"about {other}") for text, other in zip(texts, METAL + FRUIT, strict=True)]
    test = [Row("green fig", "same", "about green fig"), Row("green fig", "other", "about tin")]
    assert tfidf_logistic(train, test, overlap=True).labels == ("same", "other")
    # Every text is in both classes, so without their overlap there is nothing to go by.
    assert set(tfidf_logistic(train, train).metrics.values()) <= {0.5, 1 / 3}
