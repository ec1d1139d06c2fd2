"""The share of the machine's limit is operations over time over the rate of plain products."""

from __future__ import annotations

from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.data.order import sample_rng
from bertsmith.model.flops import counted_flops
from bertsmith.runtime.products import gemm_rate
from bertsmith.training.speed import Speed
from bertsmith.training.step import backward, make_step


def test_the_rate_of_products_is_measured_once() -> None:
    rate = gemm_rate("fp32", "cpu")
    assert rate > 1e6
    assert gemm_rate("fp32", "cpu") == rate


def test_a_share_is_operations_a_second_over_that_rate() -> None:
    toy = toy_task("classification")
    network = toy.task.build(toy_config())
    windows = [toy.task.encode(sample, toy_tokenizer(), sample_rng(0, 0, 0)) for sample in toy.samples]
    step = make_step(toy.task, windows, 1000)
    with counted_flops(network) as flops:
        backward(toy.task, network, step, step.facts.counts, "fp32")
    speed = Speed("fp32", "cpu")
    assert speed.shown(100.0) == {"tokens/s": 100.0}
    with speed.measured(network, step.facts):
        backward(toy.task, network, step, step.facts.counts, "fp32")
    assert speed.limit == gemm_rate("fp32", "cpu") * step.facts.num_tokens / flops.total
    assert speed.shown(speed.limit / 2)["of the products' limit"] == "50%"
    with speed.measured(network, step.facts):
        pass
    assert speed.shown(speed.limit / 2)["of the products' limit"] == "50%", "found once, by the first step"
