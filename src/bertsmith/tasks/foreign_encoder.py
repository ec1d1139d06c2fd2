"""Encoders that bertsmith did not write: folders of sentence-transformers, and pre-trained BERTs without a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertsmith.errors import FileFormatError
from bertsmith.files import read_json
from bertsmith.model.checkpoints import CONFIG, GOOGLE_CONFIG, read_config
from bertsmith.tasks.sentence_folder import MODULES, read_sentence_folder
from bertsmith.text.tokenizer import Tokenizer

PRETRAINED = {"BertModel", "BertForMaskedLM", "BertForPreTraining", "BertForNextSentencePrediction"}
BARE = "an encoder without a task: a text's vector is the mean of its tokens', for which nothing has trained it"
SENTENCES = "a folder of sentence-transformers: longer texts are cut where it says, which is counted"


@dataclass(frozen=True, slots=True)
class ForeignEncoder:
    """place: the folder of its config, weights and tokenizer. settings: those of embedding that it asks for.

    num_positions: the most tokens that it reads. note: what is supposed of it.
    """

    place: Path
    tokenizer: Tokenizer
    num_positions: int
    settings: Mapping[str, Any]
    note: str


def read_foreign_encoder(folder: Path) -> ForeignEncoder | None:
    """The encoder in `folder`, weights unread; None where it holds something else. Raises as its files' readers do."""
    place, lower, settings, note = folder, False, dict[str, Any](), BARE
    if (folder / MODULES).is_file():
        found = read_sentence_folder(folder)
        place, lower, note = found.encoder, found.lower_case, SENTENCES
        settings = {"pooling": found.pooling, "normalize": found.normalize, "prompt": found.prompt}
        settings |= {"truncation": "head"} | ({} if found.max_length is None else {"max_length": found.max_length})
    elif not _is_bare(folder):
        return None
    config = read_config(place)
    tokenizer = Tokenizer.load(place, embedding_size=config.vocab_size)
    if lower and not tokenizer.lowercase:
        raise FileFormatError(f"{folder}: lowers texts before a tokenizer that does not, which is not supported")
    return ForeignEncoder(place, tokenizer, config.max_position_embeddings, settings, note)


def _is_bare(folder: Path) -> bool:
    """Whether this is a pre-trained BERT, by what its config says that it is."""
    if not (folder / CONFIG).is_file():
        return (folder / GOOGLE_CONFIG).is_file()
    architectures = read_json(folder / CONFIG).get("architectures") or ["BertModel"]
    return isinstance(architectures, list) and set(map(str, architectures)) <= PRETRAINED
