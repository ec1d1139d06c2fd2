"""Vectors of texts: tokens a second in both orders, one text at a time, and how near each engine is to fp32."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from speed.engines import PRECISIONS, Engine, Setting, bertsmith_engine, engines_here, reference
from speed.measure import in_turns, median, ratio
from speed.texts import equal, mixed

BATCH_SIZE = 32
OURS = {precision: f"bertsmith {precision}" for precision in PRECISIONS}
LATENCY_WORDS = {16: 10, 128: 95}
"""Words that make up about so many tokens."""
BLOCK_TEXTS, NUM_SETTLING = 100, 20
"""Of one engine's turn: texts that count, and texts before them that do not."""
NUM_CALIBRATION = 64
LENGTHS = (16, 32, 64, 128, 256, 512)
BATCH_SIZES = (1, 8, 32, 128, 512)


def measure_inference(model: Path, words: list[str], rounds: int, count: int, *, whole: bool = True) -> dict[str, Any]:
    """Rows for the page: throughput of each engine and order; with `whole` all that is asked of the smaller model."""
    with _settled(model, words) as setting:
        engines = engines_here(setting)
        exact = reference(setting)
        samples = {"mixed lengths": mixed(words, count)}
        if whole:
            samples["equal lengths"] = equal(words, count // 2, 90)
        found: dict[str, Any] = {
            "flops_per_token": _flops_per_token(model),
            "throughput": [
                row
                for title, texts in samples.items()
                for row in _throughput(title, texts, engines, exact, model, rounds)
            ],
        }
        if whole:
            found["batch_invariant"] = _price_of_invariance(setting, samples["mixed lengths"], rounds)
            found["by_length"] = _by_length(engines, words, model, rounds, count)
            found["by_batch"] = _by_batch(engines, words, model, rounds, count)
        return found


def measure_latency(model: Path, words: list[str], rounds: int) -> list[dict[str, Any]]:
    """Rows of each length and engine: one text at a time."""
    with _settled(model, words) as setting:
        engines = engines_here(setting)
        return [row for tokens in LATENCY_WORDS for row in _latency(tokens, words, engines, rounds)]


def random_base(model: Path, folder: Path) -> Path:
    """A BERT of base's size with random weights and the tokenizer of `model`: speed does not ask what it learned."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(model)
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def _settled(model: Path, words: list[str]) -> Iterator[Setting]:
    folder = Path(tempfile.mkdtemp())
    try:
        yield Setting(model, folder, mixed(words, NUM_CALIBRATION, seed=1))
    finally:
        shutil.rmtree(folder)


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
        for name in OURS.values():
            work[name, order, "one call"] = lambda e=engines[name], t=ordered: e(t)
    seconds = in_turns({" | ".join(key): run for key, run in work.items()}, rounds)
    expected = _in_batches(exact, by_length)
    nearest = {name: _lowest_cosine(_in_batches(engine, by_length), expected) for name, engine in engines.items()}
    return [
        {
            "texts": title,
            "engine": name,
            "order": order,
            "batches": batches,
            "tokens_per_second": num_tokens / median(seconds[" | ".join((name, order, batches))]).middle,
            "lowest_cosine": nearest[name],
            **{
                precision: str(
                    ratio(seconds[" | ".join((name, order, batches))], seconds[" | ".join((ours, order, "one call"))])
                )
                for precision, ours in OURS.items()
            },
        }
        for name, order, batches in work
    ]


def _latency(tokens: int, words: list[str], engines: dict[str, Engine], rounds: int) -> list[dict[str, Any]]:
    """Each engine in turn takes a block of texts, one after another.

    Text by text in turns would be unfair: some engines' threads go on spinning for a while and slow whoever is next.
    """
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for number in range(rounds):
        texts = equal(words, NUM_SETTLING + BLOCK_TEXTS, LATENCY_WORDS[tokens], seed=number)
        for name, engine in engines.items():
            for place, text in enumerate(texts):
                started = time.perf_counter()
                engine([text])
                if place >= NUM_SETTLING:
                    taken[name].append(time.perf_counter() - started)
    warm = {name: np.asarray(times) for name, times in taken.items()}
    return [
        {
            "tokens": tokens,
            "engine": name,
            "num_texts": rounds * BLOCK_TEXTS,
            "p50_ms": float(np.quantile(times, 0.5) * 1000),
            "p99_ms": float(np.quantile(times, 0.99) * 1000),
            **{precision: str(ratio(times, warm[ours])) for precision, ours in OURS.items()},
        }
        for name, times in warm.items()
    ]


def _price_of_invariance(setting: Setting, texts: list[str], rounds: int) -> list[dict[str, Any]]:
    """How many times as long the batch-invariant mode takes, in each precision."""
    rows = []
    for precision in ("fp32", *PRECISIONS):
        plain, invariant = (bertsmith_engine(setting, precision, batch_invariant=wish) for wish in (False, True))
        seconds = in_turns({"plain": lambda e=plain: e(texts), "invariant": lambda e=invariant: e(texts)}, rounds)
        alone = np.concatenate([invariant([text]) for text in texts[:32]])
        rows.append(
            {
                "precision": precision,
                "times": str(ratio(seconds["invariant"], seconds["plain"])),
                "equal_bits": bool((alone == invariant(texts)[:32]).all()),
                "plain_largest_difference": float(abs(alone - plain(texts)[:32]).max()),
            }
        )
    return rows


def _by_length(
    engines: dict[str, Engine], words: list[str], model: Path, rounds: int, count: int
) -> list[dict[str, Any]]:
    """The same number of words in texts of one length: what longer texts cost a token."""
    rows = []
    for length in LENGTHS:
        texts = equal(words, max(4, count * 24 // length), int(length * 0.7), seed=length)
        rows.append({"length": length} | _rates(engines, texts, model, rounds))
    return rows


def _by_batch(
    engines: dict[str, Engine], words: list[str], model: Path, rounds: int, count: int
) -> list[dict[str, Any]]:
    """Texts of mixed lengths, so many in a call."""
    return [
        {"batch_size": size} | _rates(engines, mixed(words, size, seed=size), model, rounds)
        for size in BATCH_SIZES
        if size <= count
    ]


def _rates(engines: dict[str, Engine], texts: list[str], model: Path, rounds: int) -> dict[str, Any]:
    repeats = max(1, 256 // len(texts))
    names = (*OURS.values(), "OpenVINO bf16", "OpenVINO int8")
    work = {name: lambda e=engines[name]: [e(texts) for _ in range(repeats)] for name in names}
    seconds = in_turns(work, rounds)
    num_tokens = _num_tokens(model, texts) * repeats
    return {name: num_tokens / median(taken).middle for name, taken in seconds.items()}


def _in_batches(engine: Engine, texts: Sequence[str]) -> Any:
    return np.concatenate([engine(texts[at : at + BATCH_SIZE]) for at in range(0, len(texts), BATCH_SIZE)])


def _lowest_cosine(given: Any, expected: Any) -> float:
    return float((given * expected).sum(axis=1).min())


def _num_tokens(model: Path, texts: Sequence[str]) -> int:
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(model)(list(texts), truncation=True, max_length=512)["input_ids"]
    return sum(map(len, ids))


def _flops_per_token(model: Path) -> float:
    """Of the layers' matrices, forward: twice their weights."""
    from bertsmith.artifact import load_artifact

    layers = load_artifact(model).network.encoder.layers
    return 2.0 * sum(weights.numel() for weights in layers.parameters() if weights.ndim == 2)
