"""Dialogues as one input: a segment a turn, types by speaker, the oldest turns left out first."""

from __future__ import annotations

from toys import toy_tokenizer

from bertsmith.text.turns import cut_turns
from bertsmith.text.windows import TextWindow, WindowSettings, cut_windows, pieces_of

TOKENIZER = toy_tokenizer()


def cut(*texts: str, max_length: int = 20) -> list[TextWindow]:
    *turns, reply = pieces_of(TOKENIZER, texts)
    return cut_turns(TOKENIZER, turns, reply, WindowSettings(max_length=max_length))


def drawn(window: TextWindow) -> str:
    """Each token with the type under it."""
    tokens = [TOKENIZER.vocab[token] for token in window.input_ids]
    return " ".join(f"{token}{kind}" for token, kind in zip(tokens, window.token_type_ids, strict=True))


def test_types_alternate_back_from_the_reply() -> None:
    assert drawn(cut("ba be", "bi")[0]) == "[CLS]0 ba0 be0 [SEP]0 bi1 [SEP]1"
    assert drawn(cut("ba", "be", "bi")[0]) == "[CLS]0 ba1 [SEP]1 be0 [SEP]0 bi1 [SEP]1"
    assert drawn(cut("ba", "be", "bi", "bo")[0]) == "[CLS]0 ba0 [SEP]0 be1 [SEP]1 bi0 [SEP]0 bo1 [SEP]1"


def test_the_oldest_turns_are_left_out_first_and_counted() -> None:
    (window,) = cut("ba be bi bo", "da de", "fa", "ga", max_length=9)
    # With the first turn it would be 4 + 2 + 1 + 1 pieces and 5 special tokens.
    assert drawn(window) == "[CLS]0 da1 de1 [SEP]1 fa0 [SEP]0 ga1 [SEP]1"
    assert window.num_cut_tokens == 4


def test_a_last_turn_that_does_not_fit_is_cut_as_a_pair_is() -> None:
    texts = ("ba be", "da " * 30, "fa fe")
    windows = cut(*texts, max_length=12)
    pair = cut_windows(TOKENIZER, pieces_of(TOKENIZER, texts[1:]), WindowSettings(max_length=12), slide=1)
    assert [drawn(window) for window in windows] == [drawn(window) for window in pair]
    assert windows[0].num_cut_tokens == pair[0].num_cut_tokens + 2


def test_one_turn_is_a_pair() -> None:
    pair = cut_windows(TOKENIZER, pieces_of(TOKENIZER, ["ba be", "bi"]), WindowSettings(max_length=20), slide=1)
    assert drawn(cut("ba be", "bi")[0]) == drawn(pair[0])
