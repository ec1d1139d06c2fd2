"""Fine-tuning beyond the plain case: test files, data sets by name, seeds, subsets, adapters, tuning."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import WORDS, toy_config, toy_text, toy_tokenizer

from bertsmith.artifact import Artifact, load_artifact, save_artifact
from bertsmith.data.batch import Truncation
from bertsmith.errors import DataError, FileFormatError, SettingsError
from bertsmith.inference.predictor import load
from bertsmith.recipes.evaluate import evaluate
from bertsmith.recipes.examples import DataSettings, load_examples
from bertsmith.recipes.finetune import FinetuneReport, finetune, finetune_settings, with_data_set
from bertsmith.recipes.pretrain import pretrain
from bertsmith.recipes.seeds import finetune_seeds
from bertsmith.recipes.verify import verify
from bertsmith.tasks import TASKS

QUICK = {"max_steps": 30, "per_device_train_batch_size": 8, "learning_rate": 5e-3, "precision": "fp32"}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights that knows the toy words."""
    folder = tmp_path_factory.mktemp("model") / "model"
    torch.manual_seed(0)
    task = TASKS["pretraining"]()
    save_artifact(folder, Artifact(task, task.build(toy_config()), toy_tokenizer()))
    return folder


def write_rows(path: Path, num_rows: int, seed: int, separator: str = ",") -> Path:
    """Texts of the first twenty words are good, of the others bad."""
    rng = np.random.default_rng(seed)
    lines = [
        separator.join((toy_text(rng, 5, WORDS[:20] if i % 2 else WORDS[20:]), ("bad", "good")[i % 2]))
        for i in range(num_rows)
    ]
    path.write_text("\n".join([separator.join(("text", "label")), *lines]) + "\n")
    return path


def classify(tmp_path: Path, pretrained: Path, **more: Any) -> FinetuneReport:
    values: dict[str, Any] = {
        "train_file": write_rows(tmp_path / "train.csv", 120, 0),
        "model": str(pretrained),
        "output_dir": tmp_path / "run",
        "training": QUICK,
    }
    return finetune("classification", values | more)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("what", ["all", "lora"])
def test_what_a_run_leaves_loads_predicts_and_holds(
    tmp_path: Path, pretrained: Path, precision: str, what: str
) -> None:
    """The best model is loaded, measured and saved again: whole, in whatever precision it was measured."""
    report = classify(tmp_path, pretrained, training=QUICK | {"precision": precision}, adaptation={"train": what})
    names = {name for name, _ in load_artifact(report.output_dir).network.named_parameters()}
    assert "encoder.layers.0.attention.query.weight" in names
    assert len(load(report.output_dir, precision=precision).predict(["ba be bi"])) == 1
    assert verify({"folder": report.output_dir}).figures


def test_words_without_pieces_are_told_before_training_and_in_evaluation(tmp_path: Path, pretrained: Path) -> None:
    sentences = "".join(f"{a} B-X\n\u200b I-X\n{b} O\n\n" for a, b in zip(WORDS[:20], WORDS[20:40], strict=True))
    (tmp_path / "train.conll").write_text(sentences, encoding="utf-8")
    values = {"train_file": tmp_path / "train.conll", "model": str(pretrained), "output_dir": tmp_path / "run"}
    report = finetune("token_classification", values | {"training": QUICK | {"max_steps": 1}, "task": {"crf": True}})
    (told,) = (warning for warning in report.warnings if warning.startswith("training: "))
    assert told.startswith("training: 18 of 54 words have no pieces")
    assert f"{tmp_path / 'train.conll'}, row " in told
    assert sum(warning.startswith("validation: 2 of 6 words") for warning in report.warnings) == 1
    evaluated = evaluate({"folder": tmp_path / "run", "file": tmp_path / "train.conll"})
    assert any(warning.startswith("20 of 60 words have no pieces") for warning in evaluated.warnings)


def test_a_test_file_is_measured_and_nothing_is_chosen_by_it(tmp_path: Path, pretrained: Path) -> None:
    report = classify(tmp_path, pretrained, test_file=write_rows(tmp_path / "test.csv", 40, 9))
    assert report.test is not None
    assert (report.test.num_examples, report.num_train_examples + report.num_validation_examples) == (40, 120)
    assert report.test.metrics["accuracy"] > 0.9
    record = load_artifact(tmp_path / "run").record
    assert record["data"]["files"]["test"]["name"] == "test.csv"
    assert record["data"]["num_test_examples"] == 40


