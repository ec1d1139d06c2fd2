"""Several models at once: when their encoders are compared."""

from __future__ import annotations

import pytest
import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.artifact import Artifact
from bertsmith.inference import together
from bertsmith.inference.together import encoder_of, predictors_of


def toy_artifact() -> Artifact:
    torch.manual_seed(0)
    task = toy_task("classification").task
    return Artifact(task, task.build(toy_config()).eval(), toy_tokenizer())


def test_weights_are_read_only_where_there_is_another_to_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    real = together._fingerprint
    monkeypatch.setattr(together, "_fingerprint", lambda network: read.append(network) or real(network))
    (alone,) = predictors_of([toy_artifact()], precision="fp32")
    assert read == []
    assert encoder_of(alone) is None
    pair = predictors_of([toy_artifact(), toy_artifact()], precision="fp32")
    assert len(read) == 2
    assert encoder_of(pair[0]) is encoder_of(pair[1]) is not None
