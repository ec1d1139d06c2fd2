"""Pre-training beside the peer: bertsmith's trainer and transformers' `BertForPreTraining` in a plain PyTorch loop.

    python benchmarks/pretraining.py --work-dir runs/benchmark [--steps 300] [--dropout 0] [--threads 2] [--json]

Both sides start from the same weights and take the same steps: the same windows with the same masks in the same order,
encoded one step ahead by a second thread, AdamW with the same groups, schedule and clipping, in the same precision.
They take turns, a block of steps each, so that a busy machine slows both alike; speed counts real tokens, not padding.
With dropout the peer runs twice, on two streams of random numbers, which shows how far apart equal runs end up; with
`--dropout 0 --precision fp32` nothing is random, and the curves must be one: the command fails where losses differ by
0.001 or more.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from bertsmith.artifact import versions
from bertsmith.data.batch import Window
from bertsmith.data.corpus import MANIFEST, Corpus
from bertsmith.data.order import sample_rng, step_samples
from bertsmith.data.passages import Passages
from bertsmith.evaluation.plots import Line, curves
from bertsmith.evaluation.report import Page, bullets, figure, table
from bertsmith.files import atomic_file, open_bytes, write_json
from bertsmith.model.checkpoints import CONFIG, config_to_hugging_face, save_weights
from bertsmith.model.networks import PretrainingNetwork
from bertsmith.model.presets import preset
from bertsmith.recipes.prepare import PrepareSettings, prepare
from bertsmith.runtime.device import autocast, pick_precision
from bertsmith.runtime.progress import Phase, Progress, progress_for
from bertsmith.tasks.pretraining import Pretraining, PretrainingSettings
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.wordpiece import WordPieceSettings, learn_wordpiece
from bertsmith.training.schedule import learning_rate_fraction
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.trainer import train

TEXT = Path(__file__).resolve().parents[1] / "../shared/data/text/enwiki2015/enwiki.part00.txt.xz"
IGNORED = -100
"""The label of a place that transformers leaves out of its loss."""
CPU = torch.device("cpu")
PEERS = ("sdpa", "eager", "sdpa:16", "eager:16")
"""The peer's attention, and how many rows, sorted by length, go through it at a time; none named: all of a step."""
TRIAL_STEPS = 3
LARGEST_EXACT_DIFFERENCE = 1e-3
"""Between the losses of a step without dropout; rounding, which grows with the steps, stays far below it."""
NUM_DRAWS = 10_000
Array = NDArray[np.float64]


# --- the job ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What both sides train on, and how."""

    task: Pretraining
    tokenizer: Tokenizer
    passages: Passages
    settings: TrainingSettings
    num_steps: int

    def windows(self, step: int) -> list[Window]:
        """What bertsmith's trainer draws for this step."""
        seed = self.settings.seed
        epoch, indices = step_samples(step, len(self.passages), self.settings.per_device_train_batch_size, seed)
        return [
            window
            for index in indices.tolist()
            for window in self.task.encode(self.passages[index], self.tokenizer, sample_rng(seed, epoch, index))
        ]

    def learning_rate(self, step: int) -> float:
        name, warmup_steps = self.settings.lr_scheduler_type, round(self.settings.warmup_fraction * self.num_steps)
        return self.settings.learning_rate * learning_rate_fraction(name, step, self.num_steps, warmup_steps)


def prepared(args: argparse.Namespace, progress: Progress) -> tuple[Tokenizer, Corpus]:
    """Vocabulary and corpus of the text, from the work folder where an earlier run has left them."""
    size = "whole" if args.megabytes is None else f"{args.megabytes:g}MB"
    folder = args.work_dir / f"{args.text.name.partition('.txt')[0]}-{size}-{args.vocab_size}"
    corpus = folder / "corpus"
    if not (corpus / MANIFEST).is_file():
        text = args.text if args.megabytes is None else _first_articles(args.text, args.megabytes, folder / "text.txt")
        settings = WordPieceSettings(vocab_size=args.vocab_size)
        learn_wordpiece([text], settings, progress).tokenizer().save(folder / "tokenizer")
        prepare(PrepareSettings(files=(text,), tokenizer=folder / "tokenizer", output_dir=corpus), progress)
    return Tokenizer.load(corpus), Corpus.open(corpus)


