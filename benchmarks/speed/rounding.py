"""What rounding to bf16 and int8 does to scores: one fine-tuned model a set, asked in each precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from quality.marks import MEASURES
from quality.ours import fine_tuned, make_examples, marks_of
from quality.rows import read_rows
from quality.sets import SETS

from bertsmith.artifact import Artifact
from bertsmith.inference.predictor import Predictor
from speed.engines import PRECISIONS

WORK = {"sst2": 20_000, "stsb": 5_749, "conll2003": 7_000, "squad": 6_000}
"""Sets, and on how many rows each model trains, for one epoch: enough to be near what it can do."""
NUM_TEST = 2_000
WITH_FP32 = ("fp32", *PRECISIONS)


def measure_rounding(model: Path, data_dir: Path, fraction: float = 1.0) -> list[dict[str, Any]]:
    """A row for each set: the score in each precision, and its difference from fp32 on the same test rows."""
    found = []
    for name, num_train in WORK.items() if fraction == 1 else [("sst2", WORK["sst2"])]:
        quality = replace(
            SETS[name], num_epochs=1, num_train=int(num_train * fraction), num_test=max(50, int(NUM_TEST * fraction))
        )
        rows = read_rows(quality, data_dir)
        start, _ = fine_tuned(quality, rows, 0, str(model))
        requests = [example.request for example in make_examples(start.task, rows.test)]
        marks = {}
        for precision in WITH_FP32:
            predictor = Predictor.of(
                Artifact(start.task, start.network, start.tokenizer, {}), device="cpu", precision=precision
            )
            marks[precision] = marks_of(quality, rows, predictor.run(requests).predictions)
        metric = quality.metrics[0]
        measure = MEASURES[quality.task][metric]
        drawn = [
            [measure(each[chosen]) for each in marks.values()]
            for chosen in np.random.default_rng(0).integers(len(rows.test), size=(1000, len(rows.test)))
        ]
        changes = np.array(drawn) - np.array(drawn)[:, :1]
        found.append(
            {
                "set": quality.title,
                "metric": metric,
                "num_test": len(rows.test),
                "scores": {precision: measure(each) for precision, each in marks.items()},
                "differences": {
                    precision: [
                        measure(marks[precision]) - measure(marks["fp32"]),
                        *np.quantile(changes[:, place], [0.025, 0.975]).tolist(),
                    ]
                    for place, precision in enumerate(WITH_FP32)
                },
            }
        )
    return found