def test_the_temperature_is_fitted_after_training_and_kept(tmp_path: Path, pretrained: Path) -> None:
    classify(tmp_path, pretrained)
    tuned = load(tmp_path / "run").task.settings.temperature
    assert tuned != 1.0
    classify(tmp_path, pretrained, tune=False, overwrite_output_dir=True)
    assert load(tmp_path / "run").task.settings.temperature == 1.0


def test_training_rows_in_the_test_file_are_told_with_their_number(tmp_path: Path, pretrained: Path) -> None:
    report = classify(tmp_path, pretrained, test_file=tmp_path / "train.csv")
    assert "120 of 120 test texts are in the training file too" in " ".join(report.warnings)  # those split off as well


def test_test_rows_that_choose_the_model_are_told_with_their_number(tmp_path: Path, pretrained: Path) -> None:
    both = dict.fromkeys(("validation_file", "test_file"), write_rows(tmp_path / "test.csv", 40, 9))
    report = classify(tmp_path, pretrained, **both)
    assert "40 of 40 test texts are in the validation examples too" in " ".join(report.warnings)


def test_every_seed_is_split_alike_and_the_interval_is_student_s(tmp_path: Path, pretrained: Path) -> None:
    settings = finetune_settings("classification").of(
        {
            "train_file": write_rows(tmp_path / "train.csv", 120, 0),
            "model": str(pretrained),
            "output_dir": tmp_path / "runs",
            "training": QUICK | {"max_steps": 8, "seed": 3},
            "seeds": 3,
        }
    )
    report = finetune_seeds("classification", settings)
    assert report.seeds == (3, 4, 5)
    assert sorted(folder.name for folder in (tmp_path / "runs").iterdir()) == [
        "seed-3",
        "seed-4",
        "seed-5",
        "seeds.json",
    ]
    values = [run.evaluation.metrics["accuracy"] for run in report.runs]
    found = report.metrics["validation"]["accuracy"]
    # t of 2 degrees of freedom at 97.5% is 4.3027.
    reach = 4.3027 * np.std(values, ddof=1) / 3**0.5
    assert found.value == pytest.approx(np.mean(values))
    assert found.value - found.low == pytest.approx(reach, abs=1e-3)
    assert found.high == pytest.approx(min(1.0, found.value + reach), abs=1e-3)
    correlation = report.metrics["validation"]["matthews_correlation"]
    assert -1 <= correlation.low <= correlation.high <= 1
    summary = json.loads((tmp_path / "runs" / "seeds.json").read_text())
    assert summary["metrics"]["validation"]["accuracy"]["value"] == pytest.approx(found.value)
    with pytest.raises(SettingsError, match="two runs or more"):
        finetune_seeds("classification", settings.model_copy(update={"seeds": 1}))


def test_a_subset_is_the_same_for_every_seed(tmp_path: Path, pretrained: Path) -> None:
    report = classify(tmp_path, pretrained, max_train_samples=50, training=QUICK | {"max_steps": 2})
    assert report.num_train_examples + report.num_validation_examples == 50
    assert "using 50 of 120 examples, chosen at random" in report.warnings


def test_a_subset_that_lacks_a_label_leaves_the_test_file_readable(tmp_path: Path, pretrained: Path) -> None:
    for name, num in (("train.csv", 20), ("test.csv", 1)):
        lines = [f"{name} {i} {label},{label}" for label in WORDS[:5] for i in range(num)]
        (tmp_path / name).write_text("\n".join(["text,label", *lines]) + "\n")
    settings = DataSettings(train_file=tmp_path / "train.csv", test_file=tmp_path / "test.csv", max_train_samples=6)
    examples = load_examples(TASKS["classification"](), settings)
    assert examples.task.labels() == tuple(sorted(WORDS[:5]))
    assert len(examples.train) + len(examples.validation) == 6
    assert len({example.answer for example in (*examples.train, *examples.validation)}) < 5


@pytest.mark.parametrize(
    ("task", "train", "test"),
    [
        ("classification", [{"text": f"ba {i}", "label": i / 2} for i in range(20)], {"text": "be", "label": 3.5}),
        (
            "reranking",
            [{"query": f"ba {i}", "passages": ["bo", "bu"], "labels": [1, 0]} for i in range(20)],
            {"query": "be", "passages": ["bo"], "labels": [1]},
        ),
    ],
)
def test_held_out_answers_may_be_all_the_same(
    task: str, train: list[dict[str, Any]], test: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in train))
    (tmp_path / "test.jsonl").write_text(json.dumps(test) + "\n")
    kind = TASKS[task].from_dict({"problem_type": "regression"} if task == "classification" else {}, "test")
    settings = DataSettings(train_file=tmp_path / "train.jsonl", test_file=tmp_path / "test.jsonl")
    assert len(load_examples(kind, settings).test) == 1


