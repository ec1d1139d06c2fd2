"""Predictions of a saved model for texts or for files of requests, written to a file if wanted, as one function."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from bertsmith import __version__
from bertsmith.artifact import Artifact, load_artifact
from bertsmith.data.batch import blocks
from bertsmith.data.lines import ErrorPolicy, Reading, Span
from bertsmith.data.spans import fingerprint, row_spans
from bertsmith.errors import DataError, SettingsError
from bertsmith.files import atomic_file, bare_suffix, sha256
from bertsmith.hub import FETCHED
from bertsmith.inference.predictor import BLOCK_REQUESTS, Predictor
from bertsmith.recipes.prediction_files import JSON_LINES, format_of, json_lines, lines_of
from bertsmith.recipes.tables import TableSettings
from bertsmith.runtime.device import PredictionPrecision
from bertsmith.runtime.progress import Progress
from bertsmith.scale.runner import ScaleSettings
from bertsmith.scale.runners import open_runner
from bertsmith.scale.shards import Account, Shard, Work, locked, refuse_empty, shards_folder, work_off
from bertsmith.tasks.reading import Placed, known_columns, read_requests, request_columns
from bertsmith.tasks.task import FoundColumns, Task

ANSWERS = "answers.jsonl"
Files = Annotated[
    tuple[Path, ...],
    BeforeValidator(lambda value: () if value is None else (value,) if isinstance(value, str | Path) else value),
]
"""Several files; a single one may be given by itself."""


class PredictSettings(TableSettings):
    """One batch of predictions."""

    folder: Path = Field(description="saved model")
    text: tuple[str, ...] = Field((), description="texts to predict for")
    file: Files = Field((), description="requests: .csv .tsv .jsonl .parquet, or .txt with one a line; several files")
    output_file: Path | None = Field(
        None, description="file to write, a line for each request: .jsonl, .csv or .tsv; None: to the terminal"
    )
    output_format: str | None = Field(
        None, description="jsonl, csv, tsv, or a format of the task's field: squad, squad-odds; None: by the suffix"
    )
    request: dict[str, Any] = Field({}, description="one request, by its fields, instead of texts or a file")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    precision: PredictionPrecision = Field(
        "auto", description="fp32, bf16 or int8; auto: bf16 where the machine has it"
    )
    batch_invariant: bool = Field(False, description="the same bits for a text whatever it is batched with")
    task: dict[str, Any] = Field({}, description="settings of the model's task, laid over those that it was saved with")
    scale: ScaleSettings = ScaleSettings()
    shard_rows: int = Field(
        BLOCK_REQUESTS,
        ge=1,
        title="Scale",
        description=f"rows a shard, which one worker answers at a time; multiples of {BLOCK_REQUESTS} keep the batches",
    )


@dataclass(frozen=True)
class PredictReport:
    """predictions: one a request; rows: its row or line in the file, from 1; both empty where they were written.

    num_cut_requests, num_cut_tokens: what did not fit and was not read. num_windowed_requests: read in several windows.
    warnings: what was skipped or mended.
    """

    num_requests: int
    num_cut_requests: int
    num_cut_tokens: int
    num_windowed_requests: int
    output_file: Path | None
    rows: tuple[int, ...]
    predictions: tuple[Any, ...]
    warnings: tuple[str, ...]


def predict(settings: PredictSettings, progress: Progress | None = None) -> PredictReport:
    """Predict for the texts, or for the rows of the files; files of any length are read and answered in blocks.

    With workers, the file that is written is the same; each shard is answered once, and a run that was cut off goes on.
    """
    output_format = checked_format(settings)
    artifact = load_artifact(settings.folder).asked_with(settings.task)
    counts = _Counts()
    rows: tuple[int, ...] = ()
    predictions: tuple[Any, ...] = ()
    if settings.scale.on is not None:
        notices = _answer_by_workers(artifact, settings, counts, progress)
    else:
        reading = settings.reading
        answers = _answer_here(artifact, settings, reading, counts, progress)
        if settings.output_file is None:
            found = tuple(answers)
            rows, predictions = tuple(a.row for a in found), tuple(a.prediction for a in found)
        else:
            lines = _written(artifact.task, answers, output_format, _places(settings))
            with (
                atomic_file(settings.output_file) as temporary,
                temporary.open("w", encoding="utf-8", newline="") as file,
            ):
                file.writelines(lines)
        notices = reading.notices()
    warnings = (*artifact.record.get("notes", ()), *notices)
    return PredictReport(
        **asdict(counts), output_file=settings.output_file, rows=rows, predictions=predictions, warnings=warnings
    )


def checked_format(settings: PredictSettings) -> str:
    """What is written. Raises `SettingsError` for what cannot be asked, or not be written so or there."""
    if sum((bool(settings.file), bool(settings.text), bool(settings.request))) != 1:
        raise SettingsError("predict needs texts, a file of requests, or the fields of one request: one of the three")
    path, asked = settings.output_file, settings.output_format
    if path is None and asked not in (None, JSON_LINES):
        raise SettingsError(f"{asked} is written to a file: name it with --output-file")
    if path is not None and path.is_dir():
        raise SettingsError(f"{path}: a folder is there; name a file to write to")
    if path is None and len(settings.file) > 1:
        raise SettingsError("what is said of several files is written to one: name it with --output-file")
    if settings.scale.on is not None and not (settings.file and path):
        raise SettingsError("on: workers answer files, into a file: name both, with --file and --output-file")
    output_format = JSON_LINES if path is None else asked or format_of(path)
    if settings.scale.on is not None and output_format != JSON_LINES:
        raise SettingsError(f"on: {output_format} is written as a whole, by one process; workers write {JSON_LINES}")
    return output_format


def _written(
    task: Task[Any, Any], answers: Iterable[_Answer], output_format: str, places: Sequence[str]
) -> Iterator[str]:
    """The lines of the output file."""
    if output_format in task.writers:
        found = list(answers)
        document = task.writers[output_format]([a.request for a in found], [a.prediction for a in found])
        yield json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"
        return
    names = [*places, *(field.name for field in fields(task.Prediction))]
    yield from lines_of((answer.record for answer in answers), names, output_format, task.writers)


def _places(settings: PredictSettings) -> tuple[str, ...]:
    """The columns that say where a request came from."""
    return ("file", "row") if len(settings.file) > 1 else ("row",)


@dataclass(frozen=True, slots=True)
class _Answer:
    """file: its name, where there are several."""

    file: str | None
    row: int
    request: Any
    prediction: Any

    @property
    def record(self) -> dict[str, Any]:
        """Where it came from, and the prediction's fields."""
        place = {"row": self.row} if self.file is None else {"file": self.file, "row": self.row}
        return place | asdict(self.prediction)


