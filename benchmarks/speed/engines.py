"""Who turns texts into vectors: bertsmith, and each peer in its best documented configuration.

An engine is a function of a list of texts to float32 [n, H]: mean pooled, length 1, tokenization included. Peers get
batches of 32, bertsmith the same batches or the whole list.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bertsmith.kernels.library import engine

Vectors = NDArray[np.float32]
Engine = Callable[[Sequence[str]], Vectors]
MAX_LENGTH = 512
INPUTS = ("input_ids", "attention_mask", "token_type_ids")

PRECISIONS = ("bf16", "int8") if engine().library is not None else ("bf16",)
"""In which bertsmith is measured: int8 needs the compiled kernels."""


@dataclass(frozen=True)
class Setting:
    """model: folder of the checkpoint. folder: for what engines make of it. texts: to calibrate what is rounded."""

    model: Path
    folder: Path
    texts: Sequence[str]


def bertsmith_engine(setting: Setting, precision: str, *, batch_invariant: bool = False) -> Engine:
    import bertsmith

    predictor = bertsmith.load(setting.model, precision=precision, batch_invariant=batch_invariant)
    settings = predictor.task.settings.model_copy(update={"max_length": MAX_LENGTH, "truncation": "head"})
    return replace(predictor, task=type(predictor.task)(settings)).embed


def transformers_engine(setting: Setting, dtype: torch.dtype, *, compiled: bool = False) -> Engine:
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(setting.model)
    network = AutoModel.from_pretrained(setting.model, dtype=dtype).eval()
    if compiled:
        import torch._inductor.config as inductor

        inductor.freezing = True
        network = torch.compile(network, dynamic=True)

    @torch.inference_mode()
    def run(texts: Sequence[str]) -> Vectors:
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        return _pooled(network(**batch)[0].float().numpy(), batch["attention_mask"].numpy())

    return run


def openvino_engine(setting: Setting, *, int8: bool = False) -> Engine:
    """bf16; `int8`: weights and activations by NNCF, calibrated, the rest in bf16."""
    import openvino

    core = openvino.Core()
    options = {
        "INFERENCE_PRECISION_HINT": "bf16",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    network = core.read_model(_onnx_file(setting))
    if int8:
        import nncf

        tokenize = _tokenizer(setting)
        samples = nncf.Dataset([tokenize([text]) for text in setting.texts])
        network = nncf.quantize(network, samples, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(setting.texts))
    compiled = core.compile_model(network, "CPU", options)
    return _from_arrays(setting, lambda arrays: compiled(arrays)[0])


def onnxruntime_engine(setting: Setting) -> Engine:
    """int8 weights and activations, quantized as they come."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantized = setting.folder / "int8.onnx"
    if not quantized.is_file():
        quantize_dynamic(_onnx_file(setting), quantized, weight_type=QuantType.QInt8, per_channel=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(quantized), options, providers=["CPUExecutionProvider"])
    return _from_arrays(setting, lambda arrays: session.run(None, arrays)[0])


ENGINES: dict[str, Callable[[Setting], Engine]] = {
    "bertsmith bf16": lambda setting: bertsmith_engine(setting, "bf16"),
    "bertsmith int8": lambda setting: bertsmith_engine(setting, "int8"),
    "transformers bf16": lambda setting: transformers_engine(setting, torch.bfloat16),
    "transformers torch.compile bf16": lambda setting: transformers_engine(setting, torch.bfloat16, compiled=True),
    "OpenVINO bf16": openvino_engine,
    "OpenVINO int8": lambda setting: openvino_engine(setting, int8=True),
    "ONNX Runtime int8": onnxruntime_engine,
}


def engines_here(setting: Setting) -> dict[str, Engine]:
    """All that this machine can run."""
    return {name: make(setting) for name, make in ENGINES.items() if name != "bertsmith int8" or "int8" in PRECISIONS}


def reference(setting: Setting) -> Engine:
    """transformers in fp32, whose vectors all others are compared with."""
    return transformers_engine(setting, torch.float32)


def _tokenizer(setting: Setting) -> Callable[[Sequence[str]], dict[str, NDArray[np.int64]]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(setting.model)

    def tokenize(texts: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="np")
        return {name: batch[name].astype(np.int64) for name in INPUTS}

    return tokenize


def _from_arrays(setting: Setting, compute: Callable[[dict[str, Any]], NDArray[Any]]) -> Engine:
    tokenize = _tokenizer(setting)

    def run(texts: Sequence[str]) -> Vectors:
        arrays = tokenize(texts)
        return _pooled(compute(arrays), arrays["attention_mask"])

    return run


def _pooled(states: NDArray[Any], mask: NDArray[Any]) -> Vectors:
    sums = np.einsum("nth,nt->nh", states, mask.astype(np.float32))
    return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)


def _onnx_file(setting: Setting) -> str:
    """The encoder as ONNX, exported once into the setting's folder."""
    from transformers import AutoModel, AutoTokenizer

    file = setting.folder / "model.onnx"
    if file.is_file():
        return os.fspath(file)

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(setting.model, attn_implementation="eager").eval()

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
            states: torch.Tensor = self.model(input_ids=ids, attention_mask=mask, token_type_ids=types)[0]
            return states

    sample = AutoTokenizer.from_pretrained(setting.model)(["one text", "another text"], return_tensors="pt")
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
