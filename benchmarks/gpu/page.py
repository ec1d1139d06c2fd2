"""The part of docs/performance.md about GPUs, from what was measured there."""

from __future__ import annotations

from typing import Any

from speed.tables import table

HEAD = """## On a GPU

Made by `python benchmarks/gpu.py`, on a machine with a GPU: texts and weights are made up, systems take turns. Ratios
are as above: how many times as long they take as bertsmith (below 1: bertsmith is slower). `share of products` is of
{rate:.0f} TFLOP/s, a large bf16 product measured in the same run.
"""
INFERENCE = """### Vectors of texts

4,096 texts a round, new ones in each, of 3 to 300 tokens, 47 in the mean; from token ids, or from text, to vectors on
the CPU. transformers gets them sorted by length, in bf16 through SDPA, in the batches that it is fastest with. The
cosine is the lowest with its vectors in fp32. Rows from text come second and meet each round's lengths again, to which
the GPU's library then knows the way ([log.md](log.md)).
"""
PRETRAINING = """### A step of pre-training

256 pairs of at most 128 tokens, masked tokens and next sentence, dropout 0.1, vocabulary 30,522; transformers'
`BertForPreTraining` in a plain loop through SDPA, both with bf16 products and fused AdamW, windows encoded a step
ahead. The tokens of bertsmith's micro-batch are `--max-tokens-per-micro-batch`; losses are the means of the first and
the last 4 steps. A row `apart` was measured after the others.
"""


PARTS = ("minilm", "base", "pretraining")


def gpu_sections(record: dict[str, Any]) -> list[str]:
    """Nothing where nothing was measured."""
    if not record:
        return []
    facts = next(iter(record.values()))
    parts = [HEAD.format(rate=facts["gemm_per_second"] / 1e12)]
    if shapes := [record[name] for name in ("minilm", "base") if name in record]:
        parts += [INFERENCE, _inference(shapes), f"\n{_where(shapes[-1])}\n"]
    if found := record.get("pretraining"):
        parts += [PRETRAINING, _pretraining(found), f"\n{_where(found)}\n"]
    if missing := [name for name in PARTS if name not in record]:
        parts.append(
            f"Not measured yet: {', '.join(missing)}. `python benchmarks/gpu.py --parts {','.join(missing)}`.\n"
        )
    return parts


def _inference(shapes: list[dict[str, Any]]) -> str:
    rows = [
        [
            row["shape"],
            row["from"],
            row["system"],
            f"{row['tokens_per_second']:,.0f}",
            f"{row['tokens_per_second'] * row['flops_per_token'] / facts['gemm_per_second']:.0%}",
            f"{row['lowest_cosine']:.5f}",
            row["to_bertsmith"],
        ]
        for facts in shapes
        for row in facts["rows"]
    ]
    head = ["shape", "from", "system", "tokens/s", "share of products", "lowest cosine", "to bertsmith"]
    return table(head, rows)


def _pretraining(facts: dict[str, Any]) -> str:
    rows = [
        [
            row["size"],
            row["system"],
            f"{row['tokens_per_second']:,.0f}",
            row.get("of_the_limit", ""),
            " to ".join(f"{loss:.2f}" for loss in row["losses"]),
            row["to_bertsmith"],
        ]
        for row in facts["rows"]
    ]
    head = ["size", "system", "tokens/s", "share of products", "losses", "to bertsmith"]
    return table(head, rows)


def _where(facts: dict[str, Any]) -> str:
    packages = ("bertsmith", "torch", "transformers", "tokenizers")
    versions = ", ".join(f"{name} {facts['versions'][name]}" for name in packages if facts["versions"].get(name))
    return (
        f"{facts['date']}: {facts['card']}; {facts['processor']}, {facts['threads']} threads; "
        f"Python {facts['python']}, {versions}; {facts['rounds']} rounds."
    )
