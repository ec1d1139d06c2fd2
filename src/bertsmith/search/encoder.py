"""Texts to vectors by a saved model, with the hash by which an index knows that it is the same one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bertsmith.errors import SettingsError
from bertsmith.inference.predictor import Embedded, Predictor, load
from bertsmith.runtime.progress import Progress
from bertsmith.search.vectors import normalized


@dataclass(frozen=True)
class TextEncoder:
    """sha256: of the weights, the tokenizer and the settings that decide a text's vector."""

    predictor: Predictor
    sha256: str

    @classmethod
    def of(cls, predictor: Predictor, sha256: str) -> Self:
        """Raises `SettingsError` for a model that gives no vectors."""
        if not predictor.embeds:
            raise SettingsError(
                f"an index takes a model for embedding, this one is for {predictor.task.name}; folders of "
                "sentence-transformers and bare encoders serve too"
            )
        return cls(predictor, sha256)

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto") -> Self:
        predictor = load(folder, device=device, precision="auto")
        return cls.of(predictor, fingerprint(folder, predictor))

    @property
    def width(self) -> int:
        return int(self.predictor.network.config.hidden_size)

    def vectors(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float32]:
        """[n, H], of length 1. Warns of texts that were cut."""
        return normalized(self.predictor.embed(texts, progress))

    def embedded(self, texts: Sequence[str]) -> Embedded:
        """As `vectors`, with what was cut of them instead of a warning."""
        found = self.predictor.embedded(texts)
        return replace(found, vectors=normalized(found.vectors))


def fingerprint(folder: Path, predictor: Predictor) -> str:
    """Of what decides a text's vector: weights as they lie there, tokenizer, and the task's settings."""
    digest = hashlib.sha256()
    files = sorted(file for file in folder.rglob("*.safetensors") if file.is_file())
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    settings = predictor.task.settings
    said = {name: getattr(settings, name, None) for name in ("pooling", "normalize", "max_length", "truncation")}
    digest.update(json.dumps([predictor.tokenizer.fingerprint, said], sort_keys=True, default=str).encode())
    return digest.hexdigest()
