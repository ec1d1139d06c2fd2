"""Learning a vocabulary: time, peak memory and determinism beside `tokenizers`' WordPieceTrainer, on the same text.

    python benchmarks/wordpiece.py --megabytes 100 --vocab-size 30000 --repeats 3

Each run is a process of its own, in turns; prints JSON. Seconds are of the learning alone, imports left out; CPU
seconds are of the whole process and all its threads, and less at the mercy of a busy machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
DATA = Path(__file__).resolve().parent.parent / "../shared/data/text/enwiki2015"


def bertsmith_tokens(files: Sequence[str], vocab_size: int) -> tuple[list[str], float]:
    from bertsmith.text.wordpiece import WordPieceSettings, learn_wordpiece

    start = time.perf_counter()
    learned = learn_wordpiece([Path(file) for file in files], WordPieceSettings(vocab_size=vocab_size))
    return list(learned.tokens), time.perf_counter() - start


def tokenizers_tokens(files: Sequence[str], vocab_size: int) -> tuple[list[str], float]:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, min_frequency=2, special_tokens=SPECIAL, show_progress=False
    )
    start = time.perf_counter()
    tokenizer.train(list(files), trainer)
    seconds = time.perf_counter() - start
    vocabulary = tokenizer.get_vocab()
    return sorted(vocabulary, key=lambda token: vocabulary[token]), seconds


LEARNERS: Mapping[str, Callable[[Sequence[str], int], tuple[list[str], float]]] = {
    "bertsmith": bertsmith_tokens,
    "tokenizers": tokenizers_tokens,
}


def work(learner: str, vocab_size: int, files: Sequence[str]) -> None:
    """One measured run; prints its figures and tokens as JSON."""
    tokens, seconds = LEARNERS[learner](files, vocab_size)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    figures = {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime}
    print(json.dumps(figures | {"peak_megabytes": usage.ru_maxrss * 1024 / 1e6, "tokens": tokens}))


def run(learner: str, vocab_size: int, files: Sequence[Path], **environment: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--work", learner, "--vocab-size", str(vocab_size), *map(str, files)]
    done = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def first_bytes(folder: Path, num_bytes: int, target: Path) -> None:
    with target.open("wb") as out:
        for part in sorted(folder.glob("*.xz")):
            with lzma.open(part) as file:
                while num_bytes > 0 and (block := file.read(min(num_bytes, 1 << 20))):
                    out.write(block)
                    num_bytes -= len(block)


def halves(whole: Path) -> list[Path]:
    """The same text in two files, cut at a line end."""
    content = whole.read_bytes()
    middle = content.rfind(b"\n", 0, len(content) // 2) + 1
    paths = [whole.with_name("first.txt"), whole.with_name("second.txt")]
    for path, part in zip(paths, (content[:middle], content[middle:]), strict=True):
        path.write_bytes(part)
    return paths


def digest(tokens: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(tokens).encode()).hexdigest()


def compare(data: Path, megabytes: int, vocab_size: int, repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.txt"
        first_bytes(data, megabytes * 1_000_000, corpus)
        parts = halves(corpus)
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in LEARNERS}
        for _ in range(repeats):
            for name, results in runs.items():
                results.append(run(name, vocab_size, [corpus]))
        again = [
            run("bertsmith", vocab_size, parts, RAYON_NUM_THREADS="1", PYTHONHASHSEED="1"),
            run("bertsmith", vocab_size, parts[::-1], RAYON_NUM_THREADS="4", PYTHONHASHSEED="2"),
        ]
        num_bytes = corpus.stat().st_size
    seconds = {name: [result["seconds"] for result in results] for name, results in runs.items()}
    tokens = {name: results[0]["tokens"] for name, results in runs.items()}
    ours = [*runs["bertsmith"], *again]
    return {
        "megabytes": num_bytes / 1e6,
        "vocab_size": vocab_size,
        "cpu_count": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "seconds": seconds,
        "seconds_ratio": statistics.median(seconds["bertsmith"]) / statistics.median(seconds["tokenizers"]),
        "cpu_seconds": {name: [result["cpu_seconds"] for result in results] for name, results in runs.items()},
        "peak_megabytes": {name: max(result["peak_megabytes"] for result in results) for name, results in runs.items()},
        "vocabularies_bertsmith": len({digest(result["tokens"]) for result in ours}),
        "vocabularies_tokenizers": len({digest(result["tokens"]) for result in runs["tokenizers"]}),
        "shared_tokens_fraction": len(set(tokens["bertsmith"]) & set(tokens["tokenizers"])) / len(tokens["bertsmith"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100, help="text to learn from, in millions of bytes")
    parser.add_argument("--vocab-size", type=int, default=30_000, help="tokens in the vocabulary")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each, in turns")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the text, in .xz files")
    parser.add_argument("--work", choices=list(LEARNERS), help=argparse.SUPPRESS)
    parser.add_argument("files", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.vocab_size, options.files)
    else:
        print(json.dumps(compare(options.data, options.megabytes, options.vocab_size, options.repeats), indent=2))


if __name__ == "__main__":
    main()
