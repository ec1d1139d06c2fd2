"""The compiled kernels against their twins in plain PyTorch: values, gradients, dropout's bits, who may call them."""

from __future__ import annotations

import ctypes
import math
import os
import subprocess
import sys
from pathlib import Path

import kernel_twins as twins
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from bertsmith.errors import SettingsError
from bertsmith.kernels import attention as attention_file
from bertsmith.kernels import native_ops
from bertsmith.kernels.activation import gelu
from bertsmith.kernels.attention import draw_layout, packed_attention
from bertsmith.kernels.build import compile_library
from bertsmith.kernels.library import compiled, engine
from bertsmith.kernels.residual import residual_norm

each_product = pytest.mark.usefixtures("products")
needs_kernels = pytest.mark.skipif(engine().library is None, reason=f"no compiled kernels here: {engine().reason}")
KEEP_ALL, KEEP_NINE_TENTHS = 65536, 58982
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=6)
HEADS = st.integers(1, 3)
WIDTHS = st.sampled_from([32, 64, 96, 128])
SEEDS = st.integers(0, 2**62 - 1)
KEPT = st.sampled_from([KEEP_ALL, KEEP_NINE_TENTHS, 32768])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def seed_of(seed: int) -> Tensor:
    return torch.tensor([seed])


def starts(lengths: list[int]) -> Tensor:
    return draw_layout(lengths).query_starts


def assert_close(ours: Tensor, theirs: Tensor, relative: float = 6e-3, cancelled: float = 0.0) -> None:
    """bf16 keeps 8 bits: rounding what goes in and out of a product costs up to 2^-8 of its size.

    cancelled: size of the terms whose difference a value may be; their rounding stays when they cancel. In attention's
    gradients it is 2: the terms of a product of two random rows of 32, over the root of 32, add up in size to 3.6 (32
    times 2 / pi over 5.7); `out` is off by up to 2^-9, half of 2^-8, of it, times 1.1 for what dropout scales by.
    """
    error, size = (ours.float() - theirs).norm(), theirs.norm()
    allowed = relative * size + (2**-8 * cancelled + 1e-4) * math.sqrt(theirs.numel())
    assert error <= allowed, f"{error:.1e} where {allowed:.1e} is allowed"


@each_product
@needs_kernels
@given(LENGTHS, HEADS, WIDTHS, SEEDS, KEPT)
def test_attention_and_its_gradients_are_the_twins(
    lengths: list[int], heads: int, width: int, seed: int, num_kept: int
) -> None:
    ours = [random(sum(lengths), heads, width, seed=i).requires_grad_() for i in range(3)]
    theirs = [each.detach().float().requires_grad_() for each in ours]
    out = native_ops.attention(*ours, starts(lengths), starts(lengths), seed_of(seed), num_kept)[0]
    expected = twins.attention(*theirs, lengths, lengths, seed, num_kept)
    assert_close(out, expected)
    weights = random(*out.shape, seed=3)
    out.backward(weights)
    expected.backward(weights.float())
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert_close(mine.grad, other.grad, relative=1e-2, cancelled=2.0)


@each_product
@needs_kernels
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 50)), min_size=1, max_size=5), SEEDS, KEPT)
@example([(20, 1)], 0, KEEP_NINE_TENTHS)
def test_queries_may_look_at_another_sequences_keys(pairs: list[tuple[int, int]], seed: int, num_kept: int) -> None:
    queries, keys = [q for q, _ in pairs], [k for _, k in pairs]
    ours = [random(sum(n), 2, 32, seed=i).requires_grad_() for i, n in enumerate((queries, keys, keys))]
    theirs = [each.detach().float().requires_grad_() for each in ours]
    out = native_ops.attention(*ours, starts(queries), starts(keys), seed_of(seed), num_kept)[0]
    expected = twins.attention(*theirs, queries, keys, seed, num_kept)
    assert_close(out, expected)
    weights = random(*out.shape, seed=3)
    gradients = torch.autograd.grad(out, ours, weights), torch.autograd.grad(expected, theirs, weights.float())
    # A key's gradient is a sum over queries, each with a weight of one in as many keys as there are: what is rounded of
    # them adds up as random numbers do. Of one key and 20 queries the sum itself is 0, its rounding 4.5 times as large.
    cancelled = 2.0 * math.sqrt(max(1.0, *(q / k for q, k in pairs)))
    for mine, other in zip(*gradients, strict=True):
        assert_close(mine, other, relative=1e-2, cancelled=cancelled)


