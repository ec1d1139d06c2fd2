"""What the tests of searching share."""

from __future__ import annotations

import pytest
from toy_search import toy_encoder

from bertsmith.search.encoder import TextEncoder


@pytest.fixture(scope="session")
def encoder() -> TextEncoder:
    return toy_encoder()
