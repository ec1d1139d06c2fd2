"""Ray, as a cluster of two nodes on this machine: every input once, whatever dies; open clusters are refused.

Run by `make cluster-tests`: it takes the extra `cluster`, a minute or two, and a gigabyte of memory.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray_nodes
from killed_training import bits, hit, start, write_rows
from runner_work import die_once, fail_at_three, square, write_shard
from toy_models import toy_bert, toy_classifier, toy_reviews
from toys import toy_text, toy_tokenizer

from bertsmith.errors import SettingsError
from bertsmith.recipes.predict import PredictSettings, predict
from bertsmith.recipes.prepare import PrepareSettings, prepare
from bertsmith.recipes.sweep import sweep
from bertsmith.scale.ray_cluster import is_loopback, ray_runner
from bertsmith.scale.runner import ScaleSettings
from bertsmith.scale.shards import Shard, Work, locked, work_off

pytestmark = [  # Ray is not imported here: what it is to be, it reads from the environment when it is
    pytest.mark.ray,
    pytest.mark.skipif(find_spec("ray") is None, reason="the extra `cluster` is not installed"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # what tests are given by pytest, workers need too
    cluster = ray_nodes.start_cluster()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def node(cluster: Any) -> Any:
    """A node that may die: the next test has another one."""
    return ray_nodes.second_node(cluster)


def on(cluster: Any) -> dict[str, Any]:
    return {"scale": {"on": "ray", "address": cluster.address, "num_workers": 2}}


@contextmanager
def killing(cluster: Any, node: Any, folder: Path) -> Iterator[None]:
    """Kills a worker that works in `folder`, then, when there is one again, the whole node, while the block runs."""

    def kill() -> None:
        first = ray_nodes.a_worker_on(folder, node)
        os.kill(first, signal.SIGKILL)
        while ray_nodes.a_worker_on(folder, node) == first:  # it takes a moment to be gone
            time.sleep(0.005)
        cluster.remove_node(node, allow_graceful=False)

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill)
        yield
        killed.result()


def test_items_errors_and_deaths_are_as_with_processes(cluster: Any, tmp_path: Path) -> None:
    settings = ScaleSettings.of(on(cluster)["scale"])
    with ray_runner(settings) as runner:
        assert {o.item: o.value for o in runner.run(square, range(7))} == {n: n * n for n in range(7)}
        errors = {o.item: o.error for o in runner.run(fail_at_three, range(6)) if o.error is not None}
        assert errors[3] == "numbers.txt, line 3: a three"
        assert set(errors) == {3, 4}
        items = [(tmp_path, n) for n in range(4)]
        assert sorted(o.value for o in runner.run(die_once, items)) == [0, 1, 2, 3]
        assert sorted(file.name for file in tmp_path.iterdir()) == ["1", "3"]


def test_shards_are_made_once_and_a_later_run_makes_none(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "notes").touch()
    texts = ["a", "die", "c", "d"]
    work = Work(write_shard, {}, [Shard((tmp_path / "notes", text), {"text": text}, text) for text in texts])
    for _ in range(2):
        with locked(tmp_path / "shards"), ray_runner(ScaleSettings.of(on(cluster)["scale"])) as runner:
            made = work_off(work, tmp_path / "shards", runner)
        assert [(shard.folder / "out.txt").read_text() for shard in made] == ["A", "DIE", "C", "D"]
    assert Counter((tmp_path / "notes").read_text().split()) == {"a": 1, "die": 2, "c": 1, "d": 1}


def test_prepare_survives_a_worker_and_a_node(cluster: Any, node: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = []
    for name in ("first.txt", "second.txt"):
        texts = [toy_text(rng, int(rng.integers(3, 9))).capitalize() + "." for _ in range(40_000)]
        files.append(tmp_path / name)
        files[-1].write_text("\n".join(text + "\n" * (i % 5 == 0) for i, text in enumerate(texts)))
    toy_tokenizer().save(tmp_path / "tokenizer")
    values = {"files": files, "tokenizer": tmp_path / "tokenizer", "format": "sentences", "shard_bytes": 50_000}
    with killing(cluster, node, tmp_path):
        report = prepare(PrepareSettings.of({**values, "output_dir": tmp_path / "together", **on(cluster)}))
    prepare(PrepareSettings.of({**values, "output_dir": tmp_path / "alone"}))
    assert report.num_sentences == 80_000
    for file in (tmp_path / "alone").iterdir():
        assert (tmp_path / "together" / file.name).read_bytes() == file.read_bytes()


def test_predict_survives_a_worker_and_a_node(cluster: Any, node: Any, tmp_path: Path) -> None:
    train = toy_reviews(tmp_path / "train.csv", 40, 0)
    toy_classifier(tmp_path / "run", train, model=toy_bert(tmp_path / "bert"), max_steps=4)
    files = [toy_reviews(tmp_path / f"{name}.csv", 12_000, seed) for seed, name in enumerate(("first", "second"))]
    values = {"folder": tmp_path / "run", "file": files, "precision": "fp32", "batch_invariant": True}
    together = {**values, "output_file": tmp_path / "together.jsonl", "shard_rows": 512, **on(cluster)}
    with killing(cluster, node, tmp_path):
        assert predict(PredictSettings.of(together)).num_requests == 24_000
    predict(PredictSettings.of({**values, "output_file": tmp_path / "alone.jsonl"}))
    assert (tmp_path / "together.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()


@pytest.mark.skipif(find_spec("optuna") is None, reason="the extra `sweep` is not installed")
def test_trials_of_a_sweep_survive_a_worker_and_a_node(cluster: Any, node: Any, tmp_path: Path) -> None:
    train = {"max_steps": 600, "eval_steps": 200, "save_steps": 100, "precision": "fp32", "device": "cpu"}
    values = {
        "train_file": toy_reviews(tmp_path / "train.csv", 60, 0),
        "model": str(toy_bert(tmp_path / "bert")),
        "training": train,
        "study": {"space": ["learning_rate=1e-4..1e-2:log"], "num_trials": 6, "prune": False},
    }
    with killing(cluster, node, tmp_path):
        report = sweep("classification", {**values, "output_dir": tmp_path / "sweep", **on(cluster)})
    assert [(trial.number, trial.state) for trial in report.trials] == [(n, "complete") for n in range(6)]
    assert all(trial.num_evaluations == 3 for trial in report.trials)
    assert (report.best_model / "model.safetensors").is_file()


@pytest.mark.parametrize("kind", ["open", "token"])
def test_a_cluster_that_others_reach_is_refused_unless_it_wants_a_token(kind: str) -> None:
    names = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, ray_nodes.__file__, kind]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if is_loopback(address):
            pytest.skip("this machine has no address but the loopback one")
        ask = [sys.executable, "-c", ASK, address]
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "1" * 64} if kind == "token" else {}
        asked = subprocess.run(ask, env=environment | token, capture_output=True, text=True, check=False)
        process.communicate("")
    if kind == "open":
        assert "can be joined without a token from wherever it is reached" in asked.stderr
        assert "RAY_AUTH_MODE=token" in asked.stderr
    else:
        assert (asked.stdout.split(), asked.returncode) == (["[0,", "1,", "4]"], 0), asked.stderr


ASK = """
import sys
from bertsmith.scale.ray_cluster import ray_runner
from bertsmith.scale.runner import ScaleSettings
with ray_runner(ScaleSettings(on="ray", address=sys.argv[1])) as runner:
    print(sorted(outcome.value for outcome in runner.run(abs, [0, -1, 4])))
