"""Packed weights against plain PyTorch: the product in bf16 and int8, a whole layer, the same bits in any batch."""

from __future__ import annotations

import pickle
from copy import deepcopy

import kernel_twins as twins
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bertsmith.kernels.attention import draw_layout
from bertsmith.kernels.library import engine
from bertsmith.kernels.packed_weights import LayerWeights, Matrix, Norm, Number, PackedLinear, packed_layer
from bertsmith.model.packed import Packed

pytestmark = [
    pytest.mark.skipif(engine().library is None, reason=f"no compiled kernels here: {engine().reason}"),
    pytest.mark.usefixtures("products"),
]
NUMBERS = st.sampled_from(["bf16", "int8"])
WIDTHS = st.sampled_from([32, 64, 96])
LENGTHS = st.lists(st.integers(1, 70), min_size=1, max_size=6)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


@given(st.integers(1, 110), st.sampled_from([16, 48, 384]), st.integers(1, 200), st.booleans())
def test_the_bf16_product_is_pytorchs(num_tokens: int, num_inputs: int, num_outputs: int, with_bias: bool) -> None:
    weight, rows = random(num_outputs, num_inputs, seed=1), random(num_tokens, num_inputs)
    bias = random(num_outputs, seed=2).float() if with_bias else None
    expected = F.linear(rows.double(), weight.double(), None if bias is None else bias.double())
    # The sums are in fp32 and rounded once, to 8 bits.
    torch.testing.assert_close(
        PackedLinear(weight, bias)(rows).double(), expected, rtol=2**-8, atol=1e-4 * num_inputs**0.5
    )


@given(st.integers(1, 110), st.sampled_from([16, 48, 384]), st.integers(1, 200))
def test_the_int8_product_is_that_of_the_rounded_numbers(num_tokens: int, num_inputs: int, num_outputs: int) -> None:
    weight, rows = random(num_outputs, num_inputs, seed=1).float(), random(num_tokens, num_inputs)
    bias = random(num_outputs, seed=2).float()
    expected = twins.rounded_rows(rows) @ twins.rounded_columns(weight).T + bias.double()
    # The sums of steps are whole numbers, exact; what they are worth is put together in fp32 and rounded once.
    torch.testing.assert_close(PackedLinear(weight, bias, "int8")(rows).double(), expected, rtol=2**-8, atol=1e-3)


def test_int8_by_hand() -> None:
    # Column 0: weights 127 and -127, a step each of 1; column 1: 254 and 0, a step of 2, so 127 steps and 0.
    # Row (0, 255, 0 ...): least 0, a step of 1, so no rounding: 0 * 127 - 255 * 127 + 1 and 0 + 3.
    weight = torch.zeros(2, 16)
    weight[:, :2] = torch.tensor([[127.0, -127.0], [254.0, 0.0]])
    rows = torch.zeros(1, 16)
    rows[0, 1] = 255
    linear = PackedLinear(weight, torch.tensor([1.0, 3.0]), "int8")
    assert linear.matrix.scale is not None
    assert linear.matrix.scale[:2].tolist() == [1.0, 2.0]
    assert linear(rows)[0].tolist() == [float(torch.tensor(-255 * 127 + 1.0).bfloat16()), 3.0]


@pytest.mark.parametrize("number", ["bf16", "int8"])
def test_rows_of_one_number_and_of_zeros(number: Number) -> None:
    weight = random(20, 32)
    rows = torch.zeros(3, 32)
    rows[1] = 5
    out = PackedLinear(weight, torch.ones(20), number)(rows)
    assert torch.equal(out[0], torch.ones(20).bfloat16())
    torch.testing.assert_close(out[1].float(), 5 * weight.float().sum(1) + 1, rtol=2e-2, atol=0.3)