@dataclass
class _Counts:
    """As in `PredictReport`."""

    num_requests: int = 0
    num_cut_requests: int = 0
    num_cut_tokens: int = 0
    num_windowed_requests: int = 0


def _answers(
    predictor: Predictor,
    requests: Iterable[Placed],
    file: str | None,
    counts: _Counts,
    progress: Progress | None = None,
) -> Iterator[_Answer]:
    """The answers in order; what is counted on the way is added to `counts`."""
    for block in blocks(requests, BLOCK_REQUESTS):
        result = predictor.run([placed.request for placed in block], progress=progress)
        counts.num_requests += len(block)
        counts.num_cut_requests += result.num_cut_requests
        counts.num_cut_tokens += result.num_cut_tokens
        counts.num_windowed_requests += result.num_windowed_requests
        for placed, prediction in zip(block, result.predictions, strict=True):
            yield _Answer(file, placed.row, placed.request, prediction)


def _answer_here(
    artifact: Artifact, settings: PredictSettings, reading: Reading, counts: _Counts, progress: Progress | None
) -> Iterator[_Answer]:
    predictor = _Model.of(settings).predictor(artifact)
    if not settings.file:
        return _answers(predictor, _spoken(artifact.task, settings), None, counts, progress)
    return chain.from_iterable(
        _answers(predictor, requests, _name(settings, path), counts, progress)
        for path in settings.file
        for requests in [_requests(artifact, settings, path, reading)]
    )


def _name(settings: PredictSettings, path: Path) -> str | None:
    return str(path) if len(settings.file) > 1 else None


def _spoken(task: Task[Any, Any], settings: PredictSettings) -> Iterator[Placed]:
    """The requests of the command line."""
    if settings.request:
        return iter([Placed(1, task.request(settings.request, "the request"))])
    texts = enumerate(settings.text, start=1)
    return (Placed(place, task.request(text, f"text {place}")) for place, text in texts)


def _requests(artifact: Artifact, settings: PredictSettings, path: Path, reading: Reading) -> Iterator[Placed]:
    number, columns = 0, _given(artifact, settings, path)
    found = read_requests(artifact.task, path, columns, reading, expected=_trained(artifact))
    for number, placed in enumerate(found, start=1):  # noqa: B007
        yield placed
    refuse_empty([(path, number)], "requests")


def _trained(artifact: Artifact) -> Mapping[str, str]:
    columns: Mapping[str, str] = artifact.record.get("data", {}).get("columns", {})
    return columns


