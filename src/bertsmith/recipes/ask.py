"""Questions to an index, and the rule by which it answers, as functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from bertsmith.data.lines import Reading
from bertsmith.data.readers import Row, read_table
from bertsmith.data.squad import read_squad
from bertsmith.errors import DataError, SettingsError
from bertsmith.files import bare_suffix
from bertsmith.inference.predictor import Predictor, load
from bertsmith.recipes.search import QuerySettings, filters_of, open_searcher
from bertsmith.runtime.progress import Progress
from bertsmith.search.answer import NUM_PASSAGES, Answered, Answerer, KeptAnswers, Tuned, tuned
from bertsmith.search.encoder import fingerprint
from bertsmith.search.provenance import Provenance
from bertsmith.search.searcher import Mode, Searcher, open_index

_ANSWER_NAMES = ("answers", "answer", "label")


class AskSettings(QuerySettings):
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


@dataclass(frozen=True)
class Reader:
    """A model for question_answering, and where it lies."""

    folder: Path
    predictor: Predictor

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto") -> Self:
        """Raises `SettingsError` where it is not there."""
        if not folder.is_dir():
            raise SettingsError(f"{folder}: the reader is not there (any more); name one with --reader")
        return cls(folder, load(folder, device=device))

    @cached_property
    def sha256(self) -> str:
        """By which an index knows the reader that its rule was fitted with."""
        return fingerprint(self.folder, self.predictor)


@dataclass(frozen=True)
class AskReport:
    """answers: one a question. tuned: what the fitting came to, if it was asked for."""

    answers: tuple[Answered, ...]
    tuned: Tuned | None
    warnings: tuple[str, ...]


def ask(settings: AskSettings, progress: Progress | None = None, provenance: Provenance | None = None) -> AskReport:
    """Answer the questions; with `tune`, fit the rule first, and keep it and the reader with the index.

    provenance: as in `Searcher.search`, of the questions that are answered.

    Raises `SettingsError` where no reader is known, `DataError` for questions that cannot be fitted on.
    """
    if not settings.question and settings.tune is None:
        raise SettingsError("ask needs a question, or --tune with a file of questions and answers")
    answerer, warnings = open_answerer(
        settings.folder,
        reader=settings.reader,
        num_passages=settings.passages,
        searcher=open_searcher(settings.folder, settings),
        mode=settings.mode,
        rerank=settings.reranker is not None,
        load_reader=partial(Reader.load, device=settings.device),
    )
    found = None
    if settings.tune is not None:
        found = _tune(answerer, settings, progress)
        answerer.rule = found.rule
        warnings = ()
    filters = filters_of(settings.filter)
    answers = answerer.ask(settings.question, filters, provenance) if settings.question else []
    return AskReport(tuple(answers), found, warnings)


def open_answerer(
    folder: Path,
    *,
    reader: Path | None = None,
    num_passages: int | None = None,
    searcher: Searcher | None = None,
    mode: Mode | None = None,
    rerank: bool = False,
    load_reader: Callable[[Path], Reader] = Reader.load,
) -> tuple[Answerer, tuple[str, ...]]:
    """The index with its reader and its rule, and what a user should know of them. searcher: the index, if it is open.

    reader: None for the one that the index was tuned with. mode, rerank: as `Answerer` has them. load_reader: for
    several indexes one that remembers. Raises `SettingsError` where no reader is known.
    """
    kept = KeptAnswers.read(folder)
    searcher = searcher or open_index(folder)
    if reader is not None:
        loaded = load_reader(reader)
    elif kept is not None:
        loaded = load_reader(Path(kept.reader))
    else:
        raise SettingsError(f"{folder}: no reader is known; name a model for question_answering with --reader")
    if kept is None or loaded.sha256 != kept.reader_sha256:
        untuned = "confidence and threshold are not fitted to this reader; bertsmith ask --tune FILE does that, with "
        answerer = Answerer(searcher, loaded.predictor, None, num_passages or NUM_PASSAGES, mode=mode, rerank=rerank)
        return answerer, (f"{untuned}questions and answers",)
    num_passages = num_passages or kept.num_passages
    answerer = Answerer(searcher, loaded.predictor, kept.rule, num_passages, mode=mode, rerank=rerank)
    now, then = _way(answerer.mode, rerank), _way(kept.mode or searcher.checked_mode(None), kept.is_reranked)
    other = f"confidence and threshold were fitted to passages found by {then}, these are found by {now}"
    return answerer, () if now == then else (f"{other}; bertsmith ask --tune FILE fits them anew",)


def _way(mode: Mode, is_reranked: bool) -> str:
    return f"{mode} and a reranker" if is_reranked else mode


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
    KeptAnswers(
        str(place.resolve()), sha256, result.rule, answerer.num_passages, facts, answerer.mode, answerer.rerank
    ).save(settings.folder)
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