@each_product
@needs_kernels
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 70)), min_size=1, max_size=5), HEADS, WIDTHS, st.booleans())
def test_the_output_alone_is_the_twins_for_few_queries_and_many(
    pairs: list[tuple[int, int]], heads: int, width: int, are_few: bool
) -> None:
    queries, keys = [1 + q % native_ops.FEW_QUERIES if are_few else q for q, _ in pairs], [k for _, k in pairs]
    query, key, value = (random(sum(n), heads, width, seed=i) for i, n in enumerate((queries, keys, keys)))
    expected = twins.attention(query.float(), key.float(), value.float(), queries, keys, 0, KEEP_ALL)
    out = native_ops.attention_only(query, key, value, starts(queries), starts(keys), None)
    assert_close(out, expected)
    if not are_few:
        return
    # The same keys, wherever they are, and of a wider row each.
    store, places = random(sum(keys) + 3, 2, heads, width, seed=5), torch.randperm(sum(keys) + 3)[: sum(keys)]
    store[places, 0], store[places, 1] = key, value
    scattered = native_ops.attention_only(query, store[:, 0], store[:, 1], starts(queries), starts(keys), places)
    assert torch.equal(scattered, out)


@needs_kernels
def test_without_gradients_places_are_read_by_the_kernel_and_change_nothing() -> None:
    query, key, value, places = (
        random(3, 2, 32),
        random(9, 2, 32),
        random(9, 2, 32),
        torch.tensor([8, 1, 1, 5, 0, 3, 2]),
    )
    layout = draw_layout([1, 1, 1], [2, 1, 4])
    with torch.no_grad():
        ours = packed_attention(query, key, value, layout.at(attention_file.Places(None, places)))
        theirs = packed_attention(query, key[places], value[places], layout)
    assert torch.equal(ours, theirs)
    with_gradients = packed_attention(query, key, value, layout.at(attention_file.Places(None, places)))
    assert_close(with_gradients, theirs.float())


@each_product
@needs_kernels
def test_heads_may_be_parts_of_wider_rows() -> None:
    whole = random(12, 3, 4, 32)
    query, key, value = whole.unbind(1)
    parts = native_ops.attention(query, key, value, starts([5, 7]), starts([5, 7]), seed_of(0), KEEP_ALL)[0]
    alone = native_ops.attention(
        query.contiguous(), key.contiguous(), value.contiguous(), starts([5, 7]), starts([5, 7]), seed_of(0), KEEP_ALL
    )[0]
    assert torch.equal(parts, alone)


@each_product
@needs_kernels
@given(st.lists(st.integers(1, 70), min_size=1, max_size=6), st.data())
def test_a_sequence_is_attended_bit_for_bit_the_same_in_any_batch(lengths: list[int], data: st.DataObject) -> None:
    rows = [random(length, 2, 32, seed=i) for i, length in enumerate(lengths)]
    order = data.draw(st.permutations(range(len(lengths))))
    packed, at = torch.cat([rows[i] for i in order]), starts([lengths[i] for i in order])
    together = native_ops.attention(packed, packed, packed, at, at, seed_of(0), KEEP_ALL)[0]
    for i, part in zip(order, together.split([lengths[i] for i in order]), strict=True):
        at = starts([lengths[i]])
        assert torch.equal(part, native_ops.attention(rows[i], rows[i], rows[i], at, at, seed_of(0), KEEP_ALL)[0])


