"""The passages of a pre-training run: of one corpus or several, mixed, and those held out of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertsmith.data.corpus import Corpus
from bertsmith.data.mixture import Mixture
from bertsmith.data.passages import Passage, Passages
from bertsmith.errors import DataError, FileFormatError, SettingsError
from bertsmith.runtime.progress import Progress
from bertsmith.tasks.pretraining import Pretraining
from bertsmith.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class OpenCorpora:
    """The corpora of a run by their names, those of their folders, and the one tokenizer of all."""

    by_name: dict[str, Corpus]
    tokenizer: Tokenizer


@dataclass(frozen=True)
class PretrainingData:
    """training: one corpus's passages, or a mixture. record: what the saved model says of them.

    record["corpus"] is the fingerprint of all that decides the samples; of several corpora record["corpora"] has each.
    """

    training: Sequence[Passage]
    held_out: Sequence[Passage]
    record: dict[str, Any]


def open_corpora(folders: Sequence[Path]) -> OpenCorpora:
    """The corpora in these folders.

    Raises `FileFormatError` for a damaged one, `SettingsError` for two of one name, `DataError` for two tokenizers.
    """
    found: dict[str, Corpus] = {}
    for folder in folders:
        name = folder.resolve().name
        if name in found:
            raise SettingsError(f"{folder}: a second corpus named {name!r}; folders' names tell corpora apart")
        found[name] = Corpus.open(folder)
    first, *others = found.values()
    tokenizer = Tokenizer.load(first.folder, embedding_size=first.vocab_size)
    if tokenizer.fingerprint != first.manifest.tokenizer:
        raise FileFormatError(
            f"{first.folder}: its tokenizer is not the one that it was prepared with; prepare it again"
        )
    for corpus in others:
        if corpus.manifest.tokenizer != tokenizer.fingerprint:
            raise DataError(
                f"{corpus.folder}: prepared with another tokenizer than {first.folder}; prepare both with one "
                "tokenizer that knows the languages of both"
            )
    return OpenCorpora(found, tokenizer)


def pretraining_data(
    corpora: OpenCorpora, task: Pretraining, *, validation_fraction: float, alpha: float, seed: int, progress: Progress
) -> PretrainingData:
    """Passages to train on, and of other documents those to evaluate on; none of a corpus that is too small.

    alpha: how several corpora are mixed. Raises `SettingsError` for another one than 1 with a single corpus.
    """
    if len(corpora.by_name) == 1 and alpha != 1:
        raise SettingsError("sampling_alpha is of several corpora: name more than one")
    _refuse_unmarked(corpora, task)
    training, held_out = [], list[Sequence[Passage]]()
    for corpus in corpora.by_name.values():
        some, others = _split(corpus, task, validation_fraction, seed, progress)
        training.append(some)
        held_out += [] if others is None else [others]
    if len(training) == 1:
        (corpus,) = corpora.by_name.values()
        record = {"corpus": corpus.fingerprint, "num_passages": len(training[0])}
        return PretrainingData(training[0], held_out[0] if held_out else [], record)
    mixture = Mixture[Passage](training, alpha)
    each = {
        name: {"fingerprint": corpus.fingerprint, "num_passages": len(part), "places_an_epoch": int(places)}
        for (name, corpus), part, places in zip(corpora.by_name.items(), training, mixture.counts, strict=True)
    }
    fingerprint = hashlib.sha256(json.dumps([alpha, [part["fingerprint"] for part in each.values()]]).encode())
    record = {"corpus": fingerprint.hexdigest(), "num_passages": len(mixture), "sampling_alpha": alpha, "corpora": each}
    return PretrainingData(mixture, Mixture[Passage](held_out, 1.0) if held_out else [], record)


def _refuse_unmarked(corpora: OpenCorpora, task: Pretraining) -> None:
    """Where phrases are to be masked whole, some corpus has to have them marked."""
    unit = task.settings.masking.mask_unit
    if unit in ("phrase", "entity") and not any(
        corpus.manifest.preparation.get("marked", {}).get(unit) for corpus in corpora.by_name.values()
    ):
        raise SettingsError(
            f"mask_unit {unit!r}: {', '.join(corpora.by_name)} has none marked; prepare it with --phrases and a "
            "dictionary that holds some"
        )


def _split(
    corpus: Corpus, task: Pretraining, fraction: float, seed: int, progress: Progress
) -> tuple[Passages, Passages | None]:
    """Passages to train on and to evaluate on, of different documents."""
    if fraction:
        try:
            training, held_out = corpus.split(fraction)
        except DataError as error:
            progress.note(f"warning: {error}: none of it is evaluated on; without any, the last weights are kept")
        else:
            return task.passages(training, seed), task.passages(held_out, seed)
    return task.passages(corpus, seed), None