def test_one_run_does_not_pass_for_several(tmp_path: Path, pretrained: Path) -> None:
    with pytest.raises(SettingsError, match="finetune_seeds makes 5 runs"):
        classify(tmp_path, pretrained, seeds=5)


def test_what_the_user_says_stands_even_where_it_is_the_default(tmp_path: Path) -> None:
    kind = finetune_settings("classification")
    asked = with_data_set("classification", kind.of({"dataset": "ag_news", "task": {"max_length": 512}}))
    unsaid = with_data_set("classification", kind.of({"dataset": "ag_news", "task": {"stride": 64}}))
    assert (asked.task.max_length, unsaid.task.max_length) == (512, 128)  # type: ignore[attr-defined]


def test_adapters_are_saved_apart_and_merged_into_the_model(tmp_path: Path, pretrained: Path) -> None:
    before = load_artifact(pretrained).network.encoder.state_dict()
    classify(tmp_path, pretrained, adaptation={"train": "lora", "lora_rank": 4})
    assert {file.name for file in (tmp_path / "run" / "adapter").iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    after = load_artifact(tmp_path / "run").network.encoder.state_dict()
    changed = {name for name, values in after.items() if not torch.equal(values, before[name])}
    assert changed
    assert all("query" in name or "value" in name for name in changed)


def test_what_keeps_weights_needs_a_model_to_keep_them_of(tmp_path: Path) -> None:
    values = {"train_file": write_rows(tmp_path / "train.csv", 40, 0), "output_dir": tmp_path / "run"}
    with pytest.raises(SettingsError, match="lora keeps pre-trained weights: name them with --model"):
        finetune("classification", values | {"adaptation": {"train": "lora"}})


def test_a_data_set_by_name_brings_its_task_settings_and_metric(tmp_path: Path, pretrained: Path) -> None:
    folder = tmp_path / "data" / "glue" / "STS-B"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)

    def row(i: int) -> str:
        first = toy_text(rng, 4, WORDS[:20])
        second = first if i % 2 else toy_text(rng, 4, WORDS[20:])
        return f"genre\tfile\tyear\t{i}\t{5.0 if i % 2 else 0.4}\t{first}\t{second}\n"

    for name, number in (("sts-train.tsv", 60), ("sts-dev.tsv", 20), ("sts-test.tsv", 20)):
        (folder / name).write_text("".join(row(i) for i in range(number)))
    values = {"dataset": "stsb", "data_dir": tmp_path / "data", "model": str(pretrained), "training": QUICK}
    report = finetune("classification", values | {"output_dir": tmp_path / "run"})
    assert report.test is not None
    assert report.test.num_examples == 20
    assert {"spearmanr", "pearson"} <= report.test.metrics.keys()
    task = load(tmp_path / "run").task
    assert task.settings.problem_type == "regression"
    record = load_artifact(tmp_path / "run").record
    assert record["data"]["files"]["test"]["dataset"] == "stsb"
    assert record["settings"]["training"]["metric_for_best_model"] == "spearmanr"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "needs --train-file, or --dataset"),
        ({"train_file": "a.csv", "dataset": "sst2"}, "one of the two"),
        ({"dataset": "sst3"}, "no data set 'sst3'; did you mean 'sst2'"),
        ({"dataset": "conll2003"}, "conll2003 is a data set for token_classification, not for classification"),
    ],
)
def test_a_source_of_examples_is_one_that_exists_and_fits(values: dict[str, Any], message: str) -> None:
    with pytest.raises((SettingsError, DataError), match=message):
        finetune("classification", values)


def test_long_texts_that_are_to_be_refused_are_told_before_training(tmp_path: Path, pretrained: Path) -> None:
    with pytest.raises(DataError) as error:
        classify(tmp_path, pretrained, task={"truncation": "error", "max_length": 6})
    assert str(error.value).count("more than max_length 6") == 10
    assert "120 examples are too long" in str(error.value)
    assert "(line 3)" in str(error.value)
    assert not (tmp_path / "run" / "bertsmith.json").exists()


def test_noise_that_would_spoil_answers_is_refused_before_anything_is_read_or_written(tmp_path: Path) -> None:
    training = QUICK | {"augmentation": {"word_dropout": 0.1}}
    values = {"output_dir": tmp_path / "run", "training": training}
    with pytest.raises(SettingsError, match="answers of token_classification stand at places"):
        finetune("token_classification", values | {"train_file": tmp_path / "none.conll"})
    with pytest.raises(SettingsError, match="pretraining learns from a corpus as it is"):
        pretrain(values | {"corpus": tmp_path / "none"})
    assert not (tmp_path / "run").exists()


