"""The one attention class: of a sequence on itself, or on another's states. The kernels compute it.

Shapes: T query tokens, S key tokens, H hidden size, N heads, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from bertsmith.kernels.attention import Layout, attention_probabilities, packed_attention
from bertsmith.model.config import EncoderConfig
from bertsmith.model.linear import Linear
from bertsmith.model.positions import Rotation, rotate


@dataclass
class Capture:
    """What a forward pass should keep for its caller; hand it to a network and read it afterwards.

    hidden_states: the embeddings' output and each layer's, [T, H] each. attentions: for each layer one [N, L, L] a
    sequence, before dropout.
    """

    want_hidden_states: bool = False
    want_attentions: bool = False
    hidden_states: list[Tensor] = field(default_factory=list)
    attentions: list[list[Tensor]] = field(default_factory=list)


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, section 3.2.2)."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        width = config.hidden_size
        self.heads_shape = (config.num_attention_heads, config.head_width)
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.output = Linear(width, width)
        self.dropout_fraction = config.attention_probs_dropout_prob

    def project_keys(self, states: Tensor, rotation: Rotation | None = None) -> tuple[Tensor, Tensor]:
        """[S, H] -> keys (turned by their positions) and values, [S, N, D] each."""
        key = self.key(states).unflatten(-1, self.heads_shape)
        value = self.value(states).unflatten(-1, self.heads_shape)
        return key if rotation is None else rotate(key, rotation), value

    def attend(
        self,
        hidden: Tensor,
        keys_values: tuple[Tensor, Tensor],
        layout: Layout,
        *,
        rotation: Rotation | None = None,
        capture: Capture | None = None,
    ) -> Tensor:
        """[T, H] -> [T, H]: the queries of `hidden` on given keys and values."""
        query = self.query(hidden).unflatten(-1, self.heads_shape)
        if rotation is not None:
            query = rotate(query, rotation)
        key, value = keys_values
        if capture is not None and capture.want_attentions:
            capture.attentions.append(attention_probabilities(query, key, layout))
        dropout = self.dropout_fraction if self.training else 0.0
        out: Tensor = self.output(packed_attention(query, key, value, layout, dropout=dropout).flatten(1))
        return out

    def forward(
        self,
        hidden: Tensor,
        layout: Layout,
        *,
        rotation: Rotation | None = None,
        capture: Capture | None = None,
        at: Tensor | None = None,
    ) -> Tensor:
        """Self-attention: [T, H] -> [T, H]; `at`: places that alone ask, [M], for [M, H]."""
        keys_values = self.project_keys(hidden, rotation)
        if at is not None:
            hidden = hidden[at]
            rotation = None if rotation is None else (rotation[0][at], rotation[1][at])
        return self.attend(hidden, keys_values, layout, rotation=rotation, capture=capture)
