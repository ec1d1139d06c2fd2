"""Groups of parameters: what decays, and what has a learning rate of its own."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toys import toy_config

from bertsmith.kernels.library import engine
from bertsmith.model.networks import BareNetwork, PretrainingNetwork, looked_up
from bertsmith.training import optimizer as optimizer_file
from bertsmith.training.optimizer import AdamW, OptimizerSettings, build_optimizer, large_tables


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))


def test_groups_by_factor_and_decay() -> None:
    optimizer = build_optimizer(network(), OptimizerSettings(weight_decay=0.1), 0.5, {"0.weight": 0.25, "0.bias": 0.25})
    facts = [
        (group["rate_factor"], group["weight_decay"], group["lr"], len(group["params"]))
        for group in optimizer.param_groups
    ]
    assert facts == [(1.0, 0.1, 0.5, 1), (1.0, 0.0, 0.5, 1), (0.25, 0.1, 0.125, 1), (0.25, 0.0, 0.125, 1)]


def test_frozen_parameters_are_in_no_group() -> None:
    net = network()
    net[0].requires_grad_(False)
    groups = build_optimizer(net, OptimizerSettings(), 1e-3).param_groups
    assert [tuple(map(id, group["params"])) for group in groups] == [(id(net[1].weight),), (id(net[1].bias),)]


def test_the_first_step_is_as_large_as_its_group_s_rate() -> None:
    """Adam's first step is the rate times the gradient's sign, whatever the gradient's size."""
    net = network()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    settings = OptimizerSettings(weight_decay=0.0, adam_epsilon=1e-20)
    optimizer = build_optimizer(net, settings, 0.1, {"0.weight": 0.5, "1.bias": 0.1})
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    steps = [float((p.detach() - old).abs().max()) for p, old in zip(net.parameters(), before, strict=True)]
    assert steps == pytest.approx([0.05, 0.1, 0.1, 0.01], rel=1e-4)


class Lookup(nn.Module):
    """A table of 50 rows, a matrix, and a vector whose length is no multiple of anything."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(50, 24, padding_idx=0)
        self.up = nn.Linear(24, 37)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.up(self.table(ids)).tanh()
        return out


def learn(optimizer: torch.optim.Optimizer, net: nn.Module, max_norm: float | None) -> list[float]:
    """Five steps on other rows each; the norm of each step's gradient."""
    norms = []
    for step in range(5):
        optimizer.zero_grad()
        ids = torch.randint(50, (9,), generator=torch.Generator().manual_seed(step))
        for part in ids.split(5):  # gradients add up over parts
            net(part).square().sum().backward()
        if isinstance(optimizer, AdamW):
            norms.append(optimizer.clip(max_norm))
        else:
            norms.append(float(nn.utils.clip_grad_norm_(net.parameters(), max_norm or float("inf"))))
        optimizer.step()
    return norms


