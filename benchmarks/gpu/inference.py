"""Vectors of texts on a GPU: from ids and from text, bertsmith and transformers' best, each in turn.

Both get all rows at once and give back float32 vectors on the CPU, mean pooled, of length 1. bertsmith packs rows up to
a budget of tokens; transformers pads batches of rows sorted by length, of the size that it is fastest with.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from speed.measure import median, ratio
from torch import Tensor

import bertsmith
from bertsmith.artifact import load_artifact
from bertsmith.data.batch import Window
from bertsmith.data.order import sample_rng
from bertsmith.inference.predictor import Predictor
from bertsmith.runtime.device import pick_precision
from bertsmith.text.tokenizer import Tokenizer

Vectors = NDArray[np.float32]
SHAPES = {
    "MiniLM, 6 x 384": {
        "num_hidden_layers": 6,
        "hidden_size": 384,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    },
    "base, 12 x 768": {
        "num_hidden_layers": 12,
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
}
VOCAB_SIZE = 30_522
MAX_LENGTH = 512
BATCH_SIZES = (64, 256, 1024)
"""Of transformers, of which the fastest is measured."""
BUDGETS = (8192, 32_768)
"""Tokens a batch of bertsmith's."""
OURS = f"bertsmith, {BUDGETS[-1]:,} tokens a batch"
"""As it comes on a GPU."""
WARM_UP = 2
NUM_COMPARED = 512


def measure_inference(shape: str, device: torch.device, rounds: int, small: bool) -> list[dict[str, Any]]:
    """Rows of each way and system."""
    texts = [mixed_texts(200 if small else 4096, number) for number in range(WARM_UP + rounds)]
    with tempfile.TemporaryDirectory() as folder:
        random_model(Path(folder), **SHAPES[shape] | ({"num_hidden_layers": 1} if small else {}))
        return _rows(shape, Path(folder), texts, device)


def mixed_texts(count: int, seed: int = 0) -> list[str]:
    """Made-up words, one piece each; lengths log-normal, 47 tokens in the mean, from 3 to 300."""
    rng, words = random.Random(seed), vocabulary()[5:]
    lengths = [int(min(300, max(3, rng.lognormvariate(3.47, 0.8)))) for _ in range(count)]
    return [" ".join(rng.choices(words, k=length)) for length in lengths]


