"""Evaluation of a saved model on a file or a data set, with a report if one is wanted, as one function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.artifact import Artifact, load_artifact
from bertsmith.errors import SettingsError
from bertsmith.evaluation.data_check import check_data
from bertsmith.evaluation.evaluate import Evaluation, Judged, judge
from bertsmith.evaluation.findings import Findings, findings
from bertsmith.evaluation.intervals import bootstrap
from bertsmith.evaluation.page import page
from bertsmith.files import atomic_file, write_json
from bertsmith.inference.predictor import Predictor
from bertsmith.recipes.examples import SAME, Source, drawn
from bertsmith.recipes.recorded import recorded_training
from bertsmith.recipes.tables import TableSettings
from bertsmith.runtime.device import PredictionPrecision
from bertsmith.runtime.progress import Progress
from bertsmith.tasks import Example
from bertsmith.tasks.task import Prepared

REPORT, FACTS = "report.html", "evaluation.json"
"""Files of a report: the page, and all of its facts with a row of marks for each example."""


class SampleSettings(TableSettings):
    """How much of the examples a model is measured on."""

    max_eval_samples: int | None = Field(
        None, ge=1, description="use so many of a file's examples, chosen at random; always the same ones; None: all"
    )


class EvaluateSettings(SampleSettings):
    """One evaluation."""

    folder: Path = Field(description="saved model")
    file: Path | None = Field(
        None, description="examples with their answers; for a pre-trained model a folder made by prepare"
    )
    dataset: str | None = Field(None, description="a public data set by its name, instead of a file")
    split: str = Field("test", description="which split of the data set")
    data_dir: Path | None = Field(
        None, description="folder with the data set's files, and the model's training files if they have moved"
    )
    slice_column: tuple[str, ...] = Field((), description="columns by whose values the report tells results apart")
    other_file: Path | None = Field(None, description="examples of another domain, for the report")
    report_dir: Path | None = Field(None, description=f"folder for {REPORT} and {FACTS}; None: no report")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    precision: PredictionPrecision = Field(
        "auto", description="fp32, bf16 or int8; auto: bf16 where the machine has it"
    )
    batch_invariant: bool = Field(False, description="the same bits for a text whatever it is batched with")
    task: dict[str, Any] = Field({}, description="settings of the model's task, laid over those that it was saved with")


@dataclass(frozen=True)
class Asked:
    """The examples of a source as a model reads them. columns: of their fields; notes: what is left out of them."""

    source: Source
    examples: Sequence[Example[Any]]
    columns: Mapping[str, str]
    notes: Sequence[str]

    def record(self) -> dict[str, Any]:
        """What a comparison with another model's answers needs to know."""
        return {**self.source.record(), "columns": dict(self.columns), "notes": list(self.notes)}


@dataclass(frozen=True)
class EvaluateReport(Evaluation):
    """An evaluation; report: the page's path, and findings: what it shows, where one was asked for."""

    report: Path | None = None
    findings: Findings | None = None


def evaluate(settings: EvaluateSettings | Mapping[str, Any], progress: Progress | None = None) -> EvaluateReport:
    """Score the model in `folder` on the examples in `file`; warnings tell where it has trained on them, and more."""
    settings = settings if isinstance(settings, EvaluateSettings) else EvaluateSettings.of(settings)
    progress = progress or Progress()
    artifact = load_artifact(settings.folder).asked_with(settings.task)
    predictor = Predictor.of(
        artifact, device=settings.device, precision=settings.precision, batch_invariant=settings.batch_invariant
    )
    prepared = None if settings.file is None else artifact.task.prepared(settings.file, artifact.tokenizer)
    if prepared is not None:
        return _on_prepared(prepared, artifact, predictor, settings, progress)
    data_dir = settings.data_dir or _recorded_folder(artifact, settings.dataset)
    source = source_of(settings.file, settings.dataset, settings.split, data_dir)
    asked = examples_for(artifact, source, settings, columns=settings.columns, groups=settings.slice_column)
    judged = judge(predictor, asked.examples, progress, keep_parts=settings.report_dir is not None)
    training = recorded_training(artifact, settings.data_dir)
    warnings = (
        *asked.notes,
        *artifact.task.notices(asked.examples),
        *artifact.task.piece_notices(asked.examples, artifact.tokenizer),
        *_trained_on(artifact, source),
    )
    if settings.report_dir is None:
        checked = check_data(artifact.task, judged.examples, training.examples).warnings()
        if training.examples is None:
            checked.append(f"whether rows were trained on is not known: {training.missing}")
        if settings.slice_column:
            checked.append("slices stand in the report alone: name a folder for it with --report-dir")
        return _report(replace(judged.evaluation(bootstrap(judged.marked)), warnings=(*warnings, *checked)))
    other = _other(artifact, predictor, settings, progress)
    with progress.phase("baselines, intervals and slices"):
        found = findings(judged, training, other)
    found = replace(found, evaluation=replace(found.evaluation, warnings=warnings))
    return _written(found, judged, asked, settings)


