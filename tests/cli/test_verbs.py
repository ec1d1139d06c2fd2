"""The verbs one after another, as a user types them: text to vocabulary, corpus, model, classifier and answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from bertsmith.cli.main import main
from bertsmith.data.readers import read_table
from bertsmith.kernels.library import engine

SUBJECTS = (
    "the cat",
    "a dog",
    "my friend",
    "the old man",
    "her sister",
    "a small bird",
    "the teacher",
    "our neighbour",
)
GOOD = ("loves the garden", "sings a happy song", "likes good bread", "laughs at the bright morning")
BAD = ("hates the rain", "cries a sad tear", "breaks bad glass", "fears the dark evening")
PRETRAIN = "--model-size tiny --max-length 32 --batch-size 4 --max-steps 2 --validation-fraction 0.2 --device cpu"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every verb that makes something has run once."""
    folder = tmp_path_factory.mktemp("a house")
    documents = ["".join(f"{who} {does}.\n" for does in GOOD + BAD) for who in SUBJECTS]
    (folder / "text.txt").write_text("\n".join(documents), encoding="utf-8")
    rows = [
        f"{who} {does},{kind}\n" for kind, acts in (("good", GOOD), ("bad", BAD)) for does in acts for who in SUBJECTS
    ]
    (folder / "examples.csv").write_text("sentence,feeling\n" + "".join(rows), encoding="utf-8")
    make(["tokenizer", "train", folder / "text.txt", "--vocab-size", 120, "--output-dir", folder / "tokenizer"])
    make(["prepare", folder / "text.txt", "--tokenizer", folder / "tokenizer", "--output-dir", folder / "corpus"])
    make(["pretrain", folder / "corpus", "--output-dir", folder / "bert", *PRETRAIN.split()])
    train = ["finetune", "classification", "--train-file", folder / "examples.csv", "--model", folder / "bert"]
    make([*train, "--output-dir", folder / "classifier", "--max-steps", 2, "--device", "cpu"])
    return folder


def make(arguments: list[Any]) -> None:
    assert main([str(argument) for argument in arguments] + ["--quiet"]) == 0


def ask(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    """The JSON document that a verb prints, and nothing else on stdout."""
    assert main([str(argument) for argument in arguments] + ["--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tokenizer", "tokenizer"),
        ("corpus", "corpus for pre-training"),
        ("bert", "model saved by bertsmith"),
        ("classifier", "model saved by bertsmith"),
    ],
)
def test_info_knows_every_folder(house: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(capsys, "info", house / name)["kind"] == kind


def test_info_tells_task_labels_metrics_and_size(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = ask(capsys, "info", house / "classifier")
    assert facts["task"]["name"] == "classification"
    assert facts["task"]["labels"] == ["bad", "good"]
    assert set(facts["figures"]["validation"]["accuracy"]) == {"value", "low", "high"}
    assert facts["num_parameters"] * 4 == facts["weights_bytes"]


def test_info_tells_what_computes_and_why(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    engine.cache_clear()
    try:
        monkeypatch.setenv("BERTSMITH_KERNELS", "off")
        facts = ask(capsys, "info", "--engine")
        assert facts["attention"] == "PyTorch"
        assert facts["kernels"] == "BERTSMITH_KERNELS=off"
        assert facts["matrix_products"].startswith("PyTorch, ")
        assert facts["int8"] == "not here"
        assert facts["amx"] == torch.cpu._is_amx_tile_supported()
        if facts["precision"] == "bf16" and facts["device"] == "cpu":
            assert facts["matrix_products"].endswith("AMX") == facts["amx"]
    finally:
        engine.cache_clear()


def test_info_of_a_folder_that_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path)]) == 1
    assert "neither a model nor a corpus nor a tokenizer" in capsys.readouterr().err


