"""The linear layer of encoders and decoders: PyTorch's, computed where the kernels say."""

from __future__ import annotations

from torch import Tensor, nn

from bertsmith.kernels.linear import linear


class Linear(nn.Linear):
    """[T, in] -> [T, out]."""

    def forward(self, values: Tensor) -> Tensor:
        return linear(values, self.weight, self.bias)
