"""Questions with a passage and its answers, as SQuAD's JSON holds them (Rajpurkar et al. 2016, 2018); knows no task.

Read are articles with paragraphs with questions, as SQuAD, CMRC 2018 and XQuAD write them, and plain lists of questions
that each carry their context, under `data` or at the top.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bertsmith.data.json_file import read_json_file
from bertsmith.data.lines import Fault, Reading, mended, sift
from bertsmith.data.readers import Row
from bertsmith.errors import DataError

_SURROGATE = re.compile("[\ud800-\udfff]")
_LAYOUT = 'expected {"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]}, as SQuAD has it'
_Item = tuple[str, Mapping[str, Any], str, Any]  # place, question, title, context


def read_squad(path: Path, reading: Reading) -> Iterator[Row]:
    """The questions of `path`, a row each, in the order of the file, which is read whole.

    Values: `id`, `question`, `context`, `title` (strings; id and title empty where there are none) and `answers` as
    {"text": [...], "answer_start": [...]}: empty lists for a question that cannot be answered, no such value where the
    file gives no answers. Offsets are characters, and are not compared with the context.

    Raises `DataError` for a file of another layout and for bad questions, with their place, as `data[3].paragraphs[0]`:
    the first ten are named; `Reading` tells how to leave them out.
    """
    row = None
    for row in sift(_rows(path, reading), reading):
        yield row
    if row is None:
        skipped = f"; skipped: {dict(reading.skipped)}" if reading.skipped else ""
        raise DataError(f"{path}: the file has no questions; {_LAYOUT}{skipped}")


class _BadError(Exception):
    """What is wrong with one question."""

    def __init__(self, kind: str, detail: str = ""):
        self.kind, self.detail = kind, detail


def _rows(path: Path, reading: Reading) -> Iterator[Row | Fault]:
    for number, item in enumerate(_items(path, reading), start=1):
        if isinstance(item, Fault):
            yield item
            continue
        where = f"{path}, {item[0]}"
        try:
            values, is_broken = _values(item)
        except _BadError as bad:
            yield Fault(where, bad.kind, bad.detail)
            continue
        broken = Fault(where, "lone surrogate", "half of a character, as \\ud83d by itself", mendable=True)
        yield broken if is_broken and not mended(broken, reading) else Row(values, path, number)


def _items(path: Path, reading: Reading) -> Iterator[_Item | Fault]:
    content = read_json_file(path, reading)
    top = content.get("data") if isinstance(content, Mapping) else content
    root = "data" if isinstance(content, Mapping) else ""
    if not isinstance(top, list):
        raise DataError(f"{path}: {_LAYOUT}, found {_kind(content)}")
    for i, article in enumerate(top):
        place = f"{root}[{i}]"
        if isinstance(article, Mapping) and "paragraphs" not in article and "question" in article:
            yield place, article, article.get("title", ""), article.get("context")
            continue
        for where, paragraph in _members(article, "paragraphs", path, place):
            if isinstance(paragraph, Fault):
                yield paragraph
                continue
            for inner, question in _members(paragraph, "qas", path, where):
                if isinstance(question, Fault):
                    yield question
                else:
                    yield inner, question, article.get("title", ""), paragraph.get("context")


def _members(parent: Any, name: str, path: Path, place: str) -> Iterator[tuple[str, Mapping[str, Any] | Fault]]:
    """The objects in the list `parent[name]`, each with its place, or what stands there instead."""
    members = parent.get(name) if isinstance(parent, Mapping) else None
    if not isinstance(members, list):
        found = f"among {', '.join(parent)}" if isinstance(parent, Mapping) else f"in {_kind(parent)}"
        yield place, Fault(f"{path}, {place}", f"no list {name!r}", found)
        return
    for i, member in enumerate(members):
        where = f"{place}.{name}[{i}]"
        if isinstance(member, Mapping):
            yield where, member
        else:
            yield where, Fault(f"{path}, {where}", "not an object", f"found {_kind(member)}")


def _values(item: _Item) -> tuple[dict[str, Any], bool]:
    """A row's values, and whether a text in them had to be mended."""
    _, question, title, context = item
    values: dict[str, Any] = {
        "id": _text(question.get("id", ""), "id"),
        "question": _text(question.get("question"), "question"),
        "context": _text(context, "context"),
        "title": _text(title, "title"),
    }
    if question.get("is_impossible") is True:
        values["answers"] = {"text": [], "answer_start": []}
    elif "answers" in question:
        values["answers"] = _answers(question["answers"])
    texts = [
        *(values[name] for name in ("id", "question", "context", "title")),
        *values.get("answers", {"text": ()})["text"],
    ]
    if not any(map(_SURROGATE.search, texts)):
        return values, False
    return json.loads(_SURROGATE.sub("\ufffd", json.dumps(values, ensure_ascii=False))), True


def _answers(answers: Any) -> dict[str, list[Any]]:
    """In two lists, from two lists or from a list of objects."""
    if isinstance(answers, Mapping):
        texts, starts = answers.get("text"), answers.get("answer_start")
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise _BadError("'answers' is no pair of lists 'text' and 'answer_start' of one length")
    elif isinstance(answers, list) and all(isinstance(answer, Mapping) for answer in answers):
        texts = [answer.get("text") for answer in answers]
        starts = [answer.get("answer_start") for answer in answers]
    else:
        raise _BadError("'answers' is no list of objects", f"found {_kind(answers)}")
    for i, (text, start) in enumerate(zip(texts, starts, strict=True)):
        _text(text, f"answers[{i}].text")
        if type(start) is not int:
            raise _BadError("'answer_start' is no whole number", f"answers[{i}]: {start!r:.40}")
    return {"text": texts, "answer_start": starts}


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _BadError(f"{name!r} is missing" if value is None else f"{name!r} is no string", _kind(value))
    return value


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"an object with {', '.join(map(repr, list(value)[:10])) or 'nothing'}"
    return "null" if value is None else f"a value of type {type(value).__name__}"