@each_product
@needs_kernels
@pytest.mark.parametrize("num_threads", [1, 2])
def test_long_sequences_with_large_scores(num_threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        query, key, value = (random(1200, 2, 64, seed=i) * (30 if i == 0 else 1) for i in range(3))
        out = native_ops.attention(query, key, value, starts([1200]), starts([1200]), seed_of(0), KEEP_ALL)[0]
        expected = twins.attention(query.float(), key.float(), value.float(), [1200], [1200], 0, KEEP_ALL)
        assert_close(out, expected)
    finally:
        torch.set_num_threads(before)


@needs_kernels
@given(st.integers(1, 40), st.sampled_from([32, 96, 384]), SEEDS, KEPT)
def test_the_residual_and_its_gradients_are_the_twins(num_tokens: int, width: int, seed: int, num_kept: int) -> None:
    ours = [random(num_tokens, width, seed=i).requires_grad_() for i in range(2)]
    ours += [random(width, seed=i).float().requires_grad_() for i in (2, 3)]
    theirs = [each.detach().float().requires_grad_() for each in ours]
    out = native_ops.residual(*ours, 1e-12, seed_of(seed), num_kept)[0]
    expected = twins.residual_norm(*theirs, 1e-12, seed, num_kept)
    assert_close(out, expected)
    weights = random(num_tokens, width, seed=4)
    out.backward(weights)
    expected.backward(weights.float())
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert_close(mine.grad, other.grad, relative=1e-2)


@each_product
@needs_kernels
def test_attentions_gradient_is_that_of_finite_differences() -> None:
    """The slope of the twin's loss along a random direction, in fp64, is what the kernel's gradient says."""
    lengths = [5, 18]
    inputs = [random(23, 2, 32, seed=i) for i in range(3)]
    direction = [torch.randn(each.shape, generator=torch.Generator().manual_seed(9)) for each in inputs]
    weights = random(23, 2, 32, seed=4)

    def loss(step: float) -> float:
        moved = [each.double() + step * along.double() for each, along in zip(inputs, direction, strict=True)]
        return float((twins.attention(*moved, lengths, lengths, 5, KEEP_NINE_TENTHS) * weights.double()).sum())

    leaves = [each.clone().requires_grad_() for each in inputs]
    at = starts(lengths)
    out = native_ops.attention(*leaves, at, at, seed_of(5), KEEP_NINE_TENTHS)[0]
    gradients = torch.autograd.grad(out, leaves, weights)
    slope = sum(float((g.double() * along.double()).sum()) for g, along in zip(gradients, direction, strict=True))
    assert slope == pytest.approx((loss(1e-5) - loss(-1e-5)) / 2e-5, rel=2e-2, abs=0.2)


@needs_kernels
@given(st.integers(1, 70), SEEDS)
def test_gelu_and_its_gradient_are_pytorchs(count: int, seed: int) -> None:
    """To the rounding of bf16, from far left to far right of 0."""
    ours = (random(count, seed=seed % 1000) * 4).requires_grad_()
    theirs = ours.detach().double().requires_grad_()
    out, expected = gelu(ours), torch.nn.functional.gelu(theirs)
    torch.testing.assert_close(out.double(), expected, rtol=2**-8, atol=1e-4)
    weights = random(count, seed=4)
    out.backward(weights)
    expected.backward(weights.double())
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=2**-8, atol=1e-4)


