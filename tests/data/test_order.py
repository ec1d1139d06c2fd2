"""Order and random numbers are functions of (seed, epoch, index), of nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bertsmith.data.order import sample_rng, step_samples, steps_per_epoch


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 2**40))
def test_an_epoch_visits_every_sample_once(num_samples: int, batch_size: int, seed: int) -> None:
    steps = steps_per_epoch(num_samples, batch_size)
    for epoch in range(2):
        parts = [step_samples(epoch * steps + i, num_samples, batch_size, seed) for i in range(steps)]
        assert {part[0] for part in parts} == {epoch}
        assert sorted(index for _, indices in parts for index in indices.tolist()) == list(range(num_samples))


def test_epochs_differ_in_order_and_steps_are_reached_directly() -> None:
    first = [step_samples(i, 100, 10, 0)[1].tolist() for i in range(10)]
    second = [step_samples(i, 100, 10, 0)[1].tolist() for i in range(10, 20)]
    assert all(one != other for one, other in zip(first, second, strict=True))
    assert step_samples(13, 100, 10, 0)[1].tolist() == second[3]


def test_every_sample_has_its_own_random_numbers_in_every_epoch() -> None:
    drawn = {
        (seed, epoch, index): sample_rng(seed, epoch, index).integers(2**60)
        for seed in range(3)
        for epoch in range(3)
        for index in range(50)
    }
    assert len(set(drawn.values())) == len(drawn)
    assert all(sample_rng(*key).integers(2**60) == value for key, value in drawn.items())
