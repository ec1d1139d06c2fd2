"""Position schemes. A scheme says what is added to the embeddings and how queries and keys are turned.

Shapes: T tokens, H hidden size, N heads, D head width.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from bertsmith.settings import Settings

Rotation = tuple[Tensor, Tensor]
"""cos and sin, each [T, 1, D / 2]."""


class LearnedPositions(Settings):
    """A trained vector for each position (Devlin et al. 2019, section 3)."""

    kind: Literal["learned"] = "learned"


class SinusoidalPositions(Settings):
    """Fixed sines and cosines (Vaswani et al. 2017, section 3.5), added to the embeddings."""

    kind: Literal["sinusoidal"] = "sinusoidal"
    base: float = Field(10_000.0, gt=1, description="longest wavelength over 2 pi, in tokens")


class RotaryPositions(Settings):
    """Queries and keys turned by an angle that grows with the position (Su et al. 2021, section 3.2)."""

    kind: Literal["rotary"] = "rotary"
    base: float = Field(10_000.0, gt=1, description="longest wavelength over 2 pi, in tokens")


PositionConfig = Annotated[LearnedPositions | SinusoidalPositions | RotaryPositions, Field(discriminator="kind")]


class Positions(nn.Module):
    """The scheme that does nothing: tokens without order. Each real scheme overrides what it answers.

    num_positions: how many there are; None where there is no end.
    """

    num_positions: int | None = None

    def added(self, position_ids: Tensor) -> Tensor | None:
        """[T] -> [T, E] to add to the token embeddings, or None."""
        return None

    def rotation(self, position_ids: Tensor) -> Rotation | None:
        """[T] -> the rotation of queries and keys, or None."""
        return None


class Learned(Positions):
    def __init__(self, num_positions: int, width: int):
        super().__init__()
        self.num_positions = num_positions
        self.table = nn.Embedding(num_positions, width)

    def added(self, position_ids: Tensor) -> Tensor:
        rows: Tensor = self.table(position_ids)
        return rows


class Sinusoidal(Positions):
    def __init__(self, width: int, base: float):
        super().__init__()
        self.width, self.base = width, base

    def added(self, position_ids: Tensor) -> Tensor:
        angles = _angles(position_ids, self.width + self.width % 2, self.base)
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, : self.width]


class Rotary(Positions):
    def __init__(self, head_width: int, base: float):
        super().__init__()
        self.head_width, self.base = head_width, base

    def rotation(self, position_ids: Tensor) -> Rotation:
        angles = _angles(position_ids, self.head_width, self.base)[:, None]
        return angles.cos(), angles.sin()


def build_positions(config: PositionConfig, *, num_positions: int, width: int, head_width: int) -> Positions:
    """The module for a scheme; `width` is the embeddings', `head_width` that of one attention head."""
    match config:
        case LearnedPositions():
            return Learned(num_positions, width)
        case SinusoidalPositions(base=base):
            return Sinusoidal(width, base)
        case RotaryPositions(base=base):
            return Rotary(head_width, base)


def rotate(heads: Tensor, rotation: Rotation) -> Tensor:
    """Turn each pair (x_i, x_{i + D/2}) of [T, N, D] by its token's angle."""
    cos, sin = (part.to(heads.dtype) for part in rotation)
    first, second = heads.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def _angles(position_ids: Tensor, width: int, base: float) -> Tensor:
    """[T] -> [T, width / 2] in float32: position over base^(2i / width)."""
    steps = torch.arange(0, width, 2, device=position_ids.device, dtype=torch.float32)
    return position_ids[:, None].float() * base ** (-steps / width)
