"""Attention by layer and head, and what it makes of words. It shows where a network looks, not why it decides.

Shapes: N heads, L tokens of a window, W words, G the words of one window and, last, its special tokens together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertsmith.explain.gradients import Attribution
from bertsmith.explain.subject import Subject
from bertsmith.model.attention import Capture
from bertsmith.model.packed import Packed


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """Of one window. words: [G - 1], which words it holds; the last of each G stands for the special tokens.

    by_head: [layers, N, G], how much of its attention each head gives to each word, looking from the places that the
    prediction is read from. between: [layers, G, G], from word to word, the heads' mean. Rows add up to 1.
    """

    words: NDArray[np.int64]
    by_head: NDArray[np.float32]
    between: NDArray[np.float32]

    def among(self, places: Sequence[int]) -> AttentionMaps:
        """Of the words at some places alone, and the special tokens; what goes to the others is left out."""
        columns = [*places, len(self.words)]
        return AttentionMaps(
            self.words[list(places)], self.by_head[..., columns], self.between[:, columns][..., columns]
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON, attention to the fourth place."""
        by_head, between = (values.astype(float).round(4).tolist() for values in (self.by_head, self.between))
        return {"words": self.words.tolist(), "by_head": by_head, "between": between}


def attentions(subject: Subject) -> list[list[Tensor]]:
    """For each layer the attention of each window, fp32 [N, L, L], rows adding up to 1."""
    return _attentions(subject, subject.packed)


def attention(subject: Subject) -> Attribution:
    """What the last layer's heads look at, on average, from the places that the prediction is read from."""
    layers = attentions(subject)
    return _read(subject, [window.mean(0) for window in layers[-1]])


def rollout(subject: Subject) -> Attribution:
    """The layers' attention multiplied, half of each the residual connection (Abnar and Zuidema 2020, section 3)."""
    layers = attentions(subject)
    found = []
    for number in range(len(layers[0])):
        rolled = torch.eye(layers[0][number].shape[-1], device=layers[0][number].device)
        for layer in layers:
            rolled = (0.5 * layer[number].mean(0) + 0.5 * torch.eye(len(rolled), device=rolled.device)) @ rolled
        found.append(rolled)
    return _read(subject, found)


def attention_maps(subject: Subject, window: int = 0) -> AttentionMaps:
    """By layer and head, and from word to word, of one of the explained windows."""
    tokens = subject.words.tokens[window]
    words = np.unique(tokens[tokens >= 0])
    groups = np.where(tokens >= 0, words.searchsorted(tokens), len(words))
    member = torch.zeros(len(words) + 1, len(tokens))
    member[torch.from_numpy(groups), torch.arange(len(tokens))] = 1.0
    mean = member / member.sum(1, keepdim=True)
    alone = subject.predictor.task.collate([subject.target.windows[window]]).to(subject.predictor.device).packed
    layers = [layer.float().cpu() for (layer,) in _attentions(subject, alone)]
    reads = list(subject.target.reads[window])
    by_head = torch.stack([layer[:, reads].mean(1) @ member.T for layer in layers])
    between = torch.stack([mean @ layer.mean(0) @ member.T for layer in layers])
    return AttentionMaps(words, by_head.numpy(), between.numpy())


def _attentions(subject: Subject, packed: Packed) -> list[list[Tensor]]:
    capture = Capture(want_attentions=True)
    with torch.inference_mode():
        subject.predictor.network.encoder(packed, capture)
    return capture.attentions


def _read(subject: Subject, rows: list[Tensor]) -> Attribution:
    """[L, L] of each window -> what the places that are read look at, by word; the mean over the windows."""
    found = [row[list(reads)].mean(0) for row, reads in zip(rows, subject.target.reads, strict=True)]
    values = torch.cat(found).double().cpu().numpy() / len(found)
    return Attribution(subject.by_word(values))
