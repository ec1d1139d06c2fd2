"""Predictions that are the same but for the rounding of other batches, and for the tuples that JSON has not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import pytest


def assert_near(found: Any, expected: Any, tolerance: float = 1e-4) -> None:
    """Records, lists and numbers, however deep."""
    found, expected = (asdict(value) if is_dataclass(value) else value for value in (found, expected))  # type: ignore[call-overload]
    if isinstance(expected, Mapping):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_near(found[name], value, tolerance)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_near(one, other, tolerance)
    elif isinstance(expected, np.ndarray | float):
        assert found == pytest.approx(expected, abs=tolerance)
    else:
        assert found == expected
