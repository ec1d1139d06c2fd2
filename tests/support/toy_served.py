"""Models of every task, with random weights that always find something, and a server of them on a port of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.artifact import Artifact, save_artifact
from bertsmith.tasks import TASKS

SCRIPT = "<img src=x onerror=document.title='broken'>"
"""A label and a text that a page must show as it is."""

_ROWS: dict[str, list[dict[str, Any]]] = {
    "classification": [{"text": "ba be", "label": label} for label in ("good", SCRIPT)],
    "multi_label": [{"text": "ba be", "label": label} for label in ("red", "red|green")],
    "regression": [{"text": "ba be", "label": label} for label in (0.5, 4.0)],
    "token_classification": [{"words": ["ba", "be", "bi"], "tags": ["B-A", "I-A", "B-B"]}],
    "question_answering": [
        {"question": "ba", "context": "be bi bo", "answers": {"text": ["bi"], "answer_start": [3]}},
    ],
}
"""What is learned of these is which labels there are: no `O`, and an answer to every question."""


def toy_artifact(folder: Path, name: str) -> Path:
    """The artifact of the task `name`, or of one of classification's kinds, in a folder of that name."""
    torch.manual_seed(0)
    kind = "classification" if name in ("multi_label", "regression") else name
    if name in _ROWS:
        task = TASKS[kind].from_dict({"problem_type": name} if kind != name else {}, "toy")
        examples = [task.example(row, f"row {place}") for place, row in enumerate(_ROWS[name])]
        task = task.fitted(examples).within(toy_config().max_position_embeddings)
    else:
        task = toy_task(name).task
    network = task.build(toy_config(initializer_range=0.5))
    save_artifact(folder / name, Artifact(task, network, toy_tokenizer()))
    return folder / name


NAMES = (*TASKS, "multi_label", "regression")


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """The address of a real server of `app`, in a thread, on a free port of this machine alone."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
from devapp import toy_app
