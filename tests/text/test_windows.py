"""Windows by hand, by their properties on any text, and beside those of `transformers`."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertsmith.errors import DataError, SettingsError
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.windows import Pieces, TextWindow, WindowSettings, cut_windows, pieces_of

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# ids:              5     6        7        8    9    10   11     12     13
VOCAB = [*SPECIAL, "un", "##aff", "##able", "a", "b", "c", "##a", "##b", "!"]
TOKENIZER = Tokenizer.from_vocab(VOCAB)
POLICIES = ["error", "head", "tail", "head_tail", "windows"]
CUTTING = POLICIES[1:]


def pieces(*texts: str) -> list[Pieces]:
    return pieces_of(TOKENIZER, texts)


def cut(*texts: str, **options: Any) -> list[TextWindow]:
    where = {name: options.pop(name) for name in ("slide", "whole_words", "where") if name in options}
    return cut_windows(TOKENIZER, pieces(*texts), WindowSettings(**options), **where)


def drawn(windows: list[TextWindow]) -> list[str]:
    """The slid text's pieces in each window: its index in the text where owned, a dot where another window owns it."""
    return [
        " ".join(str(piece) if owned else "." for piece, owned in zip(w.kept[w.slid], w.owned, strict=True))
        for w in windows
    ]


def test_pieces_by_hand() -> None:
    # "Unaffable a!": un 0-2, ##aff 2-5, ##able 5-9; a 10-11; ! 11-12
    (text,) = pieces("Unaffable a!")
    assert text.ids.tolist() == [5, 6, 7, 8, 13]
    assert text.offsets.tolist() == [[0, 2], [2, 5], [5, 9], [10, 11], [11, 12]]
    assert text.word_ids.tolist() == [0, 0, 0, 1, 2]
    assert text.word_starts.tolist() == [0, 3, 4]
    assert len(text) == 5
    assert text.ids.dtype == text.offsets.dtype == text.word_ids.dtype == np.int32
    (words,) = pieces_of(TOKENIZER, [["unaffable", "", "a!"]])
    assert words.word_ids.tolist() == [0, 0, 0, 2, 2]
    assert words.offsets.tolist() == [[0, 2], [2, 5], [5, 9], [0, 1], [1, 2]]
    (empty,) = pieces("")
    assert (empty.offsets.shape, empty.word_ids.shape, empty.word_starts.shape) == ((0, 2), (0,), (0,))


def test_a_text_that_fits() -> None:
    for policy in POLICIES:
        (window,) = cut("a b", truncation=policy, max_length=4)
        assert window.input_ids.tolist() == [2, 8, 9, 3]
        assert window.token_type_ids.tolist() == [0, 0, 0, 0]
        assert [kept.tolist() for kept in window.kept] == [[0, 1]]
        assert window.starts == (1,)
        assert window.owned.tolist() == [True, True]
        assert window.num_cut_tokens == 0
        assert window.input_ids.dtype == window.token_type_ids.dtype == window.kept[0].dtype == np.int32


def test_a_pair_that_fits() -> None:
    for policy in POLICIES:
        (window,) = cut("a b", "c", truncation=policy, max_length=6)
        assert window.input_ids.tolist() == [2, 8, 9, 3, 10, 3]
        assert window.token_type_ids.tolist() == [0, 0, 0, 0, 1, 1]
        assert [kept.tolist() for kept in window.kept] == [[0, 1], [0]]
        assert window.starts == (1, 4)
        assert window.num_cut_tokens == 0


def test_windows_over_one_text() -> None:
    # 10 pieces, room for 5, of which neighbours share 2: pieces 0-4, 3-7, 6-9. Of the shared 3 and 4, 3 is nearer to
    # the middle of the first window, 4 of the second; so with 6 and 7.
    windows = cut("a b c a b c a b c a", max_length=7, stride=2)
    assert drawn(windows) == [
        "0 1 2 3 .",
        ". 4 5 6 .",
        ". 7 8 9",
    ]
    assert [window.input_ids.tolist() for window in windows] == [
        [2, 8, 9, 10, 8, 9, 3],
        [2, 8, 9, 10, 8, 9, 3],
        [2, 8, 9, 10, 8, 3],
    ]
    # 9 pieces, room for 6, of which 3 are shared: of 3, 4, 5 the one in the middle, 4, is as near; the earlier has it.
    assert drawn(cut("a b c a b c a b c", max_length=8, stride=3)) == [
        "0 1 2 3 4 .",
        ". . 5 6 7 8",
    ]
    # Nothing is shared.
    assert drawn(cut("a b c a b", max_length=4, stride=0)) == ["0 1", "2 3", "4"]


