"""The numbers and names of a tagging task: labels and their scheme, and how words are read, learned and measured."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from bertsmith.tasks.tag_windows import LabelledPieces
from bertsmith.text.tags import OUTSIDE, detect_scheme
from bertsmith.text.windows import WindowSettings


class TokenClassificationSettings(WindowSettings):
    labels: tuple[str, ...] = Field((), description="tags in the order of the logits; empty: from the data")
    scheme: Literal["auto", "plain", "IOB1", "BIO", "BIOES"] = Field(
        "auto",
        description="how tags spell entities; auto: as the data does; BIO and BIOES are turned into each other; IOB1: "
        "any tag may follow any, entities are read as conlleval does",
    )
    labelled_pieces: LabelledPieces = Field(
        "first", description="which pieces of a word are trained on and asked: the first, or all, with their mean"
    )
    crf: bool = Field(False, description="learn which tag follows which, in a linear chain over the words")
    context_tokens: int = Field(
        0, ge=0, description="tokens of the same document read on each side of a sentence, as far as there is room"
    )
    joined_words: int = Field(
        0, ge=0, description="train on a document's sentences joined up to so many words, each the others' context"
    )
    strict_entities: bool = Field(
        False,
        description="measure entities by seqeval's strict mode: none is what breaks the scheme; else as conlleval",
    )
    temperature: float = Field(1.0, gt=0, description="what scores are divided by before they become probabilities")

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if len(set(self.labels)) < len(self.labels) or "" in self.labels or len(self.labels) == 1:
            raise ValueError(f"labels: expected two names or more, none empty and none twice, not {self.labels}")
        if self.scheme != "plain" and OUTSIDE not in self.labels and detect_scheme(self.labels) != "plain":
            raise ValueError(f"labels: a scheme needs {OUTSIDE!r} beside {', '.join(self.labels)}")
        return self
