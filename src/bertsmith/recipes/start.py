"""What a run starts from and where it ends up: a model or new weights, and a folder that holds no other model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from bertsmith.artifact import RECORD, read_record, start_network
from bertsmith.data.order import sample_rng
from bertsmith.errors import DataError, SettingsError
from bertsmith.files import COMPRESSIONS, refuse_to_replace
from bertsmith.hub import resolve_folder
from bertsmith.model.checkpoints import read_config
from bertsmith.model.networks import Network
from bertsmith.model.presets import preset
from bertsmith.runtime.interruption import raise_if_asked
from bertsmith.runtime.progress import Progress
from bertsmith.settings import Settings
from bertsmith.tasks import Example, Task, task_class
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.wordpiece import WordPieceSettings, learn_wordpiece
from bertsmith.text.words import OnProgress
from bertsmith.training.adaptation import ADAPTED_LEARNING_RATES, AdaptationSettings, adapt
from bertsmith.training.settings import TrainingSettings

ModelName = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, Path) else value)]
"""A folder or a name on the hub; a `Path` is taken too."""

LOGS = "logs"
LONG_SHOWN = 10
NEW_TRAINING = {"learning_rate": 5e-4, "num_train_epochs": 10.0}
"""New weights need larger steps and more of them than pre-trained ones; these hold where the user said nothing."""


class NewModelSettings(Settings):
    """What a model is made of where none is named to start from."""

    model_size: str = Field("tiny", description="tiny, mini, small, medium, base or large, for new weights")
    architecture: dict[str, Any] = Field({}, description="numbers and variants laid over the model size")
    vocab_size: int = Field(8_000, ge=100, description="tokens of a new vocabulary, learned from the training texts")
    lowercase: bool | None = Field(
        None, description="fold upper to lower case in a new vocabulary; None: unless the model writes texts"
    )


@dataclass(frozen=True)
class Start:
    """A task whose lengths fit the network, the network, and the tokenizer that it was, or will be, trained with.

    notes: what a user should know of it.
    """

    task: Task[Any, Any]
    network: Network
    tokenizer: Tokenizer
    notes: tuple[str, ...] = ()


def start_from(task: Task[Any, Any], model: str, changes: Mapping[str, Any]) -> Start:
    """A pre-trained model from a folder or the hub; `changes` are laid over its config.

    Its head is taken over where it was trained for the same task with the same labels, else it is new.
    """
    place = resolve_folder(model)
    config = read_config(place)
    tokenizer = Tokenizer.load(place, embedding_size=config.vocab_size)
    fitting = task.within(config.max_position_embeddings)
    network, report = start_network(fitting, place, heads="fit" if _is_for(place, fitting) else "new", changes=changes)
    notes = [f"new weights, to be trained: {_parts(report.missing)}"] if report.missing else []
    if fitting != task:
        notes.append(f"max_length is lowered to the {config.max_position_embeddings} positions that the model has")
    return Start(fitting, network, tokenizer, tuple(notes))


def _is_for(place: Path, task: Task[Any, Any]) -> bool:
    """Whether the folder holds a model for this very task."""
    if not (place / RECORD).is_file():
        return False
    theirs = read_record(place)["task"]
    return theirs["name"] == task.name and task_class(task.name).from_dict(theirs, str(place)).labels() == task.labels()


def _parts(parameters: Iterable[str]) -> str:
    """The modules that parameters belong to, each once."""
    return ", ".join(dict.fromkeys(name.split(".")[0] for name in parameters))


def adapted(start: Start, adaptation: AdaptationSettings, training: TrainingSettings) -> TrainingSettings:
    """Freezes in the pre-trained `start` what is not to change; the training, with the rate that suits what changes."""
    adapt(start.network, adaptation)
    rate = training.learning_rate or ADAPTED_LEARNING_RATES.get(adaptation.train)
    return training.model_copy(update={"learning_rate": rate})


def refuse_to_adapt_new(adaptation: AdaptationSettings) -> None:
    """A `SettingsError` where weights are to be kept that were never trained."""
    if adaptation.train != "all":
        raise SettingsError(f"train: {adaptation.train} keeps pre-trained weights: name them with --model")


def start_new(
    task: Task[Any, Any],
    texts: Iterable[str],
    new: NewModelSettings,
    changes: Mapping[str, Any],
    progress: Progress | None = None,
) -> Start:
    """New weights, small ones unless told otherwise, with a vocabulary learned from the training texts."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".txt") as file:
        file.writelines(text.replace("\0", " ") + "\n" for text in texts)
        file.flush()
        lowercase = not task.writes_text if new.lowercase is None else new.lowercase
        settings = WordPieceSettings(vocab_size=new.vocab_size, lowercase=lowercase)
        tokenizer = learn_wordpiece([Path(file.name)], settings, _stoppable(progress or Progress())).tokenizer()
    sizes = {"vocab_size": tokenizer.vocab_size, "pad_token_id": tokenizer.pad_id}
    config = preset(new.model_size, **{**new.architecture, **changes, **sizes})
    task = task.within(config.max_position_embeddings)
    return Start(task, task.build(config), tokenizer)


def _stoppable(progress: Progress) -> OnProgress:
    def hear(phase: str, done: int, total: int | None = None) -> None:
        raise_if_asked()
        progress(phase, done, total)

    return hear


def default_folder(name: str, data: Path) -> Path:
    """Where a run ends up unless told otherwise.

    >>> default_folder("classification", Path("data/reviews.csv.gz"))
    PosixPath('runs/classification-reviews')
    """
    bare = data.with_suffix("") if data.suffix.lower() in COMPRESSIONS else data
    return Path("runs", f"{name}-{bare.stem}")


def run_folder(asked: Path | None, name: str, data: Path, *, overwrite: bool) -> Path:
    """The folder that was asked for, or `runs/NAME-DATA`; refused where it holds something that would be replaced."""
    folder = default_folder(name, data) if asked is None else asked
    if (folder / RECORD).exists() and not overwrite:
        raise SettingsError(
            f"{folder}: holds a model already; name another folder with --output-dir, or replace it with "
            "--overwrite-output-dir"
        )
    if not (folder / RECORD).exists():
        refuse_to_replace(folder, {"corpus.json": "a corpus", "config.json": "a model", "vocab.txt": "a tokenizer"})
    return folder


def refuse_long(start: Start, examples: Sequence[Example[Any]]) -> None:
    """Where long texts are to be refused, all are looked at before training, and the first ten told."""
    if getattr(start.task.settings, "truncation", None) != "error":
        return
    refused = []
    for place, example in enumerate(examples):
        raise_if_asked()
        try:
            start.task.encode(example, start.tokenizer, sample_rng(0, 0, place))
        except DataError as error:
            refused.append(str(error))
    if refused:
        raise DataError("\n".join([f"{len(refused):,} examples are too long:", *refused[:LONG_SHOWN]]))
