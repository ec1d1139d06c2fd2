"""BERT's encoder on packed batches (Devlin et al. 2019; Vaswani et al. 2017). No token of one sequence sees another's.

Shapes: T tokens, M of them whose states are wanted, H hidden size.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.errors import DataError, SettingsError
from bertsmith.kernels.attention import Layout
from bertsmith.model.attention import Attention, Capture
from bertsmith.model.config import EncoderConfig
from bertsmith.model.embeddings import Embeddings
from bertsmith.model.feedforward import build_feed_forward
from bertsmith.model.knowledge import Knowledge, SentenceTrees
from bertsmith.model.normalization import Residual, build_norm
from bertsmith.model.packed import Packed
from bertsmith.model.positions import Rotary, Rotation, build_positions
from bertsmith.runtime.device import sent

GPU_MULTIPLE = 256
"""Of tokens that a GPU predicts from at once: its library looks anew for a way to multiply at each number of rows, for
longer than a small product takes (docs/log.md)."""


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each within its residual."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        width, dropout = config.hidden_size, config.hidden_dropout_prob
        self.attention = Attention(config)
        self.attention_residual = Residual(config.normalization, width, dropout)
        self.feed_forward = build_feed_forward(config.feed_forward, width, config.intermediate_size)
        self.feed_forward_residual = Residual(config.normalization, width, dropout)

    def forward(
        self,
        hidden: Tensor,
        layout: Layout,
        rotation: Rotation | None,
        capture: Capture | None,
        at: Tensor | None = None,
    ) -> Tensor:
        """[T, H] -> [T, H], or [M, H] of the places in `at`, whose queries the layout then has."""
        hidden = self.attention_residual(
            hidden, lambda states: self.attention(states, layout, rotation=rotation, capture=capture, at=at), at
        )
        out: Tensor = self.feed_forward_residual(hidden, self.feed_forward)
        return out


class Encoder(nn.Module):
    """Embeddings and layers; neighbouring layers may share their weights (`layer_index`)."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        self.positions = build_positions(
            config.positions,
            num_positions=config.max_position_embeddings,
            width=config.embedding_width,
            head_width=config.head_width,
        )
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(num_distinct_layers(config)))
        self.final_norm = final_norm(config)
        self.knowledge = None if config.knowledge is None else Knowledge(config.knowledge)

    def forward(self, packed: Packed, capture: Capture | None = None, at: Tensor | None = None) -> Tensor:
        """-> the last hidden states, [T, H]; `capture` takes what else the caller wants of each layer.

        at: rising places, on the CPU, one or more of each sequence, that alone are wanted: [M, H]. The last layer then
        computes no others, but for the keys and values that they look at. Raises `DataError` for a sequence that is
        longer than the model has positions for.
        """
        limit = self.positions.num_positions
        if limit is not None and max(packed.lengths) > limit:
            raise DataError(f"a sequence of {max(packed.lengths)} tokens exceeds the model's {limit} positions: cut it")
        sees_all = capture is not None and (capture.want_hidden_states or capture.want_attentions)
        trees = None if self.knowledge is None else self.knowledge.grown(packed, limit)
        if trees is not None:
            return self._forward_trees(packed, trees, capture, at)
        # Before the layers: it is drawn on the CPU, and a GPU is then not waited for in their midst.
        spare = 0 if capture is not None else self._num_spare(packed)
        layout = packed.layout if not spare else packed.layout_with(spare)
        wanted = None if at is None or sees_all else packed.layout_at(at, spare)
        at = None if at is None else sent(at, packed.input_ids.device)
        hidden: Tensor = self.embeddings(packed, self.positions)
        rotation = self.positions.rotation(packed.position_ids)
        if spare:
            hidden = F.pad(hidden, (0, 0, 0, spare))
        keep = capture.hidden_states.append if capture is not None and capture.want_hidden_states else None
        if keep:
            keep(hidden)
        for i in range(self.config.num_hidden_layers - 1):
            hidden = self.layers[layer_index(self.config, i)](hidden, layout, rotation, capture)
            if keep:
                keep(hidden)
        last = self.layers[layer_index(self.config, self.config.num_hidden_layers - 1)]
        if at is not None and wanted is not None:
            hidden = last(hidden, wanted, rotation, capture, at)
        else:
            hidden = last(hidden, layout, rotation, capture)
            if keep:
                keep(hidden)
            if at is not None:
                hidden = hidden[at]
            elif spare:
                hidden = hidden[: packed.num_tokens]
        out: Tensor = self.final_norm(hidden)
        return out

    def _forward_trees(
        self, packed: Packed, trees: SentenceTrees, capture: Capture | None, at: Tensor | None
    ) -> Tensor:
        """As `forward`, with branches behind the sequences, of which nobody is told."""
        if capture is not None and capture.want_attentions:
            raise SettingsError("a model with a knowledge graph keeps no attentions: its tokens see different ones")
        grown = trees.packed
        # The sequences' own ids first, as without branches: an adversary, who moves their vectors, knows them by these.
        tokens = self.embeddings.looked_up(packed)
        behind = self.embeddings.tokens(grown.input_ids[packed.num_tokens :])
        grown = replace(grown, token_vectors=torch.cat([tokens, behind]))
        hidden: Tensor = self.embeddings(grown, self.positions)
        rotation = self.positions.rotation(grown.position_ids)
        for i in range(self.config.num_hidden_layers):
            if capture is not None and capture.want_hidden_states:
                capture.hidden_states.append(hidden[: packed.num_tokens])
            hidden = self.layers[layer_index(self.config, i)](hidden, trees.layout, rotation, None)
        hidden = hidden[: packed.num_tokens]
        if capture is not None and capture.want_hidden_states:
            capture.hidden_states.append(hidden)
        out: Tensor = self.final_norm(hidden if at is None else hidden[sent(at, hidden.device)])
        return out

    def _num_spare(self, packed: Packed) -> int:
        """How many rows of zeros, a sequence of their own, make a GPU's tokens a multiple, where it predicts."""
        if packed.input_ids.device.type != "cuda" or torch.is_grad_enabled() or isinstance(self.positions, Rotary):
            return 0
        return -packed.num_tokens % GPU_MULTIPLE


def num_distinct_layers(config: EncoderConfig) -> int:
    return config.num_distinct_layers or config.num_hidden_layers


def layer_index(config: EncoderConfig, i: int) -> int:
    """Which weights the i-th executed layer uses: neighbours share (Lan et al. 2020, section 3.1)."""
    return i * num_distinct_layers(config) // config.num_hidden_layers


def final_norm(config: EncoderConfig) -> nn.Module:
    """Pre-normalized stacks end in a norm, since their residual stream is never normalized; others do not."""
    if config.normalization.placement == "pre":
        return build_norm(config.normalization, config.hidden_size)
    return nn.Identity()


def initialize(module: nn.Module, initializer_range: float) -> None:
    """BERT's initialization: normal weights, zero biases, unit norms, a zero vector for padding."""
    for part in module.modules():
        match part:
            case nn.Linear():
                nn.init.normal_(part.weight, std=initializer_range)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
            case nn.Embedding():
                nn.init.normal_(part.weight, std=initializer_range)
                if part.padding_idx is not None:
                    nn.init.zeros_(part.weight[part.padding_idx])
