"""Questions to an index, and the rule by which it answers, as functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.data.lines import Reading
from bertsmith.data.readers import Row, read_table
from bertsmith.data.squad import read_squad
from bertsmith.errors import DataError, SettingsError
from bertsmith.files import bare_suffix
from bertsmith.inference.predictor import Predictor, load
from bertsmith.recipes.search import filters_of
from bertsmith.runtime.progress import Progress
from bertsmith.search.answer import NUM_PASSAGES, Answered, Answerer, AnswerRule, KeptAnswers, Tuned, tuned
from bertsmith.search.encoder import fingerprint
from bertsmith.search.searcher import Searcher, open_index
from bertsmith.settings import Settings

_ANSWER_NAMES = ("answers", "answer", "label")


class AskSettings(Settings):
    """Questions, or the fitting of the rule."""

    folder: Path = Field(description="index, as bertsmith index makes it")
    question: tuple[str, ...] = Field((), description="what to answer; several are answered one by one")
    reader: Path | None = Field(
        None, description="model for question_answering; None: the one that the index was tuned with"
    )
    tune: Path | None = Field(
        None, description="questions with known answers (SQuAD's JSON, or a table), to fit confidence and threshold on"
    )
    risk: float = Field(
        0.2, gt=0, lt=1, description="with --tune: share of the given answers that may be wrong; the rest is withheld"
    )
    passages: int | None = Field(
        None, ge=1, le=100, description=f"read for each question; None: as tuned, else {NUM_PASSAGES}"
    )
    filter: tuple[str, ...] = Field((), description="NAME=VALUE, NAME>=VALUE ...: what a document's metadata must meet")
    model: Path | None = Field(None, description="the index's model, where it moved")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")


@dataclass(frozen=True)
class AskReport:
    """answers: one a question. tuned: what the fitting came to, if it was asked for."""

    answers: tuple[Answered, ...]
    tuned: Tuned | None
    warnings: tuple[str, ...]


def ask(settings: AskSettings, progress: Progress | None = None) -> AskReport:
    """Answer the questions; with `tune`, fit the rule first, and keep it and the reader with the index.

    Raises `SettingsError` where no reader is known, `DataError` for questions that cannot be fitted on.
    """
    if not settings.question and settings.tune is None:
        raise SettingsError("ask needs a question, or --tune with a file of questions and answers")
    answerer, warnings = open_answerer(
        settings.folder,
        reader=settings.reader,
        num_passages=settings.passages,
        model=settings.model,
        device=settings.device,
    )
    found = None
    if settings.tune is not None:
        found = _tune(answerer, settings, progress)
        answerer.rule = found.rule
        warnings = ()
    answers = answerer.ask(settings.question, filters_of(settings.filter)) if settings.question else []
    return AskReport(tuple(answers), found, warnings)


def open_answerer(
    folder: Path,
    *,
    reader: Path | Predictor | None = None,
    num_passages: int | None = None,
    model: Path | None = None,
    searcher: Searcher | None = None,
    device: str = "auto",
) -> tuple[Answerer, tuple[str, ...]]:
    """The index with its reader and its rule, and what a user should know of them. searcher: the index, if it is open.

    Raises `SettingsError` where no reader is known.
    """
    kept = KeptAnswers.read(folder)
    searcher = searcher or open_index(folder, model=model)
    if reader is None and kept is None:
        raise SettingsError(f"{folder}: no reader is known; name a model for question_answering with --reader")
    place = reader if isinstance(reader, Path) else None if reader is not None or kept is None else Path(kept.reader)
    if place is not None and not place.is_dir():
        raise SettingsError(f"{place}: the reader is not there (any more); name one with --reader")
    loaded = reader if isinstance(reader, Predictor) else load(_path(place), device=device)
    if kept is not None and (place is None or fingerprint(place, loaded) == kept.reader_sha256):
        return Answerer(searcher, loaded, kept.rule, num_passages or kept.num_passages), ()
    untuned = (
        "confidence and threshold are not fitted to this reader; --tune FILE does that, with questions and answers"
    )
    return Answerer(searcher, loaded, AnswerRule(), num_passages or NUM_PASSAGES), (untuned,)


def _path(place: Path | None) -> Path:
    assert place is not None
    return place


def _tune(answerer: Answerer, settings: AskSettings, progress: Progress | None) -> Tuned:
    assert settings.tune is not None
    asked = read_questions(settings.tune)
    found = answerer.find([question for question, _ in asked], filters_of(settings.filter), progress)
    read: Any = answerer.reader.task.settings
    result = tuned(found, [answers for _, answers in asked], settings.risk, read.scoring)
    kept = KeptAnswers.read(settings.folder)
    place = settings.reader or Path(kept.reader if kept is not None else "")
    facts = {"questions": str(settings.tune), "coverage": result.coverage, "risk": result.risk, "wanted": settings.risk}
    sha256 = fingerprint(place, answerer.reader)
    KeptAnswers(str(place.resolve()), sha256, result.rule, answerer.num_passages, facts).save(settings.folder)
    return result


def read_questions(path: Path) -> list[tuple[str, list[str]]]:
    """Questions with their known answers, none for those that nothing answers: SQuAD's JSON, or a table."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    rows = read_squad(path, Reading()) if bare_suffix(path) == ".json" else read_table(path)
    return [(_question(row), _answers(row)) for row in rows]


def _question(row: Row) -> str:
    question = row.values.get("question")
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"{row.where}: no text in 'question'")
    return question


def _answers(row: Row) -> list[str]:
    name = next((name for name in _ANSWER_NAMES if name in row.values), None)
    if name is None:
        raise DataError(f"{row.where}: no answers; they are looked for in {', '.join(_ANSWER_NAMES)}")
    value: Any = row.values[name]
    if isinstance(value, Mapping):  # as SQuAD's reader gives them
        value = value.get("text", [])
    if value is None or isinstance(value, str):
        return [value] if value else []
    if not isinstance(value, Sequence) or not all(isinstance(part, str) for part in value):
        raise DataError(f"{row.where}: {name}: expected a text or a list of texts, found {value!r:.60}")
    return list(value)