@needs_kernels
def test_the_residuals_gradient_is_that_of_finite_differences() -> None:
    """The slope of the twin's loss along a random direction, in fp64, is what the kernel's gradient says."""
    inputs = [random(6, 64, seed=i) for i in range(2)] + [random(64, seed=i).float() for i in (2, 3)]
    direction = [torch.randn(each.shape, generator=torch.Generator().manual_seed(9)) for each in inputs]
    weights = random(6, 64, seed=4).float()

    def loss(step: float) -> float:
        moved = [each.double() + step * along.double() for each, along in zip(inputs, direction, strict=True)]
        return float((twins.residual_norm(*moved, 1e-12, 5, KEEP_NINE_TENTHS) * weights).sum())

    leaves = [each.clone().requires_grad_() for each in inputs]
    native_ops.residual(*leaves, 1e-12, seed_of(5), KEEP_NINE_TENTHS)[0].backward(weights.bfloat16())
    slope = sum(
        float((leaf.grad.double() * along.double()).sum())  # type: ignore[union-attr]
        for leaf, along in zip(leaves, direction, strict=True)
    )
    assert slope == pytest.approx((loss(1e-5) - loss(-1e-5)) / 2e-5, rel=1e-2, abs=0.2)


@needs_kernels
@pytest.mark.parametrize("num_kept", [KEEP_NINE_TENTHS, 32768])
def test_dropout_keeps_its_share_and_places_know_nothing_of_each_other(num_kept: int) -> None:
    """Zeros plus ones: what stays above the row's mean was kept. The share is within 5 standard deviations."""
    num_tokens, width = 512, 384
    share = num_kept / 65536

    def drawn(seed: int) -> Tensor:
        rows = torch.zeros(num_tokens, width).bfloat16(), torch.ones(num_tokens, width).bfloat16()
        return (
            native_ops.residual(*rows, torch.ones(width), torch.zeros(width), 1e-12, seed_of(seed), num_kept)[0] > 0
        ).double()

    kept = drawn(7)
    deviation = math.sqrt(share * (1 - share))
    assert abs(kept.mean() - share) < 5 * deviation / math.sqrt(kept.numel())
    for axis in (0, 1):
        assert (kept.mean(axis) - share).abs().max() < 6 * deviation / math.sqrt(kept.shape[axis])
    centred = (kept - share) / deviation
    bound = 5 / math.sqrt(kept.numel())
    for other in (
        centred.roll(1, 0),
        centred.roll(1, 1),
        centred.roll(16, 1),
        (drawn(8) - share) / deviation,
    ):
        assert abs((centred * other).mean()) < bound
    heads = [twins.kept_keys(7, num_kept, head, torch.arange(256), 256).double() for head in (0, 1)]
    correlation = ((heads[0] - share) * (heads[1] - share)).mean() / deviation**2
    assert abs(correlation) < 5 / 256


@each_product
@needs_kernels
def test_what_is_no_number_is_not_hidden() -> None:
    """A key that is NaN makes NaN of every query of its sequence, and of no other."""
    query, key, value = (random(9, 1, 32, seed=i) for i in range(3))
    key[2, 0, 5] = float("nan")
    out = native_ops.attention(query, key, value, starts([4, 5]), starts([4, 5]), seed_of(0), KEEP_ALL)[0]
    assert out[:4].isnan().all()
    assert out[4:].isfinite().all()


@each_product
@needs_kernels
def test_what_is_no_number_stays_in_its_sequence_and_its_gradients() -> None:
    """The long sequence leaves NaN in working memory of which the short one after it uses a part."""
    kept = torch.arange(43) >= 40
    heads = [random(43, 1, 32, seed=i) for i in range(3)]
    for each in heads:
        each[~kept] = float("nan")
        each.requires_grad_()
    out = native_ops.attention(*heads, starts([40, 3]), starts([40, 3]), seed_of(0), KEEP_ALL)[0]
    gradient = torch.where(kept[:, None, None], random(*out.shape, seed=5), float("nan"))
    for rows in (out, *torch.autograd.grad(out, heads, gradient)):
        assert rows[~kept].isnan().any()
        assert rows[kept].isfinite().all()


@each_product
@needs_kernels
def test_queries_without_keys_are_no_error() -> None:
    query, none = random(3, 2, 32), random(0, 2, 32)
    out = native_ops.attention(query, none, none, starts([3]), starts([0]), seed_of(0), KEEP_ALL)[0]
    assert out.shape == query.shape