def _first_articles(text: Path, megabytes: float, target: Path) -> Path:
    """The first articles of `text`, whole ones, together at least `megabytes`."""
    with open_bytes(text) as lines, atomic_file(target) as temporary, temporary.open("wb") as out:
        for line in lines:
            out.write(line)
            if out.tell() >= megabytes * 1e6 and line.startswith(b"</doc>"):
                break
    return target


# --- the peer --------------------------------------------------------------------------------------------------------


class Peer:
    """`BertForPreTraining` in a plain loop, on its own stream of random numbers. choice: one like those in PEERS."""

    def __init__(self, choice: str, job: Job, folder: Path, seed: int):
        from transformers import BertForPreTraining
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        attention, _, rows = choice.partition(":")
        self.choice, self.job, self.rows = choice, job, int(rows) if rows else None
        self.model: Any = BertForPreTraining.from_pretrained(folder, attn_implementation=attention)
        self.model.train()
        settings = job.settings.optimizer
        weights = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [w for w in weights if w.ndim >= 2], "weight_decay": settings.weight_decay},
                {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
            ],
            betas=(settings.adam_beta1, settings.adam_beta2),
            eps=settings.adam_epsilon,
            fused=True,
        )
        self.random_state = torch.Generator().manual_seed(seed).get_state()
        self.steps = self._steps()
        self.losses: list[float] = []
        self.num_tokens: list[int] = []

    def run(self, num_steps: int) -> float:
        """Take the next steps; the seconds they took."""
        with torch.random.fork_rng():
            torch.random.set_rng_state(self.random_state)
            started = time.perf_counter()
            for _ in range(num_steps):
                next(self.steps)
            seconds = time.perf_counter() - started
            self.random_state = torch.random.get_rng_state()
        return seconds

    def _steps(self) -> Iterator[None]:
        job = self.job
        with ThreadPoolExecutor(max_workers=1) as pool:
            coming = pool.submit(self._batches, 0)
            for step in range(job.num_steps):
                batches = coming.result()
                if step + 1 < job.num_steps:
                    coming = pool.submit(self._batches, step + 1)
                self.num_tokens.append(sum(int(batch["attention_mask"].sum()) for batch in batches))
                self.losses.append(self._step(batches, job.learning_rate(step)))
                yield

    def _batches(self, step: int) -> list[dict[str, Tensor]]:
        windows = self.job.windows(step)
        if self.rows is None:
            return [padded(windows, self.job.tokenizer.pad_id)]
        windows.sort(key=lambda window: -window.num_tokens)
        parts = (windows[at : at + self.rows] for at in range(0, len(windows), self.rows))
        return [padded(part, self.job.tokenizer.pad_id) for part in parts]

    def _step(self, batches: Sequence[Mapping[str, Tensor]], learning_rate: float) -> float:
        num_masked = sum(int((batch["labels"] != IGNORED).sum()) for batch in batches)
        num_rows = sum(len(batch["labels"]) for batch in batches)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros(())
        for batch in batches:
            with autocast(self.job.settings.precision, CPU):
                loss = self._loss(batch, num_masked, num_rows, whole=len(batches) == 1)
            loss.backward()
            total += loss.detach()
        limit = self.job.settings.optimizer.max_grad_norm
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), math.inf if limit is None else limit)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        return float(total)

    def _loss(self, batch: Mapping[str, Tensor], num_masked: int, num_rows: int, *, whole: bool) -> Tensor:
        """The model's own loss of a whole batch; of a part of it, its share of that."""
        if whole:
            loss: Tensor = self.model(**batch).loss
            return loss
        inputs = {name: values for name, values in batch.items() if not name.endswith(("labels", "label"))}
        out = self.model(**inputs)
        tokens, sentences = out.prediction_logits.flatten(0, 1), out.seq_relationship_logits
        masked = F.cross_entropy(tokens, batch["labels"].flatten(), ignore_index=IGNORED, reduction="sum")
        nsp = F.cross_entropy(sentences, batch["next_sentence_label"], reduction="sum")
        return masked / num_masked + nsp / num_rows


