"""What a model is asked now beside what it was trained on, as one function."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from scipy.sparse import csr_array

from bertsmith.artifact import Artifact, load_artifact
from bertsmith.errors import DataError, SettingsError
from bertsmith.evaluation.drift import SMALL_PSI, Decisions, Drift, Side, Texts, compare_sides
from bertsmith.evaluation.drift_page import drift_page
from bertsmith.evaluation.report import Example as Card
from bertsmith.files import atomic_file, sha256, write_json
from bertsmith.inference.predictor import Predictor, load
from bertsmith.recipes.examples import drawn
from bertsmith.recipes.recorded import recorded_examples
from bertsmith.recipes.tables import TableSettings
from bertsmith.runtime.device import PredictionPrecision
from bertsmith.runtime.progress import Progress, shorten
from bertsmith.serving.uncertain import Kept, is_kept, read_kept
from bertsmith.tasks.embedding import Embedding, EmbeddingSettings
from bertsmith.tasks.reading import known_columns, read_requests
from bertsmith.tasks.task import Decided, Task
from bertsmith.text.tokenizer import Tokenizer

REPORT, FACTS = "drift.html", "drift.json"
MAX_VECTORS = 1000
"""Requests a side whose vectors are compared: the kernel is a matrix of all pairs."""
VECTOR_TOKENS = 256
SHOWN_CHARACTERS = 300


class DriftSettings(TableSettings):
    """One comparison."""

    folder: Path = Field(description="saved model")
    file: Path = Field(description="what is asked now: a file of requests as for predict, or one that serve has kept")
    reference_file: Path | None = Field(
        None,
        description="requests to compare with, best ones not trained on; None: the model's own data, by its record",
    )
    data_dir: Path | None = Field(None, description="folder with the model's data files, if they have moved")
    encoder: Path | None = Field(
        None, description="embedding model whose vectors are compared; None: the model's own, the mean of its tokens'"
    )
    model_name: str | None = Field(None, description="of a kept file: the model's name there, if it holds several")
    alarm_rate: float = Field(0.01, ge=0.001, le=0.5, description="probability of an alarm where nothing has changed")
    small_psi: float = Field(SMALL_PSI, ge=0, description="a stability index below this raises no alarm")
    max_samples: int = Field(2000, ge=10, description="requests a side that are looked at, chosen at random")
    seed: int = Field(0, description="of what is chosen and of what chance is compared with")
    report_dir: Path | None = Field(None, description=f"folder for {REPORT} and {FACTS}; None: no report")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    precision: PredictionPrecision = Field(
        "auto", description="fp32, bf16 or int8; auto: bf16 where the machine has it"
    )


@dataclass(frozen=True)
class DriftReport:
    """reference: what was compared with, in words. strange_rows: of the file, least like training, from 1."""

    drift: Drift
    alarm: bool
    reference: str
    strange_rows: tuple[int, ...]
    warnings: tuple[str, ...]
    report: Path | None


@dataclass(frozen=True)
class _Asked:
    """Requests of a side and their rows. kept: the lines of a kept file, where the side is one."""

    requests: Sequence[Any]
    rows: Sequence[int] = ()
    kept: Sequence[Kept] = ()


@dataclass(frozen=True)
class _Reference:
    """texts: requests that the model was trained on; held_out: others of the same source, which it was not."""

    texts: Sequence[Any]
    held_out: Sequence[Any]
    name: str
    warnings: tuple[str, ...] = ()


def drift(settings: DriftSettings | Mapping[str, Any], progress: Progress | None = None) -> DriftReport:
    """Compare the requests in a file with the model's own data.

    Texts are compared with all of that data; decisions, confidences and vectors with what was held out of training,
    since a model is surer of what it has learned. A kept file holds only what the model was unsure of: it is compared
    with the held-out requests that it was as unsure of, and without texts by lengths and decisions alone.
    """
    settings = settings if isinstance(settings, DriftSettings) else DriftSettings.of(settings)
    progress = progress or Progress()
    artifact = load_artifact(settings.folder)
    predictor = Predictor.of(artifact, device=settings.device, precision=settings.precision)
    now, notes = _asked(artifact, settings)
    then = _reference(artifact, settings)
    if now.kept:
        sides, more = _kept_sides(predictor, now, then, progress)
        notes += more
    else:
        sides = (
            _side(predictor, then.texts, then.held_out, settings, progress),
            _side(predictor, now.requests, now.requests, settings, progress),
        )
    found = compare_sides(*sides, alarm_rate=settings.alarm_rate, small_psi=settings.small_psi, seed=settings.seed)
    rows = tuple(now.rows[place] for place in found.strange)
    report = DriftReport(found, found.alarm, then.name, rows, (*then.warnings, *notes), None)
    return report if settings.report_dir is None else _written(report, artifact.task, now, settings)


def _asked(artifact: Artifact, settings: DriftSettings) -> tuple[_Asked, list[str]]:
    task = artifact.task
    if not is_kept(settings.file):
        placed, notes = _drawn(_requests(artifact, settings.file, settings), settings)
        return _Asked([one.request for one in placed], [one.row for one in placed]), notes
    lines = read_kept(settings.file)
    names = sorted({line.model for line in lines if line.task == task.name})
    if settings.model_name is None and len(names) > 1:
        raise SettingsError(f"{settings.file}: holds requests to {', '.join(names)}: say which with --model-name")
    wanted = [line for line in lines if line.task == task.name and line.model == (settings.model_name or line.model)]
    if not wanted:
        raise DataError(f"{settings.file}: no request to a model for {task.name}; there are some to {_models(lines)}")
    kept, notes = _drawn(wanted, settings)
    has_texts = all(line.request is not None for line in kept)
    read = [task.request(dict(line.request), str(settings.file)) for line in kept if line.request] if has_texts else []
    return _Asked(read, range(1, len(kept) + 1), kept), notes


def _models(lines: Sequence[Kept]) -> str:
    return ", ".join(sorted({f"{line.model} ({line.task})" for line in lines}))


def _reference(artifact: Artifact, settings: DriftSettings) -> _Reference:
    if settings.reference_file is not None:
        placed, notes = _drawn(_requests(artifact, settings.reference_file, settings), settings)
        requests = [one.request for one in placed]
        trained = artifact.record.get("data", {}).get("files", {}).get("train", {}).get("sha256")
        if trained is not None and trained == sha256(settings.reference_file):
            notes = [*notes, "the model was trained on the reference: it is surer of it than of anything new"]
        return _Reference(requests, requests, settings.reference_file.name, tuple(notes))
    try:
        known = recorded_examples(artifact, settings.data_dir)
    except (DataError, SettingsError) as error:
        raise DataError(f"{error}; or name requests to compare with, by --reference-file") from None
    held_out = [example.request for example in (*known.validation, *known.test)]
    texts, _ = _drawn([*(example.request for example in known.train), *held_out], settings)
    chosen, _ = _drawn(held_out, settings)
    return _Reference(texts, chosen, "the model's training data, and for its decisions what was held out of them")


def _requests(artifact: Artifact, path: Path, settings: DriftSettings) -> Iterable[Any]:
    trained: Mapping[str, str] = artifact.record.get("data", {}).get("columns", {})
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    given = known_columns(artifact.task, path, trained, settings.reading) | settings.columns
    return read_requests(artifact.task, path, given, settings.reading, expected=trained)


def _drawn(items: Iterable[Any], settings: DriftSettings) -> tuple[list[Any], list[str]]:
    chosen, notes = drawn(list(items), settings.max_samples)
    return list(chosen), notes


def _side(
    predictor: Predictor, texts: Sequence[Any], asked: Sequence[Any], settings: DriftSettings, progress: Progress
) -> Side:
    task = predictor.task
    decisions = _decisions([task.decided(p) for p in predictor.run(asked, progress=progress).predictions])
    encoder = _encoder(predictor) if settings.encoder is None else load(settings.encoder, device=settings.device)
    vectors = encoder.embed([_text(task, request) for request in asked[:MAX_VECTORS]], progress).astype(float)
    return Side(_texts(task, texts, predictor.tokenizer), decisions, vectors)


def _kept_sides(
    predictor: Predictor, now: _Asked, then: _Reference, progress: Progress
) -> tuple[tuple[Side, Side], list[str]]:
    """Both sides of requests that the model is unsure of."""
    task, below = predictor.task, max(line.below for line in now.kept)
    decided = [task.decided(p) for p in predictor.run(then.held_out, progress=progress).predictions]
    unsure = [i for i, said in enumerate(decided) if said.confidence is not None and said.confidence < below]
    before = [then.held_out[i] for i in unsure]
    share = f"{len(unsure):,} of {len(decided):,} requests before have a confidence below {below:g}; those are compared"
    if now.requests:
        texts = [_texts(task, requests, predictor.tokenizer) for requests in (before, now.requests)]
    else:
        characters = [[sum(map(len, task.texts(request))) for request in before]]
        characters.append([sum(line.num_characters) for line in now.kept])
        texts = [Texts(np.array(counts, dtype=np.int64), "characters") for counts in characters]
    said = [Decided(line.predicted, line.confidence) for line in now.kept]
    sides = (
        Side(texts[0], _decisions([decided[i] for i in unsure])),
        Side(texts[1], _decisions(said)),
    )
    return sides, [share]


def _text(task: Task[Any, Any], request: Any) -> str:
    return " ".join(task.texts(request))


def _texts(task: Task[Any, Any], requests: Sequence[Any], tokenizer: Tokenizer) -> Texts:
    pieces = tokenizer.pieces_batch([_text(task, request) for request in requests])
    lengths = np.array([len(ids) for ids in pieces], dtype=np.int64)
    rows = np.repeat(np.arange(len(pieces)), lengths)
    columns = np.concatenate([*pieces, np.empty(0, dtype=np.int32)])
    counts = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(pieces), tokenizer.vocab_size))
    counts.sum_duplicates()
    return Texts(lengths, "tokens", counts, tokenizer.unk_id)


def _decisions(said: Sequence[Decided]) -> Decisions | None:
    """None for a task without labels and probabilities."""
    sure = [math.nan if one.confidence is None else one.confidence for one in said]
    confidences = np.array([value for value in sure if math.isfinite(value)])
    if not len(confidences) and not any(one.labels for one in said):
        return None
    return Decisions([one.labels for one in said], confidences if len(confidences) else None)


def _encoder(predictor: Predictor) -> Predictor:
    """The model's own encoder for whole texts: the mean of its tokens' last states."""
    if isinstance(predictor.task, Embedding):
        return predictor
    positions = predictor.network.config.max_position_embeddings
    task = Embedding(EmbeddingSettings(max_length=min(VECTOR_TOKENS, positions), truncation="head"))
    network = task.build(predictor.network.config)
    network.encoder = predictor.network.encoder
    return replace(predictor, task=task, network=network.to(next(predictor.network.parameters()).device).eval())


def _written(report: DriftReport, task: Task[Any, Any], now: _Asked, settings: DriftSettings) -> DriftReport:
    assert settings.report_dir is not None
    cards = [
        Card((shorten(_text(task, now.requests[place]), SHOWN_CHARACTERS),), (("row", str(now.rows[place])),))
        for place in report.drift.strange
    ]
    page = drift_page(
        report.drift,
        model=settings.folder.name or str(settings.folder),
        then=report.reference,
        now=settings.file.name,
        strange=cards,
        warnings=report.warnings,
    )
    path = settings.report_dir / REPORT
    page.write(path)
    with atomic_file(settings.report_dir / FACTS) as temporary:
        write_json(temporary, asdict(report) | {"report": str(path), "file": str(settings.file)})
    return replace(report, report=path)
