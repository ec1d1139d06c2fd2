"""Known answers of a question about a text: from the shapes that files write them in, each found in the text.

Knows no task, and no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bertsmith.errors import DataError
from bertsmith.text.spans import nearest_occurrence

_SHAPE = 'expected {"text": [...], "answer_start": [...]}, a list of such pairs, or a text'


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """A right answer and the character of the context that it begins at; None: it stands nowhere there.

    num_moved: how many characters from where the file says; None where it does not say, or is not there.
    """

    text: str
    start: int | None
    num_moved: int | None = 0


def known_answers(value: Any, context: str, where: str) -> tuple[KnownAnswer, ...]:
    """The answers in `value`, shaped as SQuAD's or as the Hugging Face hub's, or one text; none for an empty one.

    An answer that does not stand where it is said to is taken from the nearest place where it does, without the white
    space around it if need be. Of several, some may be in words of the annotator's own (CMRC 2018 has such); raises
    `DataError` that names `where` if none stands in `context`.
    """
    answers = tuple(_found(text, stated, context) for text, stated in _stated(value, where))
    if answers and all(answer.start is None for answer in answers):
        raise DataError(f"{where}: an answer that is not in its context: {answers[0].text!r:.80}")
    return answers


def _stated(value: Any, where: str) -> list[tuple[str, int | None]]:
    if isinstance(value, str):
        return [(value, None)] if value.strip() else []
    if isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
        texts, starts = ([field] if isinstance(field, str | int) else field for field in (texts, starts))
        starts = [None] * len(texts) if starts is None and isinstance(texts, list) else starts
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise DataError(f"{where}: {_SHAPE}, found {value!r:.80}")
        value = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if not isinstance(value, list | tuple):
        raise DataError(f"{where}: {_SHAPE}, found {value!r:.80}")
    return [_pair(answer, where) for answer in value]


def _pair(answer: Any, where: str) -> tuple[str, int | None]:
    text, start = (answer.get("text"), answer.get("answer_start")) if isinstance(answer, Mapping) else (answer, None)
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: an answer without text: {answer!r:.80}")
    if start is not None and (not isinstance(start, int) or isinstance(start, bool)):
        raise DataError(f"{where}: 'answer_start' is no whole number: {start!r:.40}")
    return text, start


def _found(text: str, stated: int | None, context: str) -> KnownAnswer:
    for form in (text, text.strip()):
        start = nearest_occurrence(context, form, stated or 0)
        if start is not None:
            return KnownAnswer(form, start, None if stated is None else abs(start - stated))
    return KnownAnswer(text, None, None)