def padded(windows: Sequence[Window], pad_id: int) -> dict[str, Tensor]:
    """The inputs and labels of transformers' model, padded to the longest window: [n, L], and [n] for the sentences."""
    shape = (len(windows), max(window.num_tokens for window in windows))
    fills = {"input_ids": pad_id, "token_type_ids": 0, "attention_mask": 0, "labels": IGNORED}
    arrays = {name: np.full(shape, fill, dtype=np.int64) for name, fill in fills.items()}
    for row, window in enumerate(windows):
        arrays["input_ids"][row, : window.num_tokens] = window.input_ids
        arrays["token_type_ids"][row, : window.num_tokens] = window.token_type_ids
        arrays["attention_mask"][row, : window.num_tokens] = 1
        arrays["labels"][row, window.targets["places"]] = window.targets["labels"]
    batch = {name: torch.from_numpy(values) for name, values in arrays.items()}
    return batch | {"next_sentence_label": torch.tensor([window.targets["sentence"] for window in windows])}


def best_peer(job: Job, folder: Path, wanted: str, progress: Progress) -> tuple[str, dict[str, float]]:
    """The peer's fastest configuration on the first steps, with the tokens a second of all that were tried."""
    if wanted != "auto":
        return wanted, {}
    peers = [Peer(choice, job, folder, job.settings.seed) for choice in PEERS]
    with progress.phase("trying the peer's configurations", total=TRIAL_STEPS * len(peers), unit="steps") as phase:
        seconds: dict[str, list[float]] = {choice: [] for choice in PEERS}
        for _ in range(TRIAL_STEPS):
            for peer in peers:
                seconds[peer.choice].append(peer.run(1))
                phase.advance()
    speeds = {
        peer.choice: statistics.median(
            tokens / time for tokens, time in zip(peer.num_tokens[1:], seconds[peer.choice][1:], strict=True)
        )
        for peer in peers
    }
    return max(speeds, key=speeds.__getitem__), speeds


# --- the comparison --------------------------------------------------------------------------------------------------


class TakingTurns(Progress):
    """Stands where bertsmith's trainer reports each step, and lets the peers take theirs after every block of steps."""

    def __init__(self, shown: Phase, peers: Sequence[Peer], block_steps: int):
        super().__init__()
        self.own_seconds: list[float] = []
        self.peer_seconds: list[list[float]] = [[] for _ in peers]
        self._shown, self._peers, self._block_steps = shown, peers, block_steps

    def opened(self, phase: Phase) -> None:
        self._started = time.perf_counter()

    def drawn(self, phase: Phase) -> None:
        if phase.done % self._block_steps:
            return
        self.own_seconds.append(time.perf_counter() - self._started)
        for peer, seconds in zip(self._peers, self.peer_seconds, strict=True):
            seconds.append(peer.run(self._block_steps))
        self._shown.advance(self._block_steps, loss=phase.shown["loss"])
        self._started = time.perf_counter()


@dataclass(frozen=True)
class Side:
    """What one side did: the loss of each step, and for each block its real tokens and seconds."""

    name: str
    losses: list[float]
    block_tokens: list[int]
    block_seconds: list[float]

    @property
    def speeds(self) -> Array:
        """Tokens a second of each block but the first, in which caches fill and threads start."""
        return np.array(self.block_tokens[1:]) / np.array(self.block_seconds[1:])


def run_both(
    job: Job, network: PretrainingNetwork, peers: Sequence[Peer], block_steps: int, shown: Progress
) -> list[Side]:
    """All steps on all sides; bertsmith first, then the peers in their order."""
    with shown.phase("training in turns", total=job.num_steps, unit="steps") as phase:
        turns = TakingTurns(phase, peers, block_steps)
        result = train(job.task, network, job.tokenizer, job.passages, job.settings, progress=turns)
    assert all(sum(peer.num_tokens) == result.num_tokens for peer in peers), "the sides saw different tokens"
    blocks = range(0, job.num_steps, block_steps)
    tokens = [sum(peers[0].num_tokens[at : at + block_steps]) for at in blocks]
    losses = [values["mlm"] + values["next"] for _, values in result.history]
    sides = [Side("bertsmith", losses, tokens, turns.own_seconds)]
    for number, (peer, seconds) in enumerate(zip(peers, turns.peer_seconds, strict=True)):
        name = "transformers" if number == 0 else "transformers, other dropout"
        sides.append(Side(name, peer.losses, tokens, seconds))
    return sides