def source_of(file: Path | None, dataset: str | None, split: str, data_dir: Path | None) -> Source:
    """A file, or a split of a data set; a `SettingsError` where it is neither or both."""
    if (file is None) == (dataset is None):
        raise SettingsError("name a file of examples, or a data set with --dataset, one of the two")
    return Source(file) if file is not None else Source(None, dataset, split, data_dir)


def examples_for(
    artifact: Artifact,
    source: Source,
    settings: SampleSettings,
    *,
    columns: Mapping[str, str],
    groups: Sequence[str] = (),
) -> Asked:
    """The examples of a source as the model reads them; answers that it does not know are refused, all at once.

    columns: of the fields that are not to be looked for.
    """
    trained, reading = artifact.record.get("data", {}).get("columns", {}), settings.reading
    examples, found = source.like(artifact.task, trained, reading, groups, columns)
    artifact.task.check(examples)
    some, notes = drawn(examples, settings.max_eval_samples)
    return Asked(source, some, found, [*notes, *reading.notices()])


def _recorded_folder(artifact: Artifact, dataset: str | None) -> Path | None:
    """Where the data set was when the model was trained on it."""
    files = artifact.record.get("data", {}).get("files", {}).values()
    folders = [file["data_dir"] for file in files if dataset and file.get("dataset") == dataset and file["data_dir"]]
    return Path(folders[0]) if folders and Path(folders[0]).is_dir() else None


def _trained_on(artifact: Artifact, source: Source) -> list[str]:
    trained = artifact.record.get("data", {}).get("files", {}).get("train", {})
    here = source.record()
    # The splits of a data set may share one file.
    same = "sha256" in trained and all(trained.get(key) == here.get(key) for key in SAME)
    return ["the model was trained on this very file: the score says nothing about new texts"] if same else []


def _on_prepared(
    prepared: Prepared, artifact: Artifact, predictor: Predictor, settings: EvaluateSettings, progress: Progress
) -> EvaluateReport:
    """A model on the samples of a folder: figures, and no report."""
    if settings.report_dir is not None:
        raise SettingsError(f"a model for {artifact.task.name} is evaluated without a report: leave out --report-dir")
    samples, notes = drawn(prepared.samples, settings.max_eval_samples)
    judged = judge(predictor, samples, progress)
    data = artifact.record.get("data", {})
    known = {data.get("corpus"), *(corpus.get("fingerprint") for corpus in data.get("corpora", {}).values())}
    trained_on = prepared.fingerprint in known
    leak = ("the model was trained on this very corpus: the score says nothing about new texts",) if trained_on else ()
    return _report(replace(judged.evaluation(bootstrap(judged.marked)), warnings=(*notes, *leak)))


def _other(
    artifact: Artifact, predictor: Predictor, settings: EvaluateSettings, progress: Progress
) -> Evaluation | None:
    if settings.other_file is None:
        return None
    asked = examples_for(artifact, Source(settings.other_file), settings, columns={})
    judged = judge(predictor, asked.examples, progress)
    return replace(judged.evaluation(bootstrap(judged.marked)), warnings=tuple(asked.notes))


def _written(found: Findings, judged: Judged, asked: Asked, settings: EvaluateSettings) -> EvaluateReport:
    """The report's two files in its folder, each whole or not at all."""
    assert settings.report_dir is not None
    source = asked.source
    name = source.file.name if source.file is not None else f"{source.dataset}, {source.split}"
    other = "" if settings.other_file is None else settings.other_file.name
    path = settings.report_dir / REPORT
    page(found, model=settings.folder.name or str(settings.folder), file=name, other_file=other).write(path)
    facts = {
        **asdict(found),
        "model": str(settings.folder),
        "source": asked.record(),
        "task": judged.task.to_dict(),
        "marks": judged.marks.tolist(),
    }
    with atomic_file(settings.report_dir / FACTS) as temporary:
        write_json(temporary, facts)
    checked = (*found.evaluation.warnings, *found.data.warnings())
    return replace(_report(replace(found.evaluation, warnings=checked)), report=path, findings=found)


def _report(evaluation: Evaluation) -> EvaluateReport:
    return EvaluateReport(**{name: getattr(evaluation, name) for name in evaluation.__dataclass_fields__})
