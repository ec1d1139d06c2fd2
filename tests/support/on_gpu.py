"""Where the tests of `tests/gpu` compute; `BERTSMITH_GPU_TESTS=cpu` rehearses on a CPU those that need no kernels."""

from __future__ import annotations

import os

import pytest
import torch

IS_REHEARSAL = os.environ.get("BERTSMITH_GPU_TESTS") == "cpu"
DEVICE = torch.device("cpu" if IS_REHEARSAL else "cuda")
needs_gpu = pytest.mark.skipif(not (IS_REHEARSAL or torch.cuda.is_available()), reason="no GPU here")
needs_its_kernels = pytest.mark.skipif(IS_REHEARSAL or not torch.cuda.is_available(), reason="no GPU here")
