"""Whether the figures that a saved model stands for hold: computed again from the recorded data, as one function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.artifact import RECORD, load_artifact
from bertsmith.errors import DataError, FileFormatError
from bertsmith.evaluation.evaluate import EvaluationRecord, evaluate
from bertsmith.evaluation.intervals import Interval
from bertsmith.inference.predictor import Predictor
from bertsmith.recipes.recorded import recorded_examples
from bertsmith.runtime.progress import Progress
from bertsmith.settings import Settings

TOLERANCE = 1e-3
"""By which a figure may differ, of one above 1 this share of it: other hardware adds numbers up in another order."""


class VerifySettings(Settings):
    """One verification."""

    folder: Path = Field(description="saved model")
    data_dir: Path | None = Field(None, description="folder that the data files are in, if they have moved")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")


@dataclass(frozen=True, slots=True)
class Verified:
    """A figure as it is recorded and as it came out again. split: the side of the data."""

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
    """Every recorded figure, all of which hold."""

    folder: Path
    figures: tuple[Verified, ...]


def verify(settings: VerifySettings | Mapping[str, Any], progress: Progress | None = None) -> VerifyReport:
    """Check every file of the model and every file of its data, and compute all recorded figures again.

    Raises `DataError` where a data file is missing or was changed, or a figure differs by more than a thousandth.
    """
    settings = settings if isinstance(settings, VerifySettings) else VerifySettings.of(settings)
    artifact = load_artifact(settings.folder)
    records = _records(settings.folder, artifact.record.get("evaluations"))
    examples = recorded_examples(artifact, settings.data_dir)
    sides = {"validation": examples.validation, "test": examples.test}
    figures = []
    for record in records:
        side = sides.get(record.split, ())
        if len(side) != record.num_examples:
            raise DataError(
                f"{settings.folder / RECORD}: figures of {record.num_examples:,} {record.split} examples, and the "
                f"recorded data give {len(side):,}"
            )
        predictor = Predictor.of(artifact, device=settings.device, precision=record.precision)
        found = evaluate(predictor, side, progress, intervals=True).intervals
        figures += [Verified(record.split, name, interval, found[name]) for name, interval in record.metrics.items()]
    broken = [figure for figure in figures if not figure.holds]
    if broken:
        lines = [f"{f.split} {f.metric}: recorded {_said(f.recorded)}, found {_said(f.found)}" for f in broken]
        raise DataError("\n".join([f"{settings.folder}: {len(broken)} of {len(figures)} figures do not hold", *lines]))
    return VerifyReport(settings.folder, tuple(figures))


def _records(folder: Path, values: object) -> list[EvaluationRecord]:
    if not values or not isinstance(values, list):
        raise DataError(f"{folder / RECORD}: no figures under 'evaluations' that could be computed again")
    try:
        return [EvaluationRecord.from_dict(value) for value in values]
    except (KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(f"{folder / RECORD}: evaluations: damaged ({error!r})") from None


def _bounds(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


def _said(interval: Interval) -> str:
    return f"{interval.value:.4f} ({interval.low:.4f} to {interval.high:.4f})"