def median_interval(values: Array) -> dict[str, float]:
    """The median, and the bounds between which 95% of its bootstrap draws lie."""
    rng = np.random.default_rng(0)
    draws = np.median(values[rng.integers(len(values), size=(NUM_DRAWS, len(values)))], axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"median": float(np.median(values)), "low": float(low), "high": float(high)}


def difference(first: Side, second: Side, window: int) -> dict[str, float]:
    """Of two loss curves smoothed over `window` steps: mean and mean size; largest: of the losses as they are."""
    raw = np.array(first.losses) - np.array(second.losses)
    smooth = np.convolve(raw, np.ones(window) / window, "valid")
    return {
        "mean": float(smooth.mean()),
        "mean_size": float(np.abs(smooth).mean()),
        "largest": float(np.abs(raw).max()),
    }


# --- the report ------------------------------------------------------------------------------------------------------


def results(sides: Sequence[Side], tried: Mapping[str, float], facts: Sequence[str]) -> dict[str, Any]:
    """Everything that was measured, as JSON; the ratio is that of bertsmith's blocks to the peer's of the same turn."""
    own, peer, *_ = sides
    window = max(1, len(own.losses) // 20)
    return {
        "tokens_per_second": {side.name: median_interval(side.speeds) for side in sides},
        "ratio": median_interval(own.speeds / peer.speeds),
        "loss_differences": {f"{a.name} - {b.name}": difference(a, b, window) for a, b in combinations(sides, 2)},
        "smoothing_steps": window,
        "peer_trials_tokens_per_second": tried,
        "losses": {side.name: side.losses for side in sides},
        "block_tokens_per_second": {side.name: side.speeds.tolist() for side in sides},
        "facts": facts,
    }


def speed_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """The table of speeds: median over the blocks, 95% interval, and how many times the peer's."""
    rows = []
    for name, speed in found["tokens_per_second"].items():
        ratio = found["ratio"]
        times = f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})" if name == "bertsmith" else ""
        loss = statistics.fmean(found["losses"][name][-found["smoothing_steps"] :])
        interval = f"{speed['low']:,.0f} to {speed['high']:,.0f}"
        rows.append([name, f"{speed['median']:,.0f}", interval, times, f"{loss:.4f}"])
    return rows


SPEED_HEADER = ("", "tokens/s", "95% interval", "times transformers", "last loss")
LOSS_HEADER = ("losses, smoothed", "mean difference", "mean size", "largest of a step")


def loss_rows(found: Mapping[str, Any]) -> list[list[str]]:
    return [
        [pair, f"{values['mean']:+.2g}", f"{values['mean_size']:.2g}", f"{values['largest']:.2g}"]
        for pair, values in found["loss_differences"].items()
    ]


def write_page(path: Path, found: Mapping[str, Any]) -> None:
    """The plot and the tables as one page."""
    window = found["smoothing_steps"]
    lines = []
    for series, (name, losses) in enumerate(found["losses"].items()):
        smooth = np.convolve(losses, np.ones(window) / window, "valid")
        lines.append(Line(name, list(range(window, len(losses) + 1)), smooth.tolist(), series))
    plot = curves(lines, title="Loss by step", x_label="step", y_label="loss, masked tokens + next sentence")
    caption = f"Means over {window} steps; the same windows and masks for each curve."
    page = Page("Pre-training, bertsmith and transformers")
    page.section("Loss", figure(plot, "Loss by step", caption), table(LOSS_HEADER, loss_rows(found)))
    page.section("Speed", table(SPEED_HEADER, speed_rows(found), emphasis=0), bullets(found["facts"]))
    page.write(path)


