"""Pre-training's windows: pairs as BERT draws them, labels that length does not tell, scores worked by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import ToyCorpus, toy_config, toy_tokenizer

from bertsmith.data.batch import Window
from bertsmith.data.marks import CONTINUES_ENTITY, CONTINUES_WORD
from bertsmith.data.masking import CONTINUING
from bertsmith.data.order import sample_rng
from bertsmith.data.passages import Passage, Passages
from bertsmith.errors import DataError
from bertsmith.tasks.pretraining import FillMaskPrediction, FillMaskRequest, Pretraining, _cut_pair, _from_within

TOKENIZER = toy_tokenizer()
PASSAGES = Passages(ToyCorpus(), max_tokens=29)


def windows(passages: Passages | list[Passage], epoch: int = 0, **settings: Any) -> list[Window]:
    task = Pretraining.from_dict({"max_length": 32, **settings}, "test")
    return [task.encode(p, TOKENIZER, sample_rng(0, epoch, i))[0] for i, p in enumerate(passages)]


def restored(window: Window) -> list[int]:
    """The ids before masking."""
    ids = np.array(window.input_ids)
    ids[window.targets["places"]] = window.targets["labels"]
    return ids.tolist()


@pytest.mark.parametrize("sentence_task", ["none", "next", "order"])
def test_windows_are_framed_and_fit(sentence_task: str) -> None:
    for window in windows(PASSAGES, sentence_task=sentence_task):
        ids, types = restored(window), list(window.token_type_ids)
        assert ids[0] == TOKENIZER.cls_id
        assert ids[-1] == TOKENIZER.sep_id
        assert len(ids) == len(types) <= 32
        assert ids.count(TOKENIZER.sep_id) == (1 if sentence_task == "none" else 2)
        first = ids.index(TOKENIZER.sep_id) + 1
        assert types == [0] * first + [1] * (len(ids) - first)
        assert len(window.targets["places"]) >= 1
        assert not set(window.targets["labels"]) & set(TOKENIZER.special_ids)


def test_a_text_that_follows_is_the_passage_and_one_that_does_not_is_from_elsewhere() -> None:
    passages = [p for p in PASSAGES if len(p.sentences) > 1 and sum(map(len, p.sentences)) <= 29]
    followed = 0
    for passage, window in zip(passages, windows(passages), strict=True):
        ids = [i for i in restored(window) if i not in TOKENIZER.special_ids]
        own = np.concatenate(passage.sentences).tolist()
        assert (ids == own) == (window.targets["sentence"] == 0)
        followed += window.targets["sentence"] == 0
    # Half of them, within four standard errors of 0.5.
    assert abs(followed / len(passages) - 0.5) < 2 / math.sqrt(len(passages))


def test_sentence_order_swaps_the_halves_of_a_passage() -> None:
    passages = [p for p in PASSAGES if len(p.sentences) > 1 and sum(map(len, p.sentences)) <= 29]
    for passage, window in zip(passages, windows(passages, sentence_task="order"), strict=True):
        ids = restored(window)
        border = ids.index(TOKENIZER.sep_id)
        first, second = ids[1:border], ids[border + 1 : -1]
        own = np.concatenate(passage.sentences).tolist()
        assert (first + second if window.targets["sentence"] == 0 else second + first) == own


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 40), st.integers(0, 2**32))
def test_a_false_second_text_opens_its_passage_no_more_than_a_true_one(
    sizes: list[int], wanted: int, seed: int
) -> None:
    sentences = [np.full(size, number) for number, size in enumerate(sizes)]
    text = _from_within(sentences, wanted, np.random.default_rng(seed)).tolist()
    taken = sorted(set(text))
    assert taken == list(range(taken[0], taken[-1] + 1))
    assert text == [number for number in taken for _ in range(sizes[number])]
    assert taken[0] > 0 or len(sizes) == 1
    assert len(text) >= wanted or taken[-1] == len(sizes) - 1


def test_what_does_not_fit_is_counted() -> None:
    long = Passages(ToyCorpus(), max_tokens=60)
    whole = [p for p in long if sum(map(len, p.sentences)) >= 50]
    for passage, window in zip(whole, windows(whole, sentence_task="none"), strict=True):
        assert (
            window.num_cut_tokens
            == sum(map(len, passage.sentences)) - 30
            == _length(passage) - len(restored(window)) + 2
        )


def _length(passage: Passage) -> int:
    return len(np.concatenate(passage.sentences))


def test_masks_are_fresh_each_epoch() -> None:
    first, second = windows(PASSAGES[:20], epoch=0), windows(PASSAGES[:20], epoch=1)
    assert any(list(a.targets["places"]) != list(b.targets["places"]) for a, b in zip(first, second, strict=True))


def cut_slowly(first: list[int], second: list[int], room: int) -> tuple[int, int]:
    """Lengths after dropping one token at a time from the longer text, the second of two equals, as BERT does."""
    a, b = len(first), len(second)
    while a + b > room:
        if a > b:
            a -= 1
        else:
            b -= 1
    return a, b


@given(st.integers(0, 40), st.integers(0, 40), st.integers(2, 50), st.integers(0, 2**32))
def test_pairs_are_cut_as_one_token_at_a_time(a: int, b: int, room: int, seed: int) -> None:
    first, second = list(range(a)), list(range(100, 100 + b))
    rng = np.random.default_rng(seed)
    short = [part.tolist() for part in _cut_pair(np.array(first), np.array(second), room, rng)]
    assert (len(short[0]), len(short[1])) == cut_slowly(first, second, room)
    for part, whole in zip(short, (first, second), strict=True):
        assert not part or part == whole[whole.index(part[0]) :][: len(part)]


def test_scores_by_hand() -> None:
    # Two passages: three masked tokens of which two are right, log-probabilities -1, -2, -3: perplexity e^2.
    predictions = [
        FillMaskPrediction((), label_log_probabilities=(-1.0, -2.0), num_correct_tokens=2, sentence_is_correct=True),
        FillMaskPrediction((), label_log_probabilities=(-3.0,), num_correct_tokens=0, sentence_is_correct=False),
    ]
    assert Pretraining().score([None, None], predictions) == {
        "masked_accuracy": pytest.approx(2 / 3),
        "perplexity": pytest.approx(math.exp(2)),
        "sentence_accuracy": 0.5,
    }


def test_a_request_without_a_mask_is_refused() -> None:
    with pytest.raises(DataError, match=r"holds no \[MASK\]"):
        Pretraining().encode(FillMaskRequest("ba be bi"), TOKENIZER, sample_rng(0, 0, 0))


class Translated(ToyCorpus):
    """Documents of three sentences each, of the ids 5, 6 and 7; every other one has only its first."""

    def __init__(self, num_documents: int = 40):
        self.num_documents = num_documents
        self._lines = [
            np.full(4, 5 + language) for d in range(num_documents) for language in range(3) if d % 2 or not language
        ]
        sizes = [3 if d % 2 else 1 for d in range(num_documents)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])

    @property
    def sentence_lengths(self) -> Any:
        return np.array([len(line) for line in self._lines])

    def document_sentences(self, document: int) -> range:
        return range(int(self._starts[document]), int(self._starts[document + 1]))

    def sentence(self, index: int) -> Any:
        return self._lines[index]


def test_pairs_are_two_sentences_of_a_document_in_any_order() -> None:
    task = Pretraining.from_dict({"max_length": 32, "sentence_task": "pair"}, "test")
    passages = task.passages(Translated())
    assert [len(passage.sentences) for passage in passages] == [1, 3] * 20
    seen = set()
    for epoch in range(5):
        for window in windows(list(passages), epoch, sentence_task="pair"):
            ids = restored(window)
            border = ids.index(TOKENIZER.sep_id)
            texts = [ids[1:border], *([ids[border + 1 : -1]] if border < len(ids) - 1 else [])]
            assert all(len(text) == 4 and len(set(text)) == 1 for text in texts)
            assert list(window.token_type_ids) == [0] * (border + 1) + [1] * (len(ids) - border - 1)
            assert "sentence" not in window.targets
            if len(texts) == 2:  # [CLS] 1 2 3 4 [SEP], and its translation from 1 on again
                assert window.position_ids is not None
                assert window.position_ids.tolist() == [0, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5]
                assert task.collate([window, window]).packed.position_ids.tolist() == [*window.position_ids] * 2
            seen.add(tuple(text[0] for text in texts))
    assert seen == {(5,), (5, 6), (6, 5), (5, 7), (7, 5), (6, 7), (7, 6)}
    assert task.build(toy_config()).sentence_head is None


class Marked(ToyCorpus):
    """Every sentence is one word of the segmenter, in which tokens 2 and 3 are an entity."""

    def marks(self, index: int) -> Any:
        marks = np.full(len(self.sentence(index)), CONTINUES_WORD)
        marks[0] = 0
        marks[2:3] |= CONTINUES_ENTITY
        return marks


def test_words_of_a_segmenter_are_masked_whole() -> None:
    passages = Passages(Marked(), max_tokens=29)
    encoded = windows(passages, sentence_task="none", masking={"mask_unit": "word", "mask_fraction": 0.3})
    # A sentence is a word: of each passage all tokens of some sentences are masked, and of the others none.
    for passage, window in zip(passages, encoded, strict=True):
        assert max(restored(window)) < TOKENIZER.vocab_size
        at, places = 1, set(window.targets["places"].tolist())
        for sentence in passage.sentences:
            length = min(len(sentence), 31 - at)
            assert len(places & set(range(at, at + length))) in (0, length)
            at += length


def test_marks_join_what_the_unit_says() -> None:
    assert {unit: CONTINUING[unit] for unit in ("token", "word", "phrase", "entity")} == {
        "token": 0,
        "word": 1,
        "phrase": 1 | 2,
        "entity": 1 | 4,
    }