def random_model(folder: Path, **changes: Any) -> None:
    """A BERT with random weights, BERT's vocabulary size and a tokenizer of made-up words."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=VOCAB_SIZE, **changes)).save_pretrained(folder)
    Tokenizer.from_vocab(vocabulary()).save(folder)


def vocabulary() -> list[str]:
    syllables = [first + second for first in "bcdfghklmnprstvz" for second in "aeiou"]
    words = ["".join(parts) for number in (2, 3) for parts in product(syllables, repeat=number)]
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words][:VOCAB_SIZE]


def _rows(shape: str, folder: Path, rounds: Sequence[list[str]], device: torch.device) -> list[dict[str, Any]]:
    """rounds: the texts of each, new ones every time, as they are in life; those of the first are not timed."""
    from transformers import AutoTokenizer

    predictor = bertsmith.load(folder, device=device.type, precision=pick_precision("bf16", device))
    settings = predictor.task.settings.model_copy(update={"max_length": MAX_LENGTH, "truncation": "head"})
    predictor = replace(predictor, task=type(predictor.task)(settings))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer(texts, truncation=True, max_length=MAX_LENGTH)["input_ids"] for texts in rounds]
    windows = [_windows(predictor, texts) for texts in rounds]
    peers = {
        "transformers": Peer(folder, device, torch.bfloat16),
        "transformers, torch.compile": Peer(folder, device, torch.bfloat16, compiled=device.type == "cuda"),
    }
    size = peers["transformers"].take_best_size(ids[0])
    peers["transformers, torch.compile"].batch_size = size

    ours = {f"bertsmith, {n:,} tokens a batch": replace(predictor, max_tokens_per_batch=n) for n in BUDGETS}
    theirs = {f"{name}, batches of {size}": peer for name, peer in peers.items()}
    by_ids: dict[str, Callable[[int], Vectors]] = {
        **{name: lambda number, one=one: _vectors(one, windows[number]) for name, one in ours.items()},
        **{name: lambda number, peer=peer: peer.vectors(ids[number]) for name, peer in theirs.items()},
    }
    by_text: dict[str, Callable[[int], Vectors]] = {
        **{name: lambda number, one=one: one.embed(rounds[number]) for name, one in ours.items()},
        **{name: lambda number, peer=peer: peer.embed(rounds[number]) for name, peer in theirs.items()},
    }
    exact = Peer(folder, device, torch.float32).vectors(ids[0][:NUM_COMPARED])
    num_tokens = np.array([sum(map(len, rows)) for rows in ids[WARM_UP:]])
    flops_per_token = 2.0 * sum(weight.numel() for weight in _layers(folder) if weight.ndim == 2)
    found = []
    for way, work in (("ids", by_ids), ("text", by_text)):
        seconds: dict[str, list[float]] = {name: [] for name in work}
        for number in range(len(rounds)):
            for name, run in work.items():
                started = time.perf_counter()
                run(number)
                seconds[name].append(time.perf_counter() - started)
        timed = {name: taken[WARM_UP:] for name, taken in seconds.items()}
        for name, run in work.items():
            row = {
                "shape": shape,
                "from": way,
                "system": name,
                "tokens_per_second": median(num_tokens / timed[name]).middle,
                "flops_per_token": flops_per_token,
                "to_bertsmith": str(ratio(timed[name], timed[OURS])),
                "lowest_cosine": float((run(0)[:NUM_COMPARED] * exact).sum(axis=1).min()),
            }
            print(row, flush=True)
            found.append(row)
    return found


def _layers(folder: Path) -> list[Tensor]:
    """Their weights, as they were saved."""
    return list(load_artifact(folder).network.encoder.layers.parameters())


def _windows(predictor: Predictor, texts: Sequence[str]) -> list[list[Window]]:
    task = predictor.task
    requests = [task.request({"text": text}, "a text") for text in texts]
    return [task.encode(each, predictor.tokenizer, sample_rng(0, 0, n)) for n, each in enumerate(requests)]


@torch.inference_mode()
def _vectors(predictor: Predictor, windows: Sequence[Sequence[Window]]) -> Vectors:
    """What is left of `embed` where texts are encoded already."""
    return np.stack([row[0].vector for row in predictor._forward(windows, lambda _: None)])


class Peer:
    """`AutoModel` in one type throughout, with SDPA, pooled on the GPU; it gets every batch before any is read."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype, *, compiled: bool = False):
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.device = device
        self.batch_size = BATCH_SIZES[0]
        model = AutoModel.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").to(device).eval()
        self.model: Any = torch.compile(model, dynamic=True) if compiled else model

    def take_best_size(self, ids: Sequence[Sequence[int]]) -> int:
        """The fastest of BATCH_SIZES, which it then has."""
        taken = {}
        for size in BATCH_SIZES:
            self.batch_size = size
            self.vectors(ids)
            started = time.perf_counter()
            self.vectors(ids)
            taken[size] = time.perf_counter() - started
        self.batch_size = min(taken, key=taken.__getitem__)
        return self.batch_size

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self.vectors(self.tokenizer(list(texts), truncation=True, max_length=MAX_LENGTH)["input_ids"])

    @torch.inference_mode()
    def vectors(self, ids: Sequence[Sequence[int]]) -> Vectors:
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        parts = [
            self._batch([ids[row] for row in order[at : at + self.batch_size]])
            for at in range(0, len(order), self.batch_size)
        ]
        sorted_vectors = torch.cat(parts).cpu().numpy()
        vectors = np.empty_like(sorted_vectors)
        vectors[order] = sorted_vectors
        return vectors

    def _batch(self, rows: Sequence[Sequence[int]]) -> Tensor:
        lengths = np.array([len(row) for row in rows])
        mask = np.arange(lengths.max()) < lengths[:, None]
        padded = np.zeros(mask.shape, dtype=np.int64)
        padded[mask] = np.concatenate([np.asarray(row) for row in rows])
        input_ids, attention_mask = self._sent(padded), self._sent(mask.astype(np.int64))
        states = self.model(input_ids=input_ids, attention_mask=attention_mask)[0].float()
        return F.normalize((states * attention_mask[..., None]).sum(1), dim=-1)

    def _sent(self, values: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(values)
        return tensor if self.device.type == "cpu" else tensor.pin_memory().to(self.device, non_blocking=True)
