"""Who turns texts into vectors: bertsmith, and each peer in its best documented configuration.

An engine is a function of a list of texts to float32 [n, H]: mean pooled, length 1, tokenization included. Peers get
batches of 32, bertsmith the same batches or the whole list.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Engine = Callable[[Sequence[str]], Vectors]
MAX_LENGTH = 512
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def bertsmith_engine(model: Path, folder: Path, precision: str) -> Engine:
    import bertsmith

    predictor = bertsmith.load(model, precision=precision)
    settings = predictor.task.settings.model_copy(update={"max_length": MAX_LENGTH, "truncation": "head"})
    return replace(predictor, task=type(predictor.task)(settings)).embed


def transformers_engine(model: Path, folder: Path, dtype: torch.dtype, compiled: bool = False) -> Engine:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModel.from_pretrained(model, dtype=dtype).eval()
    if compiled:
        import torch._inductor.config as inductor

        inductor.freezing = True
        network = torch.compile(network, dynamic=True)

    @torch.inference_mode()
    def run(texts: Sequence[str]) -> Vectors:
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        return _pooled(network(**batch)[0].float().numpy(), batch["attention_mask"].numpy())

    return run


def openvino_engine(model: Path, folder: Path, precision: str) -> Engine:
    import openvino

    core = openvino.Core()
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = core.compile_model(core.read_model(_onnx_file(model, folder)), "CPU", options)
    return _from_arrays(model, lambda arrays: compiled(arrays)[0])


def onnxruntime_engine(model: Path, folder: Path) -> Engine:
    """int8 weights and activations, quantized as they come."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantized = folder / "int8.onnx"
    if not quantized.is_file():
        quantize_dynamic(_onnx_file(model, folder), quantized, weight_type=QuantType.QInt8, per_channel=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(quantized), options, providers=["CPUExecutionProvider"])
    return _from_arrays(model, lambda arrays: session.run(None, arrays)[0])


ENGINES: dict[str, Callable[[Path, Path], Engine]] = {
    "bertsmith bf16": lambda model, folder: bertsmith_engine(model, folder, "bf16"),
    "transformers bf16": lambda model, folder: transformers_engine(model, folder, torch.bfloat16),
    "transformers torch.compile bf16": lambda model, folder: transformers_engine(model, folder, torch.bfloat16, True),
    "OpenVINO bf16": lambda model, folder: openvino_engine(model, folder, "bf16"),
    "ONNX Runtime int8": onnxruntime_engine,
}


def reference(model: Path, folder: Path) -> Engine:
    """transformers in fp32, whose vectors all others are compared with."""
    return transformers_engine(model, folder, torch.float32)


def _from_arrays(model: Path, compute: Callable[[dict[str, Any]], NDArray[Any]]) -> Engine:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)

    def run(texts: Sequence[str]) -> Vectors:
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="np")
        return _pooled(compute({name: batch[name].astype(np.int64) for name in INPUTS}), batch["attention_mask"])

    return run


def _pooled(states: NDArray[Any], mask: NDArray[Any]) -> Vectors:
    sums = np.einsum("nth,nt->nh", states, mask.astype(np.float32))
    return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)


def _onnx_file(model: Path, folder: Path) -> str:
    """The encoder as ONNX, exported once into `folder`."""
    from transformers import AutoModel, AutoTokenizer

    file = folder / "model.onnx"
    if file.is_file():
        return os.fspath(file)

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(model, attn_implementation="eager").eval()

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
            states: torch.Tensor = self.model(input_ids=ids, attention_mask=mask, token_type_ids=types)[0]
            return states

    sample = AutoTokenizer.from_pretrained(model)(["one text", "another text"], return_tensors="pt")
    axes = {name: {0: "batch", 1: "length"} for name in [*INPUTS, "hidden"]}
    torch.onnx.export(
        Encoder(),
        tuple(sample[name] for name in INPUTS),
        file,
        input_names=list(INPUTS),
        output_names=["hidden"],
        dynamic_axes=axes,
        opset_version=17,
        dynamo=False,
    )
    return os.fspath(file)