def test_windows_over_the_second_of_a_pair() -> None:
    # Room for 6: 2 for the first text, 4 for the second, of which neighbours share 1.
    windows = cut("a b", "c a b c a b c", max_length=9, stride=1, slide=1)
    assert drawn(windows) == ["0 1 2 3", ". 4 5 6"]
    assert [window.input_ids.tolist() for window in windows] == [
        [2, 8, 9, 3, 10, 8, 9, 10, 3],
        [2, 8, 9, 3, 10, 8, 9, 10, 3],
    ]
    assert [window.token_type_ids.tolist() for window in windows] == [[0, 0, 0, 0, 1, 1, 1, 1, 1]] * 2
    assert [window.starts for window in windows] == [(1, 4), (1, 4)]
    assert [[kept.tolist() for kept in window.kept] for window in windows] == [
        [[0, 1], [0, 1, 2, 3]],
        [[0, 1], [3, 4, 5, 6]],
    ]


def test_windows_over_the_first_of_a_pair() -> None:
    windows = cut("c a b c a", "a b", max_length=8, stride=1, slide=0)
    assert drawn(windows) == ["0 1 2", ". 3 4"]
    assert [window.starts for window in windows] == [(1, 5), (1, 5)]
    assert windows[1].input_ids.tolist() == [2, 9, 10, 8, 3, 8, 9, 3]


def test_by_itself_the_longer_of_a_pair_slides() -> None:
    assert {window.slid for window in cut("a b c a b", "a", max_length=7, stride=1)} == {0}
    assert {window.slid for window in cut("a", "a b c a b", max_length=7, stride=1)} == {1}
    assert {window.slid for window in cut("a b c", "a b c", max_length=7, stride=1)} == {1}


def test_a_question_longer_than_half_a_window_keeps_that_half() -> None:
    # Room for 7: at most 3 for the question, so 4 for the context; 5 of the question's 8 are cut, and counted once.
    windows = cut("a b c a b c a b", "c a b c a b", max_length=10, stride=1, slide=1)
    assert drawn(windows) == ["0 1 2 3", ". 4 5"]
    assert [window.kept[0].tolist() for window in windows] == [[0, 1, 2]] * 2
    assert [window.num_cut_tokens for window in windows] == [5, 0]
    # A short context leaves it more than half: 7 - 2.
    (window,) = cut("a b c a b c a b", "c a", max_length=10, slide=1)
    assert [kept.tolist() for kept in window.kept] == [[0, 1, 2, 3, 4], [0, 1]]
    assert window.num_cut_tokens == 3


def test_no_more_than_half_of_a_window_is_shared() -> None:
    assert drawn(cut("a b c a b c", max_length=6, stride=128)) == ["0 1 2 .", ". 3 4 5"]
    assert drawn(cut("a b c", max_length=3, stride=128)) == ["0", "1", "2"]


def test_head_tail_and_both() -> None:
    # 12 pieces, room for 6.
    text = "a b c " * 4
    for policy, kept in [
        ("head", [0, 1, 2, 3, 4, 5]),
        ("tail", [6, 7, 8, 9, 10, 11]),
        ("head_tail", [0, 1, 8, 9, 10, 11]),
    ]:
        (window,) = cut(text, max_length=8, truncation=policy)
        assert window.kept[0].tolist() == kept
        assert window.owned.all()
        assert window.num_cut_tokens == 6
        assert window.input_ids.tolist() == [2, *([8, 9, 10] * 4)[kept[0] : kept[1] + 1], *window.input_ids[3:-1], 3]
    (window,) = cut("a " * 600, truncation="head_tail")
    assert window.kept[0].tolist() == [*range(128), *range(600 - 382, 600)]


