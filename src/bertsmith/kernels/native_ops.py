"""The compiled kernels as PyTorch operators, with their gradients. Each has a plain PyTorch twin in its own file.

Shapes: T query tokens, S key tokens, N heads, D head width, H hidden size, n sequences.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bertsmith.errors import SettingsError
from bertsmith.kernels.library import compiled, engine
from bertsmith.kernels.operator import operator

FEW_QUERIES = 4
"""Up to so many queries of a sequence cost less one by one than as a block of 16."""
KEEP_ALL = 1 << 16
"""Dropout's decisions have 16 bits: of that many values of them, `num_kept` keep."""


def is_available() -> bool:
    """Raises `SettingsError` where BERTSMITH_KERNELS is neither on nor off."""
    return _AVAILABLE if _AVAILABLE is not None else engine().library is not None


def _found() -> bool | None:
    """None: nobody can tell, and whoever asks is told why."""
    try:
        return engine().library is not None
    except SettingsError:
        return None


_AVAILABLE = _found()
"""Found when this file is imported, so that a graph that is being compiled takes it for the constant that it is."""


def num_kept_of(dropout: float) -> int:
    """How many of 65,536 values keep: the kernels' dropout is exact to 1/131,072."""
    return max(1, KEEP_ALL - round(dropout * KEEP_ALL))


def draw_seed(dropout: float) -> Tensor:
    """[1] int64: a seed for one call's dropout, from PyTorch's generator: replayed when its state is.

    A tensor, so that a compiled graph draws another one in each call.
    """
    return torch.randint(1 << 62, (1,)) if dropout else torch.zeros(1, dtype=torch.int64)


@operator("bertsmith::attention")
def attention(
    query: Tensor, key: Tensor, value: Tensor, query_starts: Tensor, key_starts: Tensor, seed: Tensor, num_kept: int
) -> tuple[Tensor, Tensor]:
    """Attention within each sequence. query [T, N, D], key and value [S, N, D]: bf16, heads contiguous, D % 32 == 0.

    query_starts, key_starts: int64 [n + 1], where each sequence begins and the last ends. -> [T, N, D], and what the
    backward pass wants: float [N, T], the base-2 logarithm of each query's sum of weights.
    """
    out = torch.empty(query.shape, dtype=query.dtype)
    log_sums = torch.empty(query.shape[1], query.shape[0], dtype=torch.float32)
    compiled().bertsmith_attention_forward(
        *_heads(query, key, value),
        out.data_ptr(),
        log_sums.data_ptr(),
        *_problem(query, query_starts, key_starts, seed, num_kept),
    )
    return out, log_sums


@operator("bertsmith::attention_only")
def attention_only(
    query: Tensor, key: Tensor, value: Tensor, query_starts: Tensor, key_starts: Tensor, key_places: Tensor | None
) -> Tensor:
    """The same without gradients and dropout; sequences of at most `FEW_QUERIES` are attended query by query.

    key_places: int64 [S], where no sequence has more: of each sequence in turn where its keys are among those of `key`
    and `value`; None: one after another.
    """
    out = torch.empty(query.shape, dtype=query.dtype)
    compiled().bertsmith_attention_only(
        *_heads(query, key, value),
        out.data_ptr(),
        FEW_QUERIES,
        None if key_places is None else key_places.data_ptr(),
        query_starts.data_ptr(),
        key_starts.data_ptr(),
        len(query_starts) - 1,
        *query.shape[1:],
    )
    return out


@attention_only.register_fake
def _(query: Tensor, *_: Any) -> Tensor:
    return torch.empty(query.shape, dtype=query.dtype)


