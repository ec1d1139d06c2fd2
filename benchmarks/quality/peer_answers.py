"""The peer's question answering: transformers' model and tokenizer in a plain PyTorch loop, as its example scripts do.

Windows with stride, a window a training row, batches grouped by length; the answer is the best of the windows' best
spans, and empty where the score of no answer, the lowest over the windows, is above that span's (threshold 0).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, get_linear_schedule_with_warmup

from bertsmith.runtime.device import autocast
from quality.marks import Marks, answer_marks
from quality.peer_training import CPU, DTYPE
from quality.rows import Record, Rows
from quality.sets import BATCH_SIZE, MAX_GRAD_NORM, WARMUP_FRACTION, WEIGHT_DECAY, QualitySet

PREDICT_BATCH_SIZE = 32
NUM_BEST = 20
LONGEST_ANSWER = 30
"""Tokens of an answer, as in transformers' example."""
GROUP = 50
"""Batches within which windows are sorted by length."""


def answer_questions(quality: QualitySet, rows: Rows, seed: int, model: str) -> Marks:
    """Exact match and F1 of every test question after training."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForQuestionAnswering.from_pretrained(model, attn_implementation="eager")
    train_answers(network, tokenizer, answer_windows(tokenizer, rows.train, quality), quality, seed)
    unanswerable = any(not record["answers"]["text"] for record in rows.test)
    given = _answers(network, tokenizer, rows.test, answer_windows(tokenizer, rows.test, quality), unanswerable)
    return answer_marks([record["answers"]["text"] for record in rows.test], given)


def answer_windows(tokenizer: Any, records: Sequence[Record], quality: QualitySet) -> list[dict[str, Any]]:
    """A window's ids, the record it is of, offsets of its context's pieces (None elsewhere), first and last piece of
    the answer (0, the [CLS], where it is not in the window)."""
    encoded = tokenizer(
        [record["question"].strip() for record in records],
        [record["context"] for record in records],
        truncation="only_second",
        max_length=quality.max_length,
        stride=quality.stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    windows = []
    for i, owner in enumerate(encoded["overflow_to_sample_mapping"]):
        sides = encoded.sequence_ids(i)
        offsets = [pair if side == 1 else None for pair, side in zip(encoded["offset_mapping"][i], sides, strict=True)]
        first, last = _target(records[owner]["answers"], offsets)
        windows.append(
            {
                "input_ids": encoded["input_ids"][i],
                "token_type_ids": encoded["token_type_ids"][i],
                "attention_mask": encoded["attention_mask"][i],
                "record": owner,
                "offsets": offsets,
                "first": first,
                "last": last,
            }
        )
    return windows


def _target(answers: dict[str, Any], offsets: Sequence[tuple[int, int] | None]) -> tuple[int, int]:
    if not answers["text"]:
        return 0, 0
    start = answers["answer_start"][0]
    end = start + len(answers["text"][0])
    inside = [i for i, pair in enumerate(offsets) if pair is not None and pair[0] < end and pair[1] > start]
    places = [pair for pair in offsets if pair is not None]
    whole = inside and places[0][0] <= start and places[-1][1] >= end
    return (inside[0], inside[-1]) if whole else (0, 0)


def train_answers(
    network: Any, tokenizer: Any, windows: Sequence[dict[str, Any]], quality: QualitySet, seed: int
) -> None:
    decayed = [p for name, p in network.named_parameters() if not name.endswith("bias") and "LayerNorm" not in name]
    kept = [p for name, p in network.named_parameters() if name.endswith("bias") or "LayerNorm" in name]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": kept, "weight_decay": 0.0}],
        lr=quality.learning_rate,
        fused=True,
    )
    num_steps = quality.num_epochs * -(-len(windows) // BATCH_SIZE)
    schedule = get_linear_schedule_with_warmup(optimizer, round(WARMUP_FRACTION * num_steps), num_steps)
    rng = random.Random(seed)
    network.train()
    step = 0
    for _ in range(quality.num_epochs):
        for chosen in _batches(windows, rng):
            batch = _padded(tokenizer, chosen)
            with autocast(DTYPE, CPU):
                loss = network(
                    **batch,
                    start_positions=torch.tensor([window["first"] for window in chosen]),
                    end_positions=torch.tensor([window["last"] for window in chosen]),
                ).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_GRAD_NORM)
            optimizer.step()
            schedule.step()
            step += 1
            if step % 50 == 0:
                print(f"step {step} of {num_steps}, loss {loss.item():.3f}", flush=True)


def _batches(windows: Sequence[dict[str, Any]], rng: random.Random) -> Iterator[list[dict[str, Any]]]:
    """Random windows, like lengths together, in random order."""
    order = rng.sample(range(len(windows)), len(windows))
    batches = []
    for start in range(0, len(order), GROUP * BATCH_SIZE):
        group = sorted(order[start : start + GROUP * BATCH_SIZE], key=lambda i: len(windows[i]["input_ids"]))
        batches += [group[place : place + BATCH_SIZE] for place in range(0, len(group), BATCH_SIZE)]
    rng.shuffle(batches)
    for batch in batches:
        yield [windows[i] for i in batch]


def _padded(tokenizer: Any, windows: Sequence[dict[str, Any]]) -> Any:
    named = ("input_ids", "token_type_ids", "attention_mask")
    return tokenizer.pad([{name: window[name] for name in named} for window in windows], return_tensors="pt")


@torch.inference_mode()
def _answers(
    network: Any,
    tokenizer: Any,
    records: Sequence[Record],
    windows: Sequence[dict[str, Any]],
    unanswerable: bool,
) -> list[str]:
    network.eval()
    best = [(-np.inf, "")] * len(records)
    none = [np.inf] * len(records)
    order = sorted(range(len(windows)), key=lambda i: len(windows[i]["input_ids"]))
    for start in range(0, len(order), PREDICT_BATCH_SIZE):
        chosen = [windows[i] for i in order[start : start + PREDICT_BATCH_SIZE]]
        with autocast(DTYPE, CPU):
            outputs = network(**_padded(tokenizer, chosen))
        starts, ends = (logits.float().numpy() for logits in (outputs.start_logits, outputs.end_logits))
        for window, firsts, lasts in zip(chosen, starts, ends, strict=True):
            owner = window["record"]
            none[owner] = min(none[owner], float(firsts[0] + lasts[0]))
            found = _best_span(window["offsets"], firsts, lasts)
            if found is not None and found[0] > best[owner][0]:
                best[owner] = (found[0], records[owner]["context"][found[1] : found[2]])
    pairs = zip(best, none, strict=True)
    return ["" if unanswerable and empty > score else answer for (score, answer), empty in pairs]


def _best_span(offsets: Sequence[tuple[int, int] | None], firsts: Any, lasts: Any) -> tuple[float, int, int] | None:
    """(score, start, end) of the best span among the likeliest ends."""
    found = None
    for first in np.argsort(-firsts)[:NUM_BEST].tolist():
        for last in np.argsort(-lasts)[:NUM_BEST].tolist():
            if first > last or last - first >= LONGEST_ANSWER or last >= len(offsets):
                continue
            opening, closing = offsets[first], offsets[last]
            score = float(firsts[first] + lasts[last])
            if opening is not None and closing is not None and (found is None or score > found[0]):
                found = (score, opening[0], closing[1])
    return found
