"""Blanks between words that were separated at punctuation: learned, and put back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bertsmith.text.spacing import is_mark, join_words, learn_spacing
from bertsmith.text.tags import word_borders

TEXTS = [
    "A man in a T-shirt, blue-eyed, walks (slowly) home.",
    'She says "yes", then "no"; it\'s late!',
    "Ein rot-weißes Boot – klein – liegt am Ufer.",
]


def words_of(text: str) -> list[str]:
    return [text[start:end] for start, end in word_borders(text).tolist()]


def test_texts_come_back_as_they_were_written() -> None:
    spacing = learn_spacing(TEXTS)
    assert [join_words(words_of(text), spacing) for text in TEXTS] == TEXTS


def test_a_mark_stands_as_most_of_its_occurrences_do() -> None:
    assert learn_spacing(["a - b", "c - d", "e-f"]) == {"-": "none"}
    assert learn_spacing(["a-b", "c-d", "e - f"]) == {"-": "both"}
    assert join_words(["a", "-", "b"], {"-": "none"}) == "a - b"


def test_numbers_are_not_torn() -> None:
    text = "Um 10:30 Uhr: 3,5 kg, 2.500 Euro, am 1.2.2003, zu 5 % 10 Leute."
    plain = "Um 10:30 Uhr: 3,5 kg, 2.500 Euro, am 1.2.2003, je 4-5."
    for learned in ({}, learn_spacing(["So: ja, nein. Nur - so."])):  # which show no number with such marks
        assert join_words(words_of(plain), learned) == plain
    assert join_words(words_of(text), learn_spacing([text])) == text
    # As the text has it, where it has it: a list of numbers.
    assert learn_spacing(["1, 2, 3", "a,b"]) == {",": "both", "0,0": "left"}
    assert join_words(["4", ",", "5"], {"0,0": "left"}) == "4, 5"
    assert join_words(["5", "%", "10"], {}) == "5% 10"


def test_quotation_marks_open_and_close_in_turn() -> None:
    assert learn_spacing(['say "a" or "b" now'])['"'] == "turns"
    assert join_words(["x", '"', "a", "b", '"', "y"], {'"': "turns"}) == 'x "a b" y'


def test_marks_that_were_never_seen_stand_as_usual() -> None:
    assert join_words(["No", ",", "he", "'", "s", "(", "not", ")", "there", "."], {}) == "No, he's (not) there."


def test_ideographs_stand_without_blanks_and_other_words_with() -> None:
    assert join_words(words_of("我在北京。BERT 很好"), {}) == "我在北京。BERT 很好"


@given(st.lists(st.text("abcé東.,-\"'(", min_size=1, max_size=5)))
def test_no_word_is_lost_or_cut(parts: list[str]) -> None:
    words = [word for part in parts for word in words_of(part)]
    joined = join_words(words, learn_spacing(parts))
    assert joined.replace(" ", "") == "".join(words)
    assert joined == joined.strip()


def test_what_a_mark_is() -> None:
    assert [word for word in ["a", ".", "$", "7", "–", "...", "東"] if is_mark(word)] == [".", "$", "–"]
