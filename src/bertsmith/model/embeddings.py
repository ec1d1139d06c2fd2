"""Ids to vectors: tokens, segments and positions added, normalized, and projected where the embedding is factorised.

Shapes: T tokens, E embedding width, H hidden size.
"""

from __future__ import annotations

from torch import Tensor, nn

from bertsmith.kernels.dropout import Dropout
from bertsmith.model.config import EncoderConfig
from bertsmith.model.normalization import build_norm
from bertsmith.model.packed import Packed
from bertsmith.model.positions import Positions


class Embeddings(nn.Module):
    """Devlin et al. 2019, figure 2; the projection from E to H is ALBERT's (Lan et al. 2020, section 3.1)."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        width = config.embedding_width
        self.tokens = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.token_types = nn.Embedding(config.type_vocab_size, width)
        self.norm = build_norm(config.normalization, width)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.project = nn.Linear(width, config.hidden_size) if width != config.hidden_size else None

    def forward(self, packed: Packed, positions: Positions) -> Tensor:
        """-> [T, H]."""
        vectors: Tensor = self.looked_up(packed) + self.token_types(packed.token_type_ids)
        added = positions.added(packed.position_ids)
        if added is not None:
            vectors = vectors + added
        vectors = self.dropout(self.norm(vectors))
        return vectors if self.project is None else self.project(vectors)

    def looked_up(self, packed: Packed) -> Tensor:
        """-> the token vectors, [T, E]: those that the batch brings, or the table's."""
        vectors: Tensor = self.tokens(packed.input_ids) if packed.token_vectors is None else packed.token_vectors
        return vectors
