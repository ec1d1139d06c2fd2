"""What a run starts from and where it ends up: a model or new weights, and a folder that holds no other model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertsmith.artifact import RECORD, start_network
from bertsmith.errors import SettingsError
from bertsmith.files import COMPRESSIONS
from bertsmith.hub import resolve_folder
from bertsmith.model.checkpoints import read_config
from bertsmith.model.networks import Network
from bertsmith.model.presets import preset
from bertsmith.runtime.progress import Progress
from bertsmith.tasks import Task
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.wordpiece import WordPieceSettings, learn_wordpiece

NEW_MODEL_SIZE = "tiny"
NEW_VOCAB_SIZE = 8_000
NEW_TRAINING = {"learning_rate": 5e-4, "num_train_epochs": 10.0}
"""New weights need larger steps and more of them than pre-trained ones; these hold where the user said nothing."""


@dataclass(frozen=True)
class Start:
    """A task whose lengths fit the network, the network, and the tokenizer that it was, or will be, trained with."""

    task: Task[Any, Any]
    network: Network
    tokenizer: Tokenizer


def start_from(task: Task[Any, Any], model: str, changes: Mapping[str, Any]) -> Start:
    """A pre-trained model from a folder or the hub, with a new head; `changes` are laid over its config."""
    place = resolve_folder(model)
    config = read_config(place)
    tokenizer = Tokenizer.load(place, embedding_size=config.vocab_size)
    task = task.within(config.max_position_embeddings)
    return Start(task, start_network(task, place, heads="new", changes=changes), tokenizer)


def start_new(
    task: Task[Any, Any], texts: Iterable[str], changes: Mapping[str, Any], progress: Progress | None = None
) -> Start:
    """New weights of the smallest size, with a vocabulary learned from the training texts."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as file:
        file.writelines(text.replace("\0", " ") + "\n" for text in texts)
        file.flush()
        settings = WordPieceSettings(vocab_size=NEW_VOCAB_SIZE)
        tokenizer = learn_wordpiece([Path(file.name)], settings, progress).tokenizer()
    config = preset(NEW_MODEL_SIZE, vocab_size=tokenizer.vocab_size, pad_token_id=tokenizer.pad_id, **changes)
    task = task.within(config.max_position_embeddings)
    return Start(task, task.build(config), tokenizer)


def run_folder(asked: Path | None, name: str, data: Path, *, overwrite: bool) -> Path:
    """The folder that was asked for, or `runs/NAME-DATA`; refused where it holds a model that would be replaced.

    >>> run_folder(None, "classification", Path("data/reviews.csv.gz"), overwrite=False)
    PosixPath('runs/classification-reviews')
    """
    bare = data.with_suffix("") if data.suffix.lower() in COMPRESSIONS else data
    folder = Path("runs", f"{name}-{bare.stem}") if asked is None else asked
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder}: a file is there; name a folder with --output-dir")
    if (folder / RECORD).exists() and not overwrite:
        raise SettingsError(
            f"{folder}: holds a model already; name another folder with --output-dir, or replace it with "
            "--overwrite-output-dir"
        )
    return folder
