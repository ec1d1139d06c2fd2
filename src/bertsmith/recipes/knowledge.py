"""Facts given to a network before it is trained: read, put beside its texts, and told apart from those never met."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertsmith.data.order import sample_rng
from bertsmith.data.triples import KnowledgeSettings, read_triples
from bertsmith.files import sha256
from bertsmith.model.networks import Network
from bertsmith.runtime.interruption import raise_if_asked
from bertsmith.runtime.progress import Progress
from bertsmith.tasks import Example, Task
from bertsmith.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Informed:
    """record: what the saved model says of its facts; the facts themselves are in its config."""

    record: dict[str, Any]


def inform(
    network: Network,
    tokenizer: Tokenizer,
    settings: KnowledgeSettings,
    runs: Iterable[NDArray[Any]],
    progress: Progress,
) -> Informed | None:
    """Give the network the facts of the settings' file, instead of those that it has; None where there is no file.

    runs: the ids of everything that it is trained on. Raises `DataError` for a file that holds other things than
    triples, and, unless such are kept, for entities that no run holds.
    """
    if settings.knowledge_file is None:
        return None
    triples = read_triples(settings.knowledge_file, tokenizer, max_triples=settings.max_triples)
    uses = triples.uses(runs)
    if settings.unused_triples == "error":
        triples.refuse_unused(uses)
    network.know(triples.graph)
    facts = [fact for entity in triples.graph.entities for fact in entity.branches]
    num_unknown = sum(tokenizer.unk_id in fact for fact in facts)
    unknown = f"; {num_unknown:,} facts have [UNK] in them, which the tokenizer does not know" if num_unknown else ""
    progress.note(
        f"knowledge: {len(facts):,} facts of {len(triples.names):,} entities, {len(uses.numbers):,} of which occur, in "
        f"{uses.num_with:,} of {uses.num_runs:,} inputs{unknown}"
    )
    return Informed(
        {
            "file": settings.knowledge_file.name,
            "sha256": sha256(settings.knowledge_file),
            "num_entities": len(triples.names),
            "num_facts": len(facts),
            "num_facts_with_unknown": num_unknown,
            "num_entities_met": len(uses.numbers),
            "num_inputs_with_entities": uses.num_with,
            "num_inputs": uses.num_runs,
        }
    )


def inputs_of(
    task: Task[Any, Any], tokenizer: Tokenizer, examples: Sequence[Example[Any]]
) -> Iterator[NDArray[np.int64]]:
    """The ids of every window of the examples, as a network reads them."""
    for place, example in enumerate(examples):
        raise_if_asked()
        for window in task.encode(example, tokenizer, sample_rng(0, 0, place)):
            yield np.asarray(window.input_ids, dtype=np.int64)