def test_a_test_file_may_call_its_columns_otherwise(tmp_path: Path, pretrained: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text(write_rows(tmp_path / "test.csv", 20, 9).read_text().replace("text,label", "review,sentiment", 1))
    report = classify(tmp_path, pretrained, test_file=other, training=QUICK | {"max_steps": 2})
    assert report.test is not None
    assert report.test.num_examples == 20


def test_a_test_file_without_the_second_text_is_refused(tmp_path: Path, pretrained: Path) -> None:
    lines = write_rows(tmp_path / "plain.csv", 60, 0).read_text().splitlines()
    pairs = ["text,text_pair,label", *(line.replace(",", ",ba be,", 1) for line in lines[1:])]
    (tmp_path / "pairs.csv").write_text("\n".join(pairs) + "\n")
    files = {"train_file": tmp_path / "pairs.csv", "test_file": tmp_path / "plain.csv"}
    with pytest.raises(DataError, match=r"plain.csv: no column for 'text_pair'"):
        classify(tmp_path, pretrained, **files)


def test_a_folder_of_several_seeds_is_no_model_and_says_which_are(tmp_path: Path, pretrained: Path) -> None:
    classify(tmp_path, pretrained, output_dir=tmp_path / "runs" / "seed-3", training=QUICK | {"max_steps": 2})
    with pytest.raises(FileFormatError, match=r"name one, such as .*seed-3"):
        load(tmp_path / "runs")
    with pytest.raises(FileFormatError, match="no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="predict takes a list"):
        load(tmp_path / "runs" / "seed-3").predict("ba be")  # type: ignore[arg-type]


def test_rare_classes_and_contradictions_are_told_with_their_rows(tmp_path: Path, pretrained: Path) -> None:
    rows = [f"text number {i},{'good' if i % 2 else 'bad'}" for i in range(30)]
    rows += ["once only,rare", "said twice,good", "said twice,bad"]
    file = tmp_path / "rows.csv"
    file.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    held_out = tmp_path / "held-out.csv"
    held_out.write_text("text,label\n" + "\n".join(rows[:6]) + "\n", encoding="utf-8")
    settings = {
        "train_file": file,
        "validation_file": held_out,
        "model": str(pretrained),
        "output_dir": tmp_path / "run",
        "training": {"max_steps": 1},
        "task": {"labels": ["good", "bad", "rare", "never"]},
    }
    told = "\n".join(finetune("classification", settings).warnings)
    assert f"classes with a single example: 'rare' ({file.name}" in told.replace(f"{tmp_path}/", "")
    assert "labels without a training example: 'never'" in told
    assert "2 of 33 training texts occur with another answer too" in told


def test_rare_classes_are_told_once_where_the_validation_rows_are_split_off(tmp_path: Path) -> None:
    rows = [f"text number {i},{'good' if i % 2 else 'bad'}" for i in range(30)]
    rows += ["once only,rare", "said twice,odd", "said twice,odd", "one,small", "another,small"]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    examples = load_examples(TASKS["classification"](), DataSettings(train_file=tmp_path / "rows.csv"))
    for label, told in (
        ("rare", "classes with a single example: 'rare'"),
        ("odd", "classes with a single text, all in training: 'odd'"),
        ("small", "classes without a validation row, being too small: 'small'"),
    ):
        about = [warning for warning in examples.warnings if repr(label) in warning]
        assert len(about) == 1
        assert about[0].startswith(told)


def test_what_training_cut_is_kept_once_an_example_whatever_the_epochs(tmp_path: Path, pretrained: Path) -> None:
    report = classify(tmp_path, pretrained, task={"truncation": "head", "max_length": 6})
    truncation = report.training.truncation
    assert report.training.num_steps * 8 > 2 * report.num_train_examples
    # Texts of five words and two special tokens: one word of each is cut.
    assert truncation == Truncation(report.num_train_examples, report.num_train_examples, report.num_train_examples)
    assert load_artifact(tmp_path / "run").record["training"]["truncation"] == asdict(truncation)
    lines = [json.loads(line) for line in (tmp_path / "run" / "logs" / "metrics.jsonl").read_text().splitlines()]
    (told,) = [line for line in lines if line["kind"] == "truncation"]
    assert told.items() >= asdict(truncation).items()
