"""Tagged sentences in columns: sentences, documents, neighbours, and lines that do not fit."""

from __future__ import annotations

import lzma
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertsmith.data.conll import CONTEXT_WORDS, read_conll
from bertsmith.data.lines import Reading
from bertsmith.data.readers import Row
from bertsmith.errors import DataError

NEWS = """-DOCSTART- -X- -X- O

Anna NNP B-NP B-PER
sleeps VBZ B-VP O

She PRP B-NP O
dreams VBZ B-VP O

-DOCSTART- -X- -X- O

Rain NN B-NP O
"""

TREEBANK = """# newdoc id = one
# sent_id = 1
1\tI\tI\tPRON\tPRP\t_\t2\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdo\tdo\tAUX\tVBP\t_\t0\troot\t_\t_
3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t_\t_
3.1\tswim\tswim\tVERB\tVB\t_\t_\t_\t_\t_

# newdoc id = two
1\tHe\the\tPRON\tPRP\t_\t2\tnsubj\t_\t_
2\tdoes\tdo\tAUX\tVBZ\t_\t0\troot\t_\t_

# sent_id = 3
1\t#\t#\tSYM\tNFP\t_\t0\troot\t_\t_
"""


def read(path: Path, text: str, reading: Reading | None = None) -> list[Row]:
    path.write_bytes(text.encode())
    return list(read_conll(path, reading or Reading()))


def test_sentences_know_their_words_tags_columns_and_neighbours(tmp_path: Path) -> None:
    first, second, third = read(tmp_path / "a.conll", NEWS)
    assert first.values == {
        "words": ["Anna", "sleeps"],
        "tags": ["B-PER", "O"],
        "before": [],
        "after": ["She", "dreams"],
        "1": ["Anna", "sleeps"],
        "2": ["NNP", "VBZ"],
        "3": ["B-NP", "B-VP"],
        "4": ["B-PER", "O"],
    }
    assert (second.values["before"], second.values["after"]) == (["Anna", "sleeps"], [])
    assert (third.values["words"], third.values["before"], third.values["after"]) == (["Rain"], [], [])
    assert [(row.number, row.line) for row in (first, second, third)] == [(1, 3), (2, 6), (3, 11)]
    assert second.where == f"{tmp_path / 'a.conll'}, row 2 (line 6)"


def test_a_treebank_gives_the_words_that_are_written_and_their_upos(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.conllu", TREEBANK)
    assert [row.values["words"] for row in rows] == [["I", "do", "n't"], ["He", "does"], ["#"]]
    assert [row.values["tags"] for row in rows] == [["PRON", "AUX", "PART"], ["PRON", "AUX"], ["SYM"]]
    assert [row.values["before"] for row in rows] == [[], [], ["He", "does"]]
    assert [row.line for row in rows] == [3, 10, 14]
    assert rows[0].values["5"] == ["PRP", "VBP", "RB"]


def test_without_marks_no_sentence_has_neighbours(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.txt", "a O\n\nb O\n\nc O\n")
    assert [(row.values["before"], row.values["after"]) for row in rows] == [([], [])] * 3


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.data())
def test_neighbours_are_the_nearest_words_of_the_document(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], data: st.DataObject
) -> None:
    words = iter(range(10_000))
    sentences = [[str(next(words)) for _ in range(length)] for length in lengths]
    begins = [True, *(data.draw(st.booleans()) for _ in lengths[1:])]
    path = tmp_path_factory.mktemp("conll") / "a.conll"
    text = ""
    for sentence, begin in zip(sentences, begins, strict=True):
        text += ("-DOCSTART- O\n\n" if begin else "") + "".join(f"{word} O\n" for word in sentence) + "\n"
    documents: list[list[list[str]]] = []
    for sentence, begin in zip(sentences, begins, strict=True):
        if begin:
            documents.append([])
        documents[-1].append(sentence)
    rows = iter(read(path, text))
    for document in documents:
        for i, sentence in enumerate(document):
            row = next(rows)
            assert row.values["words"] == sentence
            assert row.values["before"] == list(chain(*document[:i]))[-CONTEXT_WORDS:]
            assert row.values["after"] == list(chain(*document[i + 1 :]))[:CONTEXT_WORDS]
    assert next(rows, None) is None