def layer_of(width: int, inner: int, number: Number, seed: int = 0) -> tuple[LayerWeights, twins.Layer]:
    twin = twins.Layer.random(width, inner, heads=width // 32, seed=seed)
    pairs = (twin.projections, twin.output, twin.up, twin.down)
    norms = (Norm(twin.norm_weight, twin.norm_bias, 1e-12), Norm(twin.norm_bias + 1, twin.norm_weight, 1e-12))
    return LayerWeights(*(Matrix.of(*pair, number) for pair in pairs), *norms, twin.heads), twin


@given(LENGTHS, WIDTHS, st.sampled_from([16, 64, 208]), NUMBERS)
def test_a_layer_is_its_twin(lengths: list[int], width: int, inner: int, number: Number) -> None:
    weights, twin = layer_of(width, inner, number)
    hidden = random(sum(lengths), width, seed=9)
    out = packed_layer(weights, hidden, draw_layout(lengths))
    # bf16 between the products; in int8 the twin rounds where the kernel does, and a step may go either way.
    assert error(out, twin(hidden.float(), lengths, number)) < {"bf16": 0.01, "int8": 0.02}[number]


def test_int8_is_near_bf16() -> None:
    hidden, layout = random(90, 96, seed=9), draw_layout([90])
    outs = [packed_layer(layer_of(96, 208, number)[0], hidden, layout) for number in ("bf16", "int8")]
    assert 0 < error(outs[1], outs[0]) < 0.03


@pytest.mark.parametrize("num_threads", [1, 2])
@given(LENGTHS, NUMBERS, st.data())
def test_a_text_has_the_same_bits_in_any_batch(
    num_threads: int, lengths: list[int], number: Number, data: st.DataObject
) -> None:
    weights = layer_of(64, 128, number)[0]
    rows = [random(length, 64, seed=i) for i, length in enumerate(lengths)]
    order = data.draw(st.permutations(range(len(lengths))))
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        layout = draw_layout([lengths[i] for i in order])
        together = packed_layer(weights, torch.cat([rows[i] for i in order]), layout)
        for i, part in zip(order, together.split([lengths[i] for i in order]), strict=True):
            assert torch.equal(part, packed_layer(weights, rows[i], draw_layout([lengths[i]])))
    finally:
        torch.set_num_threads(before)


@given(LENGTHS, NUMBERS, st.data())
def test_wanted_tokens_have_the_bits_that_they_have_among_all(
    lengths: list[int], number: Number, data: st.DataObject
) -> None:
    weights, hidden = layer_of(96, 208, number)[0], random(sum(lengths), 96)
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    others = data.draw(st.sets(st.integers(0, sum(lengths) - 1)))
    at = torch.tensor(sorted({*starts, *others}))
    packed = Packed.of([[1] * length for length in lengths])
    wanted = packed_layer(weights, hidden, packed.layout_at(at), at)
    assert torch.equal(wanted, packed_layer(weights, hidden, packed.layout)[at])


@pytest.mark.parametrize("number", ["bf16", "int8"])
def test_many_rows_over_two_threads_are_those_of_one(number: Number) -> None:
    linear, rows = PackedLinear(random(100, 64, seed=1), None, number), random(2000, 64)
    whole = linear(rows)
    torch.set_num_threads(2)
    try:
        assert torch.equal(linear(rows), whole)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("number", ["bf16", "int8"])
def test_a_weight_that_is_no_number_is_not_hidden(number: Number) -> None:
    weight = random(20, 32).float()
    weight[3, 4] = float("nan")
    assert PackedLinear(weight, None, number)(random(2, 32))[:, 3].isnan().all()


def test_leading_dimensions_stay() -> None:
    linear, rows = PackedLinear(random(5, 32), None), random(3, 4, 32)
    assert torch.equal(linear(rows), linear(rows.flatten(0, 1)).view(3, 4, 5))


@pytest.mark.parametrize("number", ["bf16", "int8"])
def test_copies_and_pickles_compute_the_same(number: Number) -> None:
    linear, rows = PackedLinear(random(70, 32, seed=1), None, number), random(9, 32)
    expected = linear(rows)
    for again in (deepcopy(linear), pickle.loads(pickle.dumps(linear))):
        assert again.matrix.panels.data_ptr() != linear.matrix.panels.data_ptr()
        assert torch.equal(again(rows), expected)
