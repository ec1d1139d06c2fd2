"""Every entry of the catalog: small files in each set's own format, and the real ones where they are."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from bertsmith.catalog import DATA_SETS, data_set
from bertsmith.catalog.dataset import DataSet, Files, fields
from bertsmith.data.lines import Reading
from bertsmith.data.readers import Row
from bertsmith.errors import DataError, SettingsError
from bertsmith.tasks import TASKS, Task
from bertsmith.tasks.reading import field_names

SQUAD = {
    "data": [
        {
            "title": "Ada",
            "paragraphs": [
                {
                    "context": "Ada was born in London.",
                    "qas": [
                        {"id": "1", "question": "Where?", "answers": [{"text": "London", "answer_start": 16}]},
                        {"id": "2", "question": "Who?", "answers": [{"text": "the Countess", "answer_start": -1}]},
                    ],
                }
            ],
        }
    ]
}
CLINC = {
    name: [[f"{name} {i}", "oos" if name.startswith("oos") else "greeting"] for i in range(count)]
    for name, count in {"train": 3, "oos_train": 2, "val": 1, "oos_val": 1, "test": 2, "oos_test": 1}.items()
}
WORDS = "-DOCSTART- -X- -X- O\n\nAnna NNP B-NP B-PER\n\nsleeps VBZ B-VP O\n"
TREE = (
    "# newdoc id = a\n1\tAnna\tAnna\tPROPN\tNNP\t_\t0\troot\t_\t_\n\n1\tsleeps\tsleep\tVERB\tVBZ\t_\t0\troot\t_\t_\n\n"
)
ANSWERED = {
    "id": "1",
    "question": "Where?",
    "context": "Ada was born in London.",
    "answers": {"text": ["London"], "answer_start": [16]},
}

# name, split, file, its text -> the values of its first row
CASES: list[tuple[str, str, str, str, dict[str, Any]]] = [
    ("cola", "train", "glue/CoLA/train.tsv", 'ks08\t0\t*\t"Him left\n', {"text": '"Him left', "label": "unacceptable"}),
    ("sst2", "test", "glue/SST-2/dev.tsv", "sentence\tlabel\nfine\t1\n", {"text": "fine", "label": "positive"}),
    (
        "mrpc",
        "test",
        "glue/MRPC/msr_paraphrase_test.txt",
        '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tHe said, "yes\tHe agreed; so\n',
        {"text": 'He said, "yes', "text_pair": "He agreed; so", "label": "equivalent"},
    ),
    (
        "stsb",
        "sts_test",
        "glue/STS-B/sts-test.tsv",
        "main-news\tx\t2015\t1\t2.500\tA dog.\tA cat.\nmain-news\tx\t2015\t2\t5.0\tA\tA\ts1\ts2\n",
        {"text": "A dog.", "text_pair": "A cat.", "genre": "main-news", "label": "2.500"},
    ),
    (
        "stsb_embedding",
        "train",
        "glue/STS-B/sts-train.tsv",
        "main-news\tx\t2015\t1\t2.500\tA dog.\tA cat.\n",
        {"text": "A dog.", "text_pair": "A cat.", "genre": "main-news", "score": "2.500"},
    ),
    (
        "qnli",
        "test",
        "glue/QNLI/dev.tsv",
        "index\tquestion\tsentence\tlabel\n0\tWho?\tShe.\tentailment\n",
        {"text": "Who?", "text_pair": "She.", "label": "entailment"},
    ),
    (
        "rte",
        "train",
        "glue/RTE/train.tsv",
        "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tnot_entailment\n",
        {"text": "A", "text_pair": "B", "label": "not_entailment"},
    ),
    (
        "wnli",
        "train",
        "glue/WNLI/train.tsv",
        "index\tsentence1\tsentence2\tlabel\n0\tA\tB\t1\n",
        {"text": "A", "text_pair": "B", "label": "entailment"},
    ),
    (
        "imdb",
        "train",
        "cls/imdb/train.jsonl",
        '{"id": "0_3", "label": 1, "rating": 9, "text": "Good."}\n',
        {"text": "Good.", "label": "pos", "rating": 9},
    ),
    ("ag_news", "train", "cls/agnews/dev.tsv", 'A "b, c\tSci/Tech\n', {"text": 'A "b, c', "label": "Sci/Tech"}),
    (
        "banking77",
        "test",
        "intent/banking77/test.csv",
        'text,category\n"Card, please",card_arrival\n',
        {"text": "Card, please", "label": "card_arrival"},
    ),
    (
        "clinc150",
        "validation",
        "intent/clinc150/data_oos_plus.json",
        json.dumps(CLINC),
        {"text": "val 0", "label": "greeting"},
    ),
    (
        "ocnli",
        "train",
        "zh_pair/ocnli/train.10k.json",
        '{"level": "easy", "sentence1": "A", "sentence2": "B", "label": "neutral", "genre": "tv"}\n',
        {"text": "A", "text_pair": "B", "label": "neutral", "genre": "tv", "level": "easy"},
    ),
    (
        "conll2003",
        "validation",
        "ner/conll2003_en/valid.txt",
        WORDS,
        {"words": ["Anna"], "tags": ["B-PER"], "before": [], "after": ["sleeps"]},
    ),
    (
        "msra_ner",
        "test",
        "ner/msra_zh/msra_test_bio.txt",
        "中\tB-LOC\n国\tI-LOC\n",
        {"words": ["中", "国"], "tags": ["B-LOC", "I-LOC"]},
    ),
    ("weibo_ner", "train", "ner/weibo_zh/train.conll", "科0\tO\n110\tO\n", {"words": ["科", "1"], "tags": ["O", "O"]}),
    (
        "ud_pos",
        "train",
        "pos/ud_english_ewt/en_ewt-ud-train.conllu",
        TREE,
        {"words": ["Anna"], "tags": ["PROPN"], "before": [], "after": ["sleeps"]},
    ),
    ("squad", "train", "squad/train-v1.1.json", json.dumps(SQUAD), {**ANSWERED, "title": "Ada"}),
    ("squad_v2", "test", "squad/dev-v2.0.rebuilt.json", json.dumps(SQUAD), {**ANSWERED, "title": "Ada"}),
    ("cmrc2018", "train", "qa/cmrc2018/cmrc2018_dev.json", json.dumps(SQUAD), ANSWERED),
    ("xquad_tr", "test", "qa/xquad/xquad.tr.json", json.dumps(SQUAD), {**ANSWERED, "title": "Ada"}),
    (
        "arc_easy",
        "train",
        "multiple_choice/arc_easy_dev.csv",
        '"Hot, or not?",ice,steam,,,2\n',
        {"question": "Hot, or not?", "choices": ["ice", "steam"], "label": 1},
    ),
    (
        "arc_challenge",
        "test",
        "multiple_choice/arc_challenge_test.csv",
        "Hot?,ice,steam,rain,snow,D\n",
        {"question": "Hot?", "choices": ["ice", "steam", "rain", "snow"], "label": 3},
    ),
]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(text.encode()) if path.suffix == ".xz" else text.encode())
    return path


def task_of(entry: DataSet) -> Task[Any, Any]:
    kind = TASKS[entry.task]
    return kind(kind.Settings.of(entry.task_settings))


@pytest.mark.parametrize("packed", ["", ".xz"])
@pytest.mark.parametrize(("name", "split", "file", "text", "expected"), CASES, ids=[case[0] for case in CASES])
def test_a_row_in_the_set_s_own_format(
    tmp_path: Path, name: str, split: str, file: str, text: str, expected: dict[str, Any], packed: str
) -> None:
    path = write(tmp_path, file + packed, text)
    assert data_set(name).file(split, tmp_path) == path
    row = next(data_set(name).rows(split, tmp_path))
    assert (row.values, row.path, row.number) == (expected, path, 1)


def test_every_kind_of_file_has_a_case() -> None:
    told = {case[0] for case in CASES} | {"qqp", "chnsenticorp", "cranfield"}  # these have tests of their own
    assert {name for name, entry in DATA_SETS.items() if entry.splits and not name.startswith("xquad")} - told == set()


@pytest.mark.parametrize("entry", DATA_SETS.values(), ids=list(DATA_SETS))
def test_an_entry_says_what_a_task_needs(entry: DataSet) -> None:
    assert entry.metric in task_of(entry).metrics
    assert "test" in {*entry.splits, *entry.split_names()}
    assert all((entry.title, entry.licence, entry.source.startswith("http")))


@pytest.mark.parametrize(("name", "values"), [(case[0], case[4]) for case in CASES], ids=[case[0] for case in CASES])
def test_a_task_takes_the_values_as_they_are(name: str, values: dict[str, Any]) -> None:
    task = task_of(data_set(name))
    known = field_names(type(task))
    assert set(values) - set(known) <= {"genre", "level", "rating", "title"}  # by which results can be told apart
    example = task.example({field: value for field, value in values.items() if field in known}, "row 1")
    assert example.answer is not None


def test_clinc_s_splits_hold_what_is_out_of_scope(tmp_path: Path) -> None:
    write(tmp_path, "intent/clinc150/data_oos_plus.json", json.dumps(CLINC))
    for split, labels in {"train": ["greeting"] * 3 + ["oos"] * 2, "test": ["greeting"] * 2 + ["oos"]}.items():
        rows = list(data_set("clinc150").rows(split, tmp_path))
        assert [row.values["label"] for row in rows] == labels
    write(tmp_path, "intent/clinc150/data_oos_plus.json", '{"train": [["a"]], "oos_train": []}')
    with pytest.raises(DataError, match=r"data_oos_plus.json, train\[0\]: no \[text, intent\] \(found"):
        list(data_set("clinc150").rows("train", tmp_path))
    with pytest.raises(DataError, match=r"data_oos_plus.json: expected a list 'test'"):
        list(data_set("clinc150").rows("test", tmp_path))


def test_sets_without_a_published_division_are_divided(tmp_path: Path) -> None:
    rows = "".join(f"{i}\t{i % 40}\t{i % 40 + 100}\tQ {i}?\tR {i}?\t{i % 2}\n" for i in range(400))
    write(tmp_path, "glue/QQP/subset.tsv", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n" + rows)
    reviews = "".join(f"{i % 2},评论{i}\n" for i in range(400))
    write(tmp_path, "zh_cls/ChnSentiCorp_htl_all.csv", "label,review\n" + reviews + "1, \n")
    for name in ("qqp", "chnsenticorp"):
        reading = Reading()
        train, test = (list(data_set(name).rows(split, tmp_path, reading)) for split in ("train", "test"))
        assert len(train) + len(test) == 400
        assert 0 < len(test) < 100
        assert {row.values["label"] for row in test} <= set(data_set(name).task_settings["labels"])
        assert dict(reading.skipped) == ({"rows without a text": 1} if name == "chnsenticorp" else {})


def test_training_rows_of_the_test_split_are_left_out_and_counted(tmp_path: Path) -> None:
    write(tmp_path, "ner/msra_zh/dh_msra.txt", "中\tB-LOC\n国\tI-LOC\n\n我\tO\n\n中\tO\n国\tO\n")
    write(tmp_path, "ner/msra_zh/msra_test_bio.txt", "中\tB-LOC\n国\tI-LOC\n")
    reading = Reading()
    assert [row.values["words"] for row in data_set("msra_ner").rows("train", tmp_path, reading)] == [["我"]]
    assert reading.skipped == {"rows that are also in the test split": 2}


def test_what_a_protocol_leaves_out_is_counted(tmp_path: Path) -> None:
    pair = {"sentence1": "A", "sentence2": "B", "genre": "tv", "level": "easy"}
    lines = "".join(json.dumps({**pair, "label": label}) + "\n" for label in ("neutral", "-", "-"))
    write(tmp_path, "zh_pair/ocnli/dev.json", lines)
    write(tmp_path, "multiple_choice/arc_easy_test.csv", "Q1?,a,b,c,d,E\nQ2?,,,,,3\nQ3?,a,b,c,,C\n")
    write(tmp_path, "qa/cmrc2018/cmrc2018_trial.json", json.dumps(SQUAD))
    for name, num_rows, skipped in (
        ("ocnli", 1, {"rows without a label": 2}),
        ("arc_easy", 1, {"questions that lack the right choice": 2}),
        ("cmrc2018", 1, {"questions whose answers are not in their passage": 1}),
    ):
        reading = Reading()
        assert len(list(data_set(name).rows("test", tmp_path, reading))) == num_rows
        assert reading.skipped == skipped


def test_answers_in_the_annotator_s_own_words_stay_beside_one_that_is_in_the_passage(tmp_path: Path) -> None:
    both = {"text": ["London", "the Countess"], "answer_start": [16, -1]}
    question = {
        "id": "1",
        "question": "Where?",
        "answers": [{"text": a, "answer_start": s} for a, s in zip(*both.values(), strict=True)],
    }
    file = {"data": [{"title": "Ada", "paragraphs": [{"context": ANSWERED["context"], "qas": [question]}]}]}
    write(tmp_path, "qa/cmrc2018/cmrc2018_trial.json", json.dumps(file))
    (row,) = data_set("cmrc2018").rows("test", tmp_path)
    assert row.values["answers"] == both


def test_cranfield_s_queries_come_with_judged_and_other_abstracts(tmp_path: Path) -> None:
    """Judged by the query's place, 2, not by its number, 8; the test query is the third."""
    abstracts = {1: "wing flow", 2: "", 3: "heat of a wing", 4: "boundary layer", 5: "shock wave heat"}
    parts = [f".I {number}\n.T\nx\n.A\nx\n.B\nx\n.W\n{text}\n" for number, text in abstracts.items()]
    write(tmp_path, "retrieval/cranfield/cran.all.1400.xz", "".join(parts))
    queries = [f".I {number}\n.W\n{text}\n" for number, text in ((4, "why heat\nof wings"), (8, "flow"), (9, "layer"))]
    write(tmp_path, "retrieval/cranfield/cran.qry.xz", "".join(queries))
    write(tmp_path, "retrieval/cranfield/cranqrel.xz", "1 3 1\n1 2 1\n2 1 4\n2 4 -1\n3 4 2\n")
    train, test = (list(data_set("cranfield").rows(split, tmp_path)) for split in ("train", "test"))
    others = ["wing flow", "heat of a wing", "boundary layer", "shock wave heat"]
    assert [row.values for row in train] == [
        {"query": "why heat of wings", "passages": others, "labels": [0, 4, 0, 0]},
        {"query": "flow", "passages": others, "labels": [1, 0, 5, 0]},
    ]
    assert [row.values["labels"] for row in test] == [[0, 0, 3, 0]]
    write(tmp_path, "retrieval/cranfield/cranqrel.xz", "1 3\n")
    with pytest.raises(DataError, match=r"cranqrel.xz, line 1: expected a query, an abstract and a grade"):
        list(data_set("cranfield").rows("test", tmp_path))


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(SettingsError, match="no data set 'sst-2'; did you mean 'sst2'"):
        data_set("sst-2")


