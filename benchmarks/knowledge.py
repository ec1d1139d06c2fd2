"""What facts beside their entities are worth where nothing else tells: persons whose homes only the facts say.

    python benchmarks/knowledge.py [--seeds 5]

400 persons of 20 first and 20 last names, each living in one of two places by chance. A text names a person, its label
is the home; 300 persons are trained on, the other 100 are asked about. The same two-layer network is pre-trained for a
step and fine-tuned with the facts (as K-BERT has them), without them, and with each fact written behind its text.
Writes benchmarks/results/knowledge.json and the table of docs/knowledge.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from bertsmith.artifact import versions
from bertsmith.evaluation.intervals import over_seeds
from bertsmith.recipes.finetune import finetune
from bertsmith.recipes.prepare import PrepareSettings, prepare
from bertsmith.recipes.pretrain import PretrainSettings, pretrain
from bertsmith.text.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "knowledge.json", ROOT / "docs" / "knowledge.md"
BEGIN, END = "<!-- knowledge: begin -->", "<!-- knowledge: end -->"
STEPS, NUM_TRAINED, PLACES = 400, 300, ("north", "south")
FIRST = [first + second for first in "bdfg" for second in "aeiou"]
LAST = [first + second for first in "klmr" for second in "aeiou"]
TRAINING = {"report_to": "none", "device": "cpu", "precision": "fp32"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    accuracies: dict[str, list[float]] = {"facts": [], "no facts": [], "facts as text": []}
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory(prefix="knowledge-") as folder:
            for name, accuracy in measured(Path(folder), seed).items():
                accuracies[name].append(accuracy)
        print(seed, {name: values[-1] for name, values in accuracies.items()}, flush=True)
    found = {"date": date.today().isoformat(), **versions(), "steps": STEPS, "accuracy": accuracies}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_page(found)


def measured(folder: Path, seed: int) -> dict[str, float]:
    """Accuracy on persons that training never named."""
    rng = np.random.default_rng(seed)
    persons = [f"{first} {last}" for first in FIRST for last in LAST]
    rng.shuffle(persons)
    homes = [PLACES[int(place)] for place in rng.integers(2, size=len(persons))]
    facts = [f"{person}\tlives\t{home}" for person, home in zip(persons, homes, strict=True)]
    (folder / "facts.tsv").write_text("\n".join(facts) + "\n", encoding="utf-8")
    for way, text in (("plain", "{person} came"), ("told", "{person} came lives {home}")):
        rows = [f"{text.format(person=person, home=home)},{home}" for person, home in zip(persons, homes, strict=True)]
        write(folder / f"{way}-train.csv", ["text,label", *rows[:NUM_TRAINED]])
        write(folder / f"{way}-test.csv", ["text,label", *rows[NUM_TRAINED:]])
    model = pretrained(folder, persons, seed)
    known = {"knowledge_file": folder / "facts.tsv", "unused_triples": "keep"}
    return {
        "facts": tuned(folder, model, "plain", seed, known),
        "no facts": tuned(folder, model, "plain", seed, {}),
        "facts as text": tuned(folder, model, "told", seed, {}),
    }


def write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def pretrained(folder: Path, persons: list[str], seed: int) -> Path:
    """One step, for the folder's sake: the vocabulary is given, and nothing is learned."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    Tokenizer.from_vocab([*special, *FIRST, *LAST, *PLACES, "lives", "came"]).save(folder / "tokenizer")
    write(folder / "text.txt", [f"{person} came\n" for person in persons])
    files = {"files": [folder / "text.txt"], "tokenizer": folder / "tokenizer", "output_dir": folder / "corpus"}
    prepare(PrepareSettings.of({**files, "format": "sentences"}))
    values = {
        "corpus": folder / "corpus",
        "output_dir": folder / "bert",
        "model_size": "tiny",
        "architecture": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        "task": {"max_length": 16},
        "validation_fraction": 0,
        "training": {"max_steps": 1, "seed": seed, **TRAINING},
    }
    return pretrain(PretrainSettings.of(values)).output_dir


def tuned(folder: Path, model: Path, texts: str, seed: int, knowledge: dict[str, Any]) -> float:
    values = {
        "train_file": folder / f"{texts}-train.csv",
        "validation_file": folder / f"{texts}-test.csv",
        "model": str(model),
        "output_dir": folder / "tuned",
        "overwrite_output_dir": True,
        "knowledge": knowledge,
        "task": {"max_length": 16},
        # Evaluated once, at the end: nothing is chosen by these persons.
        "training": {"max_steps": STEPS, "learning_rate": 2e-3, "eval_steps": STEPS, "seed": seed, **TRAINING},
    }
    return float(finetune("classification", values).evaluation.metrics["accuracy"])


def write_page(found: dict[str, Any]) -> None:
    rows = []
    for name, values in found["accuracy"].items():
        mean = over_seeds(tuple(values))
        low, high = max(0.0, mean.low), min(1.0, mean.high)
        rows.append(f"| {name} | {100 * mean.value:.1f} ({100 * low:.1f} to {100 * high:.1f}) |")
    num = len(found["accuracy"]["facts"])
    said = ", ".join(f"{name} {found[name]}" for name in ("bertsmith", "torch", "numpy", "python"))
    head = ["| given | homes told, of 100 persons, % (95% over seeds) |", "| --- | --- |"]
    text = "\n".join([*head, *rows, "", f"{found['date']}, seeds 0 to {num - 1}, {found['steps']} steps; {said}."])
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
