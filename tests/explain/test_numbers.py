"""The explained number of each task by hand: temperature, several windows, the one that an answer is taken from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import toy_tokenizer

from bertsmith.explain.subject import Subject
from bertsmith.inference.predictor import Predictor
from bertsmith.model.packed import Packed
from bertsmith.tasks import TASKS


class Bag(nn.Module):
    """A network of a bag of words: of each window the sum of its words' rows; `of_tokens`: to which each adds its own.

    rows: by word; of all others zeros.
    """

    def __init__(self, rows: Mapping[str, tuple[float, ...]], *, of_tokens: bool = False):
        super().__init__()
        tokenizer = toy_tokenizer()
        table = torch.zeros(tokenizer.vocab_size, len(next(iter(rows.values()))))
        for word, row in rows.items():
            table[tokenizer.ids[word]] = torch.tensor(row)
        self.table, self.of_tokens = nn.Parameter(table), of_tokens

    def forward(self, packed: Packed) -> Tensor:
        windows = packed.split(self.table[packed.input_ids])
        if self.of_tokens:
            return torch.cat([window + window.sum(0) for window in windows])
        return torch.stack([window.sum(0) for window in windows]).squeeze(-1)


def subject(
    name: str, settings: Mapping[str, Any], rows: Mapping[str, tuple[float, ...]], record: Any, target: str | None
) -> Subject:
    task = TASKS[name].from_dict(settings, "toy")
    network = Bag(rows, of_tokens=name in ("token_classification", "question_answering"))
    return Subject.of(Predictor(task, network, toy_tokenizer(), "fp32"), task.request(record), target)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # Of two windows (ba be, bi bo) the logits are 0, 2 and 1, 5: their mean is 0.5, 3.5, each largest 1, 5.
        ({}, (3.5 - 0.5) / 2),
        ({"window_merging": "max"}, (5 - 1) / 2),
        ({"problem_type": "multi_label"}, 3.5 / 2),
    ],
)
def test_a_label_over_two_windows(settings: dict[str, Any], expected: float) -> None:
    shape = {"labels": ["bad", "good"], "temperature": 2.0, "max_length": 4, "stride": 0}
    rows = {"ba": (0.0, 2.0), "bi": (1.0, 5.0)}
    asked = subject("classification", {**shape, **settings}, rows, "ba be bi bo", "good")
    assert len(asked.target.windows) == 2
    assert asked.score == pytest.approx(expected)
    assert asked.target.likelihood(asked.score) == pytest.approx(1 / (1 + math.exp(-expected)))


def test_a_tag_of_a_word_of_two_pieces() -> None:
    rows = {"da": (0.0, 3.0), "##s": (0.0, 1.0)}
    settings = {"labels": ["O", "B-A"], "temperature": 2.0, "labelled_pieces": "all"}
    asked = subject("token_classification", settings, rows, "ba das", "das=B-A")
    # Pieces da, ##s: 3 and 1, and both of the window's 4; their mean is 6, that of O 0.
    assert asked.score == pytest.approx(6 / 2)


@pytest.mark.parametrize(
    ("target", "name"), [("ba=O", "O of ba=O"), ("ba=O=B-A", "B-A of ba=O"), ("ba=B-A", "B-A of ba"), ("=", "O of =")]
)
def test_a_word_with_an_equals_sign_can_be_named(target: str, name: str) -> None:
    settings = {"labels": ["O", "B-A"]}
    asked = subject("token_classification", settings, {"be": (0.0, 1.0)}, {"words": ["ba", "ba=O", "="]}, target)
    assert asked.target.name == name


def test_the_vector_of_a_text_is_the_mean_of_its_windows_by_their_tokens() -> None:
    rows = {"ba": (1.0, 0.0), "bo": (0.0, 1.0), "da": (1.0, 0.0)}
    settings = {"max_length": 5, "stride": 0, "normalize": False}
    asked = subject("embedding", settings, rows, ("ba be bi bo", "da"), None)
    # Windows of [CLS] ba be bi [SEP] and [CLS] bo [SEP]: 5 * (1, 0) + 3 * (0, 1), beside (1, 0).
    assert asked.score == pytest.approx(5 / math.hypot(5, 3))


@pytest.mark.parametrize(("rich", "window"), [("be", 0), ("bo", 1)])
def test_an_answer_is_explained_in_its_best_window(rich: str, window: int) -> None:
    # Three windows: be bi, bi bo, bo bu. The answer `bi` is in the first two, and more likely beside `rich`.
    settings = {"max_length": 6, "stride": 1, "allow_no_answer": False}
    record = {"question": "ba", "context": "be bi bo bu"}
    asked = subject("question_answering", settings, {rich: (1.0, 1.0)}, record, "bi")
    assert asked.target.numbers == (window,)
    # Of six tokens, of which `rich` has one more than the others, each for start and end.
    assert asked.score == pytest.approx(-2 * math.log(5 + math.e))


@pytest.mark.parametrize(("rich", "window"), [("be", 1), ("bu", 0)])
def test_no_answer_is_explained_where_it_is_least_likely(rich: str, window: int) -> None:
    settings = {"max_length": 6, "stride": 1, "allow_no_answer": True}
    record = {"question": "ba", "context": "be bi bo bu"}
    rows = {rich: (1.0, 1.0), "[CLS]": (9.0, 9.0)}
    asked = subject("question_answering", settings, rows, record, None)
    assert asked.target.name == "no answer"
    assert asked.target.numbers == (window,)


@pytest.mark.parametrize(("rich", "window"), [("be", 0), ("bo", 1)])
def test_a_choice_counts_in_its_best_window(rich: str, window: int) -> None:
    # Of the first choice, da, the windows are be bi and bo bu; of the second, du, two more of the same.
    settings = {"max_length": 6, "stride": 0, "temperature": 2.0}
    record = {"question": "", "context": "be bi bo bu", "choices": ["da", "du"]}
    rows = {rich: (3.0,), "da": (1.0,)}
    asked = subject("multiple_choice", settings, rows, record, "da")
    assert asked.target.numbers == (window, window + 2)
    assert asked.score == pytest.approx((4 - 3) / 2)
