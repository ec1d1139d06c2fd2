"""Causal layers with attention on an encoder's states, for whole targets in training and token by token in generation.

Shapes: T target tokens, S source tokens, H hidden size, N heads, D their width, n sources, R rows being written: one or
more to a source, those of a source side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from bertsmith.kernels.attention import Layout, Places, attention_probabilities, draw_layout
from bertsmith.model.attention import Attention
from bertsmith.model.config import EncoderConfig
from bertsmith.model.embeddings import Embeddings
from bertsmith.model.encoder import Encoder, EncoderLayer, final_norm, layer_index
from bertsmith.model.normalization import Residual
from bertsmith.model.packed import Packed
from bertsmith.model.positions import Rotation, build_positions

KeysValues = tuple[Tensor, Tensor]
_FIRST_STEPS = 16
"""A store has room for so many steps at first, and for twice as many whenever it is full."""


@dataclass
class DecoderCache:
    """Keys and values of what has been written, and of the sources, for each layer; all rows are equally far.

    stores: [places, 2, N, D] each, keys and values of every token that any row has written, in the order in which they
    were computed. places: [R, steps], where a row's own tokens are: rows change their order, or go on as several, by
    their places alone. source: keys and values, [S, N, D] each, made once and shared by the rows of a source.
    want_coverage: keep in `coverage`, for each source one [rows of it, its tokens], how much each token was looked at
    by the last step, in the last layer, as a mean over the heads.
    """

    stores: list[Tensor] = field(default_factory=list)
    places: Tensor | None = None
    num_stored: int = 0
    source: list[KeysValues] = field(default_factory=list)
    want_coverage: bool = False
    coverage: list[Tensor] = field(default_factory=list)

    @property
    def num_steps(self) -> int:
        return 0 if self.places is None else self.places.shape[1]

    @staticmethod
    def num_places(num_steps: int) -> int:
        """That a store has for each row by then, at most."""
        places = _FIRST_STEPS
        while places < num_steps:
            places *= 2
        return places

    def begin(self, num_rows: int, num_tokens: int, device: torch.device) -> None:
        """Before a forward pass over so many new tokens, the same number for each row, row by row."""
        fresh = torch.arange(self.num_stored, self.num_stored + num_tokens, device=device).view(num_rows, -1)
        self.places = fresh if self.places is None else torch.cat((self.places, fresh), 1)
        self.num_stored += num_tokens

    def layout(self, device: torch.device) -> Layout:
        """Each row's new token sees all of the row's own."""
        assert self.places is not None, "`begin` comes first"
        rows, steps = self.places.shape
        return draw_layout([1] * rows, [steps] * rows, device=device).at(Places(None, self.places.flatten()))

    def extend(self, layer: int, fresh: KeysValues) -> KeysValues:
        """Keep those of the new tokens, [R * new, N, D]; returns the whole store's, [places, N, D] each."""
        assert self.places is not None, "`begin` comes first"
        first = self.num_stored - len(fresh[0])
        if layer == len(self.stores):
            self.stores.append(fresh[0].new_empty(_FIRST_STEPS * self.num_stored, 2, *fresh[0].shape[1:]))
        store = self.stores[layer]
        if len(store) < self.num_stored:
            store = torch.cat((store, torch.empty_like(store)))
            self.stores[layer] = store
        store[first : self.num_stored, 0], store[first : self.num_stored, 1] = fresh
        return store[:, 0], store[:, 1]

    def keep_rows(self, rows: Tensor) -> None:
        """rows: [R'], the places of those that are written on, in their new order; one may go on as several."""
        if self.places is not None:
            self.places = self.places.index_select(0, rows)

    def keep_sources(self, tokens: Tensor) -> None:
        """tokens: [S'], the places of the source tokens that are still read."""
        self.source = [(key.index_select(0, tokens), value.index_select(0, tokens)) for key, value in self.source]


class DecoderLayer(nn.Module):
    """Causal self-attention, attention on the source, feed-forward, each within its residual.

    shared: an encoder layer whose weights, all but those of the attention on the source, are this one's too.
    """

    def __init__(self, config: EncoderConfig, shared: EncoderLayer | None = None):
        super().__init__()
        shared = shared or EncoderLayer(config)
        self.attention = shared.attention
        self.attention_residual = shared.attention_residual
        self.cross_attention = Attention(config)
        self.cross_attention_residual = Residual(config.normalization, config.hidden_size, config.hidden_dropout_prob)
        self.feed_forward = shared.feed_forward
        self.feed_forward_residual = shared.feed_forward_residual