@pytest.mark.skipif(not engine().tiles, reason="no AMX here, or a compiler that did not know it")
def test_tiles_are_used_where_they_are(products: bool) -> None:
    """Sums of tiles are added up in another order: the bits tell who computed."""
    heads = random(80, 2, 64)
    rows, gradient = random(7, 64), random(7, 384, seed=1)
    found = []
    for wish in (True, False):
        compiled().bertsmith_use_tiles(wish)
        log_sums = native_ops.attention(heads, heads, heads, starts([80]), starts([80]), seed_of(0), KEEP_ALL)[1]
        found.append((log_sums, native_ops.linear_backward_weight(gradient, rows)[0]))
    compiled().bertsmith_use_tiles(products)
    for by_tiles, by_vectors in zip(*found, strict=True):
        assert not torch.equal(by_tiles, by_vectors)
        torch.testing.assert_close(by_tiles, by_vectors, rtol=1e-4, atol=1e-4)


@needs_kernels
def test_another_default_dtype_changes_nothing() -> None:
    heads = [random(5, 1, 32, seed=i).requires_grad_() for i in range(3)]
    rows = [random(5, 32, seed=i).requires_grad_() for i in range(2)]
    weight, bias = (random(32, seed=i).float().requires_grad_() for i in (2, 3))

    def results() -> list[Tensor]:
        attended = native_ops.attention(*heads, starts([5]), starts([5]), seed_of(0), KEEP_ALL)[0]
        normed = native_ops.residual(*rows, weight, bias, 1e-12, seed_of(0), KEEP_ALL)[0]
        leaves = [*heads, *rows, weight, bias]
        return [attended, normed, *torch.autograd.grad(attended.sum() + normed.sum(), leaves)]

    expected = results()
    try:
        for dtype in (torch.float64, torch.bfloat16):
            torch.set_default_dtype(dtype)
            assert all(torch.equal(mine, other) for mine, other in zip(results(), expected, strict=True))
    finally:
        torch.set_default_dtype(torch.float32)


@each_product
@needs_kernels
def test_compiled_graphs_hold_the_kernels_whole() -> None:
    """No break in the graph, the same gradients, and other dropout in each call."""
    layout = draw_layout([4, 5])
    assert layout.key_starts is layout.query_starts  # drawn before tracing, as a batch's is
    weight, bias = torch.ones(64), torch.zeros(64)

    def block(heads: Tensor, dropout: float) -> Tensor:
        attended = packed_attention(heads, heads, heads, layout, dropout=dropout).flatten(1)
        return residual_norm(attended, gelu(attended), weight, bias, 1e-12, dropout=dropout)

    compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
    heads = random(9, 2, 32).requires_grad_()
    ours, plain = compiled(heads, 0.0), block(heads, 0.0)
    assert torch.equal(ours, plain)
    assert torch.equal(*(torch.autograd.grad(out.sum(), heads)[0] for out in (ours, plain)))
    assert not torch.equal(compiled(heads, 0.5), compiled(heads, 0.5))


@needs_kernels
def test_a_library_of_other_sources_or_none_is_not_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = engine.__wrapped__  # what this process has found before stays as it is
    monkeypatch.setattr("bertsmith.kernels.library.fingerprint", lambda: "of a later version")
    assert look().library is None
    assert "compiled from other sources" in look().reason
    monkeypatch.setenv("BERTSMITH_KERNELS_LIBRARY", str(tmp_path / "absent.so"))
    with pytest.raises(SettingsError, match="cannot be loaded"):
        look()