@pytest.mark.parametrize("max_norm", [None, 0.5])
@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("kernels", [False, True])
def test_steps_are_those_of_pytorch(
    max_norm: float | None, by_rows: bool, kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the kernel and without, gradients dense or by rows: rows that no step met decay and move alike."""
    if kernels and engine().library is None:
        pytest.skip(engine().reason)
    if not kernels:
        monkeypatch.setattr(optimizer_file, "fits_kernel", lambda parameter: False)
    monkeypatch.setattr(optimizer_file, "LARGE_TABLE", 1 if by_rows else 10**9)
    ours, theirs = Lookup(), Lookup()
    settings = OptimizerSettings(weight_decay=0.1, max_grad_norm=max_norm)
    optimizer = build_optimizer(ours, settings, 1e-2)
    groups = [{"params": [p for p in theirs.parameters() if (p.ndim >= 2) == decayed]} for decayed in (True, False)]
    groups[1]["weight_decay"] = 0.0  # type: ignore[assignment]
    with optimizer.by_rows(large_tables(ours)):
        norms = learn(optimizer, ours, max_norm)
    expected = learn(torch.optim.AdamW(groups, lr=1e-2, weight_decay=0.1), theirs, max_norm)
    assert norms == pytest.approx(expected, rel=1e-5)
    assert not ours.table.sparse
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_state_is_that_of_pytorchs_optimizer() -> None:
    """Names and values: either's state can go on in the other."""
    ours, theirs = Lookup(), Lookup()
    optimizer = build_optimizer(ours, OptimizerSettings(weight_decay=0.0), 1e-2)
    other = torch.optim.AdamW(theirs.parameters(), lr=1e-2, weight_decay=0.0)
    learn(optimizer, ours, None)
    learn(other, theirs, None)
    mine, their_state = optimizer.state[ours.table.weight], other.state[theirs.table.weight]
    assert mine.keys() == their_state.keys()
    torch.testing.assert_close(mine["exp_avg"], their_state["exp_avg"], rtol=1e-4, atol=1e-6)
    assert int(mine["step"]) == int(their_state["step"]) == 5


def test_tables_that_a_head_multiplies_by_have_dense_gradients() -> None:
    """A tied vocabulary head's gradient is in every row; it is added to that of the look-ups."""
    config = toy_config()
    for network, expected in ((PretrainingNetwork(config), 0), (BareNetwork(config), 1)):
        large = [table for table in looked_up(network) if table is network.encoder.embeddings.tokens]
        assert len(large) == expected


def test_clipping_is_for_one_step() -> None:
    net = Lookup()
    optimizer = build_optimizer(net, OptimizerSettings(), 1e-2)
    net(torch.arange(4)).square().sum().backward()
    optimizer.clip(1e-3)
    assert optimizer.gradient_scale < 1
    optimizer.step()
    assert optimizer.gradient_scale == 1.0


needs_kernels = pytest.mark.skipif(engine().library is None, reason=engine().reason)


@needs_kernels
@pytest.mark.parametrize("in_context", [False, True])
def test_a_table_of_many_chunks_takes_the_same_steps_by_rows_and_dense(in_context: bool) -> None:
    """More values than a thread takes at a time, rows met in the first chunk, the last, and in between: the same bits.

    Rows 683 and 1500 to 1502 are left behind and looked up again; the rates differ from step to step.
    """
    tables = [nn.Embedding(3000, 24) for _ in range(3)]
    for table in tables[1:]:
        table.load_state_dict(tables[0].state_dict())
    optimizers = [build_optimizer(table, OptimizerSettings(), 1e-2) for table in tables[:2]]
    tables[0].sparse = not in_context
    optimizers.append(torch.optim.AdamW(tables[2].parameters(), lr=1e-2, weight_decay=0.01))  # type: ignore[arg-type]
    looked_up_values = []
    with optimizers[0].by_rows(tables[:1] if in_context else []):
        for step in range(70):
            ids = torch.tensor([0, 682, 683 if step % 9 == 0 else 684, 1500 + step % 3, 2999, 0])
            found = []
            for table, optimizer in zip(tables, optimizers, strict=True):
                optimizer.zero_grad()
                found.append(table(ids))
                found[-1].square().sum().backward()
                optimizer.param_groups[0]["lr"] = 1e-2 / (step + 1)
                optimizer.step()
            looked_up_values.append(torch.equal(found[0], found[1]))
    assert all(looked_up_values)
    assert torch.equal(tables[0].weight, tables[1].weight)
    for name in ("exp_avg", "exp_avg_sq"):
        first, second = (o.state[t.weight][name] for o, t in zip(optimizers[:2], tables[:2], strict=True))
        assert torch.equal(first, second)
    torch.testing.assert_close(tables[1].weight, tables[2].weight, rtol=1e-5, atol=1e-6)


@needs_kernels
def test_rows_are_behind_until_they_are_looked_up_or_all_catch_up() -> None:
    table = nn.Embedding(10, 16)
    optimizer = build_optimizer(table, OptimizerSettings(weight_decay=0.5), 1e-2)
    before = table.weight.detach().clone()
    with optimizer.by_rows([table]):
        for ids in ([1], [2], [2]):
            table(torch.tensor(ids)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        assert torch.equal(table.weight[3:], before[3:])
        table(torch.tensor([4, 4]))
        assert not torch.equal(table.weight[4], before[4])
        assert torch.equal(table.weight[5:], before[5:])
        optimizer.catch_up()
        assert not (table.weight == before).all(1).any()
    # No gradient, so only decay: three factors of 1 - 0.01 x 0.5.
    torch.testing.assert_close(table.weight[3:].detach(), before[3:] * 0.995**3)


@needs_kernels
def test_an_id_outside_the_table_is_pytorchs_error_and_writes_nowhere() -> None:
    table = nn.Embedding(10, 16)
    optimizer = build_optimizer(table, OptimizerSettings(), 1e-2)
    with optimizer.by_rows([table]):
        table(torch.tensor([1])).sum().backward()
        optimizer.step()
        for wrong in (-1, 10, 2**40):
            with pytest.raises(IndexError):
                table(torch.tensor([wrong]))
