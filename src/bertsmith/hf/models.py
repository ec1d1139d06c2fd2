"""The Hugging Face shaped classes: padded tensors and losses in front of our networks, which do all of the computing.

They differ from `transformers` where it computes with padding: outputs at padded columns are 0 and labels there count
for nothing, the pooled vector is that of the first real token, and no answer starts or ends in padding. Loaded weights
are float32 whatever the file holds. Shapes: B rows, S columns, C labels or choices.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from bertsmith.hf.base import BertModel, BertPreTrainedModel, CallOptions
from bertsmith.hf.config import BertConfig
from bertsmith.hf.outputs import LogitsOutput, PreTrainingOutput, QuestionAnsweringOutput
from bertsmith.hf.padding import Padded
from bertsmith.model.networks import ChoiceNetwork, PretrainingNetwork, SequenceNetwork, SpanNetwork, TokenNetwork

__all__ = [
    "BertForMaskedLM",
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertForPreTraining",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertModel",
]

IGNORED = -100
"""The label that no loss counts."""


class BertForPreTraining(BertPreTrainedModel[PretrainingNetwork]):
    """Masked tokens and next sentences."""

    def __init__(self, config: BertConfig):
        super().__init__(config, PretrainingNetwork(config.encoder()))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """labels: [B, S], -100 where none. next_sentence_label: [B]. The loss needs both -> `PreTrainingOutput`."""
        padded, capture = self._pad(input_ids, attention_mask, token_type_ids, position_ids), self._capture(options)
        found = self.network(padded.packed, capture=capture)
        loss = None
        if labels is not None and next_sentence_label is not None:
            loss = token_loss(found.tokens, labels, padded) + F.cross_entropy(
                found.sentences, next_sentence_label.view(-1)
            )
        output = PreTrainingOutput(loss, padded.spread(found.tokens), found.sentences)
        return self._answer(output, padded, capture, options)


class BertForMaskedLM(BertPreTrainedModel[PretrainingNetwork]):
    """Masked tokens."""

    def __init__(self, config: BertConfig):
        super().__init__(config, PretrainingNetwork(config.encoder(), sentence_pairs=False))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """labels: [B, S], -100 where none -> `LogitsOutput`."""
        padded, capture = self._pad(input_ids, attention_mask, token_type_ids, position_ids), self._capture(options)
        logits = self.network(padded.packed, capture=capture).tokens
        loss = None if labels is None else token_loss(logits, labels, padded)
        return self._answer(LogitsOutput(loss, padded.spread(logits)), padded, capture, options)


class BertForNextSentencePrediction(BertPreTrainedModel[PretrainingNetwork]):
    """Whether the second text follows the first (class 0) or not (class 1)."""

    def __init__(self, config: BertConfig):
        super().__init__(config, PretrainingNetwork(config.encoder(), masked_tokens=False))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """labels: [B] -> `LogitsOutput`."""
        padded, capture = self._pad(input_ids, attention_mask, token_type_ids, position_ids), self._capture(options)
        logits = self.network(padded.packed, capture=capture).sentences
        loss = None if labels is None else F.cross_entropy(logits, labels.view(-1))
        return self._answer(LogitsOutput(loss, logits), padded, capture, options)


class BertForSequenceClassification(BertPreTrainedModel[SequenceNetwork]):
    """One label, several, or numbers for each row, by `config.problem_type` or, without one, by the labels' type."""

    def __init__(self, config: BertConfig):
        super().__init__(config, SequenceNetwork(config.encoder(), num_labels_of(config)))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """labels: [B] indices, [B, C] zeros and ones, or [B] or [B, C] numbers -> `LogitsOutput`."""
        padded, capture = self._pad(input_ids, attention_mask, token_type_ids, position_ids), self._capture(options)
        logits = self.network(padded.packed, capture)
        loss = None if labels is None else self._loss(logits, labels)
        return self._answer(LogitsOutput(loss, logits), padded, capture, options)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.config.problem_type is None:
            if logits.shape[1] == 1:
                self.config.problem_type = "regression"
            else:
                single = labels.dtype in (torch.long, torch.int)
                self.config.problem_type = "single_label_classification" if single else "multi_label_classification"
        match self.config.problem_type:
            case "regression":
                return F.mse_loss(logits.squeeze(), labels.squeeze())
            case "single_label_classification":
                return F.cross_entropy(logits, labels.view(-1))
            case _:
                return F.binary_cross_entropy_with_logits(logits, labels)


class BertForTokenClassification(BertPreTrainedModel[TokenNetwork]):
    """One label for each token."""

    def __init__(self, config: BertConfig):
        super().__init__(config, TokenNetwork(config.encoder(), num_labels_of(config)))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """labels: [B, S], -100 where none -> `LogitsOutput`."""
        padded, capture = self._pad(input_ids, attention_mask, token_type_ids, position_ids), self._capture(options)
        logits = self.network(padded.packed, capture)
        loss = None if labels is None else token_loss(logits, labels, padded)
        return self._answer(LogitsOutput(loss, padded.spread(logits)), padded, capture, options)


class BertForQuestionAnswering(BertPreTrainedModel[SpanNetwork]):
    """Where an answer starts and ends."""

    def __init__(self, config: BertConfig):
        super().__init__(config, SpanNetwork(config.encoder()))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """Positions: [B] columns; those beyond the row count for nothing -> `QuestionAnsweringOutput`."""
        padded, capture = self._pad(input_ids, attention_mask, token_type_ids, position_ids), self._capture(options)
        logits = self.network(padded.packed, capture)
        start, end = padded.spread(logits, fill=torch.finfo(logits.dtype).min).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = (span_loss(start, start_positions) + span_loss(end, end_positions)) / 2
        return self._answer(QuestionAnsweringOutput(loss, start, end), padded, capture, options)


class BertForMultipleChoice(BertPreTrainedModel[ChoiceNetwork]):
    """Which of several texts fits best."""

    def __init__(self, config: BertConfig):
        super().__init__(config, ChoiceNetwork(config.encoder()))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """Inputs: [B, C, S]. labels: [B], the choice -> `LogitsOutput`; hidden states are those of B * C rows."""
        mask, types, positions = (
            None if part is None else part.flatten(0, -2) for part in (attention_mask, token_type_ids, position_ids)
        )
        padded, capture = self._pad(input_ids.flatten(0, -2), mask, types, positions), self._capture(options)
        logits = self.network(padded.packed, capture).view(-1, input_ids.shape[1])
        loss = None if labels is None else F.cross_entropy(logits, labels.view(-1))
        return self._answer(LogitsOutput(loss, logits), padded, capture, options)


def token_loss(logits: Tensor, labels: Tensor, padded: Padded) -> Tensor:
    """Mean cross-entropy of packed logits [T, C] at the real tokens with a label; labels [B, S]."""
    return F.cross_entropy(logits, labels[padded.keep], ignore_index=IGNORED)


def span_loss(logits: Tensor, positions: Tensor) -> Tensor:
    """Mean cross-entropy over the columns of [B, S]; positions beyond the row are left out, as in `transformers`."""
    beyond = logits.shape[1]
    return F.cross_entropy(logits, positions.view(-1).clamp(0, beyond), ignore_index=beyond)


def num_labels_of(config: BertConfig) -> int:
    assert config.num_labels is not None, "a config settles its labels when it is made"
    return config.num_labels
