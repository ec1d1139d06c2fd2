"""The compiled kernels once more in plain PyTorch, with the same dropout bits: what they are tested against."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

WORD = 0xFFFFFFFF


def mix(x: Tensor) -> Tensor:
    """lowbias32 on 32-bit values held in int64."""
    x = (x ^ (x >> 16)) * 0x7FEB352D & WORD
    x = (x ^ (x >> 15)) * 0x846CA68B & WORD
    return x ^ (x >> 16)


def bits(seed: int, stream: int, rows: Tensor, num_places: int) -> Tensor:
    """[rows, num_places] 32 random bits for each place of a row."""
    keys = mix(rows ^ (seed & WORD))
    keys = mix((keys + (stream * 0x9E3779B9 & WORD ^ seed >> 32)) & WORD)
    return mix((keys[:, None] + torch.arange(num_places) * 0x9E3779B9) & WORD)


def kept_keys(seed: int, num_kept: int, head: int, queries: Tensor, num_keys: int) -> Tensor:
    """[queries, keys] bool: two neighbouring keys share 32 bits, the first has the lower half."""
    pairs = bits(seed, head, queries, (num_keys + 1) // 2)
    both = torch.stack([pairs & 0xFFFF, pairs >> 16], dim=-1).flatten(1)
    return both[:, :num_keys] < num_kept


def kept_features(seed: int, num_kept: int, num_tokens: int, width: int) -> Tensor:
    """[T, H] bool: of 32 neighbouring values the first 16 have the lower halves of 16 words, the others the upper."""
    words = bits(seed, 0, torch.arange(num_tokens), width // 2).unflatten(1, (-1, 16))
    return torch.cat([words & 0xFFFF, words >> 16], dim=-1).flatten(1) < num_kept


def attention(
    query: Tensor, key: Tensor, value: Tensor, queries: list[int], keys: list[int], seed: int, num_kept: int
) -> Tensor:
    """softmax(q k' / sqrt(d)), dropped, times v, of each sequence and head: [T, N, D]."""
    outputs = []
    q_at = k_at = 0
    for q_len, k_len in zip(queries, keys, strict=True):
        heads = []
        for head in range(query.shape[1]):
            q, k, v = query[q_at : q_at + q_len, head], key[k_at : k_at + k_len, head], value[k_at : k_at + k_len, head]
            weights = (q @ k.T / q.shape[-1] ** 0.5).softmax(-1)
            kept = kept_keys(seed, num_kept, head, torch.arange(q_at, q_at + q_len), k_len)
            heads.append((weights * kept * (65536 / num_kept)) @ v)
        outputs.append(torch.stack(heads, dim=1))
        q_at, k_at = q_at + q_len, k_at + k_len
    return torch.cat(outputs)


def residual_norm(
    residual: Tensor, sublayer: Tensor, weight: Tensor, bias: Tensor, eps: float, seed: int, num_kept: int
) -> Tensor:
    """layer_norm(residual + dropout(sublayer)): [T, H]."""
    kept = kept_features(seed, num_kept, *sublayer.shape)
    return F.layer_norm(residual + sublayer * kept * (65536 / num_kept), weight.shape, weight, bias, eps)


def rounded_rows(rows: Tensor) -> Tensor:
    """Each number at the nearest of 256 steps from its row's least to its largest: double, the steps found in fp32.

    Numbers of 8 bits often lie between two steps, so what is nearest has to be decided by the kernel's own arithmetic.
    """
    rows = rows.float()
    least, most = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    # torch.full: 255 / tensor would be PyTorch's reciprocal times 255, rounded twice.
    steps = ((rows - least) * torch.where(most > least, torch.full_like(most, 255) / (most - least), 0)).round()
    return least.double() + steps.double() * ((most - least) / 255).double()


def rounded_columns(weight: Tensor) -> Tensor:
    """Each of a column's weights [N, K] at the nearest of 255 steps, as many below 0 as above: double."""
    step = weight.float().abs().amax(1, keepdim=True) / 127
    return (weight.float() / step).round().double() * step.double()


@dataclass(frozen=True)
class Layer:
    """A layer's weights, (weight, bias) each, and what it computes: [T, H] -> [T, H]."""

    projections: tuple[Tensor, Tensor]
    output: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]
    norm_weight: Tensor
    norm_bias: Tensor
    heads: int

    @classmethod
    def random(cls, width: int, inner: int, heads: int, seed: int) -> Layer:
        generator = torch.Generator().manual_seed(seed)

        def linear(inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
            weight = torch.randn(outputs, inputs, generator=generator) * inputs**-0.5
            return weight, torch.randn(outputs, generator=generator) / 10

        shapes = ((width, 3 * width), (width, width), (width, inner), (inner, width))
        norms = (torch.randn(width, generator=generator) for _ in range(2))
        return cls(*(linear(*shape) for shape in shapes), *norms, heads)

    def __call__(self, hidden: Tensor, lengths: list[int], number: str) -> Tensor:
        projected = self._product(hidden, self.projections, number)
        query, key, value = (part.unflatten(-1, (self.heads, -1)) for part in projected.chunk(3, dim=-1))
        attended = attention(query, key, value, lengths, lengths, 0, 65536).flatten(1)
        shape = self.norm_weight.shape
        first = hidden + self._product(attended, self.output, number)
        middle = F.layer_norm(first, shape, self.norm_weight, self.norm_bias, 1e-12)
        inner = F.gelu(self._product(middle, self.up, number))
        second = middle + self._product(inner, self.down, number)
        return F.layer_norm(second, shape, self.norm_bias + 1, self.norm_weight, 1e-12)

    @staticmethod
    def _product(rows: Tensor, linear: tuple[Tensor, Tensor], number: str) -> Tensor:
        weight, bias = linear
        if number == "bf16":
            return F.linear(rows, weight, bias)
        return F.linear(rounded_rows(rows.bfloat16()), rounded_columns(weight), bias.double()).float()
