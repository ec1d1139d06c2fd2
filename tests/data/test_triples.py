"""Triples to a graph of ids, and what is wrong with a file told line by line."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from bertsmith.data.triples import TripleGraph, read_triples
from bertsmith.errors import DataError
from bertsmith.text.tokenizer import Tokenizer

WORDS = ("tim", "cook", "ceo", "of", "apple", "lives", "in", "cupertino", "beijing", "capital", "china", "##s")
TOKENIZER = Tokenizer.from_vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])
NUMBER = {word: 5 + place for place, word in enumerate(WORDS)}


def ids(text: str) -> tuple[int, ...]:
    return tuple(NUMBER[word] for word in text.split())


def read(folder: Path, *lines: str, **options: int) -> TripleGraph:
    (folder / "facts.tsv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return read_triples(folder / "facts.tsv", TOKENIZER, **options)


FACTS = ("Tim Cook\tCEO of\tApple", "", "Beijing\tcapital of\tChina", "tim cook\tlives in\tCupertino")


def test_facts_by_entity(tmp_path: Path) -> None:
    found = read(tmp_path, *FACTS, "Tim Cook\tCEO of\tApple", "Tim Cook\tin\tChina")
    cook, beijing = found.graph.entities
    assert (cook.ids, cook.branches) == (ids("tim cook"), (ids("ceo of apple"), ids("lives in cupertino")))
    assert (beijing.ids, beijing.branches) == (ids("beijing"), (ids("capital of china"),))
    assert (found.names, found.lines) == (("Tim Cook", "Beijing"), (1, 3))
    assert found.graph.continuations == (NUMBER["##s"],)
    one = read(tmp_path, *FACTS, max_triples=1)
    assert one.graph.entities[0].branches == (ids("ceo of apple"),)


def test_uses_and_an_entity_that_never_occurs(tmp_path: Path) -> None:
    found = read(tmp_path, *FACTS)
    runs = [np.array(ids("tim cook lives in china")), np.array(ids("beijing ##s")), np.array([2, 3])]
    uses = found.uses(runs)
    assert (uses.numbers, uses.num_runs, uses.num_with) == ({0}, 3, 1)
    with pytest.raises(DataError) as caught:
        found.refuse_unused(uses)
    assert str(caught.value) == (
        f"{tmp_path / 'facts.tsv'}, line 3: 'Beijing' occurs in no training text\nmend or leave out their triples, or "
        "keep them for later texts with --unused-triples keep"
    )
    found.refuse_unused(found.uses([np.array(ids("tim cook in beijing"))]))


def test_all_faults_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, "Tim Cook\tCEO of", "Tim Cook\t\tApple", "Steve Jobs\tCEO of\tApple", "\u200b\tin\tChina")
    lines = str(caught.value).splitlines()
    expected = "expected entity, relation and object with tabs between, found"
    assert lines[0].endswith(f"line 1: {expected} 2 parts: 'Tim Cook\\tCEO of'")
    assert f"line 2: {expected} 3 parts, one empty" in lines[1]
    assert "line 3: the entity 'Steve Jobs' is [UNK], in whole or in part: the tokenizer does not" in lines[2]
    assert "has no tokens" in lines[3]
    for token in ("[MASK]", "[SEP]"):
        with pytest.raises(DataError, match=rf"'Tim {re.escape(token)}' has {re.escape(token)}, which is no"):
            read(tmp_path, f"Tim {token}\tCEO of\tApple")
    with pytest.raises(DataError, match="expected triples, one a line, found none"):
        read(tmp_path, "")
    with pytest.raises(DataError, match=r"\.\.\. and 5 more"):
        read(tmp_path, *["Tim Cook"] * 15)
