"""What an answer comes from: the models that took part in it, and what they did not read of the query."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

from bertsmith.data.batch import Truncation
from bertsmith.inference.predictor import Predictor


@dataclass
class Provenance:
    """Handed to who answers, and filled there. models: `Predictor.sha256` of each that took part, by its role.

    truncation: of the queries, by the model, or the search by words, that read least of them; of passages nothing is
    counted.
    """

    models: dict[str, str] = field(default_factory=dict)
    truncation: Truncation = field(default_factory=Truncation)

    def add(self, role: str, model: Predictor, truncation: Truncation | None = None) -> None:
        self.models[role] = model.sha256
        self.add_cut(truncation or Truncation())

    def add_cut(self, truncation: Truncation) -> None:
        self.truncation = max(self.truncation, truncation, key=_unread)

    @property
    def warning(self) -> str | None:
        """Of queries that were cut."""
        cut = self.truncation
        if not cut.num_cut_tokens:
            return None
        longer = f"{cut.num_cut_examples} of {cut.num_examples} queries are longer than is read"
        return f"{longer}: {cut.num_cut_tokens} tokens were cut"

    def warn(self) -> None:
        """For the caller of the method that calls this."""
        if self.warning is not None:
            warnings.warn(self.warning, stacklevel=3)


def _unread(truncation: Truncation) -> tuple[int, int]:
    return truncation.num_cut_tokens, truncation.num_windowed_examples
