"""Multiple-choice files as rows of question, choices, context and label, whichever of the known shapes they have.

SWAG's columns (Zellers et al. 2018); ARC's objects (Clark et al. 2018), as published or as on the Hugging Face hub, and
its CSV without a header; other tables as they are. Knows no task.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path
from string import ascii_uppercase, digits
from typing import Any

from bertsmith.data.delimited import Layout
from bertsmith.data.lines import Fault, Reading, first_lines, sift
from bertsmith.data.readers import Row, read_table
from bertsmith.errors import DataError
from bertsmith.files import bare_suffix

_KEY = re.compile("[A-Z1-9]")
_FEWEST_CELLS = 4  # a question, two choices, a key


def read_choices(path: Path, reading: Reading) -> Iterator[Row]:
    """The rows of `path`; those of a known shape with the values `question`, `choices`, `label`, and SWAG's `context`.

    `label` is the index of the right choice, counted from 0, or None where the file has none. Values of other columns
    stay. Raises `DataError`, or skips and counts, as `read_table` does.
    """
    yield from sift(map(_known_shape, read_table(path, reading, _layout_without_header(path))), reading)


def choice_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """A record of SWAG's or ARC's shape by the fields of a question with choices; another one as it is.

    Raises `DataError`, without a place, for a key that names no choice.

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
    return dict(values)


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
    return Layout(("question", *(f"choice{i}" for i in range(len(head) - 2)), "answerKey"), delimiter=",", quoted=True)
