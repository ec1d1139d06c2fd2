"""Encoding text: tokens a second beside `transformers`' tokenizer and beside the bare Rust core that both stand on.

    python benchmarks/tokenizer.py --lines 20000 --repeats 5

All take turns on the same lines in batches of 1,000; medians; prints JSON.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from bertsmith.hf.tokenizer import BertTokenizer
from bertsmith.text.tokenizer import Tokenizer

DATA = Path(__file__).resolve().parent.parent / "../shared/data"
BATCH = 1000


def ways(folder: Path) -> dict[str, Callable[[list[str]], object]]:
    import tokenizers
    import transformers

    transformers.logging.set_verbosity_error()
    core = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    ours, shaped = Tokenizer.load(folder), BertTokenizer.from_pretrained(folder)
    theirs = transformers.BertTokenizer.from_pretrained(str(folder))
    padded: dict[str, Any] = {"padding": True, "truncation": True, "max_length": 128, "return_tensors": "np"}
    return {
        "core.encode_batch": lambda texts: core.encode_batch(texts),
        "core.encode_batch_fast": lambda texts: core.encode_batch_fast(texts),
        "bertsmith encode_batch, max_length 128": lambda texts: ours.encode_batch(texts, max_length=128),
        "bertsmith pieces_batch": lambda texts: ours.pieces_batch(texts),
        "bertsmith BertTokenizer, padded arrays": lambda texts: shaped(texts, **padded),
        "transformers BertTokenizer, lists": lambda texts: theirs(texts, truncation=True, max_length=128),
        "transformers BertTokenizer, padded arrays": lambda texts: theirs(texts, **padded),
    }


def measure(texts: list[str], folder: Path, repeats: int) -> dict[str, Any]:
    batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
    num_tokens = sum(map(len, Tokenizer.load(folder).pieces_batch(texts)))
    seconds: dict[str, list[float]] = {}
    for _ in range(repeats):
        for name, encode in ways(folder).items():
            start = time.perf_counter()
            for batch in batches:
                encode(batch)
            seconds.setdefault(name, []).append(time.perf_counter() - start)
    return {
        "lines": len(texts),
        "tokens": num_tokens,
        "cpu_count": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "tokens_per_second": {name: round(num_tokens / statistics.median(times)) for name, times in seconds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=20_000, help="lines of English Wikipedia")
    parser.add_argument("--repeats", type=int, default=5, help="rounds in which every way takes its turn")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real data sets")
    options = parser.parse_args()
    with lzma.open(options.data / "text/enwiki2015/enwiki.part00.txt.xz", "rt", encoding="utf-8") as file:
        texts = list(islice((line.rstrip("\n") for line in file if len(line) > 20), options.lines))
    (vocabulary,) = (options.data / "vocab").rglob("bert-base-uncased-vocab.txt")
    with tempfile.TemporaryDirectory() as folder:
        tokens = vocabulary.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        Tokenizer.from_vocab(tokens).save(folder)
        print(json.dumps(measure(texts, Path(folder), options.repeats), indent=2))


if __name__ == "__main__":
    main()
