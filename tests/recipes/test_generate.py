"""Texts that a model writes, from Python and from the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from toy_models import toy_bert
from toys import toy_config, toy_tokenizer

from bertsmith.artifact import Artifact, load_artifact, save_artifact
from bertsmith.cli.main import main
from bertsmith.errors import DataError, SettingsError
from bertsmith.inference.predictor import load
from bertsmith.model.mask_predict import mask_predict
from bertsmith.model.packed import Packed
from bertsmith.recipes.explain import ExplainSettings, explain_prediction
from bertsmith.recipes.generate import GenerateSettings, generate
from bertsmith.tasks.pretraining import Pretraining
from bertsmith.tasks.seq2seq import Seq2Seq


@pytest.fixture
def writer(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    task = Seq2Seq.from_dict({"measure": "exact_match", "max_length": 16, "max_target_length": 12}, "toy")
    network = task.build(toy_config(initializer_range=0.2))
    save_artifact(tmp_path / "writer", Artifact(task, network, toy_tokenizer()))
    return tmp_path / "writer"


@pytest.mark.parametrize("verb", ["translate", "summarize", "generate"])
def test_each_verb_writes_to_a_text(verb: str, writer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, str(writer), "ba be", "--num-beams", "3", "--max-new-tokens", "4", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["predictions"]
    expected = generate(
        GenerateSettings.of({"folder": writer, "text": ("ba be",), "generation": {"num_beams": 3, "max_new_tokens": 4}})
    )
    assert found["text"] == expected.predictions[0].text
    assert len(found["tokens"]) == len(found["probabilities"]) - found["finished"] <= 4


def test_a_text_and_what_is_said_of_its_target(writer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(writer), "ba be", "--prefix", "da", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["predictions"]
    assert found["text"].startswith("da")
    assert main(["generate", str(writer), "ba be", "bo", "--prefix", "da"]) == 2
    assert "one of the three" in capsys.readouterr().err


def test_a_file_is_written_to_a_file(writer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "ba be"}\n{"text": "da", "prefix": "bo"}\n')
    out = tmp_path / "out.jsonl"
    assert main(["generate", str(writer), "--file", str(tmp_path / "in.jsonl"), "--output-file", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["row"] for row in rows] == [1, 2]
    assert rows[1]["text"].startswith("bo")


def test_what_was_saved_holds_where_nothing_is_said(writer: Path) -> None:
    artifact = load_artifact(writer)
    task = Seq2Seq.from_dict({**artifact.task.to_dict(), "generation": {"max_new_tokens": 2, "min_new_tokens": 2}}, "x")
    save_artifact(writer, Artifact(task, artifact.network, artifact.tokenizer))
    by_default = generate(GenerateSettings(folder=writer, text=("ba be",)))
    assert len(by_default.predictions[0].tokens) == 2
    more = generate(GenerateSettings.of({"folder": writer, "text": ("ba be",), "generation": {"max_new_tokens": 3}}))
    assert 2 <= len(more.predictions[0].tokens) <= 3


def test_every_verb_takes_the_task_s_settings(writer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `--set` says of the task holds in evaluation and explanation, in predictions and in Python."""
    said = {"generation": {"min_new_tokens": 3, "max_new_tokens": 3}}
    flags = [part for name in ("min", "max") for part in ("--set", f"task.generation.{name}_new_tokens=3")]
    (written,) = load(writer, task=said).predict(["ba be"])
    assert len(written.tokens) == 3 < len(load(writer).predict(["ba be"])[0].tokens)
    assert main(["predict", str(writer), "ba be", *flags, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["predictions"][0]["text"] == written.text
    why = ExplainSettings.of({"folder": writer, "text": ("ba be",), "task": said, "how": {"num_random": 2}})
    assert explain_prediction(why).explanation.prediction.tokens == written.tokens
    (tmp_path / "known.jsonl").write_text(json.dumps({"text": "ba be", "target": written.text}) + "\n")
    for more, exact in (([], 0.0), (flags, 1.0)):
        assert main(["evaluate", str(writer), str(tmp_path / "known.jsonl"), *more, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["metrics"]["exact_match"] == exact


def test_lengths_beyond_the_network_s_positions_are_refused(writer: Path) -> None:
    artifact = load_artifact(writer)
    with pytest.raises(SettingsError, match="task: max_target_length 65: the model has 64 positions"):
        artifact.asked_with({"max_target_length": 65, "generation": {"min_new_tokens": 64}})
    with pytest.raises(SettingsError, match="'max_targetlength'; did you mean 'max_target_length'"):
        artifact.asked_with({"max_targetlength": 64})
    assert artifact.asked_with({"max_target_length": 64}).task.settings.max_target_length == 64


def test_what_is_said_in_two_ways_is_laid_together(writer: Path) -> None:
    values = {"folder": writer, "text": ("ba be",), "task": {"generation": {"max_new_tokens": 2, "min_new_tokens": 2}}}
    both = generate(GenerateSettings.of(values | {"generation": {"num_beams": 3}})).predictions
    said = {"num_beams": 3, "max_new_tokens": 2, "min_new_tokens": 2}
    assert both == tuple(load(writer, task={"generation": said}, precision="auto").predict(["ba be"]))
    assert len(both[0].tokens) == 2
    assert both != generate(GenerateSettings.of(values)).predictions


@pytest.mark.parametrize("verb", ["translate", "predict"])
def test_an_empty_file_is_refused(verb: str, writer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.txt").write_text("")
    assert main([verb, str(writer), "--file", str(tmp_path / "in.txt")]) == 1
    assert "in.txt: expected requests, found none" in capsys.readouterr().err


def test_a_model_that_does_not_write_is_refused(tmp_path: Path) -> None:
    bert = toy_bert(tmp_path / "bert")
    with pytest.raises(SettingsError, match=r"which writes no texts; .* --method mask-predict"):
        generate(GenerateSettings(folder=bert, text=("ba",)))


def test_settings_that_do_not_agree_are_refused(writer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(writer), "ba", "--num-beams", "3", "--do-sample"]) == 2
    assert "do_sample draws one target" in capsys.readouterr().err
    assert main(["generate", str(writer), " "]) == 1
    assert "text 1: an empty source" in capsys.readouterr().err
    assert main(["generate", str(writer), "ba", "--num-blanks", "3"]) == 2
    assert "num_blanks: of a meaning for --method mask-predict alone" in capsys.readouterr().err


def test_mask_predict_fills_every_blank_and_keeps_the_rest(tmp_path: Path) -> None:
    bert = toy_bert(tmp_path / "bert")
    report = generate(
        GenerateSettings.of({"folder": bert, "text": ("ba be",), "method": "mask-predict", "num_blanks": 4})
    )
    (written,) = report.predictions
    assert written.text.startswith("ba be ")
    assert len(written.tokens) == len(written.probabilities) == 4
    inner = generate(GenerateSettings.of({"folder": bert, "text": ("ba [MASK] be [MASK]",), "method": "mask-predict"}))
    words = inner.predictions[0].text.split()
    assert (words[0], words[2]) == ("ba", "be")
    with pytest.raises(DataError, match="text 1: nothing to fill in"):
        generate(GenerateSettings.of({"folder": bert, "text": ("ba",), "method": "mask-predict"}))
    with pytest.raises(DataError, match="more than the model's 64 positions"):
        generate(GenerateSettings.of({"folder": bert, "text": ("ba",), "method": "mask-predict", "num_blanks": 90}))


def test_mask_predict_writes_into_the_text_as_it_was_given(tmp_path: Path) -> None:
    bert = toy_bert(tmp_path / "bert")
    text = "Ba Zug  [MASK] (be)."
    values = {"folder": bert, "text": (text,), "method": "mask-predict"}
    (written,) = generate(GenerateSettings.of(values)).predictions
    before, after = text.split("[MASK]")
    bare = written.tokens[0].removeprefix("##")
    assert written.text == (before.rstrip() if bare != written.tokens[0] else before) + bare + after


def test_mask_predict_writes_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bert, text = str(toy_bert(tmp_path / "bert")), "ba [MASK]"
    command = ["generate", bert, text, "--method", "mask-predict", "--output-file"]
    assert main([*command, str(tmp_path / "out.csv")]) == 0
    header, row = csv.reader((tmp_path / "out.csv").open(newline=""))
    (written,) = generate(GenerateSettings(folder=Path(bert), text=(text,), method="mask-predict")).predictions
    assert header == ["row", "text", "score", "tokens", "probabilities"]
    assert (row[:2], json.loads(row[3])) == (["1", written.text], list(written.tokens))
    assert main([*command, str(tmp_path / "out.xyz")]) == 2
    assert "predictions are not written as .xyz" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "out.csv"), "--output-format", "squad"]) == 2
    assert "no output format 'squad' for this model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--file", "x.txt"], "file"),
        (["--prefix", "ba", "--language", "de"], "language, prefix"),
        (["--num-beams", "2", "--no-repeat-ngram-size", "2"], "num_beams, no_repeat_ngram_size"),
        (["--max-new-tokens", "2"], "max_new_tokens"),
    ],
)
def test_mask_predict_refuses_what_it_does_not_heed(
    flags: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["generate", str(toy_bert(tmp_path / "bert")), "ba [MASK]", "--method", "mask-predict"]
    assert main([*command, *flags]) == 2
    assert f"{named}: without a meaning for mask-predict" in capsys.readouterr().err


def test_mask_predict_draws_from_the_likeliest_alone(tmp_path: Path) -> None:
    bert = toy_bert(tmp_path / "bert")
    values = {"folder": bert, "text": ("ba be",), "method": "mask-predict", "num_blanks": 5}
    likeliest = generate(GenerateSettings.of(values)).predictions[0].text
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-40}, {}):
        settings = GenerateSettings.of(values | {"generation": {"do_sample": True, **narrow}})
        assert (generate(settings).predictions[0].text == likeliest) == bool(narrow)


