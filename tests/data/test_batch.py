"""Micro-batches and packing."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.data.batch import Batch, Window, blocks, concatenate, micro_batches, pack


@given(st.lists(st.integers(1, 50)), st.integers(1, 80))
def test_every_row_is_in_one_micro_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    parts = micro_batches(lengths, int, budget)
    assert [length for part in parts for length in part] == sorted(lengths, reverse=True)
    assert all(sum(part) <= budget or len(part) == 1 for part in parts)


@given(st.lists(st.integers()), st.integers(1, 7))
def test_blocks_keep_order_and_size(rows: list[int], size: int) -> None:
    parts = list(blocks(rows, size))
    assert [row for part in parts for row in part] == rows
    assert all(len(part) == size for part in parts[:-1])


def test_windows_are_packed_one_after_another() -> None:
    packed = pack([Window([2, 7, 3], [0, 0, 0]), Window(np.array([2, 8, 3, 9, 3]), np.array([0, 0, 0, 1, 1]))])
    assert packed.input_ids.tolist() == [2, 7, 3, 2, 8, 3, 9, 3]
    assert packed.token_type_ids.tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert packed.lengths == (3, 5)


def test_nothing_concatenated_is_an_empty_array() -> None:
    assert concatenate([]).tolist() == []


def test_targets_that_the_cpu_reads_stay_there() -> None:
    targets = {"labels": torch.tensor([1]), "places": torch.tensor([0])}
    moved = Batch(pack([Window([2, 3], [0, 0])]), targets, {}, stays={"places"}).to(torch.device("meta"))
    assert moved.packed.input_ids.is_meta
    assert moved.targets["labels"].is_meta
    assert not moved.targets["places"].is_meta