@needs_kernels
def test_dropout_draws_from_torchs_generator() -> None:
    layout = draw_layout([9, 20])
    query, key, value = (random(29, 2, 32, seed=i) for i in range(3))
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(packed_attention(query, key, value, layout, dropout=0.5))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@needs_kernels
def test_bf16_on_the_cpu_goes_to_the_kernels_and_everything_else_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = native_ops.attention
    monkeypatch.setattr(native_ops, "attention", lambda *a: calls.append("attention") or real(*a))
    layout, causal = draw_layout([3, 4]), draw_layout([3, 4], causal=True)
    fits = [random(7, 2, 32, seed=i) for i in range(3)]
    packed_attention(*fits, layout)
    assert calls == ["attention"]
    for others, drawn in (
        ([each.float() for each in fits], layout),
        ([each[..., :16].contiguous() for each in fits], layout),
        ([each[..., :16] for each in fits], layout),
        ([random(7, 65)[:, :64].unflatten(1, (2, 32)) for _ in fits], layout),
        (fits, causal),
    ):
        packed_attention(*others, drawn)
    assert calls == ["attention"]
    assert not attention_file._fits_kernel(*fits, causal)


def test_other_precisions_are_plain_pytorch() -> None:
    residual, sublayer, weight, bias = (torch.randn(5, 40), torch.randn(5, 40), torch.ones(40), torch.zeros(40))
    ours = residual_norm(residual, sublayer, weight, bias, 1e-12)
    torch.testing.assert_close(ours, torch.nn.functional.layer_norm(residual + sublayer, (40,), weight, bias, 1e-12))


@needs_kernels
@pytest.mark.parametrize("backward", [False, True])
def test_pytorch_finds_the_operators_well_made(backward: bool) -> None:
    """Schemas, shapes without data, gradients through `torch.compile`: torch.library's own checks."""
    at = starts([3, 4])
    heads = [random(7, 2, 32, seed=i).requires_grad_(backward) for i in range(3)]
    torch.library.opcheck(native_ops.attention.op, (*heads, at, at, seed_of(3), KEEP_NINE_TENTHS))
    if not backward:
        torch.library.opcheck(native_ops.attention_only.op, (*heads, at, at, None))
    rows = [random(7, 32, seed=i).requires_grad_(backward) for i in range(2)]
    numbers = [torch.randn(32).requires_grad_(backward) for _ in range(2)]
    torch.library.opcheck(native_ops.gelu.op, (rows[0],))
    torch.library.opcheck(native_ops.residual.op, (*rows, *numbers, 1e-12, seed_of(3), KEEP_NINE_TENTHS))
    weight = torch.randn(48, 32).requires_grad_(backward)
    for bias in (torch.randn(48).requires_grad_(backward), None):
        torch.library.opcheck(native_ops.linear.op, (rows[0], weight, bias))


def test_kernels_can_be_turned_off_and_a_wrong_wish_is_refused() -> None:
    program = "from bertsmith.kernels.library import engine; print(engine().library is None, engine().reason)"

    def run(wish: str) -> subprocess.CompletedProcess[str]:
        values = os.environ | {"BERTSMITH_KERNELS": wish}
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=values, check=False)

    assert run("off").stdout.strip() == "True BERTSMITH_KERNELS=off"
    wrong = run("fast")
    assert wrong.returncode != 0
    assert "BERTSMITH_KERNELS='fast': expected on or off" in wrong.stderr


def test_without_a_compiler_there_is_a_reason_and_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    reason = compile_library(tmp_path / "library.so")
    assert reason is not None
    assert "no-compiler" in reason or "kernels are for" in reason
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = compile_library(tmp_path / "library.so")
    assert reason is not None
    assert "no C++ compiler" in reason or "kernels are for" in reason
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@needs_kernels
def test_a_compiler_that_does_not_know_amx_builds_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "compiler"
    refusal = '*-mamx-*) echo "error: unrecognized command-line option" >&2; exit 1'
    compiler.write_text(f'#!/bin/sh\ncase "$*" in\n{refusal};;\nesac\nexec g++ "$@"\n', encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert compile_library(tmp_path / "library.so") is None
    library = ctypes.CDLL(str(tmp_path / "library.so"))
    assert library.bertsmith_fits_processor()
    assert not library.bertsmith_use_tiles(1)
