"""Whole runs on a GPU: the same bits every time and after a kill, under torchrun, over NCCL; pre-training by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from killed_training import bits, write_rows
from on_gpu import DEVICE, IS_REHEARSAL, needs_gpu
from torch import Tensor
from toys import ToyCorpus, toy_config, toy_task, toy_tokenizer

from bertsmith.data.order import sample_rng
from bertsmith.data.passages import Passages
from bertsmith.runtime.processes import ALONE, Processes
from bertsmith.tasks.pretraining import Pretraining, PretrainingSettings
from bertsmith.training.checkpoint import Checkpoints
from bertsmith.training.parallel import Replicas, Shards
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.step import make_step
from bertsmith.training.trainer import train

pytestmark = needs_gpu
CHILD = Path(__file__).parents[1] / "support" / "dying_run.py"
OPTIONS = ["--epochs", "2", "--batch-size", "8", "--logging-steps", "1", "--max-length", "16", "--quiet"]


def call(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == code, done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.csv")


def pretrain(folder: Path, last_step: int, start: bool = False) -> dict[str, Tensor]:
    """Weights after `last_step` of 12 steps in bf16, with dropout, in several micro-batches; on from a checkpoint."""
    passages = Passages(ToyCorpus(num_documents=40), max_tokens=61)
    task = Pretraining(PretrainingSettings(max_length=64))
    config = toy_config(hidden_size=128, num_hidden_layers=4, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    torch.manual_seed(0)
    network = task.build(config)
    settings = TrainingSettings(
        max_steps=12,
        per_device_train_batch_size=32,
        max_tokens_per_micro_batch=700,
        save_steps=4,
        save_total_limit=9,
        precision="bf16",
        device=str(DEVICE),
    )
    with Checkpoints(folder, {"name": "test"}, 9, print) as checkpoints:
        found = checkpoints.read(folder / f"step-{last_step:08d}") if start else None
        result = train(task, network, toy_tokenizer(), passages[:200], settings, checkpoints=checkpoints, start=found)
    assert result.num_steps == 12
    return {name: value.cpu() for name, value in network.state_dict().items()}


def test_a_run_from_a_checkpoint_comes_to_the_bits_of_an_unbroken_one(tmp_path: Path) -> None:
    unbroken = pretrain(tmp_path / "one", 0)
    again = pretrain(tmp_path / "two", 0)
    assert [name for name in unbroken if not torch.equal(unbroken[name], again[name])] == []
    resumed = pretrain(tmp_path / "one", 4, start=True)
    assert [name for name in unbroken if not torch.equal(unbroken[name], resumed[name])] == []


@pytest.mark.parametrize("how", ["half:7", "signal:SIGTERM:6"])
def test_a_killed_command_goes_on_to_the_same_bits(how: str, data: Path, tmp_path: Path) -> None:
    call(str(CHILD), str(data), str(tmp_path / "unbroken"), "no", "never")
    words = [sys.executable, str(CHILD), str(data), str(tmp_path / "run"), "no", how]
    subprocess.run(words, capture_output=True, timeout=200, check=False)
    call(str(CHILD), str(data), str(tmp_path / "run"), "auto", "never")
    assert bits(tmp_path / "run") == bits(tmp_path / "unbroken")


def test_torchrun_with_one_process_is_the_plain_command(data: Path, tmp_path: Path) -> None:
    words = ["finetune", "classification", "--train-file", str(data), *OPTIONS, "--device", str(DEVICE)]
    call("-m", "bertsmith", *words, "--output-dir", str(tmp_path / "plain"))
    launched = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "bertsmith", *words]
    call(*launched, "--output-dir", str(tmp_path / "launched"))
    assert bits(tmp_path / "launched") == bits(tmp_path / "plain")


def test_pretraining_by_hand_learns_and_its_model_predicts(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    words = ["apple", "river", "stone", "cloud", "winter", "lamp", "paper", "garden"]
    documents = [
        "\n".join(" ".join(words[(i * k + j) % 8] for j in range(4 + k)) for k in range(1, 6)) for i in range(60)
    ]
    text.write_text("\n\n".join(documents), encoding="utf-8")
    tokenizer, corpus, run = (str(tmp_path / name) for name in ("tokenizer", "corpus", "run"))
    call("-m", "bertsmith", "tokenizer", "train", str(text), "--vocab-size", "120", "--output-dir", tokenizer)
    call("-m", "bertsmith", "prepare", str(text), "--tokenizer", tokenizer, "--output-dir", corpus)
    options = [
        "--model-size",
        "tiny",
        "--max-steps",
        "60",
        "--learning-rate",
        "2e-3",
        "--logging-steps",
        "5",
        "--quiet",
    ]
    call("-m", "bertsmith", "pretrain", corpus, "--output-dir", run, *options, "--device", str(DEVICE))
    lines = [json.loads(line) for line in Path(run, "logs/metrics.jsonl").read_text().splitlines()]
    losses = [line["mlm"] for line in lines if line["kind"] == "train"]
    assert losses[-1] < 0.8 * losses[0]
    filled = call("-m", "bertsmith", "fill-mask", run, "apple [MASK] stone", "--device", str(DEVICE))
    assert filled.stdout.strip()


@pytest.fixture
def alone_over_nccl() -> Iterator[None]:
    backend = "gloo" if IS_REHEARSAL else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def gradients(model: Any, toy: Any) -> dict[str, Tensor]:
    samples = [toy.task.encode(s, toy_tokenizer(), sample_rng(0, 0, i)) for i, s in enumerate(toy.samples)]
    step = make_step(toy.task, samples, 100)
    model.backward(toy.task, step, step.facts.counts, "fp32")
    found = {name: p.grad for name, p in model.trained.named_parameters() if p.grad is not None}
    return {name: (g.full_tensor() if hasattr(g, "full_tensor") else g).cpu() for name, g in found.items()}


@pytest.mark.usefixtures("alone_over_nccl")
def test_weights_in_pieces_have_the_gradients_of_the_network() -> None:
    toy = toy_task("classification")
    torch.manual_seed(0)
    network = toy.task.build(toy_config()).to(DEVICE)
    pieces = gradients(Shards(network, ALONE), toy)
    whole = gradients(Replicas(network, ALONE), toy)
    assert pieces.keys() == whole.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(pieces[name], gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("alone_over_nccl")
def test_nccl_adds_up_and_sends_tensors() -> None:
    # A group that takes itself for two, since one alone exchanges nothing, over a process group of one: sums of one.
    group = Processes(size=2)
    tensors = [torch.randn(shape, device=DEVICE) for shape in ((3, 5), (1 << 20,), (7,), (9 << 20,))]
    before = [tensor.clone() for tensor in tensors]
    group.add_up(tensors)
    group.send_from_first(tensors)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))
