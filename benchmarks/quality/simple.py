"""The simple baselines: the task's own, which need no network; a row shows the one that does best on the test rows."""

from __future__ import annotations

from quality.marks import scores
from quality.ours import make_examples, make_task, marks_of
from quality.results import Answered
from quality.rows import Rows
from quality.sets import QualitySet


def run_baseline(quality: QualitySet, rows: Rows, seed: int, model: str) -> Answered:
    """The best baseline's marks; all of them by name in the notes. Nothing in them is random."""
    task = make_task(quality, rows)
    train, test = make_examples(task, rows.train), make_examples(task, rows.test)
    marks = {
        name: marks_of(quality, rows, list(predictions))
        for name, predictions in task.fitted(train).baselines(train, test).items()
    }
    reached = {name: round(scores(quality, each)[quality.metrics[0]], 3) for name, each in marks.items()}
    best = max(reached, key=lambda name: reached[name])
    return Answered(marks[best], {"method": best, "methods": reached})
