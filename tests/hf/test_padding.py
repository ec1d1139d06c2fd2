"""The border: what is spread lies where it was taken from; masks and ids that cannot be are refused by name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.errors import DataError
from bertsmith.hf.padding import Padded
from bertsmith.model.config import EncoderConfig

CONFIG = EncoderConfig(vocab_size=50, hidden_size=4, num_attention_heads=1, max_position_embeddings=8)


def test_a_drawn_batch() -> None:
    # ids   7 8 . 9      kept in rows   7 8 9 | 5
    #       . . 5 .      columns        0 1 3 | 2
    ids = torch.tensor([[7, 8, 0, 9], [0, 0, 5, 0]])
    padded = Padded.of(ids, (ids > 0).long(), None, None, CONFIG)
    assert padded.packed.input_ids.tolist() == [7, 8, 9, 5]
    assert padded.packed.position_ids.tolist() == [0, 1, 3, 2]
    assert padded.packed.token_type_ids.tolist() == [0, 0, 0, 0]
    assert padded.packed.lengths == (3, 1)
    assert padded.spread(torch.tensor([1.0, 2.0, 3.0, 4.0]), -1.0).tolist() == [[1, 2, -1, 3], [-1, -1, 4, -1]]
    pairs = padded.spread_pairs([torch.arange(9.0).view(1, 3, 3), torch.full((1, 1, 1), 9.0)])
    assert pairs[0, 0].tolist() == [[0, 1, 0, 2], [3, 4, 0, 5], [0, 0, 0, 0], [6, 7, 0, 8]]
    assert pairs[1, 0, 2].tolist() == [0, 0, 9, 0]


@given(masks=st.lists(st.lists(st.booleans(), min_size=6, max_size=6).filter(any), min_size=1, max_size=5))
def test_spreading_undoes_packing(masks: list[list[bool]]) -> None:
    mask = torch.tensor(masks)
    ids = torch.arange(mask.numel()).view(mask.shape) + 1
    padded = Padded.of(ids, mask, None, None, CONFIG)
    assert torch.equal(padded.spread(padded.packed.input_ids), ids * mask)
    assert padded.packed.lengths == tuple(map(sum, masks))


def ids(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.long)


REFUSED = {
    r"input_ids should be whole numbers \[rows, columns\], found \[3\] of int64": (ids(3), None, None, None),
    r"found \[2, 3\] of float32": (torch.zeros(2, 3), None, None, None),
    r"found \[0, 3\]": (ids(0, 3), None, None, None),
    r"attention_mask should have the shape of input_ids, \[2, 3\], found \[2, 4\]": (ids(2, 3), ids(2, 4), None, None),
    "token_type_ids should have": (ids(2, 3), None, ids(3, 3), None),
    "position_ids should have": (ids(2, 3), None, None, ids(3)),
    "attention_mask: row 1 masks all of its tokens": (ids(2, 2), torch.tensor([[1, 0], [0, 0]]), None, None),
    "input_ids: 50 is not below the 50": (ids(1, 2) + 50, None, None, None),
    "input_ids: -1 is not": (ids(1, 2) - 1, None, None, None),
    "token_type_ids: 2 is not below the 2": (ids(1, 2), None, ids(1, 2) + 2, None),
    "position_ids: 8 is not below the 8": (ids(1, 9), None, None, None),
}


@pytest.mark.parametrize("problem", REFUSED)
def test_what_cannot_be_is_refused(problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        Padded.of(*REFUSED[problem], CONFIG)


def test_ids_under_the_mask_may_be_anything() -> None:
    assert Padded.of(torch.tensor([[1, -100]]), torch.tensor([[1, 0]]), None, None, CONFIG).packed.lengths == (1,)
