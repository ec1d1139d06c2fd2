"""Trunk plus head, returning logits: the one owner of each head. Tasks and the Hugging Face shaped classes wrap these.

Shapes: T tokens, n sequences, H hidden size, V vocabulary, M positions asked for.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bertsmith.kernels.dropout import Dropout
from bertsmith.model.attention import Capture
from bertsmith.model.config import EncoderConfig
from bertsmith.model.crf import Crf
from bertsmith.model.decoder import Decoder, DecoderCache
from bertsmith.model.encoder import Encoder, initialize
from bertsmith.model.feedforward import Activation, activate
from bertsmith.model.knowledge import Knowledge, KnowledgeGraph
from bertsmith.model.normalization import build_norm
from bertsmith.model.packed import Packed
from bertsmith.runtime.device import sent

Pooling: TypeAlias = Literal["mean", "cls", "max"]


class Pooler(nn.Module):
    """A sequence's vector from its first token ([CLS]): dense and tanh (Devlin et al. 2019, section 3)."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, first: Tensor) -> Tensor:
        """[n, H], the first tokens' states -> [n, H]."""
        pooled: Tensor = self.dense(first).tanh()
        return pooled


class VocabularyHead(nn.Module):
    """Hidden states to logits over the vocabulary, through the token embeddings (Devlin et al. 2019, section 3.1)."""

    def __init__(self, config: EncoderConfig, tokens: nn.Embedding):
        super().__init__()
        width = config.embedding_width
        self.dense = nn.Linear(config.hidden_size, width)
        self.norm = build_norm(config.normalization, width)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        # BERT's head takes the feed-forward's activation.
        self.activation: Activation = config.feed_forward.activation
        # Held in a tuple so that the tied weight is not registered a second time.
        self._tied = (tokens,)

    def forward(self, hidden: Tensor) -> Tensor:
        """[M, H] -> [M, V]."""
        vectors = self.norm(activate(self.activation, self.dense(hidden)))
        return F.linear(vectors, self._tied[0].weight, self.bias)


def looked_up(network: nn.Module) -> list[nn.Embedding]:
    """The tables that are only looked up in: those that a vocabulary head multiplies by have gradients in every row."""
    tied = [table for part in network.modules() if isinstance(part, VocabularyHead) for table in part._tied]
    return [part for part in network.modules() if isinstance(part, nn.Embedding) and not any(part is t for t in tied)]


