"""An encoder of random weights, and a few documents of made-up words."""

from __future__ import annotations

import torch
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith.inference.predictor import Predictor
from bertsmith.search.documents import Document
from bertsmith.search.encoder import TextEncoder

DOCUMENTS = (
    Document("one", "Ba be bi. Bo bu ba. Da de di.", "ka"),
    Document("two", "Fa fe fi. Fo fu.", "", {"year": 2024, "lang": "x"}),
    Document("three", "Ga ge gi go ba.", "", {"year": 2020, "lang": "y", "is_new": True}),
)


def toy_encoder() -> TextEncoder:
    torch.manual_seed(0)
    task = toy_task("embedding").task
    network = task.build(toy_config(initializer_range=0.5)).eval()
    return TextEncoder.of(Predictor(task, network, toy_tokenizer(), "fp32", sha256="its weights"), "the toy encoder")
