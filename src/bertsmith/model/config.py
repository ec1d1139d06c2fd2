"""EncoderConfig: every number and choice that decides a network's shape, named as in BERT's published configs."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from bertsmith.model.feedforward import FeedForwardConfig, PlainFeedForward
from bertsmith.model.knowledge import KnowledgeGraph
from bertsmith.model.normalization import LayerNormalization, NormalizationConfig
from bertsmith.model.positions import LearnedPositions, PositionConfig, RotaryPositions
from bertsmith.settings import Settings


class EncoderConfig(Settings):
    """The shape of an encoder (or decoder) stack; the defaults are BERT-base's (Devlin et al. 2019, section 3)."""

    vocab_size: int = Field(30_522, ge=5, le=2**31, description="pieces in the vocabulary")
    hidden_size: int = Field(768, ge=1, le=2**16, description="width of the hidden states")
    num_hidden_layers: int = Field(12, ge=1, le=1024, description="layers executed")
    num_attention_heads: int = Field(12, ge=1, description="attention heads a layer; they divide the hidden size")
    intermediate_size: int = Field(3072, ge=1, le=2**20, description="inner width of the feed-forward sublayer")
    hidden_dropout_prob: float = Field(0.1, ge=0, lt=1, description="dropout on sublayer outputs and embeddings")
    attention_probs_dropout_prob: float = Field(0.1, ge=0, lt=1, description="dropout on attention weights")
    classifier_dropout: float | None = Field(None, ge=0, lt=1, description="dropout before a head; None: as hidden")
    max_position_embeddings: int = Field(512, ge=1, le=2**24, description="longest sequence, in tokens")
    type_vocab_size: int = Field(2, ge=1, le=2**16, description="kinds of segments (first text, second text)")
    initializer_range: float = Field(0.02, gt=0, description="standard deviation of new weights")
    pad_token_id: int = Field(0, ge=0, description="id of [PAD]; its embedding takes no gradient")
    embedding_size: int | None = Field(
        None, ge=1, description="width of the embeddings, projected to the hidden size (ALBERT); None: the same"
    )
    num_distinct_layers: int | None = Field(
        None, ge=1, description="layers with weights of their own, the others share them in turn (ALBERT); None: all"
    )
    positions: PositionConfig = LearnedPositions()
    feed_forward: FeedForwardConfig = PlainFeedForward()
    normalization: NormalizationConfig = LayerNormalization()
    knowledge: KnowledgeGraph | None = Field(None, description="facts beside a text's entities (K-BERT); None: none")

    @property
    def head_width(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def embedding_width(self) -> int:
        return self.embedding_size or self.hidden_size

    @property
    def head_dropout(self) -> float:
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        if isinstance(self.positions, RotaryPositions) and self.head_width % 2:
            raise ValueError(f"rotary positions need heads of even width, not {self.head_width}")
        if self.pad_token_id >= self.vocab_size:
            raise ValueError(f"pad_token_id {self.pad_token_id} is outside the vocabulary of {self.vocab_size}")
        if (self.num_distinct_layers or 1) > self.num_hidden_layers:
            raise ValueError(
                f"num_distinct_layers {self.num_distinct_layers} exceeds num_hidden_layers {self.num_hidden_layers}"
            )
        return self