def test_a_pair_is_cut_longest_first() -> None:
    # Room for 5 of 6 and 3: two and three, the odd one to the longer.
    for policy, kept in [
        ("head", [[0, 1, 2], [0, 1]]),
        ("tail", [[3, 4, 5], [1, 2]]),
        ("head_tail", [[0, 4, 5], [0, 2]]),
    ]:
        (window,) = cut("a b c a b c", "a b c", max_length=8, truncation=policy)
        assert [part.tolist() for part in window.kept] == kept
        assert window.num_cut_tokens == 4
    # Only the second, unless the first is longer than half: of 5, the second keeps what the first leaves.
    (window,) = cut("a b", "a b c a b c", max_length=8, truncation="head", slide=1)
    assert [part.tolist() for part in window.kept] == [[0, 1], [0, 1, 2]]


def test_whole_words() -> None:
    # pieces: a b un ##aff ##able c a b c un ##aff ##able; words: 0 1 2-4 5 6 7 8 9-11
    text = "a b unaffable c a b c unaffable"
    assert drawn(cut(text, max_length=9, stride=2, whole_words=True)) == [
        "0 1 2 3 4 5 .",
        ". 6 7 8 9 10 11",
    ]
    # Room for 4: the first border is drawn back to the word's start. Sharing 1 leaves room for the word, sharing 2 not.
    assert drawn(cut(text, max_length=6, stride=2, whole_words=True)) == [
        "0 1",
        ". 2 3 4",
        "5 6 7 8",  # 3 and 4 are no whole word
        ". 9 10 11",
    ]
    # Room for 2: the word of three has to be cut.
    assert drawn(cut("unaffable a unaffable", max_length=4, stride=0, whole_words=True)) == ["0 1", "2 3", "4 5", "6"]
    # Of the shared a word is owned whole, here un ##aff ##able: their middle would have divided it.
    assert drawn(cut("a b c unaffable a b c", max_length=8, stride=3, whole_words=True)) == [
        "0 1 2 . . .",
        "3 4 5 6 7 8",
    ]


def test_whole_words_when_cutting() -> None:
    text = "a b unaffable c a b c unaffable"
    for policy, max_length, kept in [
        ("head", 6, [0, 1]),
        ("tail", 11, [5, 6, 7, 8, 9, 10, 11]),
        ("head_tail", 12, [0, 1, 5, 6, 7, 8, 9, 10, 11]),
        # Where not even one word fits.
        ("tail", 4, [10, 11]),
    ]:
        (window,) = cut(text, max_length=max_length, truncation=policy, whole_words=True)
        assert window.kept[0].tolist() == kept, policy
        assert window.num_cut_tokens == 12 - len(kept)
    (window,) = cut("unaffable a", max_length=4, truncation="head", whole_words=True)
    assert window.kept[0].tolist() == [0, 1]


def test_the_policy_error_names_the_text_and_the_ways_out() -> None:
    with pytest.raises(DataError, match=r"^a.csv, line 7: 6 tokens with the special ones, more than max_length 5; .*"):
        cut("a b c a", max_length=5, truncation="error", where="a.csv, line 7")
    with pytest.raises(DataError, match=r"text: 7 tokens .* raise max_length, or choose truncation 'windows', 'head'"):
        cut("a b", "c a", max_length=6, truncation="error")


def test_empty_texts() -> None:
    for policy in POLICIES:
        (window,) = cut("", truncation=policy)
        assert window.input_ids.tolist() == [2, 3]
        assert window.owned.tolist() == []
        for pair in [("", ""), ("", "a"), ("a", "")]:
            (window,) = cut(*pair, truncation=policy, slide=1)
            assert len(window.input_ids) == 3 + len("".join(pair))
            assert window.starts == (1, 2 + len(pair[0]))
    assert drawn(cut("", "a b c", max_length=5, stride=0, slide=1)) == ["0 1", "2"]
    (window,) = cut("a b c", "", max_length=5, slide=1)
    assert (window.kept[0].tolist(), window.num_cut_tokens) == ([0, 1], 1)


def test_settings_that_cannot_work() -> None:
    for values, message in [
        ({"max_length": 2}, "max_length: Input should be greater than or equal to 3"),
        ({"stride": -1}, "stride: Input should be greater than or equal to 0"),
        ({"truncation": "middle"}, "truncation: Input should be 'error', 'head', 'tail', 'head_tail' or 'windows'"),
    ]:
        with pytest.raises(SettingsError, match=message):
            WindowSettings.of(values)
    for policy in CUTTING:
        with pytest.raises(SettingsError, match="row 3: a window of 3 tokens holds nothing of two texts"):
            cut("a", "b", max_length=3, truncation=policy, where="row 3")