def test_mask_predict_takes_the_rounds_by_hand(tmp_path: Path) -> None:
    """Three rounds for three blanks: all at once; the two least sure of them again; the least sure again."""
    torch.manual_seed(0)
    network = Pretraining().build(toy_config(initializer_range=0.3)).eval()
    tokenizer = toy_tokenizer()
    mask, special = tokenizer.mask_id, list(tokenizer.special_ids)
    text = [2, 20, mask, mask, 21, mask, 3]
    places = [2, 3, 5]

    def scores(ids: list[int]) -> torch.Tensor:
        rows = network(Packed.of([ids]), torch.arange(len(ids))).tokens.log_softmax(-1).detach()
        rows[:, special] = float("-inf")
        return rows

    ids, sure = list(text), dict.fromkeys(places, 0.0)
    blanks = places
    for number in (2, 1, 0):
        rows = scores(ids)
        for place in blanks:
            ids[place] = int(rows[place].argmax())
            sure[place] = float(rows[place].softmax(-1).max())
        blanks = sorted(places, key=lambda place: sure[place])[:number]
        for place in blanks:
            ids[place] = mask
    found = mask_predict(network, text, mask_id=mask, forbidden=special, num_iterations=3)
    assert found.input_ids == ids
    assert found.probabilities == pytest.approx([sure[place] for place in places], abs=1e-5)


def test_what_mask_predict_draws_depends_on_the_seed_alone(tmp_path: Path) -> None:
    bert = toy_bert(tmp_path / "bert")
    values = {"folder": bert, "text": ("ba be",), "method": "mask-predict", "num_blanks": 8}
    texts = []
    for seed in (1, 1, 2):
        settings = GenerateSettings.of(values | {"generation": {"do_sample": True, "sampling_seed": seed}})
        texts.append(generate(settings).predictions[0].text)
    assert texts[0] == texts[1] != texts[2]
