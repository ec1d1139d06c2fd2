"""A network's copy for prediction, its weights laid out as the products read them. Never trained or saved.

Which part becomes what is decided here, once. On a CPU layers of BERT's shape go whole to the compiled kernels, in bf16
or int8; other linear layers to the compiled product; without kernels to oneDNN's. On a GPU layers of BERT's shape
become bf16 throughout, and the rest stays.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from bertsmith.errors import SettingsError
from bertsmith.kernels import native_ops
from bertsmith.kernels.attention import Layout
from bertsmith.kernels.library import engine
from bertsmith.kernels.linear import LANES, FrozenLinear
from bertsmith.kernels.packed_weights import LayerWeights, Matrix, Norm, Number, PackedLinear, packed_layer
from bertsmith.model.attention import Capture
from bertsmith.model.decoder import DecoderLayer
from bertsmith.model.encoder import Encoder, EncoderLayer
from bertsmith.model.feedforward import activate
from bertsmith.model.half_layer import PLAIN, HalfLayer, fits_half
from bertsmith.model.networks import VocabularyHead
from bertsmith.model.positions import Rotary, Rotation

Module = TypeVar("Module", bound=nn.Module)


class FrozenLayer(nn.Module):
    """An `EncoderLayer` with its weights packed: [T, H] -> bf16 [T, H], or [M, H] of the places in `at`."""

    def __init__(self, layer: EncoderLayer, number: Number):
        super().__init__()
        attention, feed_forward = layer.attention, layer.feed_forward
        parts = (attention.query, attention.key, attention.value)
        self.weights = LayerWeights(
            Matrix.of(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]), number),
            Matrix.of(attention.output.weight, attention.output.bias, number),
            Matrix.of(feed_forward.up.weight, feed_forward.up.bias, number),
            Matrix.of(feed_forward.down.weight, feed_forward.down.bias, number),
            Norm.of(cast(nn.LayerNorm, layer.attention_residual.norm)),
            Norm.of(cast(nn.LayerNorm, layer.feed_forward_residual.norm)),
            attention.heads_shape[0],
        )

    def forward(
        self,
        hidden: Tensor,
        layout: Layout,
        rotation: Rotation | None,
        capture: Capture | None,
        at: Tensor | None = None,
    ) -> Tensor:
        assert rotation is None, "layers that turn by positions are not frozen whole"
        assert capture is None or not capture.want_attentions, "a copy for prediction keeps no attentions"
        out: Tensor = packed_layer(self.weights, hidden, layout, at)
        return out


class FrozenVocabularyHead(nn.Module):
    """A `VocabularyHead` with its weights, and the embeddings it multiplies by, laid out once: [M, H] -> [M, V]."""

    def __init__(self, head: VocabularyHead, freeze: Callable[[Tensor, Tensor | None], nn.Module]):
        super().__init__()
        self.dense = freeze(head.dense.weight, head.dense.bias)
        self.norm = head.norm
        self.activation = head.activation
        self.product = freeze(head._tied[0].weight, head.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.product(self.norm(activate(self.activation, self.dense(hidden))))
        return out


def frozen(network: Module, number: Number = "bf16") -> Module:
    """A copy of `network` that computes the same, rounded to `number`; it shares all weights that stay as they are.

    It computes on the device that the network is on.

    For prediction alone: what is trained, saved or explained is the original, which stays as it is. Raises
    `SettingsError` for int8 without the compiled kernels, or where no layer has BERT's shape.
    """
    if next(network.parameters()).device.type == "cuda":
        return cast(Module, _Halver().freeze(network))
    if number == "int8" and not native_ops.is_available():
        raise SettingsError(f"precision int8 needs the compiled kernels: {engine().reason}")
    copied = _Freezer(number, native_ops.is_available()).freeze(network)
    kinds = {type(part) for part in copied.modules()}
    if number == "int8" and (FrozenLayer not in kinds or EncoderLayer in kinds):
        raise SettingsError(
            "precision int8 is for layers as BERT's: layer norm after the sum, GELU, no rotary positions, no knowledge "
            "graph, no adapters apart (`bertsmith merge` puts them in), widths that are multiples of "
            f"{LANES}, heads that are multiples of 32 wide"
        )
    return cast(Module, copied)


def is_batch_invariant(network: nn.Module) -> bool:
    """Whether all products of this network are the compiled ones: then a text's result is the same in any batch."""
    others = (nn.Linear, FrozenLinear, EncoderLayer, DecoderLayer, HalfLayer, VocabularyHead)
    return not any(isinstance(part, others) for part in network.modules())


def frozen_parts(network: nn.Module) -> list[str]:
    """The names of the parts whose weights are no parameters any more."""
    kinds = (FrozenLayer, FrozenLinear, HalfLayer, PackedLinear)
    return [name for name, part in network.named_modules() if isinstance(part, kinds)]


class _Freezer:
    """For a CPU. done: what a part has become, by its id, since a part may stand in two places."""

    def __init__(self, number: Number, with_kernels: bool):
        self.number: Number = number
        self.with_kernels = with_kernels
        self.done: dict[int, nn.Module] = {}

    def freeze(self, part: nn.Module, *, turns: bool = False) -> nn.Module:
        """turns: whether the part belongs to an encoder whose layers need more than their hidden states and lengths.

        That is one whose queries and keys are turned by their positions, or one that puts facts beside entities.
        """
        turns = turns or (
            isinstance(part, Encoder) and (isinstance(part.positions, Rotary) or part.knowledge is not None)
        )
        if id(part) not in self.done:
            self.done[id(part)] = twin = self.replaced(part, turns) or copy(part)
            if type(twin) is type(part):
                twin._modules = {
                    name: None if child is None else self.freeze(child, turns=turns)
                    for name, child in part._modules.items()
                }
        return self.done[id(part)]

    def replaced(self, part: nn.Module, turns: bool) -> nn.Module | None:
        """What stands in the copy for this part and all within it; None where its parts are looked at one by one."""
        if type(part) in PLAIN:
            return self._linear(cast(nn.Linear, part))
        if isinstance(part, VocabularyHead):
            return FrozenVocabularyHead(part, self._product)
        if isinstance(part, EncoderLayer) and self.with_kernels and not turns and _fits(part):
            return FrozenLayer(part, self.number)
        return None

    def _linear(self, part: nn.Linear) -> nn.Module:
        return self._product(part.weight, part.bias)

    def _product(self, weight: Tensor, bias: Tensor | None) -> nn.Module:
        if self.with_kernels and weight.shape[1] % LANES == 0:
            return PackedLinear(weight, bias)
        return FrozenLinear(weight, bias)


class _Halver(_Freezer):
    """For a GPU."""

    def __init__(self) -> None:
        super().__init__("bf16", with_kernels=False)

    def replaced(self, part: nn.Module, turns: bool) -> nn.Module | None:
        return HalfLayer(part) if isinstance(part, EncoderLayer) and not turns and fits_half(part) else None


def _fits(layer: EncoderLayer) -> bool:
    """Whether the compiled kernels compute this layer whole."""
    attention, feed_forward = layer.attention, layer.feed_forward
    linears = (attention.query, attention.key, attention.value, attention.output, feed_forward.up, feed_forward.down)
    return (
        fits_half(layer)
        and feed_forward.activation == "gelu"
        and all(part.in_features % LANES == part.out_features % LANES == 0 for part in linears)
        and attention.heads_shape[1] % 32 == 0
    )
