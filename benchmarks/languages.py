"""What a small multilingual encoder learns from Multi30k's four languages: sentences found again, a dictionary judged.

    python benchmarks/languages.py [--parts vocabulary,encoder,retrieval,lexicon] [--max-minutes 22] [--data-dir DIR]

Vocabulary: pieces per word of each language, as they are and with few Czech sentences, at three alphas. Encoder: masked
tokens of a sentence and one of its translations, any two of the four languages in any order, within a time.
Retrieval: of the 1,000 test sentences the translation is to be the nearest among 1,000. Lexicon: of 200 entries drawn
from the English-German dictionary, those whose target is the word that co-occurs most with the source, by Dice's
coefficient of sentence counts in the 29,000 pairs, which know nothing of the encoder.

Writes benchmarks/results/languages.json, a part at a time, and the tables of docs/languages.md.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import platform
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bertsmith.artifact import Artifact, save_artifact, versions
from bertsmith.inference.predictor import Predictor, load
from bertsmith.inference.word_vectors import word_vectors
from bertsmith.recipes.lexicon import LexiconSettings, lexicon
from bertsmith.recipes.prepare import PrepareSettings, prepare
from bertsmith.recipes.pretrain import PretrainSettings, pretrain
from bertsmith.runtime.progress import LineProgress
from bertsmith.text.wordpiece import WordPieceSettings, learn_wordpiece

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "languages.json", ROOT / "docs" / "languages.md"
BEGIN, END = "<!-- languages: begin -->", "<!-- languages: end -->"
LANGUAGES = ("en", "de", "fr", "cs")
SEED, VOCAB_SIZE, FEW, NUM_JUDGED = 0, 8000, 1000, 200
SETTING = "4 x 192, no dropout, 30% of the tokens masked, sentences beside a translation, 64 of them a step"
SHAPE = {
    "num_hidden_layers": 4,
    "hidden_size": 192,
    "num_attention_heads": 6,
    "intermediate_size": 768,
    "max_position_embeddings": 128,
}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="vocabulary,encoder,retrieval,lexicon")
    parser.add_argument("--max-minutes", type=float, default=22)
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work-dir", type=Path, default=Path("runs/languages"))
    arguments = parser.parse_args()
    data = arguments.data_dir / "translation" / "multi30k"
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    parts = {
        "vocabulary": lambda: vocabulary(data, arguments.work_dir),
        "encoder": lambda: encoder(data, arguments.work_dir, arguments.max_minutes),
        "retrieval": lambda: retrieval(data, arguments.work_dir),
        "lexicon": lambda: dictionary(data, arguments.work_dir),
    }
    for name in arguments.parts.split(","):
        found = parts[name]()
        known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
        where = {
            "date": date.today().isoformat(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "load": os.getloadavg()[1],
            **versions(),
        }
        known[name] = {**found, "where": where}
        RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        write_page(known)
        print(json.dumps({name: found}, indent=1), flush=True)


def lines(data: Path, split: str, language: str) -> list[str]:
    with gzip.open(data / f"{split}.{language}.gz", "rt", encoding="utf-8") as file:
        return [line.strip() for line in file]


# Vocabulary


def vocabulary(data: Path, work: Path) -> dict[str, Any]:
    """The vocabulary of all four, and what alpha does where there are 1,000 sentences of Czech."""
    files = [data / f"train.{language}.gz" for language in LANGUAGES]
    settings = WordPieceSettings(vocab_size=VOCAB_SIZE)
    learned = learn_wordpiece(files, settings, languages=LANGUAGES)
    shutil.rmtree(work / "tokenizer", ignore_errors=True)
    learned.tokenizer().save(work / "tokenizer")
    few = work / "few.cs"
    few.write_text("\n".join(lines(data, "train", "cs")[:FEW]) + "\n", encoding="utf-8")
    found: dict[str, Any] = {"all": _fits(learned.report.languages)}
    for alpha in (1.0, 0.3, 0.0):
        uneven = learn_wordpiece(
            [*files[:3], few], settings.model_copy(update={"sampling_alpha": alpha}), languages=LANGUAGES
        )
        found[f"few cs, alpha {alpha:g}"] = _fits(uneven.report.languages)
    return found


def _fits(languages: Any) -> dict[str, Any]:
    return {name: [fit.pieces_per_word, fit.unknown_rate] for name, fit in languages.items()}


# Encoder


def encoder(data: Path, work: Path, max_minutes: float) -> dict[str, Any]:
    """Pre-trained from new weights on sentences beside one of their translations, and the same network untrained."""
    files = [data / f"train.{language}.gz" for language in LANGUAGES]
    values = {"files": files, "tokenizer": work / "tokenizer", "output_dir": work / "corpus", "parallel": True}
    prepare(PrepareSettings.of(values))
    settings = PretrainSettings.of(
        {
            "corpus": work / "corpus",
            "output_dir": work / "model",
            "overwrite_output_dir": True,
            "model_size": "tiny",
            "architecture": SHAPE | NO_DROPOUT,
            "validation_fraction": 0.01,
            "task": {"sentence_task": "pair", "max_length": 96, "masking": {"mask_fraction": 0.3}},
            "training": {
                "max_minutes": max_minutes,
                "num_train_epochs": 100,
                "per_device_train_batch_size": 64,
                "learning_rate": 1.5e-3,
                "eval_steps": 4000,
                "report_to": "none",
                "seed": SEED,
                "device": "cpu",
            },
        }
    )
    started, cpu = time.perf_counter(), time.process_time()
    report = pretrain(settings, LineProgress(interval_seconds=60))
    trained = load(work / "model", device="cpu")
    torch.manual_seed(SEED)
    network = trained.task.build(trained.network.config)
    save_artifact(work / "untrained", Artifact(trained.task, network, trained.tokenizer))
    return {
        "parameters": report.num_parameters,
        "steps": report.training.num_steps,
        "tokens": report.training.num_tokens,
        "validation": dict(report.metrics or {}),
        "minutes": (time.perf_counter() - started) / 60,
        "processor minutes": (time.process_time() - cpu) / 60,
        "setting": SETTING,
    }


# Retrieval


def retrieval(data: Path, work: Path) -> dict[str, Any]:
    """Accuracy of the nearest sentence for each pair of languages, both ways."""
    found: dict[str, Any] = {}
    both_ways = list(itertools.permutations(LANGUAGES, 2))
    for model in ("model", "untrained"):
        predictor = load(work / model, device="cpu")
        for layer in range(1, predictor.network.config.num_hidden_layers + 1):
            vectors = {name: _sentences(predictor, data, name, layer) for name in LANGUAGES}
            found[f"{model}, layer {layer}"] = {
                f"{a}-{b}": _interval(_is_nearest(vectors[a], vectors[b])) for a, b in both_ways
            }
    counts = {name: _pieces(load(work / "model", device="cpu"), data, name) for name in LANGUAGES}
    found["pieces in common"] = {f"{a}-{b}": _interval(_is_nearest(counts[a], counts[b])) for a, b in both_ways}
    return found


def _sentences(predictor: Predictor, data: Path, language: str, layer: int) -> NDArray[np.float64]:
    """The mean of a sentence's word vectors, less the language's mean over the validation sentences; of length 1."""
    sides = []
    for split in ("val", "test_2016_flickr"):
        words = word_vectors(predictor, lines(data, split, language), layer)
        sides.append(np.array([text.vectors.mean(axis=0) for text in words], dtype=np.float64))
    return _unit(sides[1] - sides[0].mean(axis=0))


def _pieces(predictor: Predictor, data: Path, language: str) -> NDArray[np.float64]:
    """Counts of pieces, weighted by how rare they are in the test sentences."""
    ids = predictor.tokenizer.pieces_batch(lines(data, "test_2016_flickr", language))
    counts = np.zeros((len(ids), predictor.tokenizer.vocab_size))
    for row, pieces in zip(counts, ids, strict=True):
        np.add.at(row, pieces, 1)
    return _unit(counts * np.log(len(ids) / np.maximum(1, (counts > 0).sum(axis=0))))


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return scaled


def _is_nearest(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Of each row of `first` whether the row of `second` with its number is the nearest, and no other as near."""
    cosines = first @ second.T
    own = cosines.diagonal().copy()
    np.fill_diagonal(cosines, -np.inf)
    nearest: NDArray[np.bool_] = own > cosines.max(axis=1)
    return nearest


