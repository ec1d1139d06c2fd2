"""Vectors of texts: tokens a second in both orders, one text at a time, and how near each engine is to fp32."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speed.engines import ENGINES, Engine, reference
from speed.measure import in_turns, median, ratio
from speed.texts import equal, mixed

BATCH_SIZE = 32
OURS = "bertsmith bf16"
LATENCY_WORDS = {16: 10, 128: 95}
"""Words that make up about so many tokens."""


def measure_inference(model: Path, words: list[str], rounds: int, count: int, names: Sequence[str]) -> dict[str, Any]:
    """Rows for the page: throughput of each engine and order, latency of each engine and length."""
    with tempfile.TemporaryDirectory() as folder:
        engines = {name: ENGINES[name](model, Path(folder)) for name in names}
        exact = reference(model, Path(folder))
        samples = {"mixed lengths": mixed(words, count), "equal lengths": equal(words, count // 2, 90)}
        return {
            "throughput": [
                row
                for title, texts in samples.items()
                for row in _throughput(title, texts, engines, exact, model, rounds)
            ],
            "latency": [row for tokens in LATENCY_WORDS for row in _latency(tokens, words, engines, rounds)],
        }


def _throughput(
    title: str, texts: list[str], engines: dict[str, Engine], exact: Engine, model: Path, rounds: int
) -> list[dict[str, Any]]:
    num_tokens = _num_tokens(model, texts)
    by_length = sorted(texts, key=lambda text: -len(text.split()))
    orders = {"sorted by length": by_length, "as they arrive": texts}
    work = {}
    for order, ordered in orders.items():
        for name, engine in engines.items():
            work[name, order, "batches of 32"] = lambda e=engine, t=ordered: _in_batches(e, t)
        work[OURS, order, "one call"] = lambda t=ordered: engines[OURS](t)
    named = {" | ".join(key): run for key, run in work.items()}
    seconds = in_turns(named, rounds)
    expected = _in_batches(exact, by_length)
    nearest = {name: _lowest_cosine(_in_batches(engine, by_length), expected) for name, engine in engines.items()}
    rows = []
    for name, order, batches in work:
        taken = seconds[" | ".join((name, order, batches))]
        ours = seconds[" | ".join((OURS, order, "one call"))]
        rows.append(
            {
                "texts": title,
                "engine": name,
                "order": order,
                "batches": batches,
                "tokens_per_second": num_tokens / median(taken).middle,
                "ours_is_faster_by": str(ratio(taken, ours)),
                "lowest_cosine": nearest[name],
            }
        )
    return rows


def _latency(tokens: int, words: list[str], engines: dict[str, Engine], rounds: int) -> list[dict[str, Any]]:
    texts = equal(words, 40, LATENCY_WORDS[tokens], seed=tokens)
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(max(2, rounds // 2)):
        for name, engine in engines.items():
            for text in texts:
                taken[name] += in_turns({name: lambda e=engine, t=text: e([t])}, 1, warm_up=0)[name]
    warm = {name: np.asarray(times[len(texts) :]) * 1000 for name, times in taken.items()}
    return [
        {
            "tokens": tokens,
            "engine": name,
            "p50_ms": float(np.quantile(times, 0.5)),
            "p99_ms": float(np.quantile(times, 0.99)),
        }
        for name, times in warm.items()
    ]


def _in_batches(engine: Engine, texts: Sequence[str]) -> Any:
    return np.concatenate([engine(texts[at : at + BATCH_SIZE]) for at in range(0, len(texts), BATCH_SIZE)])


def _lowest_cosine(given: Any, expected: Any) -> float:
    return float((given * expected).sum(axis=1).min())


def _num_tokens(model: Path, texts: Sequence[str]) -> int:
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(model)(list(texts), truncation=True, max_length=512)["input_ids"]
    return sum(map(len, ids))
