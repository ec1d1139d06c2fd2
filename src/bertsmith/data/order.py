"""Which samples a step trains on, and each sample's own random numbers: pure functions of (seed, epoch, index).

Nothing here remembers anything, so a run can begin at any step in constant time, with any number of workers.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of one sample in one epoch, whatever is drawn for its neighbours."""
    return _generator(seed, (epoch << 40) + index)


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """What a step's dropout is drawn from in the process of that rank: 63 bits."""
    return int(_generator(seed, (1 << 62) + (rank << 40) + step).integers(1 << 63))


@lru_cache(maxsize=2)
def epoch_order(num_samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which an epoch visits its samples."""
    order = _generator(seed, (1 << 63) + epoch).permutation(num_samples)
    order.setflags(write=False)
    return order


def steps_per_epoch(num_samples: int, batch_size: int) -> int:
    """The last step of an epoch takes what is left."""
    return -(-num_samples // batch_size)


def step_samples(step: int, num_samples: int, batch_size: int, seed: int) -> tuple[int, NDArray[np.int64]]:
    """(epoch, indices) of the samples that optimizer step `step` (from 0) trains on.

    >>> step_samples(3, num_samples=5, batch_size=2, seed=0)[0]
    1
    """
    epoch, place = divmod(step, steps_per_epoch(num_samples, batch_size))
    return epoch, epoch_order(num_samples, seed, epoch)[place * batch_size : (place + 1) * batch_size]


def _generator(seed: int, stream: int) -> np.random.Generator:
    # Spelled uint64: numpy turns a list with a number above 2^63 into floats, and neighbouring streams into one.
    return np.random.Generator(np.random.Philox(key=np.array([seed, stream], dtype=np.uint64)))