class Network(nn.Module):
    """An encoder under some head. `encoder` and, where the head reads whole sequences, `pooler` carry over by name."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)

    def know(self, graph: KnowledgeGraph) -> None:
        """Put the facts of `graph` beside the texts from now on, instead of others; no weight depends on them."""
        self.config = self.encoder.config = self.config.model_copy(update={"knowledge": graph})
        self.encoder.knowledge = Knowledge(graph)

    def start_rest(self, missing: Collection[str]) -> None:
        """Once the weights of a checkpoint are in: a better start, out of those, for what it lacked (`missing`)."""


class BareNetwork(Network):
    """The encoder and its pooler, no head: last hidden states [T, H] and pooled vectors [n, H]."""

    def __init__(self, config: EncoderConfig, *, pooled: bool = True):
        super().__init__(config)
        self.pooler = Pooler(config) if pooled else None
        initialize(self, config.initializer_range)

    def forward(self, packed: Packed, capture: Capture | None = None) -> tuple[Tensor, Tensor | None]:
        hidden: Tensor = self.encoder(packed, capture)
        return hidden, None if self.pooler is None else self.pooler(hidden[packed.starts])


@dataclass(frozen=True)
class PretrainingLogits:
    """tokens: [M, V] at the places asked for. sentences: [n, 2]; class 0: the second text follows the first."""

    tokens: Tensor | None
    sentences: Tensor | None


class PretrainingNetwork(Network):
    """Masked tokens, sentence pairs, or both (Devlin et al. 2019, section 3.1)."""

    def __init__(self, config: EncoderConfig, *, masked_tokens: bool = True, sentence_pairs: bool = True):
        super().__init__(config)
        self.vocabulary_head = VocabularyHead(config, self.encoder.embeddings.tokens) if masked_tokens else None
        self.pooler = Pooler(config) if sentence_pairs else None
        self.sentence_head = nn.Linear(config.hidden_size, 2) if sentence_pairs else None
        initialize(self, config.initializer_range)

    def forward(self, packed: Packed, at: Tensor | None = None, capture: Capture | None = None) -> PretrainingLogits:
        """at: [M], on the CPU: places that want logits over the vocabulary, the costly part of the head; None: all."""
        if at is None:
            masked = hidden = self.encoder(packed, capture)
            first = hidden[packed.starts]
        else:
            firsts = packed.first_places
            wanted, found = torch.unique(torch.cat([firsts, at.cpu()]), return_inverse=True)
            hidden = self.encoder(packed, capture, wanted)
            places = sent(found, hidden.device)
            first, masked = hidden[places[: len(firsts)]], hidden[places[len(firsts) :]]
        tokens = sentences = None
        if self.vocabulary_head is not None:
            tokens = self.vocabulary_head(masked)
        if self.pooler is not None and self.sentence_head is not None:
            sentences = self.sentence_head(self.pooler(first))
        return PretrainingLogits(tokens, sentences)


class SequenceNetwork(Network):
    """One row of logits for each sequence, from the pooled first token: [n, num_labels]."""

    def __init__(self, config: EncoderConfig, num_labels: int):
        super().__init__(config)
        self.pooler = Pooler(config)
        self.dropout = Dropout(config.head_dropout)
        self.classifier = nn.Linear(config.hidden_size, num_labels)
        initialize(self, config.initializer_range)

    def forward(self, packed: Packed, capture: Capture | None = None) -> Tensor:
        first = self.encoder(packed, capture, packed.first_places)
        logits: Tensor = self.classifier(self.dropout(self.pooler(first)))
        return logits


class ChoiceNetwork(SequenceNetwork):
    """One score for each sequence, a question with one of its choices: [n]. The caller compares those of a question."""

    def __init__(self, config: EncoderConfig):
        super().__init__(config, num_labels=1)

    def forward(self, packed: Packed, capture: Capture | None = None) -> Tensor:
        return super().forward(packed, capture).squeeze(-1)


class EmbeddingNetwork(Network):
    """One vector for each sequence, pooled over its tokens, special ones among them: [n, H] (Reimers, Gurevych 2019).

    pooling: their mean, their maximum in each dimension, or the first one. normalize: to a length of 1.
    """

    def __init__(self, config: EncoderConfig, pooling: Pooling = "mean", *, normalize: bool = True):
        super().__init__(config)
        self.pooling: Pooling = pooling
        self.normalize = normalize
        initialize(self, config.initializer_range)

    def forward(self, packed: Packed, capture: Capture | None = None) -> Tensor:
        if self.pooling == "cls":
            vectors = self.encoder(packed, capture, packed.first_places).float()
        else:
            hidden: Tensor = self.encoder(packed, capture)
            lengths = sent(torch.tensor(packed.lengths), hidden.device)
            # unsafe: that the lengths add up is known, and a GPU would be waited for to check it.
            vectors = torch.segment_reduce(hidden.float(), self.pooling, lengths=lengths, axis=0, unsafe=True)
        return F.normalize(vectors, dim=-1) if self.normalize else vectors


class TokenNetwork(Network):
    """One row of logits for each token: [T, num_labels]."""

    def __init__(self, config: EncoderConfig, num_labels: int):
        super().__init__(config)
        self.dropout = Dropout(config.head_dropout)
        self.classifier = nn.Linear(config.hidden_size, num_labels)
        initialize(self, config.initializer_range)

    def forward(self, packed: Packed, capture: Capture | None = None) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(self.encoder(packed, capture)))
        return logits


class CrfTokenNetwork(Network):
    """As `TokenNetwork`, [T, num_labels], with the learned scores of one label after another beside it in `crf`."""

    def __init__(self, config: EncoderConfig, num_labels: int):
        super().__init__(config)
        self.dropout = Dropout(config.head_dropout)
        self.classifier = nn.Linear(config.hidden_size, num_labels)
        self.crf = Crf(num_labels)
        initialize(self, config.initializer_range)

    def forward(self, packed: Packed, capture: Capture | None = None) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(self.encoder(packed, capture)))
        return logits


class SpanNetwork(Network):
    """Start and end scores for each token: [T, 2] (Devlin et al. 2019, section 4.2)."""

    def __init__(self, config: EncoderConfig):
        super().__init__(config)
        self.span_head = nn.Linear(config.hidden_size, 2)
        initialize(self, config.initializer_range)

    def forward(self, packed: Packed, capture: Capture | None = None) -> Tensor:
        logits: Tensor = self.span_head(self.encoder(packed, capture))
        return logits


class Seq2SeqNetwork(Network):
    """Encoder and decoder over one vocabulary, embeddings shared by source, target and output: logits [T, V].

    num_decoder_layers, share: as `Decoder` takes them.
    """

    def __init__(self, config: EncoderConfig, *, num_decoder_layers: int | None = None, share: bool = False):
        super().__init__(config)
        self.decoder = Decoder(config, self.encoder, num_layers=num_decoder_layers, share=share)
        self.vocabulary_head = VocabularyHead(config, self.encoder.embeddings.tokens)
        initialize(self, config.initializer_range)

    def start_rest(self, missing: Collection[str]) -> None:
        if any(name.startswith("decoder.layers.0.feed_forward") for name in missing):
            self.decoder.start_from(self.encoder)

    def encode(self, source: Packed, capture: Capture | None = None) -> Tensor:
        """-> [S, H], what `decode` reads."""
        hidden: Tensor = self.encoder(source, capture)
        return hidden

    def decode(
        self, target: Packed, source_states: Tensor, source_lengths: tuple[int, ...], cache: DecoderCache | None = None
    ) -> Tensor:
        """-> [T, V], each row the prediction of the token after its place."""
        logits: Tensor = self.vocabulary_head(self.decoder(target, source_states, source_lengths, cache))
        return logits

    def forward(self, source: Packed, target: Packed) -> Tensor:
        return self.decode(target, self.encode(source), source.lengths)