def test_tabs_divide_where_there_are_any_and_other_white_space_is_a_word(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.txt", "\u3000\tO\n\xa0\tO\nNew York\tB-LOC\n")
    assert rows[0].values["words"] == ["\u3000", "\xa0", "New York"]
    assert read(tmp_path / "b.txt", " New   B-LOC \n")[0].values["tags"] == ["B-LOC"]


def test_words_alone_have_no_tags(tmp_path: Path) -> None:
    (row,) = read(tmp_path / "a.txt", "one\ntwo\n")
    assert row.values == {"words": ["one", "two"], "before": [], "after": [], "1": ["one", "two"]}


def test_packed_and_with_other_newlines(tmp_path: Path) -> None:
    path = tmp_path / "a.conll.xz"
    path.write_bytes(lzma.compress(NEWS.replace("\n", "\r\n").encode()))
    assert [row.values["words"] for row in read_conll(path, Reading())] == [
        ["Anna", "sleeps"],
        ["She", "dreams"],
        ["Rain"],
    ]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.conll", "", "expected sentences, .* found none"),
        ("a.conll", "-DOCSTART- O\n\n\n", "expected sentences, .* found none"),
        ("a.conll", "a O\nb\n", r"line 2: wrong number of columns \(1 where the file's first line has 2\)"),
        ("a.conll", "a O\n\nb N O\n", r"line 3: wrong number of columns \(3 where the file's first line has 2\)"),
        ("a.conll", "a\tO\n\tO\n", "line 2: a word or a tag is empty"),
        ("a.conll", "a\tO\nb\t\n", "line 2: a word or a tag is empty"),
        ("a.conllu", "1\tI\tPRON\n", r"line 1: wrong number of columns \(3 where CoNLL-U has 10\)"),
        ("a.conll", "a O\nb\0 O\n", "line 2: NUL character"),
    ],
)
def test_what_does_not_fit_is_told_with_its_line(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(DataError, match=rf"{name}.*{told}"):
        read(tmp_path / name, text)


def test_a_bad_line_takes_its_whole_sentence_along(tmp_path: Path) -> None:
    reading = Reading("skip")
    rows = read(tmp_path / "a.conll", "-DOCSTART- O\n\na O\n\nb O\nc\nd\n\ne O\n", reading)
    assert [(row.number, row.values["words"], row.values["before"]) for row in rows] == [
        (1, ["a"], []),
        (3, ["e"], ["a"]),
    ]
    assert reading.skipped == {"wrong number of columns": 1}


def test_replacing_mends_a_word(tmp_path: Path) -> None:
    reading = Reading("replace")
    assert read(tmp_path / "a.conll", "a\0 O\n", reading)[0].values["words"] == ["a\ufffd"]
    assert reading.replaced == {"NUL character": 1}


def test_a_line_without_end(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2: line too long"):
        read(tmp_path / "a.conll", "a O\n" + "b" * 500 + " O\n", Reading(max_line_bytes=100))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "num_sentences", "num_words"),
    [
        ("ner/conll2003_en/valid.txt.xz", 3250, 51362),
        ("ner/conll2003_en/test.txt.xz", 3453, 46435),
        ("ner/weibo_zh/dev.conll.xz", 270, 14509),
        ("ner/msra_zh/msra_test_bio.txt.xz", 3442, 172601),
        ("pos/ud_english_ewt/test.conllu.xz", 2077, 25094),
    ],
)
def test_real_files_have_the_published_counts(shared: Path, name: str, num_sentences: int, num_words: int) -> None:
    rows = list(read_conll(shared / name, Reading()))
    assert (len(rows), sum(len(row.values["words"]) for row in rows)) == (num_sentences, num_words)
