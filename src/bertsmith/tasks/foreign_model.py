"""Fine-tuned models that bertsmith did not write, in the Hugging Face layout, told by their config's architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bertsmith.errors import FileFormatError
from bertsmith.files import read_json
from bertsmith.model.checkpoints import CONFIG, read_config
from bertsmith.tasks.task import Adopted, Task
from bertsmith.text.tokenizer import Tokenizer

NOTE = "a fine-tuned model of another library: its labels are those of its config, longer texts are read in windows"


def adopt(
    folder: Path, architecture: str, make_task: Callable[[Mapping[str, Any]], Task[Any, Any]], note: str = ""
) -> Adopted | None:
    """The model in `folder` where its config names `architecture` alone, else None; weights are not read.

    make_task: from the config's fields; `labels_of` reads its labels. note: what else people should know. Raises as the
    readers of its files do.
    """
    if not (folder / CONFIG).is_file():
        return None
    values = read_json(folder / CONFIG)
    if values.get("architectures") != [architecture]:
        return None
    config = read_config(folder)
    tokenizer = Tokenizer.load(folder, embedding_size=config.vocab_size)
    return Adopted(
        make_task(values).within(config.max_position_embeddings), folder, tokenizer, f"{NOTE}; {note}" if note else NOTE
    )


def labels_of(values: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """The names in a config's `id2label`, in the order of the logits; LABEL_0 and on where there are none."""
    names = values.get("id2label")
    if names is None:
        return ("LABEL_0", "LABEL_1")
    try:
        by_place = {int(place): str(name) for place, name in names.items()}
        return tuple(by_place[place] for place in range(len(by_place)))
    except (AttributeError, ValueError, KeyError) as error:
        raise FileFormatError(
            f"{folder / CONFIG}: id2label: expected a name for each of 0, 1, 2, ..., found {names!r:.80}"
        ) from error