def _interval(values: Any) -> list[float]:
    """Mean, and 95% bounds by the bootstrap."""
    rng, row = np.random.default_rng(SEED), np.asarray(values, dtype=float)
    draws = [row[rng.integers(len(row), size=len(row))].mean() for _ in range(1000)]
    return [float(row.mean()), *map(float, np.percentile(draws, [2.5, 97.5]))]


# Lexicon


def dictionary(data: Path, work: Path) -> dict[str, Any]:
    """Of 200 entries drawn from each model's dictionary the share that the counts of sentences confirm."""
    files = (data / "train.en.gz", data / "train.de.gz")
    found: dict[str, Any] = {}
    for model in ("model", "untrained"):
        drawn = lexicon(LexiconSettings(files=files, model=work / model, device="cpu"))
        best = best_by_counts(_types(work, files[0]), _types(work, files[1]))
        places = np.random.default_rng(SEED).permutation(len(drawn.entries))[:NUM_JUDGED]
        judged = [drawn.entries[place] for place in places]
        right = [best.get(entry.source) == entry.target for entry in judged]
        found[model] = {
            "entries": len(drawn.entries),
            "links": drawn.num_links,
            "judged": len(judged),
            "precision": _interval(right),
            "examples": [[e.source, e.target, e.count, bool(ok)] for e, ok in zip(judged[:12], right, strict=False)],
        }
    return found