@pytest.mark.parametrize("name", ["mnli", "qnli", "squad_v2"])
def test_a_split_without_a_file_names_the_hub(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"{name}: no file is known for the train split; without --data-dir .* hub"):
        data_set(name).rows("train", tmp_path)


def test_a_split_that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rte: no split 'tset'; did you mean 'test'"):
        data_set("rte").rows("tset", tmp_path)
    with pytest.raises(DataError, match="xquad_de: no split 'train'; known: test"):
        data_set("xquad_de").rows("train", tmp_path)


def test_a_folder_without_the_file_names_what_is_expected(tmp_path: Path) -> None:
    told = r"no file for the test split of squad; expected squad/dev-v1.1.json or .*, plain or packed .*rajpurkar/squad"
    with pytest.raises(DataError, match=told):
        data_set("squad").rows("test", tmp_path)


def test_the_set_s_own_folder_will_do(tmp_path: Path) -> None:
    path = write(tmp_path, "RTE/dev.tsv", "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tentailment\n")
    assert data_set("rte").file("test", tmp_path / "RTE") == path
    with pytest.raises(DataError, match="no file for the test split of wnli"):
        data_set("wnli").file("test", tmp_path / "RTE")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sentence\tlabel\nfine\t7\n", r"dev.tsv, row 1 \(line 2\): no label '7'; expected one of negative, positive"),
        ("sentnce\tlabel\nfine\t1\n", r"dev.tsv, row 1 \(line 2\): no column 'sentence'; did you mean 'sentnce'"),
    ],
)
def test_rows_of_another_shape_are_told_with_their_place(tmp_path: Path, text: str, told: str) -> None:
    write(tmp_path, "glue/SST-2/dev.tsv", text)
    with pytest.raises(DataError, match=told):
        list(data_set("sst2").rows("test", tmp_path))
    reading = Reading("skip")
    assert list(data_set("sst2").rows("test", tmp_path, reading)) == []
    assert reading.skipped.total() == 1


