"""Whether the figures that a saved model stands for hold: computed again from the recorded data, as one function.

It finds mistakes and drift: changed files, an edited record, code or hardware that computes something else. It is no
proof against somebody who makes new hashes for what was changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.artifact import RECORD, SEAL, Artifact, load_artifact, seal
from bertsmith.errors import DataError, FileFormatError
from bertsmith.evaluation.evaluate import Evaluation, EvaluationRecord, evaluate
from bertsmith.evaluation.intervals import Interval
from bertsmith.files import read_json
from bertsmith.inference.predictor import Predictor
from bertsmith.recipes.examples import Examples
from bertsmith.recipes.recorded import recorded_examples
from bertsmith.recipes.seeds import SUMMARY, over_runs
from bertsmith.runtime.progress import Progress
from bertsmith.settings import Settings

TOLERANCE = 1e-3
"""By which a figure may differ, of one above 1 this share of it: other hardware adds numbers up in another order."""


class VerifySettings(Settings):
    """One verification."""

    folder: Path = Field(description="saved model, or the folder of a run with several seeds")
    data_dir: Path | None = Field(None, description="folder that the data files are in, if they have moved")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")


@dataclass(frozen=True, slots=True)
class Verified:
    """A figure as it is recorded and as it came out again; one without an interval has its value for bounds.

    split: the side of the data.
    """

    split: str
    metric: str
    recorded: Interval
    found: Interval

    @property
    def holds(self) -> bool:
        pairs = zip(_bounds(self.recorded), _bounds(self.found), strict=True)
        return all(abs(a - b) <= TOLERANCE * max(1.0, abs(a)) for a, b in pairs)


@dataclass(frozen=True)
class VerifyReport:
    """Every recorded figure, all of which hold. runs: of a run with several seeds, those of each seed.

    figures: of one model; of several seeds the means with their intervals.
    """

    folder: Path
    figures: tuple[Verified, ...]
    runs: tuple[VerifyReport, ...] = ()


def verify(settings: VerifySettings | Mapping[str, Any], progress: Progress | None = None) -> VerifyReport:
    """Check every file of the model and every file of its data, and compute all recorded figures again.

    The figures are every metric, with its interval, and the calibration, of every side of the data that training held
    out; none may be missing. Raises `DataError` where the record or a data file was changed or is not there, where the
    data give other numbers of examples, or where a figure differs by more than a thousandth.
    """
    settings = settings if isinstance(settings, VerifySettings) else VerifySettings.of(settings)
    if (settings.folder / SUMMARY).is_file() and not (settings.folder / RECORD).is_file():
        return _verify_seeds(settings, progress)
    return _verify_run(settings.folder, load_artifact(settings.folder), settings, progress)


def _verify_run(folder: Path, artifact: Artifact, settings: VerifySettings, progress: Progress | None) -> VerifyReport:
    if not artifact.record.get("evaluations"):
        raise DataError(f"{folder / RECORD}: no figures under 'evaluations' that could be computed again")
    _check_seal(folder, artifact.record)
    records = _records(folder, artifact)
    examples = recorded_examples(artifact, settings.data_dir)
    sides = _sides(folder, artifact.record, examples, records)
    figures: list[Verified] = []
    for record in records:
        predictor = Predictor.of(artifact, device=settings.device, precision=record.precision)
        found = evaluate(predictor, sides[record.split], progress, intervals=True)
        figures += _compared(folder, record, found)
    _refuse_broken(folder, figures)
    return VerifyReport(folder, tuple(figures))


def _records(folder: Path, artifact: Artifact) -> list[EvaluationRecord]:
    try:
        return [EvaluationRecord.from_dict(value) for value in artifact.record["evaluations"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(f"{folder / RECORD}: evaluations: damaged ({error!r})") from None


def _check_seal(folder: Path, record: Mapping[str, Any]) -> None:
    if SEAL not in record:
        raise DataError(
            f"{folder / RECORD}: has no {SEAL}, so that nobody knows what was changed in it; an earlier version saved "
            "it: fine-tune again"
        )
    if record[SEAL] != seal(record):
        raise DataError(
            f"{folder / RECORD}: was changed after saving: what it says of the task, the data or the figures does not "
            f"match its {SEAL}"
        )


def _sides(
    folder: Path, record: Mapping[str, Any], examples: Examples, records: Sequence[EvaluationRecord]
) -> dict[str, Sequence[Any]]:
    """The examples of each side, as many as recorded, and none without figures."""
    known, found = record.get("data", {}), examples.record()
    for name in ("num_train_examples", "num_validation_examples", "num_test_examples"):
        if known.get(name) != found[name]:
            raise DataError(
                f"{folder / RECORD}: {name} is {known.get(name)}, and the recorded data give {found[name]:,}"
            )
    sides = {"validation": examples.validation, "test": examples.test}
    for evaluation in records:
        num = len(sides.get(evaluation.split, ()))
        if num != evaluation.num_examples:
            raise DataError(
                f"{folder / RECORD}: figures of {evaluation.num_examples:,} {evaluation.split} examples, and the "
                f"recorded data give {num:,}"
            )
    measured = [evaluation.split for evaluation in records]
    _refuse_difference(folder / RECORD, measured, [side for side in sides if sides[side]], "evaluations")
    return sides


def _compared(folder: Path, record: EvaluationRecord, found: Evaluation) -> list[Verified]:
    """Every figure as it was recorded and as it was found; neither side has one that the other lacks."""
    recorded = _figures(record.metrics, record.calibration)
    again = _figures(found.intervals, found.calibration)
    _refuse_difference(folder / RECORD, recorded, again, f"figures of the {record.split} examples")
    return [Verified(record.split, name, value, again[name]) for name, value in recorded.items()]


def _figures(intervals: Mapping[str, Interval], calibration: Mapping[str, float]) -> dict[str, Interval]:
    return {**intervals, **{name: Interval(value, value, value) for name, value in calibration.items()}}


def _verify_seeds(settings: VerifySettings, progress: Progress | None) -> VerifyReport:
    """Each seed's run, and the means over them; neither a run nor a seed of the summary is missing."""
    folder = settings.folder
    seeds, summary = _summary(folder / SUMMARY)
    kept = {file.parent.name for file in folder.glob(f"seed-*/{RECORD}")}
    _refuse_difference(folder / SUMMARY, [f"seed-{seed}" for seed in seeds], kept, "seeds")
    runs, figures = [], []
    for seed in seeds:
        place = folder / f"seed-{seed}"
        artifact = load_artifact(place)
        trained = artifact.record.get("settings", {}).get("training", {}).get("seed")
        if trained != seed:
            raise DataError(f"{place / RECORD}: a run with the seed {trained}, where {SUMMARY} has {seed}")
        runs.append(_verify_run(place, artifact, settings, progress))
        figures.append(_values(_records(place, artifact)))
    _refuse_difference(folder / SUMMARY, summary, figures[0], "sides of the data")
    means = []
    for side, recorded in summary.items():
        found = over_runs(artifact.task, [run[side] for run in figures])
        _refuse_difference(folder / SUMMARY, recorded, found, f"figures of the {side} examples")
        means += [Verified(side, name, value, found[name]) for name, value in recorded.items()]
    _refuse_broken(folder, means)
    return VerifyReport(folder, tuple(means), tuple(runs))


