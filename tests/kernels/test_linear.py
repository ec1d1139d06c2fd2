"""Linear layers: the compiled product and its gradients, who computes, and oneDNN's frozen layers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bertsmith.kernels import native_ops
from bertsmith.kernels.library import engine
from bertsmith.kernels.linear import FrozenLinear, linear
from bertsmith.runtime.device import has_bf16

needs_kernels = pytest.mark.skipif(engine().library is None, reason=f"no compiled kernels here: {engine().reason}")
SIDES = st.sampled_from([16, 48, 64, 80, 96, 208])
pytestmark = pytest.mark.usefixtures("products")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def check(num_tokens: int, num_inputs: int, num_outputs: int, *, with_bias: bool = True) -> None:
    """Values and gradients against fp64 on the same rounded numbers: what goes in is bf16, sums are in fp32."""
    values = random(num_tokens, num_inputs).bfloat16().requires_grad_()
    weight = random(num_outputs, num_inputs, seed=1).requires_grad_()
    bias = random(num_outputs, seed=2).requires_grad_() if with_bias else None
    out = native_ops.linear(values, weight, bias)
    rounded = weight.detach().bfloat16().double()
    expected = F.linear(values.detach().double(), rounded, None if bias is None else bias.detach().double())
    torch.testing.assert_close(out.double(), expected, rtol=2**-8, atol=1e-4 * num_inputs**0.5)
    gradient = random(num_tokens, num_outputs, seed=3).bfloat16()
    out.backward(gradient)
    assert values.grad is not None
    assert weight.grad is not None
    torch.testing.assert_close(
        values.grad.double(), gradient.double() @ rounded, rtol=2**-8, atol=1e-4 * num_outputs**0.5
    )
    of_weight = gradient.double().T @ values.detach().double()
    torch.testing.assert_close(weight.grad.double(), of_weight, rtol=1e-5, atol=1e-5 * num_tokens**0.5)
    if bias is not None:
        assert bias.grad is not None
        torch.testing.assert_close(bias.grad.double(), gradient.double().sum(0), rtol=1e-5, atol=1e-5 * num_tokens**0.5)


@needs_kernels
@given(st.integers(1, 50), SIDES, SIDES, st.booleans())
def test_the_product_and_its_gradients(num_tokens: int, num_inputs: int, num_outputs: int, with_bias: bool) -> None:
    check(num_tokens, num_inputs, num_outputs, with_bias=with_bias)


@needs_kernels
@pytest.mark.parametrize("num_threads", [1, 2, 5])
@pytest.mark.parametrize("num_tokens", [1055, 1056, 1057, 2300])
def test_more_tokens_than_are_taken_at_a_time(num_tokens: int, num_threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        check(num_tokens, 80, 144)
    finally:
        torch.set_num_threads(before)


@needs_kernels
def test_only_the_gradients_that_are_wanted() -> None:
    values, weight = random(5, 32).bfloat16(), random(16, 32, seed=1)
    trained = weight.clone().requires_grad_()
    native_ops.linear(values, trained, None).sum().backward()
    assert trained.grad is not None
    before = values.clone().requires_grad_()
    native_ops.linear(before, weight, None).sum().backward()
    assert before.grad is not None
    assert weight.grad is None


@needs_kernels
def test_no_tokens_have_no_gradient_and_a_bias_may_lie_apart() -> None:
    weight, bias = random(48, 32, seed=1).requires_grad_(), torch.zeros(48).requires_grad_()
    native_ops.linear(torch.zeros(0, 32).bfloat16(), weight, bias).sum().backward()
    assert weight.grad is not None
    assert bias.grad is not None
    assert not weight.grad.any()
    assert not bias.grad.any()
    one = native_ops.linear(torch.zeros(3, 32).bfloat16(), weight, torch.tensor([2.0]).expand(48))
    assert one.eq(2).all()


@needs_kernels
def test_a_bias_alone_may_be_trained() -> None:
    bias = torch.zeros(48).requires_grad_()
    native_ops.linear(random(5, 32).bfloat16(), random(48, 32, seed=1), bias).sum().backward()
    assert bias.grad is not None
    assert bias.grad.eq(5).all()


@needs_kernels
def test_a_compiled_graph_holds_it_whole() -> None:
    values, weight = random(6, 32), random(48, 32, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        compiled = torch.compile(linear, fullgraph=True)(values, weight, None)
        assert torch.equal(compiled, linear(values, weight, None))


@needs_kernels
def test_parts_of_wider_rows_and_weights_that_were_turned() -> None:
    values, weight = random(6, 64).bfloat16()[:, 16:48], random(32, 48, seed=1).T
    expected = native_ops.linear(values.contiguous(), weight.contiguous(), None)
    assert torch.equal(native_ops.linear(values, weight, None), expected)


@needs_kernels
def test_a_number_that_is_none_is_not_hidden() -> None:
    values, weight = random(6, 32), random(48, 32, seed=1)
    weight[3, 4] = float("nan")
    out = native_ops.linear(values.bfloat16(), weight, None)
    assert out[:, 3].isnan().all()
    assert out[:, 4:].isfinite().all()


@needs_kernels
def test_autocast_on_a_cpu_goes_to_the_kernel_and_everything_else_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = native_ops.linear
    monkeypatch.setattr(native_ops, "linear", lambda *a: calls.append(len(a)) or real(*a))
    values, weight, bias = random(6, 32), random(48, 32, seed=1), random(48, seed=2)
    exact = linear(values, weight, bias)
    assert torch.equal(exact, F.linear(values, weight, bias))
    with torch.autocast("cpu", torch.bfloat16):
        linear(values, weight[:10], bias[:10])
        linear(values[None], weight, bias)
        linear(values, weight.bfloat16(), bias.bfloat16())
        assert not calls
        torch.testing.assert_close(linear(values, weight, bias).float(), exact, rtol=2e-2, atol=0.1)
        assert len(calls) == 1


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
