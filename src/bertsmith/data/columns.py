"""Which columns of a table hold the texts and the labels, and what the labels name. Knows no task.

Names decide first, then contents; what is open to doubt is refused with the candidates, never guessed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bertsmith.data.delimited import NAMES_WAY_OUT
from bertsmith.data.readers import Row
from bertsmith.errors import DataError, nearest

_SAMPLE_ROWS = 5000
_MIN_TEXT_CHARACTERS = 12  # mean length from which a column of unknown name may be text
_MAX_LABEL_CHARACTERS = 40
_MOST_CLASSES_OF_FEW = 10  # so many distinct labels are classes even where half of the rows differ
_SHOWN = 10
_TEXT_WAY_OUT = "name it with --text-column, and the second of a pair with --text-pair-column"
_LABEL_WAY_OUT = "name the classes' column with --label-column"
_NUMBERS_WAY_OUT = f"--problem-type regression for numbers; {_LABEL_WAY_OUT}"

# Of each group the first with exactly one column of the table decides. Names are compared in lower case, without signs.
_TEXT_NAMES = (
    {"text", "sentence"},
    {"review", "content", "comment", "tweet", "utterance", "message", "body", "reviewtext", "document", "description"},
    {"question", "query", "headline", "title"},
)
_LABEL_NAMES = (
    {"label", "labels", "goldlabel"},
    {"class", "category", "sentiment", "target", "intent", "topic", "polarity", "emotion", "isduplicate", "stars"},
    {"rating", "score", "genre", "type"},
)
_NUMBER_NAMES = ({"similarity", "value", "relevance"},)
_PAIR_NAMES = (
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("text", "textpair"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("texta", "textb"),
    ("sentencea", "sentenceb"),
    ("question", "sentence"),
    ("1string", "2string"),  # MRPC writes "#1 String"
)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns taken: `pair` holds the second text, None for one; `reason` tells why these, for people."""

    text: str
    pair: str | None
    label: str | None
    reason: str


