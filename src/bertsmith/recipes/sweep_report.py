"""What a sweep found: its trials, the best of them, what mattered; as JSON and as a page. Runs nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bertsmith.evaluation.plots import Bar, Line, Points, bars, curves, scatter
from bertsmith.evaluation.report import Markup, Page, bullets, callout, figure, paragraph, side_by_side, table, tiles
from bertsmith.recipes.search_space import Dimension
from bertsmith.runtime.progress import duration, number, shorten

State = Literal["complete", "pruned", "failed"]
FEW_TRIALS = 20


@dataclass(frozen=True)
class Trial:
    """One run. value: of the metric, at its best evaluation. values: what was tried, by the settings' dotted names."""

    number: int
    state: State
    value: float | None
    values: Mapping[str, Any]
    num_evaluations: int
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class SweepReport:
    """What came out. importances: of each setting, shares of one, where there are trials enough to say."""

    output_dir: Path
    task: str
    metric: str
    higher_is_better: bool
    space: tuple[Dimension, ...]
    trials: tuple[Trial, ...]
    best: Trial
    best_model: Path
    importances: Mapping[str, float]


def facts(report: SweepReport) -> dict[str, Any]:
    """The report as JSON."""
    values = asdict(report)
    return values | {
        "output_dir": str(report.output_dir),
        "best_model": str(report.best_model),
        "space": list(map(str, report.space)),
        "importances": dict(report.importances),
    }


def page(report: SweepReport) -> Page:
    """The page of a sweep."""
    made = Page(f"Sweep over {report.task}", f"{len(report.trials)} trials, judged by {report.metric} on validation")
    made.section("In short", *_in_short(report))
    made.section("What mattered", *_importances(report))
    made.section(f"{report.metric} by each setting", *_by_setting(report))
    if len(_judged(report)) > 1:
        made.section("How the best was found", _progress(report))
    made.section("All trials, the best first", _table(report))
    failed = [trial for trial in report.trials if trial.state == "failed"]
    if failed:
        made.section("Trials that failed", bullets(f"trial {trial.number}: {trial.error}" for trial in failed))
    return made


def _in_short(report: SweepReport) -> list[Markup]:
    best = report.best
    counts = {state: sum(trial.state == state for trial in report.trials) for state in ("complete", "pruned", "failed")}
    assert best.value is not None
    return [
        tiles(
            [
                (number(best.value), f"{report.metric}, the best, by trial {best.number}"),
                *((str(count), f"trials {state}") for state, count in counts.items()),
            ]
        ),
        callout(
            f"The best trial's {report.metric} flatters it: it was chosen by the same validation examples. What it is "
            "worth, only other examples can tell."
        ),
        table(
            ["setting", "in the best trial", "tried"],
            [
                (dimension.name, _shown(best.values[dimension.setting]), str(dimension).partition("=")[2])
                for dimension in report.space
            ],
        ),
        paragraph(f"Its model is in {report.best_model}."),
    ]


def _judged(report: SweepReport) -> list[Trial]:
    return [trial for trial in report.trials if trial.state == "complete" and trial.value is not None]


def _importances(report: SweepReport) -> list[Markup]:
    if not report.importances:
        return [paragraph("Too few trials came to an end, or all with the same result, to say what mattered.")]
    names = {dimension.setting: dimension.name for dimension in report.space}
    shares = [Bar(names[setting], share) for setting, share in report.importances.items()]
    few = len(_judged(report)) < FEW_TRIALS
    return [
        figure(
            bars(shares, title="Share of each setting", x_label="share of what sets the best trials apart"),
            "Share of each setting in what sets the best trials apart from all (PED-ANOVA)",
            "A hint, not a finding: these are few trials." if few else "",
        )
    ]


def _by_setting(report: SweepReport) -> list[Markup]:
    return [
        paragraph(
            "A dot is a trial; a ring one that was ended early, at its best evaluation; the best trial is large."
        ),
        side_by_side(*(figure(_scatter(report, dimension), dimension.name) for dimension in report.space)),
    ]


def _scatter(report: SweepReport, dimension: Dimension) -> Markup:
    choices = [_shown(choice) for choice in dimension.choices]
    groups = []
    for state in ("pruned", "complete"):
        trials = [t for t in report.trials if t.state == state and t.value is not None and t != report.best]
        groups.append(_points(state, trials, dimension, choices))
    groups.append(_points("best", [report.best], dimension, choices))
    return scatter(
        [points for points in groups if points.xs],
        title=f"{report.metric} by {dimension.name}",
        x_label=dimension.name,
        y_label=report.metric,
        is_log=dimension.is_log,
        names=choices,
    )


def _points(state: str, trials: list[Trial], dimension: Dimension, choices: list[str]) -> Points:
    values = [trial.values[dimension.setting] for trial in trials]
    # Trials with the same choice stand beside each other.
    beside = [0.06 * (trial.number % 7 - 3) * (state != "best") for trial in trials]
    xs = [choices.index(_shown(value)) + by for value, by in zip(values, beside, strict=True)] if choices else values
    return Points(xs, [trial.value or 0.0 for trial in trials], is_hollow=state == "pruned", is_large=state == "best")


def _progress(report: SweepReport) -> Markup:
    choose = max if report.higher_is_better else min
    xs: list[float] = []
    ys: list[float] = []
    for trial in _judged(report):
        assert trial.value is not None
        xs += [trial.number, trial.number]
        ys += [*(ys[-1:] or [trial.value]), choose([*ys[-1:], trial.value])]
    line = Line("best", xs, ys)
    drawn = curves([line], title="The best so far", x_label="trial", y_label=report.metric)
    return figure(drawn, f"The best {report.metric} so far, trial by trial")


def _table(report: SweepReport) -> Markup:
    sign = -1 if report.higher_is_better else 1
    trials = sorted(report.trials, key=lambda t: (t.state != "complete", t.value is None, sign * (t.value or 0.0)))
    header = ["trial", report.metric, *(dimension.name for dimension in report.space), "evaluations", "time", "state"]
    return table(header, [row(report, trial) for trial in trials], emphasis=0)


def row(report: SweepReport, trial: Trial) -> list[str]:
    """A trial's cells: number, metric, what was tried, evaluations, time, state."""
    value = "" if trial.value is None else number(trial.value)
    tried = [_shown(trial.values.get(dimension.setting, "")) for dimension in report.space]
    return [str(trial.number), value, *tried, str(trial.num_evaluations), duration(trial.seconds), trial.state]


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return shorten(value if isinstance(value, str) else json.dumps(value), 30)
