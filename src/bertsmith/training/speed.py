"""How fast a run is beside what the machine's matrix products alone would allow. Knows steps by their tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from bertsmith.model.flops import counted_flops
from bertsmith.runtime.device import Precision
from bertsmith.runtime.products import gemm_rate
from bertsmith.runtime.progress import Shown
from bertsmith.training.step import Step


@dataclass
class Speed:
    """limit: tokens a second if steps were nothing but matrix products at their best rate; known after one step."""

    precision: Precision
    device: str
    limit: float | None = None

    @contextmanager
    def measured(self, network: nn.Module, step: Step) -> Iterator[None]:
        """Around the first step, whose operations are counted; around the others nothing happens."""
        if self.limit is not None:
            yield
            return
        rate = gemm_rate(self.precision, self.device)
        with counted_flops(network) as flops:
            yield
        self.limit = rate * step.num_tokens / max(flops.total, 1)

    def shown(self, tokens_per_second: float) -> dict[str, Shown]:
        """What progress says beside the loss."""
        share = {} if self.limit is None else {"of the products' limit": f"{tokens_per_second / self.limit:.0%}"}
        return {"tokens/s": tokens_per_second, **share}
