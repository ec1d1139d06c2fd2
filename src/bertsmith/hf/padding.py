"""The border between padded tensors and packed batches: rows with masks in, `Packed` inside, rows out again.

Shapes: B rows, S columns, T real tokens, N heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bertsmith.errors import DataError
from bertsmith.model.config import EncoderConfig
from bertsmith.model.packed import Packed


@dataclass(frozen=True)
class Padded:
    """packed: the real tokens, row by row. keep: [B, S] bool, where they stand among the padding and the holes."""

    packed: Packed
    keep: Tensor

    @classmethod
    def of(
        cls,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        config: EncoderConfig,
    ) -> Padded:
        """From [B, S] each. Without a mask all tokens are real; types default to 0, positions to the columns.

        Raises `DataError` for shapes that differ, rows without a real token, and ids that the model does not have.
        """
        if input_ids.dim() != 2 or not input_ids.numel() or input_ids.is_floating_point():
            raise DataError(f"input_ids should be whole numbers [rows, columns], found {_describe(input_ids)}")
        shape, device = input_ids.shape, input_ids.device
        keep = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask != 0
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        positions = torch.arange(shape[1], device=device)[None] if position_ids is None else position_ids
        parts = {"attention_mask": keep, "token_type_ids": types, "position_ids": positions}
        for name, part in parts.items():
            if part.dim() != 2 or part.shape[1] != shape[1] or part.shape[0] not in (1, shape[0]):
                raise DataError(f"{name} should have the shape of input_ids, {list(shape)}, found {_describe(part)}")
        keep, types, positions = (part.expand(shape) for part in parts.values())
        lengths = tuple(keep.sum(1).tolist())
        if 0 in lengths:
            raise DataError(f"attention_mask: row {lengths.index(0)} masks all of its tokens: leave the row out")
        limits = {
            "input_ids": (input_ids, config.vocab_size),
            "token_type_ids": (types, config.type_vocab_size),
            "position_ids": (positions, config.max_position_embeddings),
        }
        chosen = [_chosen(name, values[keep], limit) for name, (values, limit) in limits.items()]
        return cls(Packed(chosen[0], chosen[1], chosen[2], lengths), keep)

    def spread(self, values: Tensor, fill: float = 0.0) -> Tensor:
        """[T, ...] -> [B, S, ...], with `fill` where no token is."""
        rows, columns = self.keep.shape
        if len(values) < rows * columns:
            out = values.new_full((rows * columns, *values.shape[1:]), fill)
            values = out.index_copy(0, self.keep.flatten().nonzero()[:, 0], values)
        return values.reshape(rows, columns, *values.shape[1:])

    def spread_pairs(self, values: list[Tensor]) -> Tensor:
        """[N, L, L] a sequence -> [B, N, S, S], 0 where a query or key is no token."""
        rows, columns = self.keep.shape
        out = values[0].new_zeros(rows, columns, columns, values[0].shape[0])
        for row, (places, part) in enumerate(zip(self.keep, values, strict=True)):
            at = places.nonzero()[:, 0]
            out[row, at[:, None], at[None]] = part.permute(1, 2, 0)
        return out.permute(0, 3, 1, 2)


def _chosen(name: str, values: Tensor, limit: int) -> Tensor:
    low, high = (int(extreme) for extreme in values.aminmax())
    if low < 0 or high >= limit:
        raise DataError(f"{name}: {low if low < 0 else high} is not below the {limit} that the model has, from 0 on")
    return values.long()


def _describe(values: Tensor) -> str:
    return f"{list(values.shape)} of {str(values.dtype).removeprefix('torch.')}"
