"""A wish to stop is heard within `stoppable`, by whoever asks, until the outermost block ends."""

from __future__ import annotations

import os
import signal

import pytest

from bertsmith.runtime.interruption import InterruptedRunError, raise_if_asked, stoppable


def test_a_signal_is_a_wish_until_the_block_ends() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stoppable():
        raise_if_asked()
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(2):
            with pytest.raises(InterruptedRunError, match="stopped by SIGTERM"):
                raise_if_asked()
    raise_if_asked()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_block_within_forgets_no_wish() -> None:
    with stoppable():
        os.kill(os.getpid(), signal.SIGUSR1)
        with stoppable(), pytest.raises(InterruptedRunError, match="stopped by SIGUSR1"):
            raise_if_asked()
        with pytest.raises(InterruptedRunError, match="stopped by SIGUSR1"):
            raise_if_asked()