@pytest.mark.parametrize("whole_words", [False, True])
@pytest.mark.parametrize("num_words", [30_000, pytest.param(500_000, marks=pytest.mark.slow)])
def test_a_very_long_text(num_words: int, whole_words: bool) -> None:
    (text,) = pieces("a b " * (num_words // 2))
    windows = cut_windows(TOKENIZER, [text], WindowSettings(), whole_words=whole_words)
    assert sum(int(window.owned.sum()) for window in windows) == num_words
    # The first window holds 510, every other 510 - 128 that are new.
    assert len(windows) == 1 + -(-(num_words - 510) // 382)


WORDS = st.lists(st.sampled_from(["a", "b", "c", "unaffable", "ab", "aaa", "abab", "a" * 12, "!", "x"]), max_size=30)
TEXT = WORDS.map(" ".join)
SETTINGS = st.builds(
    WindowSettings,
    max_length=st.integers(4, 20),
    truncation=st.sampled_from(CUTTING),
    stride=st.integers(0, 12),
)
SLIDES = st.sampled_from([None, 0, 1])
LAID_OUT = (TEXT, TEXT | st.none(), SETTINGS, SLIDES, st.booleans())


def windows_of(
    text: str, pair: str | None, options: WindowSettings, slide: int | None, whole_words: bool
) -> tuple[list[Pieces], list[TextWindow]]:
    texts = pieces(text) if pair is None else pieces(text, pair)
    return texts, cut_windows(TOKENIZER, texts, options, slide=None if pair is None else slide, whole_words=whole_words)


@settings(max_examples=100)
@given(*LAID_OUT)
def test_a_window_is_what_it_says(
    text: str, pair: str | None, options: WindowSettings, slide: int | None, whole_words: bool
) -> None:
    texts, windows = windows_of(text, pair, options, slide, whole_words)
    for window in windows:
        expected, types = [TOKENIZER.cls_id], [0]
        for index, (part, kept, start) in enumerate(zip(texts, window.kept, window.starts, strict=True)):
            assert len(expected) == start
            assert np.all(np.diff(kept) > 0)
            expected += [*part.ids[kept].tolist(), TOKENIZER.sep_id]
            types += [index] * (len(kept) + 1)
        assert window.input_ids.tolist() == expected
        assert window.token_type_ids.tolist() == types
        assert len(expected) <= options.max_length
        assert len(window.owned) == len(window.kept[window.slid])


@settings(max_examples=100)
@given(*LAID_OUT)
def test_every_piece_is_owned_once_or_counted(
    text: str, pair: str | None, options: WindowSettings, slide: int | None, whole_words: bool
) -> None:
    texts, windows = windows_of(text, pair, options, slide, whole_words)
    slid = windows[0].slid
    owned = [piece for window in windows for piece in window.kept[slid][window.owned].tolist()]
    kept = sorted({piece for window in windows for piece in window.kept[slid].tolist()})
    assert owned == kept
    others = [len(window.kept[other]) for window in windows for other in range(len(texts)) if other != slid]
    assert len(set(others)) <= 1
    assert windows[0].num_cut_tokens == sum(map(len, texts)) - len(kept) - sum(others[:1])
    assert not any(window.num_cut_tokens for window in windows[1:])
    if options.truncation == "windows":
        assert kept == list(range(len(texts[slid])))
    else:
        assert len(windows) == 1


@settings(max_examples=100)
@given(TEXT, SETTINGS)
def test_a_cut_text_is_cut_only_as_far_as_needed(text: str, options: WindowSettings) -> None:
    (whole,) = pieces(text)
    (window, *more) = cut_windows(TOKENIZER, [whole], options)
    room = options.max_length - 2
    assert len(window.kept[0]) == min(len(whole), room)
    kept = window.kept[0].tolist()
    if options.truncation == "head" or more:
        assert kept == list(range(len(kept)))
    elif options.truncation == "tail":
        assert kept == list(range(len(whole) - len(kept), len(whole)))
    elif options.truncation == "head_tail" and len(whole) > room:
        head = kept.index(len(whole) - room + options.max_length // 4)
        assert head == options.max_length // 4
        assert kept[:head] == list(range(head))
        assert kept[head:] == list(range(len(whole) - room + head, len(whole)))


@settings(max_examples=100)
@given(TEXT, st.integers(3, 20), st.integers(0, 12))
def test_neighbours_share_the_stride_and_ownership_is_by_context(text: str, max_length: int, stride: int) -> None:
    (whole,) = pieces(text)
    windows = cut_windows(TOKENIZER, [whole], WindowSettings(max_length=max_length, stride=stride))
    room = max_length - 2
    assert all(len(window.kept[0]) == room for window in windows[:-1])
    for before, after in pairwise(windows):
        assert len(np.intersect1d(before.kept[0], after.kept[0])) == min(stride, room // 2)
    for piece in range(len(whole)):
        context = {
            index: min(piece - window.kept[0][0], window.kept[0][-1] - piece)
            for index, window in enumerate(windows)
            if piece in window.kept[0]
        }
        owner = max(context, key=lambda index: (context[index], -index))
        assert [index for index in context if windows[index].owned[piece - windows[index].kept[0][0]]] == [owner]


@settings(max_examples=100)
@given(TEXT, st.integers(3, 20), st.integers(0, 12))
def test_whole_words_stay_whole(text: str, max_length: int, stride: int) -> None:
    (whole,) = pieces(text)
    options = WindowSettings(max_length=max_length, stride=stride)
    windows = cut_windows(TOKENIZER, [whole], options, whole_words=True)
    lengths = np.bincount(whole.word_ids) if len(whole) else np.empty(0)
    for window in windows:
        for pieces_in_it in (window.kept[0], window.kept[0][window.owned]):
            words, counts = np.unique(whole.word_ids[pieces_in_it], return_counts=True)
            parted = words[counts < lengths[words]] if len(words) else words
            assert np.all(lengths[parted] > max_length - 2)
    for before, after in pairwise(windows):
        assert len(np.intersect1d(before.kept[0], after.kept[0])) <= stride
        assert after.kept[0][-1] > before.kept[0][-1]


@given(TEXT, st.integers(4, 20), st.integers(0, 12))
def test_owned_pieces_cut_the_text_back_out(text: str, max_length: int, stride: int) -> None:
    (whole,) = pieces(text)
    parts = [
        text[start:end]
        for window in cut_windows(TOKENIZER, [whole], WindowSettings(max_length=max_length, stride=stride))
        for start, end in whole.offsets[window.kept[0][window.owned]].tolist()
    ]
    assert "".join(parts) == text.replace(" ", "")


@given(TEXT, TEXT | st.none(), st.integers(4, 20))
def test_the_head_is_what_the_tokenizer_keeps(text: str, pair: str | None, max_length: int) -> None:
    options = WindowSettings(max_length=max_length, truncation="head")
    (window,) = cut_windows(TOKENIZER, pieces(text) if pair is None else pieces(text, pair), options)
    encoding = TOKENIZER.encode(text, pair, max_length=max_length)
    assert window.input_ids.tolist() == encoding.input_ids.tolist()
    assert window.token_type_ids.tolist() == encoding.token_type_ids.tolist()
    assert window.num_cut_tokens == encoding.num_cut_tokens


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    transformers = pytest.importorskip("transformers")
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    TOKENIZER.save(folder)
    return transformers.BertTokenizer.from_pretrained(str(folder))


@pytest.mark.peers
@given(text=TEXT, pair=TEXT, max_length=st.integers(4, 20), stride=st.integers(0, 8))
def test_windows_equal_those_of_transformers(theirs: Any, text: str, pair: str, max_length: int, stride: int) -> None:
    first, second = pieces(text, pair)
    for texts, room in ([second], max_length - 2), ([first, second], max_length - 3 - len(first)):
        if 2 * stride > room or len(first) > (max_length - 3) // 2:
            continue  # a larger stride, or a longer question, is refused there
        windows = cut_windows(
            TOKENIZER, texts, WindowSettings(max_length=max_length, stride=stride), slide=len(texts) - 1
        )
        expected = theirs(
            *([[text], [pair]] if len(texts) == 2 else [[pair]]),
            truncation="only_second" if len(texts) == 2 else True,
            max_length=max_length,
            stride=stride,
            return_overflowing_tokens=True,
        )
        assert [window.input_ids.tolist() for window in windows] == expected["input_ids"]
        assert [window.token_type_ids.tolist() for window in windows] == expected["token_type_ids"]
