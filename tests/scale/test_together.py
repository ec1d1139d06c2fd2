"""Training in several workers that the command itself starts: killed ones are started again, errors are told once."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from killed_training import bits, children, hit, start, write_rows

from bertsmith.errors import DataError
from bertsmith.recipes.pretrain import PretrainSettings
from bertsmith.runtime.processes import processes
from bertsmith.scale.runner import ScaleSettings
from bertsmith.scale.together import run_together
from bertsmith.training.settings import TrainingSettings

pytestmark = pytest.mark.slow  # whole runs of several processes, stopped and started again
TWO = ScaleSettings(on="local", num_workers=2, max_restarts=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.csv")


@pytest.fixture(scope="module")
def unbroken(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    output = tmp_path_factory.mktemp("unbroken") / "run"
    running = start(data, output, "--on", "local")
    _, said = running.communicate(timeout=200)
    assert running.returncode == 0, said
    assert said.count("columns:") == 1, "one of the workers speaks"
    return bits(output)


def test_a_killed_worker_is_started_again_and_the_run_comes_to_the_same_bits(
    data: Path, unbroken: Any, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    running = start(data, output, "--on", "local")
    hit(output, lambda: children(running.pid))
    _, said = running.communicate(timeout=200)
    assert running.returncode == 0, said
    assert "goes on after step" in said
    assert bits(output) == unbroken


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_asked_to_stop_it_saves_and_exits_75(number: int, data: Path, unbroken: Any, tmp_path: Path) -> None:
    output = tmp_path / "run"
    running = start(data, output, "--on", "local")
    hit(output, lambda: [running.pid], number)
    _, said = running.communicate(timeout=200)
    assert running.returncode == 75, said
    again = start(data, output, "--on", "local", "--resume-from-checkpoint", "auto")
    _, said = again.communicate(timeout=200)
    assert again.returncode == 0, said
    assert bits(output) == unbroken


def who(number: int) -> tuple[int, int]:
    from bertsmith.runtime.processes import joined

    with joined(60) as group:
        return number, sum(group.gather(10**group.rank))


def refuse() -> None:
    from bertsmith.runtime.processes import joined

    with joined(60) as group:
        group.from_first(_refuse)


def _refuse() -> None:
    raise DataError("rows.csv: no rows")


def test_the_first_worker_s_value_comes_back() -> None:
    assert processes().size == 1
    assert run_together(who, (7,), TWO, 60) == (7, 11)


def test_an_error_of_all_workers_is_raised_as_it_was() -> None:
    with pytest.raises(DataError, match=r"rows\.csv: no rows"):
        run_together(refuse, (), TWO, 60)


def refuse_in_the_second(kind: type[Exception]) -> None:
    from bertsmith.runtime.processes import joined

    with joined(60) as group:
        if group.rank == 1:
            raise kind("rows.csv: not on this machine")
        group.gather(None)


@pytest.mark.parametrize("kind", [DataError, OSError])
def test_an_error_of_one_worker_is_told_and_not_tried_again(kind: type[Exception]) -> None:
    with pytest.raises(kind, match="not on this machine"):
        run_together(refuse_in_the_second, (kind,), ScaleSettings(on="local", num_workers=2, max_restarts=2), 60)


def test_what_was_said_reaches_a_worker_as_it_was() -> None:
    """A part that is given as an object has its class's defaults for the rest, not those of the run's own part."""
    settings = PretrainSettings(corpus=Path("corpus"), training=TrainingSettings(learning_rate=1e-3), scale=TWO)
    assert PretrainSettings.of(settings.for_a_worker) == settings.model_copy(update={"scale": ScaleSettings()})
