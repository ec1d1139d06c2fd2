"""Settings: refused mistakes are named, files are read, overrides reach nested parts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, field_validator

from bertsmith.errors import SettingsError
from bertsmith.settings import Settings, override, parse_override, read_settings_file


class Optimizer(Settings):
    learning_rate: float = Field(1e-4, gt=0)


class Run(Settings):
    steps: int
    name: str = "run"
    optimizer: Optimizer = Optimizer()

    @field_validator("name")
    @classmethod
    def not_empty(cls, value: str) -> str:
        if not value:
            raise ValueError("a run needs a name")
        return value


def message(values: dict[str, object]) -> str:
    with pytest.raises(SettingsError) as caught:
        Run.of(values, "run.toml")
    return str(caught.value)


def test_filled_with_defaults_and_nested_parts() -> None:
    run = Run.of({"steps": 3, "optimizer": {"learning_rate": 0.5}})
    assert (run.steps, run.name, run.optimizer.learning_rate) == (3, "run", 0.5)


def test_frozen() -> None:
    with pytest.raises(ValidationError):
        Run(steps=1).steps = 2  # type: ignore[misc]


def test_unknown_name_suggests_the_nearest() -> None:
    assert message({"steps": 1, "nam": "x"}) == "run.toml: unknown setting 'nam'; did you mean 'name'?"


def test_unknown_nested_name_suggests_from_its_own_part() -> None:
    told = message({"steps": 1, "optimizer": {"learning_rat": 1}})
    assert told == "run.toml: unknown setting 'optimizer.learning_rat'; did you mean 'learning_rate'?"


class Outer(Settings):
    run: Run = Run(steps=1)
    num_train_epochs: int = 1


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"learning_rate": 1}, "unknown setting 'learning_rate'; did you mean 'run.optimizer.learning_rate'?"),
        ({"learnin_rate": 1}, "unknown setting 'learnin_rate'; did you mean 'run.optimizer.learning_rate'?"),
        ({"run": {"epochs": 1}}, "unknown setting 'run.epochs'; did you mean 'num_train_epochs'?"),
        ({"zzz": 1}, "unknown setting 'zzz'; known: run, num_train_epochs"),
    ],
)
def test_a_setting_of_another_part_is_found_there(values: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(told)):
        Outer.of(values)


def test_missing_wrong_and_impossible_values_are_all_named() -> None:
    told = message({"name": "", "optimizer": {"learning_rate": -1}})
    assert told.splitlines() == [
        "run.toml: steps: Field required",
        "run.toml: name: a run needs a name",
        "run.toml: optimizer.learning_rate: Input should be greater than 0 (given: -1)",
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(value: float) -> None:
    assert "optimizer.learning_rate" in message({"steps": 1, "optimizer": {"learning_rate": value}})


def test_files(tmp_path: Path) -> None:
    toml, as_json = tmp_path / "run.toml", tmp_path / "run.json"
    toml.write_text("steps = 3\n[optimizer]\nlearning_rate = 0.5\n", encoding="utf-8")
    as_json.write_text('{"steps": 3, "optimizer": {"learning_rate": 0.5}}', encoding="utf-8")
    assert read_settings_file(toml) == read_settings_file(as_json) == {"steps": 3, "optimizer": {"learning_rate": 0.5}}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("run.yaml", b"steps: 3", "ends in .toml or .json"),
        ("run.toml", b"steps = ", "not valid TOML"),
        ("run.toml", b"\xff\xfe", "not valid TOML"),
        ("run.json", b'{"steps": ', "not valid JSON"),
        ("run.json", b"[1]", "expected a table of settings, found list"),
        ("run.json", b"[" * 100_000, "not valid JSON"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        read_settings_file(file)
    assert str(caught.value).startswith(str(file))
    assert told in str(caught.value)


def test_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.toml: No such file"):
        read_settings_file(tmp_path / "absent.toml")


def test_override_lays_over_and_leaves_the_original() -> None:
    values = {"model": {"layers": 2}}
    assert override(values, {"model.layers": 4, "model.size": 8, "seed": 1}) == {
        "model": {"layers": 4, "size": 8},
        "seed": 1,
    }
    assert values == {"model": {"layers": 2}}


def test_override_below_a_value_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"cannot set 'seed\.x': 'seed' is not a table"):
        override({"seed": 1}, {"seed.x": 2})


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_an_override_carries_any_json(value: object) -> None:
    assert parse_override(f"a.b={json.dumps(value)}") == ("a.b", value)


@pytest.mark.parametrize(("text", "value"), [("a=x=y", "x=y"), ("a=", ""), ("a=3e-5", 3e-5), ("a=/data/x", "/data/x")])
def test_an_override_that_is_no_json_is_a_string(text: str, value: object) -> None:
    assert parse_override(text) == ("a", value)


@pytest.mark.parametrize("text", ["seed", "=3", " =3"])
def test_an_override_needs_a_name_and_a_value(text: str) -> None:
    with pytest.raises(SettingsError, match="an override is written"):
        parse_override(text)


class Inner(Settings):
    rate: float = 0.1
    steps: int = 3
    optimizer: Optimizer = Optimizer()


class Whole(Settings):
    name: str = "run"
    inner: Inner = Inner(rate=0.5, optimizer=Optimizer(learning_rate=0.2))


@pytest.mark.parametrize(
    ("whole", "said"),
    [
        (Whole(), {}),
        (Whole.of({"inner": {"steps": 4}}), {"inner": {"rate": 0.5, "steps": 4, "optimizer": {"learning_rate": 0.2}}}),
        (Whole(inner=Inner(steps=4)), {"inner": {"rate": 0.1, "steps": 4, "optimizer": {"learning_rate": 1e-4}}}),
        (
            Whole(name="other", inner=Inner()),
            {"name": "other", "inner": {"rate": 0.1, "optimizer": {"learning_rate": 1e-4}}},
        ),
    ],
)
def test_what_was_said_makes_the_same_settings_again(whole: Whole, said: dict[str, Any]) -> None:
    """An object in the place of a part has its class's defaults, a table those of the place."""
    found = whole.said()
    assert Whole.of(found) == whole
    assert Whole.of(json.loads(json.dumps(found))) == whole
    assert found == said
