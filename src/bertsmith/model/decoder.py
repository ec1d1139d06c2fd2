"""Causal layers with attention on an encoder's states, for whole targets in training and token by token in generation.

Shapes: T target tokens, S source tokens, H hidden size, n sequences.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bertsmith.kernels.attention import Layout, draw_layout
from bertsmith.model.attention import Attention
from bertsmith.model.config import EncoderConfig
from bertsmith.model.embeddings import Embeddings
from bertsmith.model.encoder import final_norm
from bertsmith.model.feedforward import build_feed_forward
from bertsmith.model.normalization import Residual
from bertsmith.model.packed import Packed
from bertsmith.model.positions import Rotation, build_positions

KeysValues = tuple[Tensor, Tensor]


@dataclass
class DecoderCache:
    """Keys and values of what has been decoded, and of the source, for each layer; all sequences are equally far.

    past: [n, steps, N, D] each. source: [S, N, D] each, made once.
    """

    past: list[KeysValues] = field(default_factory=list)
    source: list[KeysValues] = field(default_factory=list)

    @property
    def num_steps(self) -> int:
        return self.past[0][0].shape[1] if self.past else 0

    def extend(self, layer: int, fresh: KeysValues, num_sequences: int) -> KeysValues:
        """Append [n * 1, N, D] of the new tokens; returns all so far, packed [n * steps, N, D]."""
        rows = tuple(part.reshape(num_sequences, -1, *part.shape[1:]) for part in fresh)
        if layer == len(self.past):
            self.past.append((rows[0], rows[1]))
        else:
            past = self.past[layer]
            self.past[layer] = (torch.cat((past[0], rows[0]), 1), torch.cat((past[1], rows[1]), 1))
        key, value = self.past[layer]
        return key.flatten(0, 1), value.flatten(0, 1)


class DecoderLayer(nn.Module):
    """Causal self-attention, attention on the source, feed-forward, each within its residual."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        width, dropout = config.hidden_size, config.hidden_dropout_prob
        self.attention = Attention(config)
        self.attention_residual = Residual(config.normalization, width, dropout)
        self.cross_attention = Attention(config)
        self.cross_attention_residual = Residual(config.normalization, width, dropout)
        self.feed_forward = build_feed_forward(config.feed_forward, width, config.intermediate_size)
        self.feed_forward_residual = Residual(config.normalization, width, dropout)


@dataclass(frozen=True)
class _Pass:
    """What all layers of one forward pass share."""

    self_layout: Layout
    source_layout: Layout
    rotation: Rotation | None
    num_sequences: int


class Decoder(nn.Module):
    """A stack of `DecoderLayer`s (Vaswani et al. 2017, section 3.1) over embeddings that somebody else owns."""

    def __init__(self, config: EncoderConfig, embeddings: Embeddings):
        super().__init__()
        self.config = config
        self.positions = build_positions(
            config.positions,
            num_positions=config.max_position_embeddings,
            width=config.embedding_width,
            head_width=config.head_width,
        )
        # Held in a tuple so that the shared weights are not registered, and saved, a second time.
        self._embeddings = (embeddings,)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.final_norm = final_norm(config)

    def forward(
        self, target: Packed, source: Tensor, source_lengths: tuple[int, ...], cache: DecoderCache | None = None
    ) -> Tensor:
        """-> [T, H]. With a `cache`, `target` holds one new token for each sequence, at position `cache.num_steps`."""
        hidden: Tensor = self._embeddings[0](target, self.positions)
        count = len(target.lengths)
        steps = 0 if cache is None else cache.num_steps
        device = hidden.device
        shared = _Pass(
            draw_layout(target.lengths, [steps + 1] * count, device=device) if steps else target.causal_layout,
            draw_layout(target.lengths, source_lengths, device=device),
            self.positions.rotation(target.position_ids),
            count,
        )
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, DecoderLayer)
            hidden = self._layer(index, layer, hidden, source, shared, cache)
        out: Tensor = self.final_norm(hidden)
        return out

    def _layer(
        self,
        index: int,
        layer: DecoderLayer,
        hidden: Tensor,
        source: Tensor,
        shared: _Pass,
        cache: DecoderCache | None,
    ) -> Tensor:
        def attend_self(states: Tensor) -> Tensor:
            keys_values = layer.attention.project_keys(states, shared.rotation)
            if cache is not None:
                keys_values = cache.extend(index, keys_values, shared.num_sequences)
            return layer.attention.attend(states, keys_values, shared.self_layout, rotation=shared.rotation)

        def attend_source(states: Tensor) -> Tensor:
            if cache is None:
                keys_values = layer.cross_attention.project_keys(source)
            else:
                if index == len(cache.source):
                    cache.source.append(layer.cross_attention.project_keys(source))
                keys_values = cache.source[index]
            return layer.cross_attention.attend(states, keys_values, shared.source_layout)

        hidden = layer.attention_residual(hidden, attend_self)
        hidden = layer.cross_attention_residual(hidden, attend_source)
        out: Tensor = layer.feed_forward_residual(hidden, layer.feed_forward)
        return out