def _types(work: Path, file: Path) -> list[set[str]]:
    """The words of each line, as the tokenizer separates them, in lower case."""
    tokenizer = load(work / "model", device="cpu").tokenizer
    with gzip.open(file, "rt", encoding="utf-8") as opened:
        texts = [line.strip() for line in opened]
    found = []
    for text, source in zip(texts, tokenizer.sources(texts), strict=True):
        spans: dict[int, list[int]] = {}
        for word, (start, end) in zip(source.word_ids, source.offsets, strict=True):
            spans.setdefault(word, [start, end])[1] = end
        words = {text[start:end].lower() for start, end in spans.values()}
        found.append({word for word in words if any(map(str.isalnum, word))})
    return found


def best_by_counts(source: Sequence[set[str]], target: Sequence[set[str]]) -> dict[str, str]:
    """For each source word the target word with the highest Dice coefficient of lines; equal ones by string."""
    ones, others, both = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    for first, second in zip(source, target, strict=True):
        ones.update(first)
        others.update(second)
        both.update(itertools.product(first, second))
    best: dict[str, tuple[float, str]] = {}
    for (first, second), count in both.items():
        score = (-2 * count / (ones[first] + others[second]), second)
        best[first] = min(best.get(first, score), score)
    return {word: second for word, (_, second) in best.items()}


# The page


def write_page(found: dict[str, Any]) -> None:
    blocks = [part(found[name]) for name, part in PARTS.items() if name in found]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n\n".join(blocks) + f"\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def _vocabulary_table(found: dict[str, Any]) -> str:
    rows = [
        f"| {name} | " + " | ".join(f"{fit[language][0]:.3f}" for language in LANGUAGES) + " |"
        for name, fit in found.items()
        if name != "where"
    ]
    unknown = max(fit[language][1] for name, fit in found.items() if name != "where" for language in LANGUAGES)
    head = f"Pieces per word of a vocabulary of {VOCAB_SIZE:,}; at most {unknown:.2%} of the pieces are [UNK]"
    bars = "| --- |" + " --- |" * len(LANGUAGES)
    return "\n".join([f"{head} ({_where(found)}):", "", f"| text | {' | '.join(LANGUAGES)} |", bars, *rows])


def _encoder_lines(found: dict[str, Any]) -> str:
    validation = ", ".join(f"{name} {value:.3g}" for name, value in found["validation"].items())
    return (
        f"The encoder: {found['setting']}; {found['parameters']:,} parameters, {found['steps']:,} steps, "
        f"{found['tokens']:,} tokens in {found['minutes']:.0f} minutes ({found['processor minutes']:.0f} of one core, "
        f"beside other jobs); held out: {validation} ({_where(found)})."
    )


def _retrieval_table(found: dict[str, Any]) -> str:
    pairs = list(itertools.combinations(LANGUAGES, 2))
    rows = []
    for name, scores in found.items():
        if name != "where":
            cells = [f"{100 * scores[f'{a}-{b}'][0]:.1f} / {100 * scores[f'{b}-{a}'][0]:.1f}" for a, b in pairs]
            rows.append(f"| {name} | {' | '.join(cells)} |")
    widest = max(bound[2] - bound[1] for name, row in found.items() if name != "where" for bound in row.values())
    head = (
        "Sentences of the 2016 test set whose translation is the nearest of 1,000, in %, there and back; chance is 0.1 "
        f"(95% intervals reach at most {100 * widest / 2:.1f} to either side; {_where(found)}):"
    )
    columns = f"| vectors | {' | '.join(f'{a}, {b}' for a, b in pairs)} |"
    return "\n".join([head, "", columns, "| --- |" + " --- |" * len(pairs), *rows])


def _lexicon_table(found: dict[str, Any]) -> str:
    rows = [
        f"| {name} | {row['entries']:,} | {row['links']:,} | {100 * row['precision'][0]:.1f} "
        f"({100 * row['precision'][1]:.1f} to {100 * row['precision'][2]:.1f}) |"
        for name, row in found.items()
        if name != "where"
    ]
    head = (
        f"English-German entries from the 29,000 pairs, and of {NUM_JUDGED} drawn from them the share whose target "
        f"co-occurs most with the source by Dice's coefficient of sentence counts ({_where(found)}):"
    )
    columns = "| encoder | entries | links | right, % (95%) |"
    return "\n".join([head, "", columns, "| --- | --- | --- | --- |", *rows])


PARTS = {
    "vocabulary": _vocabulary_table,
    "encoder": _encoder_lines,
    "retrieval": _retrieval_table,
    "lexicon": _lexicon_table,
}


def _where(found: dict[str, Any]) -> str:
    where = found["where"]
    said = ", ".join(f"{name} {where[name]}" for name in ("bertsmith", "torch"))
    return f"{where['date']}, seed {SEED}, {where['threads']} thread, {said}"


if __name__ == "__main__":
    main()