@dataclass(frozen=True)
class _Pass:
    """What all layers of one forward pass share."""

    self_layout: Layout
    source_layout: Layout
    rotation: Rotation | None


class Decoder(nn.Module):
    """A stack of `DecoderLayer`s (Vaswani et al. 2017, section 3.1) over the embeddings of an encoder.

    num_layers: as many as the encoder unless told otherwise. share: its weights are the encoder's, all but those of the
    attention on the source (Rothe et al. 2020, BERTSHARE).
    """

    def __init__(self, config: EncoderConfig, encoder: Encoder, *, num_layers: int | None = None, share: bool = False):
        super().__init__()
        self.config = config
        self.positions = (
            encoder.positions
            if share
            else build_positions(
                config.positions,
                num_positions=config.max_position_embeddings,
                width=config.embedding_width,
                head_width=config.head_width,
            )
        )
        # Held in a tuple so that the shared weights are not registered, and saved, a second time.
        self._embeddings: tuple[Embeddings] = (encoder.embeddings,)
        number = config.num_hidden_layers if num_layers is None else num_layers
        self.layers = nn.ModuleList(
            DecoderLayer(config, cast(EncoderLayer, encoder.layers[layer_index(config, i)]) if share else None)
            for i in range(number)
        )
        self.final_norm = final_norm(config)

    @torch.no_grad()
    def start_from(self, encoder: Encoder) -> None:
        """Take over the encoder's weights wherever there are like ones; what attends to the source stays new.

        A decoder with fewer layers takes those that are evenly apart, the last one among them.
        """
        _copy(self.positions, encoder.positions)
        _copy(self.final_norm, encoder.final_norm)
        apart = self.config.num_hidden_layers / len(self.layers)
        for place, layer in enumerate(self.layers):
            first = encoder.layers[layer_index(self.config, round((place + 1) * apart) - 1)]
            for name in ("attention", "attention_residual", "feed_forward", "feed_forward_residual"):
                _copy(getattr(layer, name), getattr(first, name))

    def forward(
        self, target: Packed, source: Tensor, source_lengths: tuple[int, ...], cache: DecoderCache | None = None
    ) -> Tensor:
        """-> [T, H].

        With a `cache`, `target` holds the same number of new tokens for each row, the first of all rows or one each,
        and the rows of a source have the same number and are side by side.
        """
        hidden: Tensor = self._embeddings[0](target, self.positions)
        count, num_sources = len(target.lengths), len(source_lengths)
        steps = 0 if cache is None else cache.num_steps
        device = hidden.device
        if cache is not None:
            cache.begin(count, target.num_tokens, device)
        per_source = [sum(target.lengths) // num_sources] * num_sources if cache is not None else target.lengths
        shared = _Pass(
            target.causal_layout if cache is None or not steps else cache.layout(device),
            draw_layout(per_source, source_lengths, device=device),
            self.positions.rotation(target.position_ids),
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
                keys_values = cache.extend(index, keys_values)
            return layer.attention.attend(states, keys_values, shared.self_layout, rotation=shared.rotation)

        def attend_source(states: Tensor) -> Tensor:
            if cache is None:
                keys_values = layer.cross_attention.project_keys(source)
            else:
                if index == len(cache.source):
                    cache.source.append(layer.cross_attention.project_keys(source))
                keys_values = cache.source[index]
                if cache.want_coverage and index == len(self.layers) - 1:
                    query = layer.cross_attention.query(states).unflatten(-1, layer.cross_attention.heads_shape)
                    looked = attention_probabilities(query, keys_values[0], shared.source_layout)
                    cache.coverage = [weights.float().mean(0) for weights in looked]
            return layer.cross_attention.attend(states, keys_values, shared.source_layout)

        hidden = layer.attention_residual(hidden, attend_self)
        hidden = layer.cross_attention_residual(hidden, attend_source)
        out: Tensor = layer.feed_forward_residual(hidden, layer.feed_forward)
        return out


def _copy(into: nn.Module, out_of: nn.Module) -> None:
    for own, other in zip(into.parameters(), out_of.parameters(), strict=True):
        own.copy_(other)
