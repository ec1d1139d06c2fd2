"""The task contract, and one file per kind of problem. `TASKS` is the table that everything else looks in."""

from __future__ import annotations

from typing import Any

from bertsmith.errors import SettingsError, nearest
from bertsmith.tasks.classification import Classification
from bertsmith.tasks.embedding import Embedding
from bertsmith.tasks.multiple_choice import MultipleChoice
from bertsmith.tasks.pretraining import Pretraining
from bertsmith.tasks.question_answering import QuestionAnswering
from bertsmith.tasks.reranking import Reranking
from bertsmith.tasks.seq2seq import Seq2Seq
from bertsmith.tasks.task import Example, Task
from bertsmith.tasks.token_classification import TokenClassification

TASKS: dict[str, type[Task[Any, Any]]] = {
    "pretraining": Pretraining,
    "classification": Classification,
    "seq2seq": Seq2Seq,
    "embedding": Embedding,
    "reranking": Reranking,
    "question_answering": QuestionAnswering,
    "multiple_choice": MultipleChoice,
    "token_classification": TokenClassification,
}


def task_class(name: str) -> type[Task[Any, Any]]:
    """The task of that name, or a `SettingsError` with the nearest one."""
    if name not in TASKS:
        raise SettingsError(f"no task {name!r}; {nearest(name, TASKS)}")
    return TASKS[name]


__all__ = ["TASKS", "Example", "Task", "task_class"]
