"""The compiled kernels, if they are here and the processor can run them, and the reason where not. Knows no tensors.

`BERTSMITH_KERNELS=off` leaves them alone; plain PyTorch then computes everything, as it does where no kernel fits.
`BERTSMITH_KERNELS_LIBRARY` names another build of them, for the sanitizers.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch  # before the library is loaded, so that both share one OpenMP  # noqa: F401

from bertsmith.errors import SettingsError
from bertsmith.kernels.build import LIBRARY, fingerprint

BUILD = "python -m bertsmith.kernels.build"
POINTER, WHOLE, SEED, COUNT, REAL = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_double
HEADS = (POINTER, WHOLE)
ADAMW = (ctypes.c_float,) * 9
PROBLEM = (POINTER, POINTER, WHOLE, WHOLE, WHOLE, SEED, COUNT)
SIGNATURES = {
    "bertsmith_attention_forward": (*HEADS * 3, POINTER, POINTER, *PROBLEM),
    "bertsmith_attention_backward": (*HEADS * 3, *(POINTER,) * 6, *PROBLEM),
    "bertsmith_attention_only": (*HEADS * 3, POINTER, WHOLE, POINTER, *PROBLEM[:5]),
    "bertsmith_adamw": (*(POINTER,) * 4, WHOLE, *ADAMW),
    "bertsmith_adamw_rows": (*(POINTER,) * 3, WHOLE, WHOLE, *(POINTER,) * 3, WHOLE, POINTER, WHOLE, *ADAMW[:6]),
    "bertsmith_gelu_forward": (POINTER, POINTER, WHOLE),
    "bertsmith_gelu_backward": (POINTER, POINTER, POINTER, WHOLE),
    "bertsmith_layer_forward": (*(POINTER,) * 6, WHOLE, *(POINTER,) * 4),
    "bertsmith_linear": (POINTER, POINTER, POINTER, WHOLE),
    "bertsmith_linear_forward": (*(POINTER,) * 4, WHOLE, WHOLE, WHOLE),
    "bertsmith_linear_backward_input": (*(POINTER,) * 3, WHOLE, WHOLE, WHOLE),
    "bertsmith_linear_backward_weight": (*(POINTER,) * 4, WHOLE, WHOLE, WHOLE),
    "bertsmith_residual_forward": (*(POINTER,) * 7, WHOLE, WHOLE, REAL, SEED, COUNT),
    "bertsmith_residual_backward": (*(POINTER,) * 10, WHOLE, WHOLE, SEED, COUNT),
    "bertsmith_score_rows": (POINTER, WHOLE, WHOLE, WHOLE, POINTER, POINTER, POINTER),
}
"""The C interface of `native/`, argument by argument."""


@dataclass(frozen=True)
class Engine:
    """library: the kernels, None where plain PyTorch computes. reason: why, for people. tiles: whether they use AMX."""

    library: ctypes.CDLL | None
    reason: str
    tiles: bool = False


@lru_cache
def engine() -> Engine:
    """What this process computes with, decided once. `SettingsError` where BERTSMITH_KERNELS is neither on nor off."""
    wish = os.environ.get("BERTSMITH_KERNELS", "on")
    if wish not in ("on", "off"):
        raise SettingsError(f"BERTSMITH_KERNELS={wish!r}: expected on or off")
    if wish == "off":
        return Engine(None, "BERTSMITH_KERNELS=off")
    named = os.environ.get("BERTSMITH_KERNELS_LIBRARY")
    path = Path(named or LIBRARY)
    if not named and not path.is_file():
        return Engine(None, f"the kernels were not compiled; with a C++ compiler: {BUILD}")
    try:
        library = ctypes.CDLL(str(path))
        library.bertsmith_fingerprint.restype = ctypes.c_char_p
        current = library.bertsmith_fingerprint().decode() == fingerprint()
    except (OSError, AttributeError) as error:
        if named:
            raise SettingsError(f"BERTSMITH_KERNELS_LIBRARY={named!r} cannot be loaded: {error}") from error
        return Engine(None, f"{path.name} cannot be loaded, build it again ({BUILD}): {error}")
    if not current:
        return Engine(None, f"{path.name} was compiled from other sources than are here, build it again: {BUILD}")
    if not library.bertsmith_fits_processor():
        return Engine(None, "this processor has no AVX-512 with products of bf16 and int8")
    for name, types in SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = types, None
    tiles = bool(library.bertsmith_use_tiles(1))
    return Engine(library, f"compiled kernels, AVX-512 with bf16{' and AMX' if tiles else ''}", tiles)


def compiled() -> ctypes.CDLL:
    """The kernels, for callers that have asked whether they are here."""
    library = engine().library
    assert library is not None, "callers ask first whether there are kernels"
    return library
