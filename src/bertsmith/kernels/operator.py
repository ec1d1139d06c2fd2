"""A function of tensors as a PyTorch operator that costs little where no graph is compiled. Knows no kernel.

`torch.library` lets graphs be compiled through a function, and what that costs a call is felt where a layer of a small
network makes nine of them. In eager mode the function is therefore called as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

PLAIN = (Tensor, nn.Parameter)
"""What has memory to point at; a subclass, as a graph's stand-in for a tensor, goes by way of `torch.library`."""
Keep = Callable[[Any, tuple[Any, ...], Any], None]
Gradients = Callable[..., Any]


class Operator:
    """function: on tensors, the first argument one of them, not changing any. op: the same in `torch.library`."""

    def __init__(self, name: str, function: Callable[..., Any]):
        self.function = function
        self.op = torch.library.custom_op(name, mutates_args=())(function)
        self._differentiable: type[torch.autograd.Function] | None = None
        self.__doc__ = function.__doc__

    def register_fake(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """What tensors come out, without computing them."""
        return self.op.register_fake(function)

    def register_autograd(self, gradients: Gradients, *, setup_context: Keep) -> None:
        """As `torch.library.CustomOpDef.register_autograd`."""
        self.op.register_autograd(gradients, setup_context=setup_context)

        def forward(ctx: Any, *inputs: Any) -> Any:
            output = self.function(*inputs)
            setup_context(ctx, inputs, output)
            return output

        methods = {"forward": staticmethod(forward), "backward": staticmethod(gradients)}
        self._differentiable = type(self.op._name, (torch.autograd.Function,), methods)

    def __call__(self, *inputs: Any) -> Any:
        if torch.compiler.is_compiling() or type(inputs[0]) not in PLAIN:
            return self.op(*inputs)
        if self._differentiable is None or not torch.is_grad_enabled():
            return self.function(*inputs)
        return self._differentiable.apply(*inputs)  # type: ignore[no-untyped-call]


def operator(name: str) -> Callable[[Callable[..., Any]], Operator]:
    """Makes an `Operator` of the function that it decorates."""
    return lambda function: Operator(name, function)