def test_further_values_are_the_file_s_own() -> None:
    """Without a record of its own a split gives its rows as they are."""
    assert Files(("a.csv",)).record({"text": "a"}) == {"text": "a"}
    assert fields(text="a")({"a": 1, "b": 2}) == {"text": 1}


REAL = {
    "cola": {"train": 8551, "test": 1043},
    "sst2": {"test": 872},
    "mrpc": {"train": 4076, "test": 1725},
    "stsb": {"train": 5749, "test": 1500, "sts_test": 1379},
    "qnli": {"test": 5463},
    "rte": {"train": 2490, "test": 277},
    "wnli": {"train": 635, "test": 71},
    "ag_news": {"train": 10001, "test": 7600},
    "banking77": {"train": 10003, "test": 3080},
    "clinc150": {"train": 15250, "validation": 3100, "test": 5500},
    "ocnli": {"train": 10000 - 15, "test": 3000 - 50},
    "conll2003": {"test": 3453},
    "weibo_ner": {"train": 1350, "validation": 270, "test": 270},
    "ud_pos": {"validation": 2001, "test": 2077},
    "squad": {"test": 10570},
    "squad_v2": {"test": 11873},
    "cmrc2018": {"train": 3219, "test": 1002},
    "xquad_zh": {"test": 1190},
    "arc_easy": {"train": 2251 - 104, "test": 570 - 21},
    "arc_challenge": {"train": 1119 - 23, "test": 299 - 5},
}
SLOW_REAL = {
    "sst2": {"train": 67349},
    "imdb": {"train": 25000, "test": 25000},
    "conll2003": {"train": 14041, "validation": 3250},
    "msra_ner": {"train": 55289 - 2377, "test": 3442},
    "ud_pos": {"train": 12544},
    "squad": {"train": 87599},
    "cranfield": {"train": 150, "test": 75},
}


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL)
def test_real_splits_have_the_published_number_of_rows(shared: Path, name: str) -> None:
    counted = {split: _count(data_set(name), split, shared) for split in REAL[name]}
    assert counted == REAL[name]


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_REAL)
def test_real_splits_that_are_large(shared: Path, name: str) -> None:
    counted = {split: _count(data_set(name), split, shared) for split in SLOW_REAL[name]}
    assert counted == SLOW_REAL[name]


@pytest.mark.shared
def test_real_sets_that_are_divided_here_lose_no_row(shared: Path) -> None:
    for name, total in {"qqp": 23496, "chnsenticorp": 7766 - 1}.items():
        assert sum(_count(data_set(name), split, shared) for split in ("train", "test")) == total


def _count(entry: DataSet, split: str, folder: Path) -> int:
    rows = list(entry.rows(split, folder))
    assert all(isinstance(row, Row) for row in rows)
    labels = entry.task_settings.get("labels")
    if labels:
        assert {row.values["label"] for row in rows} <= set(labels)
    return len(rows)
