"""The bytes of tensors that a piece of work makes and keeps, at most. Knows tensors, not who makes them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class TensorBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it: `now` and `peak`, the bytes of tensors that were made in it and are still alive.

    outside: tensors that were there before. What an operation takes and gives back within itself is not seen.
    """

    def __init__(self, outside: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._known = {tensor.untyped_storage().data_ptr() for tensor in outside if tensor.layout == torch.strided}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor) and tensor.layout == torch.strided:
                self._see(tensor.untyped_storage())
        return out

    def _see(self, storage: torch.UntypedStorage) -> None:
        address = storage.data_ptr()
        if not address or address in self._known:
            return
        self._known.add(address)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, address, storage.nbytes())

    def _forget(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.now -= size
