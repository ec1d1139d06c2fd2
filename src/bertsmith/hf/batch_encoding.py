"""What a Hugging Face shaped tokenizer answers: named lists or padded arrays. Knows neither texts nor vocabularies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bertsmith.errors import DataError, SettingsError
from bertsmith.text.tokenizer import Encoding

TensorKind: TypeAlias = Literal["pt", "np"]
PaddingSide: TypeAlias = Literal["right", "left"]


class BatchEncoding(Mapping[str, Any]):
    """Model inputs by name, also as attributes: `model(**encoding)`, `encoding.input_ids`.

    encodings: one for each text, with the views that models do not need; empty if the inputs were not made from texts.
    """

    def __init__(self, data: Mapping[str, Any], encodings: Sequence[Encoding] = ()):
        self.data = dict(data)
        self.encodings = list(encodings)

    def __getitem__(self, name: str) -> Any:
        return self.data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["data"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __repr__(self) -> str:
        return repr(self.data)

    def to(self, device: Any) -> Self:
        """Move every tensor to `device`, in place."""
        self.data = {name: value.to(device) if hasattr(value, "to") else value for name, value in self.data.items()}
        return self

    @property
    def num_cut_tokens(self) -> list[int]:
        """Of each text or pair, how many tokens truncation left out."""
        return [encoding.num_cut_tokens for encoding in self.encodings]

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """Which word each token of a text belongs to, before padding; `None` for special tokens."""
        return self.encodings[batch_index].word_ids

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """Which text of a pair each token belongs to, before padding; `None` for special tokens."""
        return self.encodings[batch_index].sequence_ids


def pad_row(row: Any, length: int, value: int, side: PaddingSide) -> NDArray[np.int64]:
    """A row of numbers or of pairs, int64 [`length` or its own if longer, ...], filled up with `value`."""
    array = np.asarray(row, dtype=np.int64)
    missing = max(0, length - len(array))
    if not missing:
        return array
    filling = np.full((missing, *array.shape[1:]), value, dtype=np.int64)
    return np.concatenate([array, filling] if side == "right" else [filling, array])


def as_tensors(data: Mapping[str, Any], kind: TensorKind) -> dict[str, Any]:
    """Every value as a `torch` tensor (`pt`) or an array (`np`) of int64."""
    if kind not in ("pt", "np"):
        raise SettingsError(f"return_tensors is {kind!r}, expected 'pt' or 'np'")
    arrays: dict[str, Any] = {}
    for name, value in data.items():
        try:
            arrays[name] = np.asarray(value, dtype=np.int64)
        except ValueError:
            lengths = sorted({len(row) for row in value})
            raise DataError(
                f"{name}: texts of {lengths[0]} to {lengths[-1]} tokens make no tensor: set padding=True, and "
                "truncation=True with a max_length for long ones"
            ) from None
    if kind == "np":
        return arrays
    import torch

    return {name: torch.from_numpy(array) for name, array in arrays.items()}
