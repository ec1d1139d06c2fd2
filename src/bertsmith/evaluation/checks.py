"""Tests of behaviour in CheckList's shape (Ribeiro et al. 2020): texts that must get a known answer, or all the same.

A minimum functionality test (MFT) knows the right answers of its cases; an invariance test (INV) only that a case's
texts mean the same to the question asked. Knows `Task`, never a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bertsmith.errors import SettingsError
from bertsmith.evaluation.intervals import Interval, mean_interval
from bertsmith.evaluation.mistakes import TEXT_CHARACTERS
from bertsmith.inference.predictor import Predictor
from bertsmith.runtime.progress import Progress, shorten
from bertsmith.tasks.task import Example, Task

Kind = Literal["MFT", "INV"]
MAX_FAILURES = 10
"""Of a test that are kept to be shown."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a test. items: examples, whose answers are to be given, of an MFT; requests of an INV, two or more.

    capability: what the test is about, vocabulary or negation, say. where: the row of its file.
    """

    test: str
    kind: Kind
    capability: str
    items: tuple[Any, ...]
    where: str


@dataclass(frozen=True, slots=True)
class FailedCase:
    """texts: of the case's first text, then of the one that failed. said: what was answered to each of these."""

    where: str
    texts: tuple[str, ...]
    said: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A test's cases and how many failed: those with any text answered otherwise than it must be."""

    test: str
    kind: Kind
    capability: str
    num_cases: int
    num_failed: int
    failure_rate: Interval
    failures: tuple[FailedCase, ...]


def run_checks(
    predictor: Predictor, cases: Sequence[Case], progress: Progress | None = None
) -> tuple[CheckResult, ...]:
    """Every test, in the order of its first case. Raises `SettingsError` for an INV where nothing is decided."""
    items = [item for case in cases for item in case.items]
    given_to_all = predictor.run(items, progress=progress).predictions
    if any(case.kind == "INV" for case in cases) and all(predictor.task.decided(p).is_nothing for p in given_to_all):
        raise SettingsError(f"invariance tests need decisions; a model for {predictor.task.name} as set makes none")
    answers = iter(given_to_all)
    tests: dict[str, list[tuple[Case, FailedCase | None]]] = {}
    for case in cases:
        given = [next(answers) for _ in case.items]
        tests.setdefault(case.test, []).append((case, _failed(predictor.task, case, given)))
    return tuple(_result(rows) for rows in tests.values())


def _result(rows: Sequence[tuple[Case, FailedCase | None]]) -> CheckResult:
    first = rows[0][0]
    failed = [failure for _, failure in rows if failure is not None]
    rate = mean_interval([float(failure is not None) for _, failure in rows])
    return CheckResult(
        first.test, first.kind, first.capability, len(rows), len(failed), rate, tuple(failed[:MAX_FAILURES])
    )


def _failed(task: Task[Any, Any], case: Case, given: Sequence[Any]) -> FailedCase | None:
    """The first of the case's texts that is answered wrongly, or otherwise than its first one."""
    if case.kind == "MFT":
        credit = task.credit(task.marks(case.items, given))
        wrong = next((place for place, value in enumerate(credit.tolist()) if value < 1), None)
        if wrong is None:
            return None
        said = {"must be": _named(case.items[wrong].answer), "was": _said(task, given[wrong])}
        return FailedCase(case.where, _texts(task, case.items[wrong]), said)
    other = next((place for place, answer in enumerate(given) if not task.agrees(given[0], answer)), None)
    if other is None:
        return None
    said = {"first": _said(task, given[0]), "then": _said(task, given[other])}
    return FailedCase(case.where, (*_texts(task, case.items[0]), *_texts(task, case.items[other])), said)


def _texts(task: Task[Any, Any], item: Any) -> tuple[str, ...]:
    request = item.request if isinstance(item, Example) else item
    return tuple(shorten(text, TEXT_CHARACTERS) for text in task.texts(request))


def _said(task: Task[Any, Any], prediction: Any) -> str:
    """The answer where it is a text, else the labels that were decided."""
    answer = getattr(prediction, "answer", None)
    return answer or "(none)" if isinstance(answer, str) else " ".join(task.decided(prediction).labels)


def _named(answer: Any) -> str:
    if isinstance(answer, str):
        return answer
    return " or ".join(str(getattr(one, "text", one)) for one in answer) or "(none)"
