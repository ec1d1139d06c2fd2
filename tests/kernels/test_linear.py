"""oneDNN's frozen linear layers give what the layer gives under autocast."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bertsmith.kernels.linear import FrozenLinear
from bertsmith.runtime.device import has_bf16


@pytest.mark.skipif(not has_bf16(torch.device("cpu")), reason="bf16 is emulated here")
@pytest.mark.parametrize("num_tokens", [1, 7, 5000])
@pytest.mark.parametrize("bias", [True, False])
def test_equal_to_autocast(num_tokens: int, bias: bool) -> None:
    torch.manual_seed(0)
    linear, values = nn.Linear(96, 80, bias=bias), torch.randn(num_tokens, 96)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(
            FrozenLinear(linear.weight, linear.bias)(values), linear(values), rtol=2**-7, atol=2**-7
        )