def _summary(file: Path) -> tuple[list[int], dict[str, dict[str, Interval]]]:
    """The seeds, and by side and metric the means."""
    values = read_json(file)
    try:
        seeds = [int(seed) for seed in values["seeds"]]
        metrics = {
            side: {name: Interval(**interval) for name, interval in found.items()}
            for side, found in values["metrics"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(f"{file}: damaged ({error!r})") from None
    if len(seeds) < 2:
        raise FileFormatError(f"{file}: expected two seeds or more, found {seeds}")
    return seeds, metrics


def _values(records: Sequence[EvaluationRecord]) -> dict[str, dict[str, float]]:
    """The metrics of a run by side."""
    return {record.split: {name: known.value for name, known in record.metrics.items()} for record in records}


def _refuse_difference(file: Path, recorded: Collection[str], found: Collection[str], what: str) -> None:
    """A `DataError` where one side has a name that the other lacks."""
    lacking = [name for name in found if name not in recorded]
    unknown = [name for name in recorded if name not in found]
    if lacking or unknown:
        told = [f"{', '.join(lacking)} missing"] * bool(lacking) + [f"{', '.join(unknown)} unknown"] * bool(unknown)
        raise DataError(f"{file}: {what}: {'; '.join(told)}")


def _refuse_broken(folder: Path, figures: Sequence[Verified]) -> None:
    broken = [figure for figure in figures if not figure.holds]
    if broken:
        lines = [f"{f.split} {f.metric}: recorded {_said(f.recorded)}, found {_said(f.found)}" for f in broken]
        raise DataError("\n".join([f"{folder}: {len(broken)} of {len(figures)} figures do not hold", *lines]))


def _bounds(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


def _said(interval: Interval) -> str:
    if interval.low == interval.high:
        return f"{interval.value:.4f}"
    return f"{interval.value:.4f} ({interval.low:.4f} to {interval.high:.4f})"
