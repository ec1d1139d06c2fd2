"""The array learner against a plain one that recounts all pairs before every merge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.text.merges import Criterion, MergeLearner


def plain_merges(words: dict[str, int], criterion: Criterion, min_frequency: int) -> Iterator[str]:
    """The definition, word by word: count, take the best pair, merge it from left to right, start again."""
    split = {word: [word[0], *("##" + character for character in word[1:])] for word in words}
    seen = {piece for pieces in split.values() for piece in pieces}
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        pieces: Counter[str] = Counter()
        for word, parts in split.items():
            for part in parts:
                pieces[part] += words[word]
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        scores = {
            pair: count if criterion == "frequency" else count / (pieces[pair[0]] * pieces[pair[1]])
            for pair, count in pairs.items()
            if count >= min_frequency
        }
        if not scores:
            return
        best = min(scores, key=lambda pair: (-scores[pair], pair))
        token = best[0] + best[1].removeprefix("##")
        for word, parts in split.items():
            merged: list[str] = []
            for part in parts:
                if merged and (merged[-1], part) == best:
                    merged[-1] = token
                else:
                    merged.append(part)
            split[word] = merged
        if token not in seen:
            seen.add(token)
            yield token


def learned(words: dict[str, int], criterion: Criterion, min_frequency: int) -> list[str]:
    counts = np.array(list(words.values()), dtype=np.int64)
    return list(MergeLearner(list(words), counts, criterion, min_frequency).new_tokens())


WORDS = st.dictionaries(st.text("abcé", min_size=1, max_size=9), st.integers(1, 40), min_size=1, max_size=25)


@settings(deadline=None, max_examples=40)
@given(WORDS, st.sampled_from(["frequency", "likelihood"]), st.integers(1, 6))
def test_merges_equal_the_plain_learner(words: dict[str, int], criterion: Criterion, min_frequency: int) -> None:
    assert learned(words, criterion, min_frequency) == list(plain_merges(words, criterion, min_frequency))


@pytest.mark.parametrize("criterion", ["frequency", "likelihood"])
def test_a_larger_corpus_equals_the_plain_learner(criterion: Criterion) -> None:
    rng = np.random.default_rng(5)
    words: dict[str, int] = {}
    for _ in range(200):
        length = int(rng.integers(1, 12))
        word = "".join(rng.choice(list("etaoinshrdlu"), size=length, p=np.arange(12, 0, -1) / 78))
        words[word] = words.get(word, 0) + int(rng.zipf(1.5) % 1000) + 1
    expected = list(islice(plain_merges(words, criterion, 2), 100))
    assert learned(words, criterion, 2)[:100] == expected


def test_first_merges_by_hand() -> None:
    # Pairs: h##u 15, ##u##g 20, p##u 17, ##u##n 16, b##u 4, ##g##s 5. Most frequent: ##u##g, then (now h##ug 15, ##u##n
    # 16) ##u##n, then h##ug 15. By likelihood ##g##s leads with 5 / (20 x 5) = 0.05; then ##gs counts 5 and ##g 15, and
    # of h##u 15/(15 x 36), p##u 17/(17 x 36), b##u 4/(4 x 36), ##u##g 15/(36 x 15), ##u##n 16/(36 x 16), ##u##gs
    # 5/(36 x 5), all 1/36, the first by its strings is ("##u", "##g").
    words = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}
    assert learned(words, "frequency", 1)[:3] == ["##ug", "##un", "hug"]
    assert learned(words, "likelihood", 1)[:2] == ["##gs", "##ug"]


@settings(deadline=None, max_examples=40)
@given(WORDS, st.randoms())
def test_the_order_of_words_does_not_matter(words: dict[str, int], random: Random) -> None:
    shuffled = list(words.items())
    random.shuffle(shuffled)
    assert learned(dict(shuffled), "frequency", 1) == learned(words, "frequency", 1)


def test_a_run_of_one_character_merges_from_the_left() -> None:
    # a ##a ##a ##a ##a: ("##a", "##a") three times overlapping, ("a", "##a") once. First ##aa: a ##aa ##aa; then
    # ("##aa", "##aa") and ("a", "##aa") once each, "##aa" first by its string: ##aaaa; then aaaaa.
    assert learned({"aaaaa": 1}, "frequency", 1) == ["##aa", "##aaaa", "aaaaa"]