def machine(num_threads: int) -> str:
    """The processor, the threads used on it, and how busy it was."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line for line in lines if line.startswith("model name")]
    name = names[0].partition(": ")[2] if names else platform.processor()
    return (
        f"{name}, {os.cpu_count()} cores, {num_threads} threads used, load average {os.getloadavg()[0]:.1f} at the end"
    )


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], file: Any) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        first, *rest = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join((first, *rest)).rstrip(), file=file)
    print(file=file)


# --- the command -----------------------------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-dir", type=Path, required=True, help="folder for the corpus, kept, and for the results")
    parser.add_argument("--text", type=Path, default=TEXT, help="text to train on, %(default)s")
    parser.add_argument("--megabytes", type=float, help="only the first articles of it (all)")
    parser.add_argument("--vocab-size", type=int, default=8000, help="tokens in the vocabulary (%(default)s)")
    parser.add_argument("--steps", type=int, default=300, help="optimizer steps of each side (%(default)s)")
    parser.add_argument("--blocks", type=int, default=25, help="turns that each side takes (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="sentence pairs a step (%(default)s)")
    parser.add_argument("--max-length", type=int, default=128, help="tokens of a pair (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="peak, after 10%% of the steps (%(default)s)")
    parser.add_argument("--dropout", type=float, default=0.1, help="in both; 0: the curves must be one (%(default)s)")
    parser.add_argument("--model-size", default="mini", help="tiny, mini, small, medium, base or large (%(default)s)")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"), help="of both (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="decides weights, order, masks and dropout (%(default)s)")
    parser.add_argument("--threads", type=int, help="threads of PyTorch (as many as it takes by itself)")
    parser.add_argument(
        "--peer", default="auto", help=f"the peer's attention, and rows at a time: {', '.join(PEERS)} (the fastest)"
    )
    parser.add_argument("--json", action="store_true", help="the results as JSON on stdout, all else on stderr")
    args = parser.parse_args()
    if args.blocks < 3 or args.steps % args.blocks:
        parser.error(f"--steps {args.steps} is not a multiple of --blocks {args.blocks}, or these are under 3")
    return args


def main() -> int:
    args = arguments()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    progress = progress_for(sys.stderr)
    tokenizer, corpus = prepared(args, progress)
    task = Pretraining(PretrainingSettings(max_length=args.max_length))
    settings = TrainingSettings(
        max_steps=args.steps,
        per_device_train_batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        logging_steps=1,
        seed=args.seed,
        precision=args.precision,
        device="cpu",
    )
    job = Job(task, tokenizer, Passages(corpus, max_tokens=args.max_length - 3, seed=args.seed), settings, args.steps)
    torch.manual_seed(args.seed)
    dropout = {"hidden_dropout_prob": args.dropout, "attention_probs_dropout_prob": args.dropout}
    network = task.build(
        preset(args.model_size, vocab_size=tokenizer.vocab_size, pad_token_id=tokenizer.pad_id, **dropout)
    )
    with tempfile.TemporaryDirectory() as name:
        start = Path(name)
        write_json(start / CONFIG, config_to_hugging_face(network))
        save_weights(network, start)
        choice, tried = best_peer(job, start, args.peer, progress)
        peers = [Peer(choice, job, start, args.seed + 1 + number) for number in range(2 if args.dropout else 1)]
    sides = run_both(job, network, peers, args.steps // args.blocks, progress)
    used = {name: version(name) for name in ("transformers",)} | versions()
    facts = [
        (
            f"BERT {args.model_size}, {sum(weights.numel() for weights in network.parameters()):,} parameters, "
            f"dropout {args.dropout:g}"
        ),
        (
            f"{args.text.name}: {corpus.num_tokens:,} tokens, {len(job.passages):,} passages, "
            f"vocabulary {tokenizer.vocab_size:,}"
        ),
        (
            f"{args.steps} steps of {args.batch_size} pairs of at most {args.max_length} tokens, in {args.blocks} "
            "blocks; the first one is not timed"
        ),
        f"{pick_precision(settings.precision, CPU)}; transformers with {choice}; seed {args.seed}",
        machine(torch.get_num_threads()),
        ", ".join(f"{package} {number}" for package, number in used.items()),
    ]
    found = results(sides, tried, facts)
    stem = args.work_dir / ("pretraining" if args.dropout else "pretraining-exact")
    write_json(stem.with_suffix(".json"), found)
    write_page(stem.with_suffix(".html"), found)
    stream = sys.stderr if args.json else sys.stdout
    for fact in facts:
        print(fact, file=stream)
    print_table(SPEED_HEADER, speed_rows(found), stream)
    print_table(LOSS_HEADER, loss_rows(found), stream)
    print(f"plot: {stem.with_suffix('.html')}", file=stream)
    if args.json:
        print(json.dumps(found))
    largest = max(values["largest"] for values in found["loss_differences"].values())
    exact = not args.dropout and pick_precision(args.precision, CPU) == "fp32"
    if exact and not largest < LARGEST_EXACT_DIFFERENCE:
        print(f"the losses differ by up to {largest:.2g}, and nothing is random: they must be equal", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
