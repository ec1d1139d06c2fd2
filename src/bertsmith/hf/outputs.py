"""What the Hugging Face shaped classes return: attributes, keys and places at once, absent values left out.

Shapes: B rows, S columns, H hidden size, N heads, V vocabulary, C labels or choices.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor


@dataclass(eq=False)
class ModelOutput(dict[str, Any]):
    """`outputs.logits`, `outputs["logits"]` and `outputs[0]`; values that are None count for none of the last two."""

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self, key, value)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if value is None:
            self.pop(name, None)
        else:
            super().__setitem__(name, value)

    def to_tuple(self) -> tuple[Any, ...]:
        """The values that are there, in the order of the class."""
        values = (getattr(self, field.name) for field in fields(self))
        return tuple(value for value in values if value is not None)


@dataclass(eq=False)
class BaseModelOutput(ModelOutput):
    """last_hidden_state: [B, S, H]. pooler_output: [B, H]. hidden_states: [B, S, H] for the embeddings and each layer.
    attentions: [B, N, S, S] for each layer. All are 0 where the mask is."""

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class LogitsOutput(ModelOutput):
    """logits: [B, S, V] of a masked language model, [B, S, C] of tokens, [B, C] of sequences and choices."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class PreTrainingOutput(ModelOutput):
    """prediction_logits: [B, S, V]. seq_relationship_logits: [B, 2]; class 0: the second text follows the first."""

    loss: Tensor | None = None
    prediction_logits: Tensor | None = None
    seq_relationship_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class QuestionAnsweringOutput(ModelOutput):
    """start_logits, end_logits: [B, S]; the lowest possible number where the mask is 0, so no answer lies there."""

    loss: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
