from __future__ import annotations

import math

import numpy as np
import pytest

from bertsmith.baselines import (
    Bm25,
    lsa_vectors,
    majority,
    most_frequent_tags,
    tfidf_cosine,
    tfidf_logistic,
    tfidf_multi_label,
    tfidf_ridge,
    words_of,
)

FRUIT = ["ripe apple", "sweet pear", "sour cherry", "apple and pear", "cherry pie", "pear juice"]
METAL = ["hard iron", "dull lead", "bright copper", "iron and lead", "copper wire", "lead pipe"]
ROWS = [(text,) for text in FRUIT + METAL]
LABELS = ["fruit"] * 6 + ["metal"] * 6
TEST = [("a sweet apple",), ("a copper pipe",)]


def test_majority_takes_the_commonest_label_and_the_first_by_name_of_equals() -> None:
    assert majority(["b", "a", "b"], 2) == ["b", "b"]
    assert majority(["b", "a"], 1) == ["a"]


def test_words_that_name_a_class_are_found_and_answers_repeat() -> None:
    answers = tfidf_logistic(ROWS, LABELS, TEST)
    assert answers.best() == ["fruit", "metal"]
    assert answers.labels == ("fruit", "metal")
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(tfidf_logistic(ROWS, LABELS, TEST).probabilities, answers.probabilities)


def test_a_label_with_one_example_and_a_single_label_are_no_errors() -> None:
    rare = tfidf_logistic([*ROWS, ("a lonely cloud",)], [*LABELS, "sky"], [*TEST, ("lonely cloud",)])
    assert rare.labels == ("fruit", "metal", "sky")
    assert rare.best()[:2] == ["fruit", "metal"]
    assert tfidf_logistic(ROWS[:2], ["a", "a"], TEST).best() == ["a", "a"]
    assert tfidf_logistic(ROWS[5:7], ["a", "b"], TEST).labels == ("a", "b")


def test_texts_without_words_are_no_error() -> None:
    assert set(tfidf_logistic([("!",), ("?",)] * 60, ["a", "b"] * 60, [("!",), ("",)]).best()) <= {"a", "b"}


def test_overlap_of_two_texts_is_seen_where_neither_alone_says_anything() -> None:
    texts = FRUIT + METAL
    train = [(text, f"about {text}") for text in texts]
    train += [(text, f"about {other}") for text, other in zip(texts, METAL + FRUIT, strict=True)]
    labels = ["same"] * 12 + ["other"] * 12
    test = [("green fig", "about green fig"), ("green fig", "about tin")]
    assert tfidf_logistic(train, labels, test, overlap=True).best() == ["same", "other"]
    # Every text is in both classes, so without their overlap there is nothing to go by.
    given = tfidf_logistic(train, labels, train).best()
    assert sum(a == b for a, b in zip(given, labels, strict=True)) == 12


def test_each_label_of_several_has_a_probability_of_its_own() -> None:
    # Second label: the text holds "and". Third: never.
    indicators = [[label == "fruit", " and " in text, False] for (text,), label in zip(ROWS, LABELS, strict=True)]
    both = tfidf_multi_label(ROWS, np.array(indicators), [("apple and iron and pear and cherry",), ("iron pipe",)])
    assert both.shape == (2, 3)
    assert (both[0] > both[1])[:2].all()
    assert both[:, 2].tolist() == [0, 0]


def test_values_follow_the_words_and_pairs_their_overlap() -> None:
    values = tfidf_ridge(ROWS, [5.0] * 6 + [1.0] * 6, TEST)
    assert values[0] > 3 > values[1]
    pairs = [(text, text) for (text,) in ROWS] + [(a, b) for (a,), (b,) in zip(ROWS, ROWS[6:] + ROWS[:6], strict=True)]
    alike, unlike = tfidf_ridge(pairs, [1.0] * 12 + [0.0] * 12, [("green fig", "green fig"), ("green fig", "old tin")])
    assert alike > unlike + 0.5


def test_cosine_of_equal_texts_is_one_and_of_foreign_ones_zero() -> None:
    assert tfidf_cosine(FRUIT, ["ripe apple"] * 2, ["ripe apple", "cherry pie"]).tolist() == pytest.approx([1, 0])


def test_latent_directions_join_words_that_occur_together() -> None:
    # "plum" and "pear" never meet, but both stand beside "ripe": in two directions they are nearly one.
    texts = ["ripe plum", "ripe pear", "old tin", "old can"] * 2
    plum, pear, tin = lsa_vectors(texts, ["plum", "pear", "tin"], width=2)
    assert plum @ pear > 10 * abs(plum @ tin)
    assert lsa_vectors(["a"], ["a", "b"]).shape == (2, 1)


def test_a_word_gets_the_tag_that_it_mostly_has() -> None:
    words = [["Paris", "is", "big"], ["Paris", "Hilton"], ["Paris", "sleeps"]]
    tags = [["B-LOC", "O", "O"], ["B-PER", "I-PER"], ["B-LOC", "O"]]
    # "is", "big", "Hilton" and "sleeps" occur once, three of four with O: so does an unknown word.
    given = most_frequent_tags(words, tags, [["Paris", "hilton", "IS", "new"]])
    assert given == [["B-LOC", "I-PER", "O", "O"]]


def test_bm25_by_hand() -> None:
    # Three passages of 2, 2 and 5 words: 3 on average. "cat" is in two of them: ln(1 + 1.5 / 2.5) = ln 1.6.
    passages = ["the cat", "a dog", "cat cat cat on mat"]
    scores = Bm25(passages).scores("Cat?", passages)
    once = math.log(1.6) * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 2 / 3))
    thrice = math.log(1.6) * 3 * 2.2 / (3 + 1.2 * (0.25 + 0.75 * 5 / 3))
    assert scores.tolist() == pytest.approx([once, 0, thrice])
    assert Bm25(["", ""]).scores("cat", passages).shape == (3,)


def test_chinese_characters_are_words() -> None:
    assert words_of("BERT很好 ok") == ["bert", "很", "好", "ok"]
    train = [("这部电影很好",), ("非常好看",), ("太差了",), ("很差的电影",)] * 3
    assert tfidf_logistic(train, ["good", "good", "bad", "bad"] * 3, [("好",), ("差",)]).best() == ["good", "bad"]