@operator("bertsmith::attention_backward")
def attention_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    log_sums: Tensor,
    query_starts: Tensor,
    key_starts: Tensor,
    seed: Tensor,
    num_kept: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of query, key and value from that of `out`."""
    gradients = tuple(torch.empty(each.shape, dtype=each.dtype) for each in (query, key, value))
    gradient = gradient.contiguous()
    compiled().bertsmith_attention_backward(
        *_heads(query, key, value),
        out.data_ptr(),
        gradient.data_ptr(),
        log_sums.data_ptr(),
        *(each.data_ptr() for each in gradients),
        *_problem(query, query_starts, key_starts, seed, num_kept),
    )
    return gradients[0], gradients[1], gradients[2]


def _heads(*tensors: Tensor) -> list[int]:
    """Pointer and distance of two tokens of each; heads lie side by side."""
    return [value for each in tensors for value in (each.data_ptr(), each.stride(0))]


def _problem(query: Tensor, query_starts: Tensor, key_starts: Tensor, seed: Tensor, num_kept: int) -> tuple[int, ...]:
    _, num_heads, width = query.shape
    num_sequences = len(query_starts) - 1
    return query_starts.data_ptr(), key_starts.data_ptr(), num_sequences, num_heads, width, int(seed), num_kept


@attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    log_sums = query.new_empty(query.shape[1], query.shape[0], dtype=torch.float32)
    return torch.empty(query.shape, dtype=query.dtype), log_sums


@attention_backward.register_fake
def _(gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    first, second, third = (torch.empty(each.shape, dtype=each.dtype) for each in (query, key, value))
    return first, second, third


def _keep_attention(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, query_starts, key_starts, seed, ctx.num_kept = inputs
    ctx.save_for_backward(query, key, value, *output, query_starts, key_starts, seed)
    ctx.mark_non_differentiable(output[1])


def _attention_gradients(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Any, ...]:
    gradients = attention_backward(gradient, *ctx.saved_tensors, ctx.num_kept)
    return *gradients, None, None, None, None


attention.register_autograd(_attention_gradients, setup_context=_keep_attention)


@operator("bertsmith::residual")
def residual(
    residual: Tensor, sublayer: Tensor, weight: Tensor, bias: Tensor, eps: float, seed: Tensor, num_kept: int
) -> tuple[Tensor, Tensor, Tensor]:
    """layer_norm(residual + dropout(sublayer)): bf16 [T, H] each, H a multiple of 32; weight and bias float [H].

    -> bf16 [T, H], and what the backward pass wants: each row's mean and inverse deviation, float [T].
    """
    num_tokens, width = sublayer.shape
    residual, sublayer = residual.contiguous(), sublayer.contiguous()
    out = torch.empty_like(sublayer)
    mean, rstd = (torch.empty(num_tokens, dtype=torch.float32) for _ in range(2))
    compiled().bertsmith_residual_forward(
        *_pointers(residual, sublayer, weight, bias, out, mean, rstd), num_tokens, width, eps, int(seed), num_kept
    )
    return out, mean, rstd


@operator("bertsmith::residual_backward")
def residual_backward(
    gradient: Tensor,
    residual: Tensor,
    sublayer: Tensor,
    weight: Tensor,
    mean: Tensor,
    rstd: Tensor,
    seed: Tensor,
    num_kept: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of residual, sublayer, weight and bias from that of `out`."""
    num_tokens, width = sublayer.shape
    residual, sublayer, gradient = residual.contiguous(), sublayer.contiguous(), gradient.contiguous()
    gradients = tuple(torch.empty_like(each) for each in (residual, sublayer, weight, weight))
    compiled().bertsmith_residual_backward(
        *_pointers(residual, sublayer, weight, mean, rstd, gradient, *gradients), num_tokens, width, int(seed), num_kept
    )
    return gradients[0], gradients[1], gradients[2], gradients[3]