def _given(artifact: Artifact, settings: PredictSettings, path: Path) -> dict[str, str]:
    """The columns that are known beforehand: as in training, or as the user says."""
    return known_columns(artifact.task, path, _trained(artifact), settings.reading) | settings.columns


@dataclass(frozen=True)
class _Model:
    """What a worker loads once. version: of the folder's files."""

    folder: Path
    device: str
    precision: PredictionPrecision
    batch_invariant: bool
    task: str = "{}"
    version: str = ""

    @classmethod
    def of(cls, settings: PredictSettings, version: str = "") -> _Model:
        folder = settings.folder.resolve()
        task = json.dumps(settings.task, sort_keys=True)
        return cls(folder, settings.device, settings.precision, settings.batch_invariant, task, version)

    def predictor(self, artifact: Artifact) -> Predictor:
        return Predictor.of(
            artifact, device=self.device, precision=self.precision, batch_invariant=self.batch_invariant
        )


@lru_cache(maxsize=1)
def _loaded(model: _Model) -> Predictor:
    return model.predictor(load_artifact(model.folder).asked_with(json.loads(model.task)))


@dataclass(frozen=True)
class _Part:
    """A file, or a span of one, and how it is read and named."""

    model: _Model
    path: Path
    name: str | None
    span: Span | None
    columns: FoundColumns | None
    errors: ErrorPolicy
    column_names: tuple[str, ...]


def _answer_by_workers(
    artifact: Artifact, settings: PredictSettings, counts: _Counts, progress: Progress | None
) -> list[str]:
    """Writes the answers of all shards in the order of their rows; returns what was skipped or mended."""
    assert settings.output_file is not None
    model = _Model.of(settings, _version(settings.folder))
    shards = [shard for path in settings.file for shard in _shards(artifact, model, settings, path)]
    made_with = {
        "work": ["predict", __version__],
        "model": {name: value for name, value in asdict(model).items() if name != "folder"},
        "errors": settings.errors,
    }
    folder = shards_folder(settings.output_file.resolve())
    met = Reading()
    with locked(folder), open_runner(settings.scale) as runner:
        made = work_off(Work(_make_answers, made_with, shards), folder, runner, progress)
        num_requests = (result.account["counts"]["num_requests"] for result in made)
        refuse_empty(zip((shard.part.path for shard in shards), num_requests, strict=True), "requests")
        with atomic_file(settings.output_file) as temporary, temporary.open("wb") as file:
            for shard in made:
                with (shard.folder / ANSWERS).open("rb") as answers:
                    shutil.copyfileobj(answers, file)
                for name, value in shard.account["counts"].items():
                    setattr(counts, name, getattr(counts, name) + value)
                met.skipped.update(shard.account["skipped"])
                met.replaced.update(shard.account["replaced"])
    shutil.rmtree(folder, ignore_errors=True)
    return met.notices()


def _shards(artifact: Artifact, model: _Model, settings: PredictSettings, path: Path) -> Iterator[Shard]:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    given, reading = _given(artifact, settings, path), settings.reading
    columns = request_columns(artifact.task, path, given, reading, expected=_trained(artifact))
    is_whole = bare_suffix(path) in artifact.task.readers
    spans = [None] if is_whole else row_spans(path, settings.reading, settings.shard_rows)
    how = {"columns": None if columns is None else dict(columns.by_field), "column_names": settings.column_names}
    for span in spans:
        name = _name(settings, path)
        part = _Part(model, path.resolve(), name, span, columns, settings.errors, settings.column_names)
        first = None if span is None else [span.begin.line, span.begin.row]
        source = {"sha256": fingerprint(path, span), "file": name, "after": first, **how}
        yield Shard(part, source, f"{path}{'' if span is None else f', {span}'}")


def _make_answers(part: _Part, folder: Path) -> Account:
    """In a worker: the answers of one shard."""
    predictor, counts = _loaded(part.model), _Counts()
    reading = Reading(part.errors, column_names=part.column_names, span=part.span)
    requests = read_requests(predictor.task, part.path, {}, reading, columns=part.columns)
    with (folder / ANSWERS).open("w", encoding="utf-8") as file:
        file.writelines(json_lines(answer.record for answer in _answers(predictor, requests, part.name, counts)))
    return {"counts": asdict(counts), "skipped": dict(reading.skipped), "replaced": dict(reading.replaced)}


def _version(folder: Path) -> str:
    """Of everything in the folder that decides a prediction."""
    files = sorted(file for pattern in FETCHED for file in folder.rglob(pattern))
    return hashlib.sha256("".join(map(sha256, files)).encode()).hexdigest()
