"""Generation loops over an encoder-decoder network. Knows ids; what they spell is the task's business."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bertsmith.model.decoder import DecoderCache
from bertsmith.model.networks import Seq2SeqNetwork
from bertsmith.model.packed import Packed


@dataclass(frozen=True)
class Generated:
    """One generated sequence: its ids without the first and the last special token, and each token's log-probability.

    finished: whether it ended by itself; False where the length limit cut it.
    """

    input_ids: list[int]
    log_probabilities: list[float]
    finished: bool


@torch.inference_mode()
def greedy(
    network: Seq2SeqNetwork, source: Packed, *, first_id: int, last_id: int, max_new_tokens: int
) -> list[Generated]:
    """The likeliest token at every step, until `last_id` or `max_new_tokens`; one result a source sequence."""
    states = network.encode(source)
    count, device = len(source.lengths), states.device
    cache = DecoderCache()
    tokens = torch.full((count,), first_id, device=device)
    running = torch.ones(count, dtype=torch.bool, device=device)
    ids: list[Tensor] = []
    scores: list[Tensor] = []
    for step in range(max_new_tokens):
        target = Packed(tokens, torch.zeros_like(tokens), torch.full_like(tokens, step), (1,) * count)
        logits = network.decode(target, states, source.lengths, cache).float()
        best, tokens = logits.log_softmax(-1).max(-1)
        ids.append(torch.where(running, tokens, last_id))
        scores.append(best)
        running = running & (tokens != last_id)
        if not bool(running.any()):
            break
    results = []
    for row, log_probabilities in zip(torch.stack(ids, 1).tolist(), torch.stack(scores, 1).tolist(), strict=True):
        finished = last_id in row
        length = row.index(last_id) if finished else len(row)
        results.append(Generated(row[:length], log_probabilities[: length + finished], finished))
    return results
