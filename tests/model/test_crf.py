"""Linear chains: equal to the sum over all sequences written out, whatever is packed together."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch
from torch import Tensor

from bertsmith.model.crf import NEVER, Chain, Crf

LENGTHS = (3, 1, 4, 2, 3)
L = 3


def chain(seed: int = 0) -> Chain:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return Chain(draw(L), draw(L, L), draw(L))


def scores() -> Tensor:
    return torch.randn(sum(LENGTHS), L, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def weight(of: Chain, rows: Tensor, labels: tuple[int, ...]) -> float:
    total = (
        of.starts[labels[0]] + of.ends[labels[-1]] + sum(row[label] for row, label in zip(rows, labels, strict=True))
    )
    return float(total + sum(of.transitions[a, b] for a, b in pairwise(labels)))


def test_all_of_it_against_every_sequence_written_out() -> None:
    of, rows = chain(), scores()
    labels = torch.randint(L, (sum(LENGTHS),), generator=torch.Generator().manual_seed(2))
    likelihood = of.log_likelihood(rows, labels, LENGTHS)
    best, marginals = of.best(rows, LENGTHS), of.log_marginals(rows, LENGTHS).exp()
    parts = zip(*(values.split(LENGTHS) for values in (rows, labels, best, marginals)), likelihood, strict=True)
    for part, known, found, margin, log_probability in parts:
        weights = {way: weight(of, part, way) for way in product(range(L), repeat=len(part))}
        total = torch.tensor(list(weights.values())).logsumexp(0)
        assert float(log_probability) == pytest.approx(weights[tuple(known.tolist())] - float(total))
        assert tuple(found.tolist()) == max(weights, key=weights.__getitem__)
        for place, label in product(range(len(part)), range(L)):
            mass = sum((w - total).exp() for way, w in weights.items() if way[place] == label)
            assert float(margin[place, label]) == pytest.approx(float(mass))


def allowed() -> tuple[Tensor, Tensor, Tensor]:
    """Not 0 at the start, not 2 at the end, neither 0 1 nor 2 2 between them."""
    transitions = torch.ones(L, L, dtype=torch.bool)
    transitions[0, 1] = transitions[2, 2] = False
    return torch.tensor([False, True, True]), transitions, torch.tensor([True, True, False])


def test_a_restricted_chain_against_every_allowed_sequence_written_out() -> None:
    strict, rows = chain().restricted(*allowed()), scores()
    # The first and the third sequence are cut out of longer ones: whatever stands at their open borders is alike.
    before, after = torch.tensor([True, False, False, False, False]), torch.tensor([True, False, True, False, False])
    of = strict.open(before, after)
    labels = of.best(rows, LENGTHS)
    likelihood, marginals = of.log_likelihood(rows, labels, LENGTHS), of.log_marginals(rows, LENGTHS).exp()
    parts = zip(*(values.split(LENGTHS) for values in (rows, labels, marginals)), likelihood, strict=True)
    for i, (part, found, margin, log_probability) in enumerate(parts):
        alone = Chain(of.starts[i], of.transitions, of.ends[i])
        weights = {way: weight(alone, part, way) for way in product(range(L), repeat=len(part))}
        weights = {way: w for way, w in weights.items() if w > NEVER / 2}
        assert len(weights) < L ** len(part)
        total = torch.tensor(list(weights.values()), dtype=torch.float64).logsumexp(0)
        assert tuple(found.tolist()) == max(weights, key=weights.__getitem__)
        assert float(log_probability) == pytest.approx(max(weights.values()) - float(total))
        for place, label in product(range(len(part)), range(L)):
            mass = sum(float((w - total).exp()) for way, w in weights.items() if way[place] == label)
            assert float(margin[place, label]) == pytest.approx(mass)


def test_what_is_forbidden_never_comes_out_and_has_no_gradient() -> None:
    strict = chain().restricted(*allowed())
    rows = torch.randn(600, L, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 50
    found = strict.best(rows, [6] * 100)
    for part in found.split(6):
        pairs = list(pairwise(part.tolist()))
        assert (0, 1) not in pairs
        assert (2, 2) not in pairs
        assert part[0] != 0
        assert part[-1] != 2
    crf = Crf(L)
    crf.chain().restricted(*allowed()).log_likelihood(rows.float(), found, [6] * 100).sum().backward()
    for parameter, may in zip(crf.parameters(), allowed(), strict=True):
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert (parameter.grad[~may] == 0).all()


def test_gradients_are_those_of_each_sequence_alone() -> None:
    rows, labels = scores().float(), torch.randint(L, (sum(LENGTHS),), generator=torch.Generator().manual_seed(2))

    def gradients(parts: list[tuple[Tensor, Tensor, tuple[int, ...]]]) -> list[Tensor]:
        crf = Crf(L)
        sum(crf.chain().log_likelihood(*part).sum() for part in parts).backward()  # type: ignore[union-attr]
        return [parameter.grad for parameter in crf.parameters() if parameter.grad is not None]

    apart = [
        (part, known, (len(part),)) for part, known in zip(rows.split(LENGTHS), labels.split(LENGTHS), strict=True)
    ]
    for mine, theirs in zip(gradients([(rows, labels, LENGTHS)]), gradients(apart), strict=True):
        torch.testing.assert_close(mine, theirs)
        assert mine.abs().sum() > 0


def test_a_fresh_chain_holds_all_sequences_alike() -> None:
    # 2 labels, 3 rows without preference: 8 sequences, each of probability 1/8
    likelihood = Crf(2).chain().log_likelihood(torch.zeros(3, 2), torch.tensor([0, 1, 1]), [3])
    assert float(likelihood.detach().exp()) == pytest.approx(1 / 8)
