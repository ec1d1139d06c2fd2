"""Multiple-choice files as rows of question, choices, context and label, whichever of the known shapes they have.

SWAG's columns (Zellers et al. 2018); ARC's objects (Clark et al. 2018), as published or as on the Hugging Face hub, and
its CSV without a header; a column for each choice; other tables as they are. Knows no task.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import count, takewhile
from pathlib import Path
from string import ascii_uppercase, digits
from typing import Any

from bertsmith.data.columns import plain_name
from bertsmith.data.delimited import Layout
from bertsmith.data.lines import Fault, Reading, first_lines, sift
from bertsmith.data.readers import Row, read_table
from bertsmith.errors import DataError
from bertsmith.files import bare_suffix

_KEY = re.compile("[A-Z1-9]")
_FEWEST_CELLS = 4  # a question, two choices, a key
_CHOICE_COLUMN = re.compile(r"[A-Z]|((?i:choice|option|answer|ending))[ _-]?[A-Za-z0-9]")

LABEL_NAMES = ("label", "answer", "answerkey", "correct", "correctanswer", "key", "gold")
"""Columns of the right choice, compared as `plain_name` has them."""
WAYS = (
    """a column 'choices' with a list (in CSV a JSON one: ["Ada", "Bob"]), or a column for each choice: A, B, C ..., """
    "also with 'choice', 'option', 'answer' or 'ending' before the letter, or before a number from 0 on"
)
"""How a file may hold its choices, for messages."""


def read_choices(path: Path, reading: Reading) -> Iterator[Row]:
    """The rows of `path`; those of a known shape with the values `question`, `choices`, `label`, and SWAG's `context`.

    `label` is the index of the right choice, counted from 0, or None where the file has none. Values of other columns
    stay. Raises `DataError`, or skips and counts, as `read_table` does.
    """
    yield from sift(map(_known_shape, read_table(path, reading, _layout_without_header(path))), reading)


def choice_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """A record of SWAG's or ARC's shape, or with a column for each choice, by the fields of a question with choices;
    another one as it is.

    Raises `DataError`, without a place, for a key that names no choice, and for an empty choice before another.

    >>> choice_values({"question": {"stem": "2 + 2?", "choices": [{"text": "5", "label": "A"}]}, "answerKey": "A"})
    {'question': '2 + 2?', 'choices': ['5'], 'label': 0}
    """
    question, choices = values.get("question"), values.get("choices")
    if "sent1" in values and "ending0" in values:
        return _swag(values)
    if "choice0" in values and "answerKey" in values:
        return _numbered(values)
    if isinstance(question, Mapping) and isinstance(question.get("choices"), list):
        if not all(isinstance(choice, Mapping) and {"text", "label"} <= set(choice) for choice in question["choices"]):
            raise DataError("a choice is no object with 'text' and 'label'")
        texts, labels = ([choice[part] for choice in question["choices"]] for part in ("text", "label"))
        return _arc({**values, "question": question.get("stem")}, texts, labels)
    if isinstance(choices, Mapping) and isinstance(choices.get("text"), list) and "label" in choices:
        return _arc(values, choices["text"], choices["label"])
    columns = choice_columns(tuple(values)) if choices is None else ()
    return _spread(values, columns) if columns else dict(values)


@lru_cache
def choice_columns(names: tuple[str, ...], first: str = "A0") -> tuple[str, ...]:
    """The columns of one choice each, in order; none where there are not two at least, or where there are two series.

    first: what a series may begin with.

    >>> choice_columns(("question", "option_a", "option_b", "answer"))
    ('option_a', 'option_b')
    """
    series: dict[str, dict[str, str]] = {}
    for name in names:
        if found := _CHOICE_COLUMN.fullmatch(name.strip()):
            series.setdefault((found[1] or "").lower(), {})[name.strip()[-1].upper()] = name
    whole = [
        tuple(columns[sign] for sign in signs[: len(columns)])
        for columns in series.values()
        for signs in (ascii_uppercase, digits, digits[1:])
        if len(columns) > 1 and signs[0] in first and set(columns) == set(signs[: len(columns)])
    ]
    return whole[0] if len(whole) == 1 else ()


def _spread(values: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """A column for each choice; the last ones are empty where a question has fewer. A letter names a column."""
    texts = [values[name] for name in columns]
    while texts and _is_empty(texts[-1]):
        texts.pop()
    for name, text in zip(columns, texts, strict=False):
        if _is_empty(text):
            raise DataError(f"the choice in {name!r} is empty, and one after it is not")
    letters = [name.strip()[-1].upper() for name in columns]
    rest = {name: value for name, value in values.items() if name not in columns}
    for name, value in rest.items():
        key = str(value).strip().upper()
        if plain_name(name) in LABEL_NAMES and key in letters and key.isalpha():
            if letters.index(key) >= len(texts):
                raise DataError(f"the key {value!r} names an empty choice")
            rest[name] = letters.index(key)
    return rest | {"choices": texts}


def _is_empty(value: Any) -> bool:
    return value is None or not str(value).strip()


def _swag(values: Mapping[str, Any]) -> dict[str, Any]:
    endings = _series(values, "ending")
    rest = {name: value for name, value in values.items() if name not in {"sent1", "sent2", *endings}}
    # The hub's test split has -1 for labels that are not public.
    label = None if str(rest.get("label", "")) in ("", "-1") else rest["label"]
    found = {"context": values["sent1"], "question": values.get("sent2", ""), "choices": list(endings.values())}
    return rest | found | {"label": label}


def _numbered(values: Mapping[str, Any]) -> dict[str, Any]:
    """A column for each choice; it is empty where a question has fewer, which need not be the last ones."""
    columns = _series(values, "choice")
    # Some of ARC's questions number their choices, from 1 on.
    names = digits[1:] if str(values["answerKey"]).strip().isdecimal() else ascii_uppercase
    filled = {name: text for name, text in zip(names, columns.values(), strict=False) if text}
    rest = {name: value for name, value in values.items() if name not in columns}
    return _arc(rest, list(filled.values()), list(filled))


def _series(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The columns `prefix0`, `prefix1` and so on, up to the first that is missing."""
    return {name: values[name] for name in takewhile(values.__contains__, (f"{prefix}{i}" for i in count()))}


def _arc(values: Mapping[str, Any], choices: list[Any], labels: Sequence[Any]) -> dict[str, Any]:
    rest = {name: value for name, value in values.items() if name != "answerKey"}
    key, names = str(values.get("answerKey") or "").strip(), [str(label) for label in labels]
    if key and key not in names:
        raise DataError(f"the key {key!r} names none of the choices: {', '.join(names) or 'there are none'}")
    return rest | {"choices": choices, "label": names.index(key) if key else None}


def _known_shape(row: Row) -> Row | Fault:
    try:
        return replace(row, values=choice_values(row.values))
    except DataError as error:
        return Fault(row.where, "a question that cannot be used", str(error))


def _layout_without_header(path: Path) -> Layout | None:
    """The columns of a CSV whose first record ends in a key, which names no column; None for any other file."""
    if bare_suffix(path) != ".csv":
        return None
    head: list[str] = next(csv.reader(first_lines(path)), [])
    if len(head) < _FEWEST_CELLS or not _KEY.fullmatch(head[-1].strip()):
        return None
    if choice_columns(tuple(head)):  # a header whose last column is that of a choice
        return None
    return Layout(("question", *(f"choice{i}" for i in range(len(head) - 2)), "answerKey"), delimiter=",", quoted=True)
