"""Settings become options: names, precedence, help, and errors that name the option."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from cyclopts import App, CoercionError, UnknownOptionError
from pydantic import Field
from pydantic.fields import FieldInfo

from bertsmith.cli.options import Option, command, options_of, spellings, verb
from bertsmith.cli.output import Output
from bertsmith.errors import SettingsError
from bertsmith.settings import Settings


class Learned(Settings):
    kind: Literal["learned"] = "learned"


class Rotary(Settings):
    kind: Literal["rotary"] = "rotary"


class Optimizer(Settings):
    learning_rate: float = Field(1e-4, gt=0, description="peak learning rate")
    seed: int = Field(7, description="decides the noise")


class Training(Settings):
    num_train_epochs: Annotated[int, Field(ge=1)] | None = Field(3, description="passes over the data")
    optimizer: Optimizer = Optimizer()


class Run(Settings):
    files: tuple[Path, ...] = Field((), description="text files")
    output_dir: Path = Field(description="folder to write to")
    from_: str | None = Field(None, description="model to continue from")
    seed: int = Field(0, description="decides the order")
    lowercase: bool = Field(True, description="fold case")
    criterion: Literal["frequency", "likelihood"] = Field("frequency", description="what decides")
    columns: dict[str, str] = Field({}, description="column of each field")
    positions: Learned | Rotary = Learned()
    training: Training = Training(num_train_epochs=1, optimizer=Optimizer(learning_rate=0.5))


@verb("files")
def run(settings: Run, output: Output) -> dict[str, Any]:
    """Do nothing, and say with what."""
    return settings.model_dump(mode="json")


class Names(Settings):
    labels: tuple[str, ...] = Field((), description="names")
    seed: int = Field(0, description="decides the order")


class Placed(Settings):
    folder: Path = Field(description="a model")
    labels: tuple[str, ...] = Field((), description="names")


def test_an_option_of_many_values_takes_all_that_follow_and_may_be_written_again() -> None:
    found: list[Settings] = []
    app = App("toy")
    app.default(command(lambda settings, output: found.append(settings), Names))
    for written in ("--labels pos neg --seed 1", "--labels pos --seed 1 --labels neg"):
        app(written.split(), exit_on_error=False, print_error=False, result_action="return_none")
    assert found == [Names(labels=("pos", "neg"), seed=1)] * 2


def test_a_word_that_such_an_option_took_is_missed_with_a_hint() -> None:
    app = App("toy")
    app.default(command(lambda settings, output: None, Placed, ["folder"]))
    with pytest.raises(SettingsError, match=r"FOLDER is missing.*--labels takes all the words that follow"):
        app(["--labels", "pos", "model"], exit_on_error=False, print_error=False)


def call(arguments: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    app = App("toy", help_format="plaintext")
    app.default(run)
    app([*arguments.split(), "--json"], exit_on_error=False, print_error=False, result_action="return_none")
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_names_are_flat_and_the_outer_field_keeps_the_short_one() -> None:
    names = {option.setting: option.names for option in options_of(Run, ["files"])}
    assert names == {
        "files": ("FILES",),
        "output_dir": ("--output-dir",),
        "from_": ("--from",),
        "seed": ("--seed",),
        "lowercase": ("--lowercase",),
        "criterion": ("--criterion",),
        "columns": ("--columns",),
        "positions": (),
        "training.num_train_epochs": ("--epochs", "--num-train-epochs"),
        "training.optimizer.learning_rate": ("--learning-rate",),
        "training.optimizer.seed": ("--optimizer-seed",),
    }


@pytest.mark.parametrize("name", ["max_length", "max_seq_length"])
def test_both_spellings_whatever_the_field_is_called(name: str) -> None:
    assert spellings(name) == ("--max-length", "--max-seq-length")


def test_values_of_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    values = call(
        "a.txt b.txt --output-dir out --from m --seed 5 --no-lowercase --criterion likelihood --columns.text body "
        "--num-train-epochs 4 --learning-rate 3e-5 --optimizer-seed 9",
        capsys,
    )
    assert values == {
        "files": ["a.txt", "b.txt"],
        "output_dir": "out",
        "from_": "m",
        "seed": 5,
        "lowercase": False,
        "criterion": "likelihood",
        "columns": {"text": "body"},
        "positions": {"kind": "learned"},
        "training": {"num_train_epochs": 4, "optimizer": {"learning_rate": 3e-5, "seed": 9}},
    }


def test_what_is_not_given_keeps_the_default_of_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    training = call("--output-dir out --optimizer-seed 9", capsys)["training"]
    assert training == {"num_train_epochs": 1, "optimizer": {"learning_rate": 0.5, "seed": 9}}


def test_later_wins_file_then_options_then_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        'output_dir = "from file"\nseed = 1\n[training]\nnum_train_epochs = 2\n[training.optimizer]\nseed = 3\n',
        encoding="utf-8",
    )
    values = call(f"--settings {file} --seed 10 --epochs 20 --set training.num_train_epochs=null", capsys)
    assert (values["output_dir"], values["seed"]) == ("from file", 10)
    assert values["training"] == {"num_train_epochs": None, "optimizer": {"learning_rate": 0.5, "seed": 3}}


def test_set_reaches_what_has_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    values = call("--output-dir out --set positions.kind=rotary --set seed=4", capsys)
    assert (values["positions"], values["seed"]) == ({"kind": "rotary"}, 4)


def test_help_shows_descriptions_choices_and_the_defaults_of_this_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    app = App("toy", help_format="plaintext")
    app.default(run)
    app(["--help"], result_action="return_none")
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Do nothing, and say with what." in text
    assert "--output-dir PATH folder to write to [required]" in text
    assert "what decides [choices: frequency, likelihood] [default: frequency]" in text
    assert "peak learning rate [default: 0.5]" in text
    assert "--epochs --num-train-epochs INT passes over the data [default: 1]" in text
    assert "only here or in a file: positions" in text


def test_required_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError, match="--output-dir is missing: folder to write to"):
        call("a.txt", capsys)


def test_unknown_option_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnknownOptionError) as caught:
        call("--output-dir out --learnin-rate 1", capsys)
    assert "--learning-rate" in str(caught.value)


def test_a_value_of_the_wrong_kind_names_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CoercionError) as caught:
        call("--output-dir out --seed many", capsys)
    assert "--seed" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--epochs 0", r"training\.num_train_epochs: .* greater than or equal to 1 \(given: 0\)"),
        ("--set training.optimiser.seed=1", r"unknown setting 'training\.optimiser'; did you mean 'optimizer'"),
        ("--set seed", "an override is written name.part=value"),
        ("--settings run.yaml", "ends in .toml or .json"),
    ],
)
def test_a_value_that_cannot_be_is_explained(arguments: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingsError, match=told):
        call(f"--output-dir out {arguments}", capsys)


def test_known_keys_of_a_table_are_options_instead_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    field = FieldInfo(annotation=str, default=None, description="column with the text")
    keys = [Option("columns.text", ("--text-column",), field, None, "Columns")]
    app = App("toy", help_format="plaintext")
    app.default(command(lambda settings, output: settings.model_dump(mode="json"), Run, ["files"], keys))
    words = "--output-dir out --text-column body --json --set columns.label=kind"
    app(words.split(), exit_on_error=False, print_error=False, result_action="return_none")
    assert json.loads(capsys.readouterr().out)["columns"] == {"text": "body", "label": "kind"}
    with pytest.raises(UnknownOptionError):
        app(["--output-dir", "out", "--columns.text", "body"], exit_on_error=False, print_error=False)


def test_a_flag_that_says_no_has_no_second_no(capsys: pytest.CaptureFixture[str]) -> None:
    class Kept(Settings):
        no_transcripts: bool = Field(False, description="keep nothing")
        with_scores: bool = Field(True, description="scores too")

    def say(settings: Kept, output: Output) -> dict[str, Any]:
        """Say what came."""
        return settings.model_dump(mode="json")

    app = App("toy", help_format="plaintext")
    app.default(command(say, Kept))
    app(["--help"], result_action="return_none")
    text = capsys.readouterr().out
    assert "--no-no-" not in text
    assert "--no-with-scores" in text
    app(["--no-transcripts", "--no-with-scores", "--json"], result_action="return_none")
    assert json.loads(capsys.readouterr().out) == {"no_transcripts": True, "with_scores": False}
