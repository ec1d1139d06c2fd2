from __future__ import annotations

from pathlib import Path

import pytest

from bertsmith.catalog.python_docs import (
    FAMILIES,
    SIBLINGS,
    Docstring,
    PythonDocs,
    family_rows,
    gather,
    is_held_out,
    pair_rows,
    prose,
)
from bertsmith.errors import DataError

TRAINED = next(module for module in FAMILIES["internet"] if not is_held_out(module))
HELD_OUT = next(module for module in FAMILIES["internet"] if is_held_out(module))


def source(*docstrings: str) -> str:
    return "\n".join(f"def function_{place}():\n    {text!r}\n" for place, text in enumerate(docstrings))


@pytest.fixture
def stdlib(tmp_path: Path) -> Path:
    """A standard library of two modules, a package and things that must not be read."""
    shared = "Both modules say exactly this sentence."
    files = {
        f"{TRAINED}.py": source(
            "Open a connection.\n\nThe connection is kept until it is closed. It can be reused.", shared
        ),
        f"{HELD_OUT}.py": source(f"Send a {HELD_OUT} request. Nothing of this may be trained on.", shared.upper()),
        "package/__init__.py": (
            '"""A package of one class."""\nclass Outer:\n    "Doc."\n    if True:\n        class Inner:\n'
            '            "Inside."\n            async def run(self, *, fast, **more): "Run it now."\n'
        ),
        "test/test_it.py": source("Never read."),
        "site-packages/other.py": source("Never read."),
        "broken.py": "def :",
        "pydoc_data/topics.py": "topics = {'b': 'Second topic here. It goes on.', 'a': 'First topic here.'}\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "latin.py").write_bytes(b'"""caf\xe9"""')
    return tmp_path


def test_documentation_is_read_in_a_fixed_order_and_nothing_is_run(stdlib: Path) -> None:
    docs = gather(stdlib)
    assert docs == gather(stdlib)
    assert docs.unreadable_files == ["broken.py", "latin.py"]
    assert docs.num_files == 3
    assert [(d.module, d.name, d.kind) for d in docs.docstrings if d.module == "package"] == [
        ("package", "", "module"),
        ("package", "Outer", "class"),
        ("package", "Outer.Inner", "class"),
        ("package", "Outer.Inner.run", "function"),
    ]
    assert docs.documents[:2] == [["First topic here."], ["Second topic here.", "It goes on."]]
    assert ["Outer.Inner.run(fast, more)", "Run it now."] in docs.documents
    assert [
        "function_0()",
        "Open a connection.",
        "The connection is kept until it is closed.",
        "It can be reused.",
    ] in docs.documents


def test_held_out_modules_and_what_they_share_are_not_trained_on(stdlib: Path) -> None:
    docs = gather(stdlib)
    trained = [sentence for document in docs.documents for sentence in document]
    assert not any("Nothing of this" in sentence or "exactly this" in sentence.lower() for sentence in trained)
    assert docs.num_crossing_duplicates == 1
    assert [d.module for d in docs.docstrings if "exactly" in d.text.lower()] == [HELD_OUT]


def test_a_folder_without_docstrings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found none"):
        gather(tmp_path)


def test_the_split_is_by_name_alone_and_siblings_stay_together() -> None:
    # Fixed for all time: another split would make figures of two versions incomparable.
    assert [name for name in ("asyncio", "json", "http", "email", "re") if is_held_out(name)] == ["json", "http", "re"]
    assert Docstring("posixpath", "join", "function", "", "").split == Docstring("os", "", "module", "", "").split
    assert not set(SIBLINGS) & set(SIBLINGS.values())


def test_prose_is_sentences_without_code_tables_and_grammar() -> None:
    text = "Add two\nnumbers.\n\n>>> add(1, 2)\n3\n\n=== ===\n\nstmt ::= expr\n\nReturn the sum of the two."
    assert prose(text) == ["Add two numbers.", "Return the sum of the two."]


def docs_of(*docstrings: Docstring) -> PythonDocs:
    return PythonDocs([], list(docstrings), 1, [], 0, 0)


def test_a_family_row_hides_its_module_s_name_and_is_cut_at_a_word() -> None:
    text = f"The {TRAINED} module, or {TRAINED.upper()}_handler, waits for an answer and then goes on."
    numbered = [
        Docstring(module, f"f{i}", "function", "", text.replace("answer", f"answer{i}"))
        for module in (TRAINED, HELD_OUT)
        for i in range(3)
    ]
    rows = family_rows(docs_of(*numbered), max_words=8, min_rows=0).train
    assert [row.text for row in rows] == ["The ___ module, or ____handler, waits for an"]
    assert rows[0].label == "internet"
    assert family_rows(docs_of(*numbered), min_rows=4).counts() == {}
    assert family_rows(docs_of(*numbered), min_rows=3).counts() == {"internet": (3, 3)}


def test_each_summary_and_each_description_is_once_in_a_true_and_once_in_a_false_pair() -> None:
    docstrings = [
        Docstring(
            module,
            f"f{i}",
            "function",
            "",
            f"Return the value {i} of {module}.\n\nThis is where {i} of {module} is told.",
        )
        for module in (TRAINED, HELD_OUT, "lonely")
        for i in range(1 if module == "lonely" else 5)
    ]
    rows = pair_rows(docs_of(*docstrings))
    assert rows.counts() == {"belongs": (5, 5), "does not belong": (5, 5)}
    for part in (rows.train, rows.held_out):
        for column in ("text", "text_pair"):
            true = sorted(getattr(row, column) for row in part if row.label == "belongs")
            false = sorted(getattr(row, column) for row in part if row.label == "does not belong")
            assert true == false
        true_pairs = {(row.text, row.text_pair) for row in part if row.label == "belongs"}
        assert not true_pairs & {(row.text, row.text_pair) for row in part if row.label != "belongs"}
    assert pair_rows(docs_of(*docstrings)) == rows


@pytest.mark.slow
def test_this_installation_has_enough_to_learn_from() -> None:
    docs = gather()
    assert docs.num_characters > 1_000_000
    families, pairs = family_rows(docs), pair_rows(docs)
    assert len(families.counts()) >= 6
    assert min(min(counts) for counts in families.counts().values()) >= 10
    assert len(pairs.train) > 2_000
    assert len(pairs.held_out) > 400
    held_out = {row.source.partition(".")[0] for row in families.held_out + pairs.held_out}
    assert held_out.isdisjoint(row.source.partition(".")[0] for row in families.train + pairs.train)
