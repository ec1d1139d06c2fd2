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

from bertsmith.data.json_file import parse_json, read_json_text
from bertsmith.data.lines import Fault, Reading, mended, sift
from bertsmith.data.readers import Row
from bertsmith.errors import DataError

_SURROGATE = re.compile("[\ud800-\udfff]")
_LAYOUT = 'expected {"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]}, as SQuAD has it'
_ID = re.compile(r'"id"\s*:\s*("(?:[^"\\]|\\.)*")')
_Item = tuple[str, Mapping[str, Any], str, Any]  # place, question, title, context


def read_squad(path: Path, reading: Reading) -> Iterator[Row]:
    """The questions of `path`, a row each, in the order of the file, which is read whole.

    Values: `id`, `question`, `context`, `title` (strings; id and title empty where there are none) and `answers` as
    {"text": [...], "answer_start": [...]}: empty lists for a question that cannot be answered, no such value where the
    file gives no answers. Offsets are characters, and are not compared with the context.

    Raises `DataError` for a file of another layout and for bad questions, with their place, as `data[3].paragraphs[0]`,
    their id, and their line where the file has lines: the first ten are named; `Reading` tells how to leave them out.
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
    text = read_json_text(path, reading)
    lines = _Lines(text)
    for number, item in enumerate(_items(parse_json(text, path), path), start=1):
        if isinstance(item, Fault):
            yield item
            continue
        line = lines.of(item[1])
        where = f"{path}, {item[0]}{_said(item[1], line)}"
        try:
            values, is_broken = _values(item)
        except _BadError as bad:
            yield Fault(where, bad.kind, bad.detail)
            continue
        broken = Fault(where, "lone surrogate", "half of a character, as \\ud83d by itself", mendable=True)
        yield broken if is_broken and not mended(broken, reading) else Row(values, path, number, line, item[0])


class _Lines:
    """The lines of a file's questions, which are asked for in its order: those of their ids."""

    def __init__(self, text: str):
        # A file of one line has nothing to tell.
        self._ids = _ID.finditer(text) if "\n" in text.rstrip() else iter(())
        self._text, self._line, self._end = text, 1, 0

    def of(self, question: Mapping[str, Any]) -> int | None:
        """The line of the question's id, from 1; None where it has none."""
        name = question.get("id")
        for found in self._ids if isinstance(name, str) else ():
            self._line += self._text.count("\n", self._end, found.start())
            self._end = found.start()
            if json.loads(found[1]) == name:
                return self._line
        return None


def _said(question: Mapping[str, Any], line: int | None) -> str:
    """What else tells where a question is: `` (question 'q1', line 12)``."""
    name = question.get("id")
    parts = [*([f"question {name!r:.60}"] if name else []), *([f"line {line}"] if line else [])]
    return f" ({', '.join(parts)})" if parts else ""


def _items(content: Any, path: Path) -> Iterator[_Item | Fault]:
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