def test_tokenizer_train_reports_its_fit(house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--vocab-size", 100, "--criterion", "likelihood", "--output-dir", tmp_path / "tokenizer")
    facts = ask(capsys, "tokenizer", "train", house / "text.txt", *options)
    assert facts["num_tokens"] <= 100
    assert facts["coverage"] == 1
    assert facts["pieces_per_word"] >= 1


def test_tokenizer_report_names_files_and_mends_them(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a text .txt "
    file.write_bytes("das k\xe4me".encode("latin-1"))
    train = ("tokenizer", "train", house / "text.txt", "--vocab-size", 100, "--output-dir", tmp_path / "tokenizer")
    ask(capsys, *train)
    words = [str(word) for word in ("tokenizer", "report", tmp_path / "tokenizer", file)]
    assert main(words) == 1
    assert "line 1: not valid UTF-8" in (said := capsys.readouterr().err)
    assert "bad_utf8" in said
    assert ask(capsys, *words, "--bad-utf8", "skip")["languages"][str(file)]["num_words"] == 1


def test_evaluate(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, "evaluate", house / "classifier", house / "examples.csv")
    assert answer["num_examples"] == len(SUBJECTS) * len(GOOD + BAD)
    assert 0 <= answer["metrics"]["accuracy"] <= 1


def test_evaluate_with_a_report(house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--report-dir", str(tmp_path), "--slice-column", "feeling")
    assert main(["evaluate", str(house / "classifier"), str(house / "examples.csv"), *options]) == 0
    out = capsys.readouterr().out
    assert "metric\tvalue\tfrom\tto (95%)\naccuracy\t" in out
    assert "\nmajority\t" in out
    assert "trained on this very file" in out
    assert (tmp_path / "report.html").is_file()


def test_a_column_that_is_named_leaves_the_others_as_trained(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (house / "examples.csv").read_text(encoding="utf-8").splitlines()[1:]
    rows = [f"{line},{line.partition(',')[2]},a remark on {line.partition(',')[0]}" for line in lines]
    text = "\n".join(["sentence,feeling,mood,text", *rows])
    (tmp_path / "more.csv").write_text(text + "\n", encoding="utf-8")
    answer = ask(capsys, "evaluate", house / "classifier", tmp_path / "more.csv", "--label-column", "mood")
    assert answer["num_examples"] == len(lines)


def test_a_file_and_a_folder_that_are_swapped_are_told(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(house / "examples.csv"), str(house / "classifier")]) == 1
    assert "examples.csv: a file, where the folder of a saved model is expected" in capsys.readouterr().err
    assert main(["evaluate", str(house / "classifier"), str(house / "bert")]) == 1
    assert "bert: a folder, where a file of rows is expected" in capsys.readouterr().err


def test_evaluate_on_so_many(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, "evaluate", house / "classifier", house / "examples.csv", "--max-eval-samples", 10)
    assert answer["num_examples"] == 10
    answer = ask(capsys, "evaluate", house / "bert", house / "corpus", "--max-eval-samples", 2)
    assert answer["num_examples"] == 2
    assert "using 2 of" in answer["warnings"][0]


def test_compare(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides = (house / "classifier", house / "classifier")
    answer = ask(capsys, "compare", *sides, house / "examples.csv")
    assert answer["metrics"]["accuracy"]["verdict"] == "no difference shown"
    assert answer["only_first"] == 0
    assert main(["compare", *map(str, sides), str(house / "examples.csv"), "--quiet"]) == 0


def test_verify_and_what_it_ends_with(house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, "verify", house / "classifier")
    assert {figure["metric"] for figure in answer["figures"]} >= {"accuracy"}
    shutil.copytree(house / "classifier", tmp_path / "model")
    record = json.loads((tmp_path / "model" / "bertsmith.json").read_text())
    record["evaluations"][0]["metrics"]["accuracy"]["value"] += 0.01
    (tmp_path / "model" / "bertsmith.json").write_text(json.dumps(record))
    assert main(["verify", str(tmp_path / "model")]) == 1
    assert "bertsmith.json: was changed after saving" in capsys.readouterr().err


def test_predict_texts(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(capsys, "predict", house / "classifier", "the cat cries", "my friend sings")
    assert [prediction["label"] in ("good", "bad") for prediction in answer["predictions"]] == [True, True]


def test_predict_for_people(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(house / "classifier"), "the cat cries " * 500]) == 0
    out = capsys.readouterr().out
    assert "\tgood\t" in out or "\tbad\t" in out
    assert "1 requests were too long for one window and were read in several" in out


def test_predict_a_file_to_a_file(house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--file", house / "examples.csv", "--text-column", "sentence", "--output-file", tmp_path / "out.jsonl")
    answer = ask(capsys, "predict", house / "classifier", *options)
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert answer["num_requests"] == len(lines) == len(SUBJECTS) * len(GOOD + BAD)
    assert json.loads(lines[0])["label"] in ("good", "bad")


@pytest.mark.parametrize("name", ["out.csv", "out.tsv"])
def test_predict_writes_a_table_where_the_name_says_so(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    texts = ("the cat cries", "my friend sings")
    ask(capsys, "predict", house / "classifier", *texts, "--output-file", tmp_path / name)
    expected = ask(capsys, "predict", house / "classifier", *texts)["predictions"]
    first, second = (row.values for row in read_table(tmp_path / name))
    assert list(first) == ["row", *expected[0]]
    assert (first["row"], second["row"], second["label"]) == ("1", "2", expected[1]["label"])
    assert (float(first["score"]), json.loads(first["scores"])) == (expected[0]["score"], expected[0]["scores"])
    assert json.loads(first["labels"]) == expected[0]["labels"]
    options = ("--output-file", tmp_path / name, "--output-format", "jsonl")
    ask(capsys, "predict", house / "classifier", *texts, *options)
    assert json.loads((tmp_path / name).read_text().splitlines()[1]) == {"row": 2, **expected[1]}


@pytest.mark.parametrize("name", ["out.parquet", "out.jsonl.gz"])
def test_predict_refuses_a_suffix_that_it_does_not_write(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["predict", str(house / "classifier"), "the cat", "--output-file", str(tmp_path / name)]) == 2
    assert "name the file .jsonl for JSON lines, .csv or .tsv for a table" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_predict_writes_a_format_of_the_field_to_a_file_alone(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(house / "classifier"), "the cat", "--output-format", "squad"]) == 2
    assert "squad is written to a file: name it with --output-file" in capsys.readouterr().err


def test_explain(house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "The cat loves bread."
    found = ask(capsys, "explain", house / "classifier", text, "--output-file", tmp_path / "why.html")
    assert {"words", "target", "faithfulness"} <= found.keys()
    assert [text[word["start"] : word["end"]] for word in found["words"]] == ["The", "cat", "loves", "bread", "."]
    assert found["target"]["name"] in ("good", "bad")
    assert found["faithfulness"]["completeness"]["error"] <= 0.01
    assert "attention" not in found
    assert "<script" not in (page := (tmp_path / "why.html").read_text(encoding="utf-8"))
    assert page.count("<svg") >= 3
    assert ask(capsys, "explain", house / "classifier", text, "--with-attention")["attention"]["words"] == [
        0,
        1,
        2,
        3,
        4,
    ]


def test_explain_for_people(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(house / "bert"), "the [MASK] loves", "--explainer", "occlusion", "--target", "0="]) == 0
    out = capsys.readouterr().out
    assert " at [MASK] 0: probability " in out
    assert "the [MASK] loves" in out
    assert "\ncomprehensiveness\t" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "needs a text, or the fields"),
        (["the", "cat"], 2, "takes one text, found 2"),
        ([""], 1, "nothing to explain"),
        (["the cat", "--explainer", "attentoin"], 2, "did you mean 'attention'"),
        (["the cat", "--target", "god"], 2, "no label 'god'; did you mean 'good'"),
        (["the cat", "--output-file", "why.txt"], 2, "ends in .html"),
        (["--text", "the cat", "--text-pair", "a dog"], 1, "trained on one text"),
    ],
)
def test_explain_says_what_is_wrong(
    house: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert main(["explain", str(house / "classifier"), *arguments]) == code
    assert message in capsys.readouterr().err


def test_fill_mask(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "the [MASK] loves a [MASK]."
    (answer,) = ask(capsys, "fill-mask", house / "bert", text, "--top-k", 3)["predictions"]
    assert answer["text"] == text
    assert [len(fills) for fills in answer["fills"]] == [3, 3]


def test_fill_mask_needs_a_pretrained_model(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fill-mask", str(house / "classifier"), "a [MASK]"]) == 2
    assert "a model for classification; fill-mask needs a pre-trained one" in capsys.readouterr().err


def test_a_settings_file_runs_a_whole_verb(house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {
        "train_file": str(house / "examples.csv"),
        "model": str(house / "bert"),
        "output_dir": str(tmp_path / "classifier"),
        "label_column": "feeling",
        "training": {"max_steps": 1, "device": "cpu"},
    }
    (tmp_path / "run.json").write_text(json.dumps(settings), encoding="utf-8")
    answer = ask(capsys, "finetune", "classification", "--settings", tmp_path / "run.json", "--batch-size", 4)
    assert answer["training"]["num_steps"] == 1
    assert answer["evaluation"]["num_examples"] == answer["num_validation_examples"]
