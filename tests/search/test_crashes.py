"""An index whose writer dies at any statement, and one with two writers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from toy_search import DOCUMENTS
from toys import toy_tokenizer

from bertsmith.search.encoder import TextEncoder
from bertsmith.search.index import Index
from bertsmith.search.passages import PassageSettings

CHILD = Path(__file__).parent.parent / "support" / "dying_index.py"
BEFORE = {"one", "two", "three"}
AFTER = {"two", "three", "four"}


def made(folder: Path, encoder: TextEncoder) -> Path:
    index = Index.create(folder, toy_tokenizer(), encoder, None, PassageSettings(passage_tokens=8, overlap_sentences=0))
    index.upsert(DOCUMENTS, encoder)
    index.close()
    return folder


def run(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, CHILD, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def test_a_writer_that_dies_anywhere_leaves_whole_changes(tmp_path: Path, encoder: TextEncoder) -> None:
    process = run("die", made(tmp_path / "index", encoder))
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0
    states = [line.split()[1:] for line in said.splitlines()]
    assert len(states) > 15, "there are so many statements to die before"
    kinds = {tuple(dict.fromkeys(state)) for state in states}
    # Before the change, after it and before the deletion, and after both: nothing between.
    documents = [{part.split(":")[0] for part in kind} for kind in sorted(kinds, key=states_in(states))]
    assert documents == [BEFORE, BEFORE | AFTER, AFTER]
    assert all(("two:Fa" in kind) == ("four:La" not in kind) for kind in kinds), "batches are whole"


def states_in(states: list[list[str]]):  # type: ignore[no-untyped-def]
    """Where a state is seen first."""
    order = [tuple(dict.fromkeys(state)) for state in states]
    return order.index


def test_an_index_whose_making_was_cut_off_is_made_by_the_same_call(tmp_path: Path) -> None:
    process = run("create", tmp_path)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0
    ends = [line.partition(" ")[2] for line in said.splitlines()]
    assert ends.count("made again") > 15, "there are so many moments to die at"
    assert ends[-1] == "there"


def test_two_writers_take_turns(tmp_path: Path, encoder: TextEncoder) -> None:
    folder = made(tmp_path / "index", encoder)
    writers = [run("write", folder, name) for name in ("a", "b")]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    index = Index.open(folder)
    assert index.store.num_documents == len(BEFORE) + 40
    assert len(index.by_vectors(encoder.vectors(["ba"]), 1000, [])[0]) == index.store.num_passages
