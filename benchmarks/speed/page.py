"""docs/performance.md from what was measured. Knows no engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gpu.page import gpu_sections

from bertsmith.files import atomic_file, read_json
from speed.tables import table as _table

ABSENT = "not here"
"""In place of what needs the compiled kernels, where there are none."""
HEAD = """# Speed

Made by `make bench` (`benchmarks/speed.py`), a part at a time. Every ratio is from one run in which all systems take
turns: how many times as long they take as bertsmith, the median over rounds with its 95% interval (below 1: bertsmith
is slower). Tokens are real ones, padding is not counted, tokenization is. Read ratios: machines differ, and this one is
shared. How the kernels work stands in [kernels.md](kernels.md).

Each table says which machine it is of. In [performance.md](performance.md) most are of one without AMX, load is of one
with it, and what a GPU does, by `benchmarks/gpu.py`, of [its own](performance.md#on-a-gpu). Vectors with AMX are in
[performance-amx.md](performance-amx.md), made with `--results benchmarks/results/amx/speed.json --page` and its name.
"""
LOAD = "load"
"""The section that `benchmarks/load.py` measures."""
MISSING = "Parts without figures yet: {}. `make bench ARGS='--parts {}'` makes them.\n"


def found_in(results: Path) -> dict[str, Any]:
    """What a file of results holds; nothing where it is not there."""
    return read_json(results) if results.is_file() else {}


def write_page(record: dict[str, Any], path: Path, on_gpu: dict[str, Any] | None = None) -> None:
    """on_gpu: what `benchmarks/gpu.py` found, as `record` what `benchmarks/speed.py` did."""
    parts = [HEAD]
    for name, section in SECTIONS.items():
        if name in record:
            facts = record[name]
            parts += [*section(facts, facts["rows"]), f"\n{_where(facts)}\n"]
    if missing := [name for name in SECTIONS if name not in record and name != LOAD]:
        parts.append(MISSING.format(", ".join(missing), ",".join(missing)))
    if LOAD not in record:
        parts.append("Under load: no figures yet. `python benchmarks/load.py` makes them.\n")
    parts += gpu_sections(on_gpu or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        partial.write_text("\n".join(parts), encoding="utf-8")


def _inference(facts: dict[str, Any], rows: dict[str, Any]) -> list[str]:
    return [
        "## Vectors of texts, MiniLM-L6\n",
        *_throughput(facts, rows),
        "\n### Batch-invariant\n",
        "`batch_invariant=True` gives a text the same bits whatever it is batched with. With the kernels every mode",
        "does, so it costs nothing; elsewhere each text is computed by itself. `times` is what it takes compared with",
        "the plain mode, `plain differs by` the largest difference that batching makes in a vector of length 1.\n",
        _table(
            ["precision", "times", "equal bits", "plain differs by"],
            [
                [
                    row["precision"],
                    row["times"],
                    "yes" if row["equal_bits"] else "NO",
                    f"{row['plain_largest_difference']:.1g}",
                ]
                for row in rows["batch_invariant"]
            ],
        ),
        "\n### By length and by batch\n",
        "Tokens a second; texts of one length, or of mixed lengths so many in a call.\n",
        _rates("length", rows["by_length"]),
        "",
        _rates("batch_size", rows["by_batch"]),
    ]


def _latency(facts: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    return [
        "## One text at a time, MiniLM-L6\n",
        f"From text to vector, milliseconds; {rows[0]['num_texts']} texts of each length, in turns of 100 a system.\n",
        _table(
            ["tokens, about", "engine", "p50", "p99", "to bertsmith bf16", "to int8"],
            [
                [
                    str(row["tokens"]),
                    row["engine"],
                    f"{row['p50_ms']:.2f}",
                    f"{row['p99_ms']:.2f}",
                    row["bf16"],
                    row.get("int8", ABSENT),
                ]
                for row in rows
            ],
        ),
    ]


def _base(facts: dict[str, Any], rows: dict[str, Any]) -> list[str]:
    return ["## Vectors of texts, a BERT of base's size with random weights\n", *_throughput(facts, rows)]


def _throughput(facts: dict[str, Any], rows: dict[str, Any]) -> list[str]:
    rate = facts["gemm_per_second"]
    return [
        "bertsmith gets all texts in one call and sorts and packs them itself, or, like the peers, batches of 32. The",
        f"share is of {rate / 1e12:.2f} TFLOP/s, a large bf16 matrix product measured in the same run (int8 can exceed",
        "it); the cosine is the lowest of all texts with transformers' vector in fp32.\n",
        _table(
            ["texts", "order", "engine", "tokens/s", "of the limit", "lowest cosine", "to bertsmith bf16", "to int8"],
            [
                [
                    row["texts"],
                    row["order"],
                    f"{row['engine']}, {row['batches']}",
                    f"{row['tokens_per_second']:,.0f}",
                    f"{row['tokens_per_second'] * rows['flops_per_token'] / rate:.0%}",
                    f"{row['lowest_cosine']:.5f}",
                    row["bf16"],
                    row.get("int8", ABSENT),
                ]
                for row in rows["throughput"]
            ],
        ),
    ]


def _rates(key: str, rows: Sequence[dict[str, Any]]) -> str:
    engines = [name for name in rows[0] if name != key]
    return _table(
        [key.replace("_", " "), *engines],
        [[str(row[key]), *(f"{row[engine]:,.0f}" for engine in engines)] for row in rows],
    )


def _rounding(facts: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    def change(row: dict[str, Any], precision: str) -> str:
        if precision not in row["differences"]:
            return ABSENT
        middle, low, high = row["differences"][precision]
        return f"{middle:+.2f} [{low:+.2f}, {high:+.2f}]"

    return [
        "## What rounding costs in score\n",
        "MiniLM-L6 fine-tuned for one epoch on a part of each set, then asked in three precisions; points of the",
        "metric, with the 95% interval of the difference from fp32 (bootstrap over the test rows).\n",
        _table(
            ["set", "metric", "test rows", "fp32", "bf16", "int8", "bf16 - fp32", "int8 - fp32"],
            [
                [
                    row["set"],
                    row["metric"],
                    f"{row['num_test']:,}",
                    *(
                        f"{row['scores'][name]:.2f}" if name in row["scores"] else ABSENT
                        for name in ("fp32", "bf16", "int8")
                    ),
                    change(row, "bf16"),
                    change(row, "int8"),
                ]
                for row in rows
            ],
        ),
    ]


def _training(facts: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    return [
        "## Fine-tuning MiniLM-L6\n",
        "Dropout 0.1, AdamW, clipping. `best` is `transformers`' Trainer in bf16 with batches grouped by length,",
        "`default` as it comes: fp32, random batches. What the models then score stands in [results.md](results.md).\n",
        _table(
            ["work", "batch", "system", "examples/s", "to bertsmith"],
            [
                [
                    row["work"],
                    str(row["batch_size"]),
                    row["system"],
                    f"{row['examples_per_second']:,.1f}",
                    row["ours_is_faster_by"],
                ]
                for row in rows
            ],
        ),
    ]


def _pretraining(facts: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    table = [
        [
            row["size"],
            *(f"{row['tokens_per_second'][name]['median']:,.0f}" for name in ("bertsmith", "transformers")),
            "{median:.2f} ({low:.2f} to {high:.2f})".format(**row["ratio"]),
        ]
        for row in rows
    ]
    return [
        "## Pre-training\n",
        "Masked tokens and next sentence, beside `transformers`' `BertForPreTraining` in a plain loop with the same",
        "windows and masks, its fastest attention and micro-batches (`benchmarks/pretraining.py`); tokens a second.\n",
        _table(["size", "bertsmith", "transformers", "times transformers"], table),
        "",
        *(f"- {row['size']}: {'; '.join(row['facts'])}" for row in rows),
    ]


def _steps(facts: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    return [
        "## Where a training step goes\n",
        "Padding is never executed: linear layers, norms and losses see real tokens only, and with the kernels",
        "attention too. `waiting` is the share of time in which a step waits for its data, `optimizer` that of",
        "clipping and AdamW.\n",
        _table(
            ["work", "batch", "tokens a step", "ms a step", "waiting", "optimizer"],
            [
                [
                    row["work"],
                    str(row["batch_size"]),
                    f"{row['tokens_per_step']:,.0f}",
                    f"{row['seconds_per_step'] * 1000:,.0f}",
                    f"{row['stall_share']:.1%}",
                    f"{row['optimizer_share']:.1%}",
                ]
                for row in rows
            ],
        ),
    ]


def _products(facts: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    return [
        "## Linear layers' products\n",
        "Our own and PyTorch's, billions of operations a second, weights in the cache. In training PyTorch's include",
        "what autocast adds: rounding weights to bf16, widening their gradients. In int8 ours rounds each row of",
        "activations on the way; PyTorch's is given them rounded, with one scale for all.\n",
        _table(
            ["tokens x inputs x outputs", "product", "bertsmith", "PyTorch", "times PyTorch"],
            [
                [
                    f"{row['tokens']} x {row['inputs']} x {row['outputs']}",
                    row["product"],
                    f"{row['bertsmith']:,.0f}",
                    f"{row['PyTorch']:,.0f}",
                    row["ratio"],
                ]
                for row in rows
            ],
        ),
    ]


def _starting(facts: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    return [
        "## From nothing to a first prediction\n",
        "New processes, with a classifier of MiniLM's size on disk; seconds, and the most memory that each held.\n",
        _table(
            ["work", "library", "seconds", "MB"],
            [[row["work"], row["library"], row["interval"], f"{row['megabytes']:,.0f}"] for row in rows],
        ),
    ]


def _corpora(facts: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    return [
        "## How the cost grows with the text\n",
        "Wikipedia through the commands, a process each: a vocabulary of 8,000, a corpus, a tiny model pre-trained",
        "for 10 steps of 256 pairs for each MB, a prediction for every paragraph's first 120 characters.\n",
        _table(
            ["MB of text", "stage", "seconds", "MB of memory"],
            [
                [f"{row['megabytes_of_text']:g}", row["stage"], f"{row['seconds']:,.1f}", f"{row['megabytes']:,.0f}"]
                for row in rows
            ],
        ),
    ]


def _load(facts: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    ours = next((row["capacity"] for row in rows if row["server"] == "bertsmith"), 0.0)
    bound = rows[0]["bound_ms"]
    return [
        "## Under load, MiniLM-L6 over HTTP\n",
        "One text of mixed length a request at `/v1/embeddings`, by `python benchmarks/load.py`. Requests leave at",
        "random times of a given rate whether or not earlier ones are answered, and latency counts from those times;",
        "who asks is a process on the same cores. The capacity of a server is the highest rate that it answers with a",
        f"99th percentile below {bound:.0f} ms, at most one request in a thousand failing.\n",
        _table(
            ["server", "requests/s", "bertsmith to it"],
            [
                [row["server"], f"{row['capacity']:,.0f}", f"{ours / row['capacity']:.2f}" if row["capacity"] else ""]
                for row in rows
            ],
        ),
        "\nAt half of its own capacity, at it, and at twice: answered a second, latency, what was refused (429, 503)",
        "or got no answer in 10 s, resident memory from the start to the end, and the cores that server and client",
        "took.\n",
        _table(
            ["server", "load", "answered/s", "p50 ms", "p99 ms", "refused", "unanswered", "MiB", "cores"],
            [
                [
                    row["server"],
                    f"{level['level']:g}x",
                    f"{level['throughput']:,.0f}",
                    *("" if level[name] is None else f"{level[name]:,.0f}" for name in ("p50_ms", "p99_ms")),
                    *(f"{level[name] / level['num_sent']:.1%}" for name in ("num_rejected", "num_unanswered")),
                    "{:,.0f} to {:,.0f}".format(*level["memory_mib"]),
                    f"{level['server_cpu_cores']:.2f} + {level['client_cpu_cores']:.2f}",
                ]
                for row in rows
                for level in row["levels"]
            ],
        ),
    ]


SECTIONS: dict[str, Callable[[dict[str, Any], Any], list[str]]] = {
    "inference": _inference,
    "latency": _latency,
    "base": _base,
    "rounding": _rounding,
    "training": _training,
    "pretraining": _pretraining,
    "steps": _steps,
    "products": _products,
    "starting": _starting,
    "corpora": _corpora,
    LOAD: _load,
}


def _where(facts: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items() if number)
    amx = "AMX" if facts["amx"] else "no AMX"
    return (
        f"{facts['date']}: {facts['processor']}, {facts['threads']} threads, {facts['instructions']}, {amx}, "
        f"{facts['kernels']}; Python {facts['python']}, {versions}; {facts['rounds']} rounds."
    )
