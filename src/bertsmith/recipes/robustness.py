"""What small changes of the texts do to a saved model, and which tests of behaviour it fails, as one function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.artifact import Artifact, load_artifact
from bertsmith.errors import SettingsError, nearest
from bertsmith.evaluation.checks import CheckResult, run_checks
from bertsmith.evaluation.robustness import Robustness, robustness
from bertsmith.evaluation.robustness_page import robustness_page
from bertsmith.files import atomic_file, write_json
from bertsmith.inference.predictor import Predictor
from bertsmith.recipes.checks import CheckReading, read_checks
from bertsmith.recipes.evaluate import SampleSettings, examples_for, source_of
from bertsmith.runtime.device import PredictionPrecision
from bertsmith.runtime.progress import Progress
from bertsmith.text.noise import TextChange, changes

REPORT, FACTS = "robustness.html", "robustness.json"


class RobustnessSettings(SampleSettings):
    """One model, and what it is asked in other words."""

    folder: Path = Field(description="saved model")
    file: Path | None = Field(None, description="examples with their answers, whose texts are changed")
    dataset: str | None = Field(None, description="a public data set by its name, instead of a file")
    split: str = Field("test", description="which split of the data set")
    data_dir: Path | None = Field(None, description="folder with the data set's files; None: from the hub")
    changes: tuple[str, ...] = Field(
        (), description="those to make, by name, 'lower case' say; empty: all that leave the answers right"
    )
    change_typo_rate: float = Field(0.1, gt=0, le=1, description="share of the words that get a typo")
    change_drop_rate: float = Field(0.1, gt=0, lt=1, description="share of the words that are dropped")
    checks_file: Path | None = Field(
        None, description="tests of behaviour in CheckList's shape: .jsonl with test, type, inputs and label"
    )
    input_fields: tuple[str, ...] = Field(
        (), description="of the tests: fields of a request in the order of an input's texts; empty: the task's order"
    )
    label_names: dict[str, str] = Field(
        {}, description="of the tests: the model's name of each label; cases of others are left out"
    )
    max_cases: int | None = Field(None, ge=1, description="so many cases of each test, always the same ones; None: all")
    seed: int = Field(0, ge=0, description="of what is changed and chosen")
    report_dir: Path | None = Field(None, description=f"folder for {REPORT} and {FACTS}; None: no report")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")
    precision: PredictionPrecision = Field(
        "auto", description="fp32, bf16 or int8; auto: bf16 where the machine has it"
    )


@dataclass(frozen=True)
class RobustnessReport:
    """found: of the examples, where there are some; checks: of the tests. warnings: what was left out."""

    found: Robustness | None
    checks: tuple[CheckResult, ...]
    warnings: tuple[str, ...]
    report: Path | None = None


def robustness_of(
    settings: RobustnessSettings | Mapping[str, Any], progress: Progress | None = None
) -> RobustnessReport:
    """Change the examples' texts and ask again, and run the tests of behaviour: what there is of the two.

    Raises `SettingsError` where there is neither, or where no change leaves the task's answers right.
    """
    settings = settings if isinstance(settings, RobustnessSettings) else RobustnessSettings.of(settings)
    has_examples = settings.file is not None or settings.dataset is not None
    if not has_examples and settings.checks_file is None:
        raise SettingsError("name a file of examples, a data set with --dataset, or tests with --checks-file")
    artifact = load_artifact(settings.folder)
    wanted = _wanted(settings, artifact)
    predictor = Predictor.of(artifact, device=settings.device, precision=settings.precision)
    warnings: list[str] = []
    found, checks = None, tuple[CheckResult, ...]()
    if has_examples:
        source = source_of(settings.file, settings.dataset, settings.split, settings.data_dir)
        asked = examples_for(artifact, source, settings, columns=settings.columns)
        warnings += asked.notes
        found = robustness(predictor, asked.examples, wanted, seed=settings.seed, progress=progress)
        if found.left_out:
            warnings.append(f"left out, as they would move the answers: {', '.join(found.left_out)}")
    if settings.checks_file is not None:
        how = CheckReading(settings.input_fields, settings.label_names or None, settings.max_cases, settings.seed)
        cases, notes = read_checks(artifact.task, settings.checks_file, how, settings.reading)
        warnings += notes
        checks = run_checks(predictor, cases, progress)
    report = RobustnessReport(found, checks, tuple(warnings))
    return report if settings.report_dir is None else _written(report, settings)


def _wanted(settings: RobustnessSettings, artifact: Artifact) -> tuple[TextChange, ...]:
    known = {change.name: change for change in changes(settings.change_typo_rate, settings.change_drop_rate)}
    for name in settings.changes:
        if name not in known:
            raise SettingsError(f"changes: no change {name!r}; {nearest(name, known)}")
    wanted = tuple(known[name] for name in settings.changes or known)
    if not any(artifact.task.takes(change) for change in wanted):
        raise SettingsError(f"changes: none of {', '.join(c.name for c in wanted)} suits a {artifact.task.name} model")
    return wanted


def _written(report: RobustnessReport, settings: RobustnessSettings) -> RobustnessReport:
    assert settings.report_dir is not None
    names = [settings.file.name] if settings.file is not None else [f"{settings.dataset}, {settings.split}"]
    names = names if report.found is not None else []
    names += [] if settings.checks_file is None else [settings.checks_file.name]
    path = settings.report_dir / REPORT
    model = settings.folder.name or str(settings.folder)
    robustness_page(report.found, report.checks, model=model, data=" and ".join(names), warnings=report.warnings).write(
        path
    )
    with atomic_file(settings.report_dir / FACTS) as temporary:
        write_json(temporary, asdict(report) | {"report": str(path), "model": str(settings.folder)})
    return RobustnessReport(report.found, report.checks, report.warnings, path)
