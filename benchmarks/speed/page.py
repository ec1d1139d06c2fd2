"""docs/performance.md from what was measured. Knows no engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bertsmith.files import atomic_file

FLOPS_PER_TOKEN = 21.2e6
"""Of MiniLM-L6's matrices, forward: twice their 10.6 million weights."""
HEAD = """# Speed

Made by `make bench` (`benchmarks/speed.py`). Every figure is from one run in which all systems take turns; the last
column of a table is how many times faster bertsmith is, the median over rounds with its 95% interval (below 1: slower).
Tokens are real ones, padding is not counted, tokenization is. Read ratios: machines differ, and this one is shared.
"""
INFERENCE = """## Vectors of texts, MiniLM-L6

bertsmith gets all texts in one call and sorts and packs them itself, or, like the peers, batches of 32. The share is of
{rate:.2f} TFLOP/s, a large bf16 matrix product measured in the same run; the cosine is the lowest of all texts with
transformers' vector in fp32.
"""
TRAINING = """## Fine-tuning MiniLM-L6

Dropout 0.1, AdamW, clipping. `best` is `transformers`' Trainer in bf16 with batches grouped by length, `default` as it
comes: fp32, random batches. What the models then score stands in [results.md](results.md).
"""


def write_page(record: dict[str, Any], path: Path) -> None:
    parts = [HEAD]
    if "inference" in record:
        parts += _inference(record["inference"])
    if "training" in record:
        parts += _training(record["training"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        partial.write_text("\n".join(parts), encoding="utf-8")


def _inference(facts: dict[str, Any]) -> list[str]:
    rate = facts["gemm_per_second"]
    rows = [
        [
            row["texts"],
            row["order"],
            f"{row['engine']}, {row['batches']}",
            f"{row['tokens_per_second']:,.0f}",
            f"{row['tokens_per_second'] * FLOPS_PER_TOKEN / rate:.0%}",
            f"{row['lowest_cosine']:.5f}",
            row["ours_is_faster_by"],
        ]
        for row in facts["rows"]["throughput"]
    ]
    latency = [
        [str(row["tokens"]), row["engine"], f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}"]
        for row in facts["rows"]["latency"]
    ]
    return [
        INFERENCE.format(rate=rate / 1e12),
        _table(["texts", "order", "engine", "tokens/s", "of the limit", "lowest cosine", "bertsmith, one call"], rows),
        "\nOne text at a time, milliseconds:\n",
        _table(["tokens, about", "engine", "p50", "p99"], latency),
        f"\n{_where(facts)}\n",
    ]


def _training(facts: dict[str, Any]) -> list[str]:
    rows = [
        [
            row["work"],
            str(row["batch_size"]),
            row["system"],
            f"{row['examples_per_second']:,.1f}",
            row["ours_is_faster_by"],
        ]
        for row in facts["rows"]
    ]
    return [
        TRAINING,
        _table(["work", "batch", "system", "examples/s", "bertsmith"], rows),
        f"\n{_where(facts)}\n",
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _where(facts: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items() if number)
    amx = "AMX" if facts["amx"] else "no AMX"
    return (
        f"{facts['date']}: {facts['processor']}, {facts['threads']} threads, {facts['instructions']}, {amx}, "
        f"{facts['kernels']}; Python {facts['python']}, {versions}; {facts['rounds']} rounds."
    )
