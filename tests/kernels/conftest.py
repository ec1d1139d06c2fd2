"""Products by vectors, and where the processor has AMX by tiles too: tests that ask for `products` run with each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bertsmith.kernels.library import compiled, engine


@pytest.fixture(scope="module", params=["vectors", "tiles"] if engine().tiles else ["vectors"])
def products(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether tiles are used."""
    if engine().library is None:
        yield False
        return
    wish = request.param == "tiles"
    assert bool(compiled().bertsmith_use_tiles(wish)) == wish
    yield wish
    compiled().bertsmith_use_tiles(engine().tiles)