@residual.register_fake
def _(residual: Tensor, sublayer: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    rows = [sublayer.new_empty(len(sublayer), dtype=torch.float32) for _ in range(2)]
    return torch.empty_like(sublayer), rows[0], rows[1]


@residual_backward.register_fake
def _(
    gradient: Tensor, residual: Tensor, sublayer: Tensor, weight: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return torch.empty_like(residual), torch.empty_like(sublayer), torch.empty_like(weight), torch.empty_like(weight)


def _keep_residual(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    residual, sublayer, weight, _, _, seed, ctx.num_kept = inputs
    ctx.save_for_backward(residual, sublayer, weight, *output[1:], seed)
    ctx.mark_non_differentiable(*output[1:])


def _residual_gradients(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Any, ...]:
    return *residual_backward(gradient, *ctx.saved_tensors, ctx.num_kept), None, None, None


residual.register_autograd(_residual_gradients, setup_context=_keep_residual)


@operator("bertsmith::gelu")
def gelu(values: Tensor) -> Tensor:
    """x times the normal distribution's share below x, in bf16, of any shape."""
    values = values.contiguous()
    out = torch.empty_like(values)
    compiled().bertsmith_gelu_forward(*_pointers(values, out), values.numel())
    return out


@operator("bertsmith::gelu_backward")
def gelu_backward(gradient: Tensor, values: Tensor) -> Tensor:
    """The gradient of `values` from that of `gelu(values)`."""
    values, gradient = values.contiguous(), gradient.contiguous()
    out = torch.empty_like(values)
    compiled().bertsmith_gelu_backward(*_pointers(values, gradient, out), values.numel())
    return out


@gelu.register_fake
def _(values: Tensor) -> Tensor:
    return torch.empty(values.shape, dtype=values.dtype)


@gelu_backward.register_fake
def _(gradient: Tensor, values: Tensor) -> Tensor:
    return torch.empty(values.shape, dtype=values.dtype)


def _keep_gelu(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gelu_gradient(ctx: Any, gradient: Tensor) -> Tensor:
    values: Tensor = gelu_backward(gradient, *ctx.saved_tensors)
    return values


gelu.register_autograd(_gelu_gradient, setup_context=_keep_gelu)


@operator("bertsmith::linear")
def linear(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """values W' + b: bf16 [T, K] -> bf16 [T, N]; weight float [N, K], bias float [N], K and N multiples of 16."""
    values, weight = values.contiguous(), weight.contiguous()
    bias = None if bias is None else bias.contiguous()
    out = values.new_empty(len(values), len(weight))
    compiled().bertsmith_linear_forward(
        *_pointers(values, weight), None if bias is None else bias.data_ptr(), out.data_ptr(), *_sides(values, weight)
    )
    return out


@operator("bertsmith::linear_backward_input")
def linear_backward_input(gradient: Tensor, weight: Tensor) -> Tensor:
    """The gradient of `values` from that of `linear`, bf16."""
    gradient, weight = gradient.contiguous(), weight.contiguous()
    out = gradient.new_empty(len(gradient), weight.shape[1])
    compiled().bertsmith_linear_backward_input(*_pointers(gradient, weight, out), *_sides(out, weight))
    return out


@operator("bertsmith::linear_backward_weight")
def linear_backward_weight(gradient: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of weight, float [N, K], and bias, float [N]."""
    gradient, values = gradient.contiguous(), values.contiguous()
    fresh = torch.empty if len(values) else torch.zeros
    weight = fresh(gradient.shape[1], values.shape[1], dtype=torch.float32)
    bias = fresh(gradient.shape[1], dtype=torch.float32)
    compiled().bertsmith_linear_backward_weight(*_pointers(values, gradient, weight, bias), *_sides(values, weight))
    return weight, bias


def _sides(values: Tensor, weight: Tensor) -> tuple[int, int, int]:
    return len(values), weight.shape[1], weight.shape[0]


@linear.register_fake
def _(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return values.new_empty(len(values), len(weight))


@linear_backward_input.register_fake
def _(gradient: Tensor, weight: Tensor) -> Tensor:
    return gradient.new_empty(len(gradient), weight.shape[1])


@linear_backward_weight.register_fake
def _(gradient: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    width = gradient.shape[1]
    return values.new_empty(width, values.shape[1], dtype=torch.float32), values.new_empty(width, dtype=torch.float32)


def _keep_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, weight, bias = inputs
    ctx.has_bias = bias is not None
    ctx.save_for_backward(values, weight)


def _linear_gradients(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    values, weight = ctx.saved_tensors
    of_values = linear_backward_input(gradient, weight) if ctx.needs_input_grad[0] else None
    if not ctx.needs_input_grad[1]:
        return of_values, None, gradient.float().sum(0) if ctx.needs_input_grad[2] else None
    of_weight, of_bias = linear_backward_weight(gradient, values)
    return of_values, of_weight, of_bias if ctx.has_bias else None


linear.register_autograd(_linear_gradients, setup_context=_keep_linear)


def _pointers(*tensors: Tensor) -> list[int]:
    return [each.data_ptr() for each in tensors]