def find_columns(
    rows: Sequence[Row],
    *,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    labelled: bool = True,
    classes: bool = True,
) -> Columns:
    """The text column or columns and, if `labelled`, the label column; those given by name are only checked.

    classes: whether a label is one of few; else it is a number or a list, and its column is found by name alone.
    Raises `DataError` where a given name is unknown or where there is doubt: the message lists the columns with what
    they look like.
    """
    sample = rows[:: max(1, len(rows) // _SAMPLE_ROWS)]
    names = list(dict.fromkeys(name for row in sample for name in row.values))
    if not names:
        raise DataError("expected a table with columns, found none")
    for given in (text, pair, label):
        if given is not None and given not in names:
            raise DataError(f"{rows[0].path}: no column {given!r}; {nearest(given, names)}")
    if pair is not None and text is None:
        raise DataError(
            f"{rows[0].path}: the second text's column is given, {pair!r}; name the first one's too, with --text-column"
        )
    finder = _Finder(names, sample)
    text_found = _Found(text, "as given", pair) if text else finder.texts(exclude=label)
    label_found = _Found(label, "as given" if label else "")
    if labelled and not label:
        label_found = finder.label(text_found, classes)
    return _columns(names, text_found, label_found)


@dataclass(frozen=True, slots=True)
class _Found:
    name: str | None
    why: str
    pair: str | None = None


def _columns(names: list[str], text: _Found, label: _Found) -> Columns:
    assert text.name is not None
    taken = [f"text: column {text.name!r} ({text.why})"]
    if text.pair:
        taken.append(f"second text: column {text.pair!r}")
    if label.name:
        taken.append(f"label: column {label.name!r} ({label.why})")
    rest = [name for name in names if name not in (text.name, text.pair, label.name)]
    if rest:
        taken.append(f"not used: {', '.join(map(repr, rest))}")
    return Columns(text.name, text.pair, label.name, "; ".join(taken))


class _Finder:
    """The search over a sample of rows: by name, else by content."""

    def __init__(self, names: list[str], sample: Sequence[Row]):
        self.names = names
        self.path = sample[0].path
        self.values = {name: [row.values.get(name) for row in sample] for name in names}
        self.plain = {name: plain_name(name) for name in names}

    def texts(self, exclude: str | None) -> _Found:
        """The text column, or the two of a pair."""
        names = [name for name in self.names if name != exclude]
        by_plain = {self.plain[name]: name for name in names}
        pairs = [pair for pair in _PAIR_NAMES if pair[0] in by_plain and pair[1] in by_plain]
        if len(pairs) == 1:
            first, second = pairs[0]
            return _Found(by_plain[first], "a pair by the names", by_plain[second])
        named = self._by_name(names, _TEXT_NAMES) if not pairs else None
        if named:
            return _Found(named, "by its name")
        candidates = [name for name in names if self._looks_like_text(name)]
        if len(candidates) == 1 and not pairs:
            return _Found(candidates[0], "the only column with running text")
        raise self._doubt("text", candidates, _TEXT_WAY_OUT)

    def label(self, text: _Found, classes: bool) -> _Found:
        """The label column among those that are no text."""
        names = [name for name in self.names if name not in (text.name, text.pair)]
        named = self._by_name(names, _LABEL_NAMES if classes else (*_LABEL_NAMES, *_NUMBER_NAMES))
        if not classes:
            if named is None:
                raise self._doubt("label", [], _LABEL_WAY_OUT)
            return _Found(named, "by its name")
        if named and self._is_continuous(named):
            raise self._doubt("label", [named], f"its values are nearly all different: {_NUMBERS_WAY_OUT}")
        if named:
            why = "by its name"
        else:
            candidates = [name for name in names if self._looks_like_label(name)]
            if len(candidates) != 1:
                raise self._doubt("label", candidates, _LABEL_WAY_OUT)
            named, why = candidates[0], "the only column with few distinct values"
        if self._has_fractions(named):
            raise self._doubt("label", [named], f"its values are numbers with fractions: {_NUMBERS_WAY_OUT}")
        found = {class_name(value) for value in self.values[named]} - {None}
        if named in found:
            raise DataError(
                f"{self.path}: the first line seems to be data, not a header: {named!r} is also a value of its column; "
                + NAMES_WAY_OUT
            )
        return _Found(named, f"{why}, {len(found)} distinct values")

    def _by_name(self, names: list[str], groups: Sequence[set[str]]) -> str | None:
        for group in groups:
            matches = [name for name in names if self.plain[name] in group]
            if matches:
                return matches[0] if len(matches) == 1 else None
        return None

    def _looks_like_text(self, name: str) -> bool:
        texts = [value for value in self.values[name] if isinstance(value, str) and value.strip()]
        if not texts or len(texts) < len(self.values[name]) / 2:
            return False
        running = sum(" " in text.strip() or not text.isascii() for text in texts) > len(texts) / 2
        mean = sum(map(len, texts)) / len(texts)
        return running and mean >= _MIN_TEXT_CHARACTERS and len(set(texts)) > len(texts) / 2

    def _looks_like_label(self, name: str) -> bool:
        values = [str(value).strip() for value in self.values[name] if not isinstance(value, (dict, list))]
        distinct = set(values)
        if not 2 <= len(distinct) <= max(2, len(values) // 2) or len(values) < len(self.values[name]):
            return False
        return max(map(len, distinct)) <= _MAX_LABEL_CHARACTERS

    def _is_continuous(self, name: str) -> bool:
        distinct = len({str(value) for value in self.values[name]})
        return distinct > max(_MOST_CLASSES_OF_FEW, len(self.values[name]) // 2)

    def _has_fractions(self, name: str) -> bool:
        """Whether all values are numbers, some of them between whole ones; missing ones apart."""
        try:
            numbers = [float(str(value)) for value in self.values[name] if class_name(value) is not None]
        except ValueError:
            return False
        return any(not number.is_integer() for number in numbers)

    def _doubt(self, what: str, candidates: list[str], way_out: str) -> DataError:
        looks = " (two labels or more, each several times)" if what == "label" else ""
        found = f"{len(candidates)} columns could be it" if candidates else f"no column looks like it{looks}"
        lines = [f"{self.path}: cannot tell the {what} column: {found}; {way_out}. The columns:"]
        for name in self.names:
            values = [str(value) for value in self.values[name]]
            mark = " (candidate)" if name in candidates else ""
            lines.append(
                f"  {name!r}{mark}: {len(set(values))} distinct in {len(values)} rows, such as {values[0]!r:.60}"
            )
        return DataError("\n".join(lines))


def say_column(field: str) -> str:
    """How to name a field's column, for the end of a message.

    >>> say_column("answers")
    'say which it is, with --answers-column'
    """
    return f"say which it is, with --{field.replace('_', '-')}-column"


def plain_name(name: str) -> str:
    """A column's name as it is compared with known ones: in lower case, without signs.

    >>> plain_name("#1 Sentence_A")
    '1sentencea'
    """
    return re.sub(r"[^\w]|_", "", name.lower())


def class_name(value: Any) -> str | None:
    """The name of the class that a label stands for; None for a label that is missing, empty or NaN.

    White space around it is dropped; `1` and `1.0` of a typed file are both `"1"`. A table that pandas wrote may hold
    "nan" for a missing label.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, str):
        return None if value.strip().lower() in ("", "nan") else value.strip()
    return str(value) if isinstance(value, (bool, int)) else None


def check_labels(labels: Sequence[str], places: Sequence[str], known: Sequence[str]) -> None:
    """A `DataError` if a label is not among the `known` ones: each named and counted, ten of their places shown."""
    strange = [(label, place) for label, place in zip(labels, places, strict=True) if label not in known]
    if not strange:
        return
    lines = [f"{len(strange)} rows have labels that the model does not know:"]
    for label, count in Counter(label for label, _ in strange).most_common(_SHOWN):
        lines.append(f"  {label!r} in {count} rows; {nearest(label, known)}")
    lines += [f"  {place}: {label!r}" for label, place in strange[:_SHOWN]]
    lines += ["give them labels that it knows, leave these rows out, or train on rows that have such labels"]
    raise DataError("\n".join(lines))