"""


def test_a_cluster_of_this_run_listens_on_the_loopback_address_alone() -> None:
    names = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    code = ASK.replace(", address=sys.argv[1]", ", num_workers=1") + LISTENING
    asked = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert asked.stdout.split("\n")[:2] == ["[0, 1, 4]", "True"], asked.stderr


LISTENING = """
    import ray
    from bertsmith.scale.ray_cluster import is_loopback
    print(is_loopback(ray.get_runtime_context().gcs_address))
"""


@pytest.mark.parametrize("address", ["ray://10.0.0.7:10001", "127.0.0.1:1"])
def test_an_address_that_is_no_cluster_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(SettingsError, match="address: "), ray_runner(ScaleSettings(on="ray", address=address)):
        pass


def test_a_training_worker_that_is_killed_goes_on_to_the_same_bits(cluster: Any, node: Any, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.csv")
    here = start(data, tmp_path / "here", "--on", "local")
    _, said = here.communicate(timeout=200)
    assert here.returncode == 0, said
    there = start(data, tmp_path / "there", "--on", "ray", "--address", cluster.address)
    hit(tmp_path / "there", lambda: ray_nodes.workers_on(tmp_path / "there"))
    _, said = there.communicate(timeout=300)
    assert there.returncode == 0, said
    assert bits(tmp_path / "there") == bits(tmp_path / "here")
