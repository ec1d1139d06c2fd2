"""What a run takes: activations drawn out from small batches are those of large ones; what cannot fit is refused."""

from __future__ import annotations

import math
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toys import ToyTask, toy_config, toy_task, toy_tokenizer

from bertsmith.data.batch import Window
from bertsmith.data.order import sample_rng
from bertsmith.runtime.processes import Processes
from bertsmith.training.needs import (
    DiskNeeds,
    MemoryNeeds,
    NotEnoughError,
    _peak,
    disk_needs,
    memory_needs,
)
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.step import make_step

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("name", ["pretraining", "classification", "multiple_choice", "embedding", "seq2seq"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_small_batches_tell_what_large_ones_hold(name: str, precision: str) -> None:
    toy = toy_task(name)
    network = toy.task.build(toy_config(hidden_dropout_prob=0.1))
    settings = TrainingSettings(precision=precision, per_device_train_batch_size=4096, device="cpu")  # type: ignore[arg-type]
    samples = toy.samples * 512
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    needs = memory_needs(toy.task, network, toy_tokenizer(), samples, settings)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(weights[key], value) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert needs.tokens == settings.max_tokens_per_micro_batch
    step = make_step(toy.task, encoded(toy, 2048), settings.max_tokens_per_micro_batch)
    first = replace(step, batches=step.batches[:1])
    if step.whole is not None:  # of a loss that couples all rows: a step that is one micro-batch
        first = make_step(toy.task, encoded(toy, len(first.batches[0].packed.lengths) // 2), 2**60)
    measured = max(_peak(toy.task, network, first, settings.precision) for _ in range(2))
    num_tokens = sum(batch.packed.num_tokens for batch in first.batches)
    said = needs.fixed_bytes + needs.bytes_per_token * num_tokens
    assert 0.85 * measured <= said <= 1.35 * measured


def encoded(toy: ToyTask, num_samples: int) -> list[list[Window]]:
    samples = (toy.samples * num_samples)[:num_samples]
    return [toy.task.encode(sample, toy_tokenizer(), sample_rng(0, 0, i)) for i, sample in enumerate(samples)]


def test_only_what_is_trained_has_gradients_and_moments() -> None:
    toy = toy_task("classification")
    network = toy.task.build(toy_config())
    network.encoder.requires_grad_(False)
    trained = sum(p.nbytes for p in network.parameters() if p.requires_grad)
    needs = memory_needs(toy.task, network, toy_tokenizer(), toy.samples, TrainingSettings(), saves=False)
    assert (needs.gradients, needs.moments, needs.saving) == (trained, 2 * trained, 0)
    assert needs.weights == sum(p.nbytes for p in network.parameters()) > trained
    longest = max(sum(window.num_tokens for window in row) for row in encoded(toy, len(toy.samples)))
    assert (needs.longest, needs.tokens) == (longest, 8 * longest), "a step of all eight, each as long as the longest"


ROOMY = MemoryNeeds(
    process=300,
    weights=100,
    beside=0,
    gradients=100,
    moments=200,
    fixed_bytes=10,
    bytes_per_token=2.0,
    tokens=1000,
    longest=100,
    gaps=0.5,
    libraries=50,
    saving=500,
    free=10_000,
)


def test_memory_is_the_sum_of_its_parts() -> None:
    assert ROOMY.activations == 2010
    assert ROOMY.to_come == 100 + 200 + 3015 + 50 + 500
    assert ROOMY.peak == ROOMY.to_come + 300
    ROOMY.check()
    replace(ROOMY, free=None).check()


def test_what_would_fit_is_said_and_does() -> None:
    tight = replace(ROOMY, free=2000)
    with pytest.raises(
        NotEnoughError, match=r"needed are 3,865 bytes more, free are 2,000 .*micro-batch 378 would fit"
    ):
        tight.check()
    replace(tight, tokens=378).check()
    with pytest.raises(NotEnoughError):
        replace(tight, tokens=380).check()
    with pytest.raises(NotEnoughError, match="not even one sample at a time would fit: take a smaller model"):
        replace(ROOMY, free=900).check()


def test_what_fsdp_divides_is_divided_and_what_it_keeps_whole_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two layers and what belongs to none: pieces of all of it, and whole what a step puts together."""
    toy = toy_task("classification")
    network = toy.task.build(toy_config(num_hidden_layers=3))
    network.encoder.layers[0].requires_grad_(False)
    layer = sum(p.nbytes for p in network.encoder.layers[0].parameters())
    weights = sum(p.nbytes for p in network.parameters())
    monkeypatch.setattr("bertsmith.training.needs.processes", lambda: Processes(size=4))
    settings = TrainingSettings(data_parallel="fsdp", device="cpu")
    needs = memory_needs(toy.task, network, toy_tokenizer(), toy.samples, settings)
    assert needs.weights == weights
    assert needs.beside == math.ceil(weights / 4) + (weights - 3 * layer) + 2 * layer
    assert (needs.gradients, needs.moments) == ((weights - layer) // 4, 2 * (weights - layer) // 4)
    alike = memory_needs(toy.task, network, toy_tokenizer(), toy.samples, TrainingSettings(device="cpu"))
    assert (alike.beside, alike.gradients, alike.moments) == (0, weights - layer, 2 * (weights - layer))


def test_weights_in_pieces_count_and_so_does_the_copy_they_are_cut_from() -> None:
    divided = replace(ROOMY, beside=60, gradients=25, moments=50)
    assert divided.to_come == 60 + 25 + 50 + 3015 + 50 + 500
    with pytest.raises(NotEnoughError, match=r"\(weights in pieces 60, gradients 25"):
        replace(divided, free=1000).check()
    # Many processes and weights that are far larger than a step: a whole copy is there first, and no fewer tokens help.
    large = replace(divided, weights=100_000)
    assert large.to_come == 100_000
    with pytest.raises(NotEnoughError, match="not even one sample"):
        large.check()


def test_a_disk_that_is_too_small_is_told_in_bytes() -> None:
    needs = DiskNeeds(Path("runs/mine"), artifact=100, checkpoint=300, num_checkpoints=6, there=50, free=1950)
    needs.check()
    assert needs.to_come == 2 * 100 + 6 * 300 - 50
    message = (
        r"runs/mine: needed are 1,950 bytes of disk .* free are 1,500; --save-total-limit 3 would fit; or free some"
    )
    with pytest.raises(NotEnoughError, match=message):
        replace(needs, free=1500).check()
    replace(needs, free=1500, num_checkpoints=3 + 1).check()
    with pytest.raises(NotEnoughError, match=r"free are 10; free some space, or name another --output-dir"):
        replace(needs, free=10).check()


def test_disk_is_weights_moments_and_what_lies_there_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 7) if Path(path) == tmp_path else None)
    network = toy_task("classification").task.build(toy_config())
    weights = sum(p.nbytes for p in network.parameters())
    fresh = disk_needs(tmp_path / "a" / "run", network, TrainingSettings(save_total_limit=4))
    assert (fresh.checkpoint, fresh.num_checkpoints, fresh.there, fresh.free) == (3 * weights, 5, 0, 7)
    assert weights < fresh.artifact < weights + 10_000
    checkpoint = tmp_path / "run.checkpoints" / "step-00000002"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"x" * 999)
    assert disk_needs(tmp_path / "run", network, TrainingSettings(), saves=False).there == 999
