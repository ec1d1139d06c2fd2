"""Translation on Multi30k, English to German: BLEU beside a plain PyTorch loop, and speed beside transformers.

    python benchmarks/translation.py data                 # the files that the training below reads
    bertsmith finetune seq2seq ...                        # as `python benchmarks/translation.py command` prints it
    python benchmarks/translation.py plain --minutes 40   # nn.Transformer in a plain loop, of the same shape and time
    python benchmarks/translation.py quality              # BLEU of both, at several beams
    python benchmarks/translation.py speed                # tokens a second beside EncoderDecoderModel.generate
    python benchmarks/translation.py write                # the tables of docs/seq2seq.md

Everything is kept in --work-dir. Time is that of the processor, since a machine may have other work.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speed.measure import Interval, in_turns, machine, median, ratio
from torch import Tensor, nn

from bertsmith.artifact import load_artifact
from bertsmith.data.batch import micro_batches
from bertsmith.inference.predictor import Predictor, load
from bertsmith.metrics.generation import bleu_of, bleu_rows
from bertsmith.model.networks import Seq2SeqNetwork
from bertsmith.tasks.seq2seq import Seq2Seq
from bertsmith.text.spacing import join_pieces
from bertsmith.text.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "translation.json", ROOT / "docs" / "seq2seq.md"
TESTS = ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco")
SHAPE = {"num_hidden_layers": 3, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}
BATCH, LENGTH, LEARNING_RATE, WARMUP, DROPOUT, SMOOTHING, STEPS = 128, 64, 1e-3, 0.1, 0.2, 0.1, 5500
BEAMS = (1, 2, 4, 8)
DRAWS, SEED = 1000, 0
COMMAND = (
    "bertsmith finetune seq2seq --train-file {work}/train.tsv --validation-file {work}/val.tsv "
    "--test-file {work}/test_2016_flickr.tsv --set new.architecture='{shape}' --vocab-size 8000 --dropout {dropout} "
    "--batch-size {batch} --max-steps {steps} --eval-steps 1100 --max-length {length} --max-target-length {length} "
    "--learning-rate {rate} --set training.optimizer.adam_beta2=0.98 --output-dir {work}/run"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--work-dir", type=Path, default=Path("runs/translation"))
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    parser.add_argument("--minutes", type=float, default=40, help="plain: processor minutes to train")
    parser.add_argument("--sentences", type=int, default=1000, help="speed: sources to translate")
    parser.add_argument("--rounds", type=int, default=3, help="speed: times that each system is timed, in turn")
    arguments = parser.parse_args()
    PARTS[arguments.part](arguments)


def write_data(arguments: argparse.Namespace) -> None:
    arguments.work_dir.mkdir(parents=True, exist_ok=True)
    for name in ("train", "val", *TESTS):
        with (arguments.work_dir / f"{name}.tsv").open("w", encoding="utf-8") as file:
            file.write("text\ttarget\n")
            file.writelines(f"{source}\t{target}\n" for source, target in pairs(arguments.data_dir, name))


def pairs(data_dir: Path, name: str) -> Iterator[tuple[str, str]]:
    """The sentence pairs of a part; the tabs that two of them hold become blanks."""
    sides = []
    for language in ("en", "de"):
        with gzip.open(data_dir / f"translation/multi30k/{name}.{language}.gz", "rt", encoding="utf-8") as file:
            sides.append([line.rstrip("\n").replace("\t", " ") for line in file])
    return zip(*sides, strict=True)


def print_command(arguments: argparse.Namespace) -> None:
    print(
        COMMAND.format(
            work=arguments.work_dir,
            shape=json.dumps(SHAPE, separators=(",", ":")),
            dropout=DROPOUT,
            batch=BATCH,
            steps=STEPS,
            length=LENGTH,
            rate=LEARNING_RATE,
        )
    )


# --- a plain loop ----------------------------------------------------------------------------------------------------


class PlainTransformer(nn.Module):
    """`nn.Transformer` as PyTorch's tutorial wires it, embeddings tied with the output as ours are."""

    def __init__(self, vocab_size: int):
        super().__init__()
        width = SHAPE["hidden_size"]
        self.tokens = nn.Embedding(vocab_size, width, padding_idx=0)
        self.positions = nn.Embedding(LENGTH, width)
        self.transformer = nn.Transformer(
            width,
            SHAPE["num_attention_heads"],
            SHAPE["num_hidden_layers"],
            SHAPE["num_hidden_layers"],
            SHAPE["intermediate_size"],
            DROPOUT,
            batch_first=True,
        )
        self.dropout = nn.Dropout(DROPOUT)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        for parameter in self.transformer.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)

    def embed(self, ids: Tensor) -> Tensor:
        vectors = self.tokens(ids) * math.sqrt(SHAPE["hidden_size"])
        return self.dropout(vectors + self.positions(torch.arange(ids.shape[1])))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        future = nn.Transformer.generate_square_subsequent_mask(target.shape[1]).isinf()
        padding = source == 0
        hidden = self.transformer(
            self.embed(source),
            self.embed(target),
            tgt_mask=future,
            src_key_padding_mask=padding,
            tgt_key_padding_mask=target == 0,
            memory_key_padding_mask=padding,
        )
        return hidden @ self.tokens.weight.t() + self.bias

    @torch.inference_mode()
    def greedy(self, source: Tensor, first: int, last: int) -> list[list[int]]:
        padding = source == 0
        memory = self.transformer.encoder(self.embed(source), src_key_padding_mask=padding)
        target = torch.full((len(source), 1), first)
        ended = torch.zeros(len(source), dtype=torch.bool)
        for _ in range(LENGTH - 1):
            future = nn.Transformer.generate_square_subsequent_mask(target.shape[1]).isinf()
            hidden = self.transformer.decoder(
                self.embed(target), memory, tgt_mask=future, memory_key_padding_mask=padding
            )
            best = (hidden[:, -1] @ self.tokens.weight.t() + self.bias).argmax(-1)
            target = torch.cat((target, best[:, None]), 1)
            ended |= best == last
            if bool(ended.all()):
                break
        rows = [row[1:] for row in target.tolist()]
        return [row[: row.index(last)] if last in row else row for row in rows]


def train_plain(arguments: argparse.Namespace) -> None:
    """Adam, warm-up and linear decay to the same processor time, padded batches of like lengths, bf16 autocast.

    The number of steps follows from the first fifty, as with `--max-minutes`.
    """
    torch.manual_seed(SEED)
    tokenizer = Tokenizer.load(arguments.work_dir / "run")
    sides = list(zip(*pairs(arguments.data_dir, "train"), strict=True))
    sources, targets = ([e.input_ids for e in tokenizer.encode_batch(list(side), max_length=LENGTH)] for side in sides)
    network = PlainTransformer(tokenizer.vocab_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    budget, begun = arguments.minutes * 60, time.process_time()
    order, rng = [], random.Random(SEED)
    step, num_steps = 0, 0
    while not num_steps or step < num_steps:
        if len(order) < BATCH:
            order = rng.sample(range(len(sources)), len(sources))
        batch, order = order[:BATCH], order[BATCH:]
        spent = time.process_time() - begun
        if step == 50:
            num_steps = int(50 * budget / spent)
        share = step / (num_steps or STEPS)
        rate = LEARNING_RATE * min(share / WARMUP, (1 - share) / (1 - WARMUP))
        for group in optimizer.param_groups:
            group["lr"] = max(rate, 0.0)
        source, target = padded([sources[i] for i in batch]), padded([targets[i] for i in batch])
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(source, target[:, :-1])
        loss = nn.functional.cross_entropy(
            logits.float().flatten(0, 1), target[:, 1:].flatten(), ignore_index=0, label_smoothing=SMOOTHING
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 200 == 0:
            print(f"{step}/{num_steps} steps, {spent / 60:.1f} minutes, loss {loss.item():.3f}", flush=True)
    torch.save(network.state_dict(), arguments.work_dir / "plain.pt")
    found = {"minutes": (time.process_time() - begun) / 60, "steps": step}
    (arguments.work_dir / "plain.json").write_text(json.dumps(found))


def padded(rows: Sequence[Any]) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.as_tensor(np.asarray(row), dtype=torch.int64) for row in rows], True)


# --- quality ---------------------------------------------------------------------------------------------------------


def measure_quality(arguments: argparse.Namespace) -> None:
    predictor = load(arguments.work_dir / "run")
    found: dict[str, Any] = {"training": trained(arguments.work_dir / "run")}
    for name in TESTS:
        sources, known = map(list, zip(*pairs(arguments.data_dir, name), strict=True))
        for beams in BEAMS if name == TESTS[0] else (1, 4):
            begun = time.perf_counter()
            written = [answer.text for answer in _with_beams(predictor, beams).predict(sources)]
            seconds = time.perf_counter() - begun
            found[f"{name}, {beams}"] = {**interval(written, known), "seconds": seconds}
            print(name, beams, found[f"{name}, {beams}"], flush=True)
    if (arguments.work_dir / "plain.pt").is_file():
        tokenizer = Tokenizer.load(arguments.work_dir / "run")
        network = PlainTransformer(tokenizer.vocab_size).eval()
        network.load_state_dict(torch.load(arguments.work_dir / "plain.pt", weights_only=True))
        sources, known = map(list, zip(*pairs(arguments.data_dir, TESTS[0]), strict=True))
        spacing = predictor.task.settings.spacing
        written = [
            join_pieces([tokenizer.vocab[id] for id in row if id not in tokenizer.special_ids], spacing)
            for start in range(0, len(sources), 100)
            for row in network.greedy(
                padded([e.input_ids for e in tokenizer.encode_batch(sources[start : start + 100], max_length=LENGTH)]),
                tokenizer.cls_id,
                tokenizer.sep_id,
            )
        ]
        found["plain"] = interval(written, known) | json.loads((arguments.work_dir / "plain.json").read_text())
        print("plain", found["plain"], flush=True)
    keep("quality", found)


def trained(run: Path) -> dict[str, float]:
    """Steps, and minutes by the clock from the first record of the run's log to the last."""
    records = [json.loads(line) for line in (run / "logs" / "metrics.jsonl").read_text().splitlines()]
    return {"steps": max(row["step"] for row in records), "minutes": (records[-1]["time"] - records[0]["time"]) / 60}


def _with_beams(predictor: Predictor, beams: int) -> Predictor:
    task = Seq2Seq.from_dict({**predictor.task.to_dict(), "generation": {"num_beams": beams}}, "task")
    return replace(predictor, task=task)


def interval(written: Sequence[str], known: Sequence[str]) -> dict[str, float]:
    """Corpus BLEU and its 95% interval by the bootstrap over sentences."""
    rows, rng = bleu_rows(written, known), np.random.default_rng(SEED)
    draws = [bleu_of(rows[rng.integers(0, len(rows), len(rows))]) for _ in range(DRAWS)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"bleu": bleu_of(rows), "from": float(low), "to": float(high)}


# --- speed -----------------------------------------------------------------------------------------------------------


def measure_speed(arguments: argparse.Namespace) -> None:
    """Tokens written a second, of each system the best of its batch sizes and number formats; turns are taken."""
    sys.path.append(str(ROOT / "tests" / "support"))
    from seq2seq_twin import in_transformers

    artifact = load_artifact(arguments.work_dir / "run")
    tokenizer, network = artifact.tokenizer, artifact.network
    assert isinstance(network, Seq2SeqNetwork)
    sources = [source for source, _ in pairs(arguments.data_dir, TESTS[0])][: arguments.sentences]
    encoded = [e.input_ids.tolist() for e in tokenizer.encode_batch(sources, max_length=LENGTH)]
    model = in_transformers(network.eval())
    found: dict[str, Any] = {}
    for beams in (1, 4):
        systems: dict[str, Callable[[], list[int]]] = {}
        for precision in ("bf16", "fp32"):
            ours = _with_beams(Predictor.of(load_artifact(arguments.work_dir / "run"), precision=precision), beams)
            systems[f"bertsmith, {precision}"] = lambda p=ours: [len(a.tokens) for a in p.predict(sources)]
        for precision in ("fp32", "bf16"):
            for size in (32, 128):
                systems[f"transformers, {precision}, {size} a batch"] = lambda s=size, b=beams, p=precision: [
                    len(row) for row in by_transformers(model, encoded, tokenizer, b, s, p == "bf16")
                ]
        if beams == 1:
            systems["bertsmith, fp32, without cache"] = lambda: [
                len(row) for row in without_cache(network, encoded, tokenizer)
            ]
        counts = {name: sum(run()) + len(sources) for name, run in systems.items()}  # an end is a token too
        seconds = in_turns(systems, arguments.rounds)
        rates = {name: {"rate": counts[name] / median(times).middle} for name, times in seconds.items()}
        best = min(
            (name for name in systems if name.startswith("bertsmith")), key=lambda name: median(seconds[name]).middle
        )
        for name, times in seconds.items():
            rates[name] |= asdict(ratio(times, seconds[best]))
        ours = _with_beams(Predictor.of(load_artifact(arguments.work_dir / "run"), precision="fp32"), beams)
        theirs = by_transformers(model, encoded, tokenizer, beams, 32, False)
        mine = [[tokenizer.ids[token] for token in answer.tokens] for answer in ours.predict(sources)]
        equal = sum(a == b for a, b in zip(mine, theirs, strict=True)) / len(mine)
        found[str(beams)] = {"systems": rates, "equal targets in fp32": equal}
        print(beams, json.dumps(found[str(beams)], indent=1), flush=True)
    keep("speed", found | {"sentences": len(sources), "rounds": arguments.rounds})


def by_transformers(
    model: Any, encoded: Sequence[Sequence[int]], tokenizer: Tokenizer, beams: int, size: int, half: bool
) -> list[list[int]]:
    """Batches of like lengths, padded."""
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    rows: list[list[int]] = [[]] * len(encoded)
    for start in range(0, len(order), size):
        places = order[start : start + size]
        ids = padded([encoded[i] for i in places])
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            out = model.generate(
                ids,
                attention_mask=(ids != tokenizer.pad_id).long(),
                decoder_start_token_id=tokenizer.cls_id,
                eos_token_id=tokenizer.sep_id,
                pad_token_id=tokenizer.pad_id,
                max_new_tokens=LENGTH - 1,
                num_beams=beams,
                do_sample=False,
            )
        for place, row in zip(places, out[:, 1:].tolist(), strict=True):
            rows[place] = row[: row.index(tokenizer.sep_id)] if tokenizer.sep_id in row else row
    return rows


@torch.inference_mode()
def without_cache(network: Seq2SeqNetwork, encoded: Sequence[Sequence[int]], tokenizer: Tokenizer) -> list[list[int]]:
    """Greedy, every step computing the whole target again."""
    from bertsmith.model.packed import Packed

    rows: list[list[int]] = [[]] * len(encoded)
    for places in micro_batches(range(len(encoded)), lambda i: len(encoded[i]), 8192):
        source = Packed.of([encoded[i] for i in places])
        states = network.encode(source)
        written = [[tokenizer.cls_id] for _ in places]
        for _ in range(LENGTH - 1):
            target = Packed.of(written)
            last = torch.tensor(target.lengths).cumsum(0) - 1
            best = network.decode(target, states, source.lengths)[last].argmax(-1).tolist()
            for row, token in zip(written, best, strict=True):
                row.append(token)
            if all(tokenizer.sep_id in row for row in written):
                break
        for place, row in zip(places, written, strict=True):
            rows[place] = row[1 : row.index(tokenizer.sep_id)] if tokenizer.sep_id in row else row[1:]
    return rows


# --- results ---------------------------------------------------------------------------------------------------------


def keep(part: str, found: dict[str, Any]) -> None:
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    known[part] = found | {"date": date.today().isoformat(), "sacrebleu": version("sacrebleu"), **machine()}
    RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


def write_page(arguments: argparse.Namespace) -> None:
    """The tables of docs/seq2seq.md between their marks."""
    found = json.loads(RESULTS.read_text())
    text = PAGE.read_text(encoding="utf-8")
    for part, lines in (("quality", quality_lines(found)), ("speed", speed_lines(found))):
        begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{rest.split(end)[1]}"
    PAGE.write_text(text, encoding="utf-8")


def quality_lines(found: dict[str, Any]) -> list[str]:
    rows = found["quality"]
    lines = ["| test | beams | sacreBLEU (95% interval) | seconds |", "| --- | --- | --- | --- |"]
    for name, row in rows.items():
        if ", " in name:
            test, beams = name.split(", ")
            lines.append(f"| {test} | {beams} | {_bleu(row)} | {row['seconds']:.1f} |")
    run = rows["training"]
    lines.insert(
        2, f"| trained: {run['steps']:,} steps in {run['minutes']:.0f} minutes by the clock, on one core | | | |"
    )
    if "plain" in rows:
        plain = rows["plain"]
        steps = f"{plain['steps']:,} steps in {plain['minutes']:.0f} processor minutes"
        lines.append(f"| {TESTS[0]}, `nn.Transformer` in a plain loop, {steps} | 1 | {_bleu(plain)} | |")
    return [*lines, "", _made(rows)]


def _bleu(row: dict[str, float]) -> str:
    return f"{row['bleu']:.1f} ({row['from']:.1f} to {row['to']:.1f})"


def speed_lines(found: dict[str, Any]) -> list[str]:
    rows = found["speed"]
    lines = ["| beams | system | tokens/s | bertsmith's best to it |", "| --- | --- | --- | --- |"]
    for beams in ("1", "4"):
        systems = sorted(rows[beams]["systems"].items(), key=lambda pair: -pair[1]["rate"])
        for name, row in systems:
            times = Interval(row["middle"], row["low"], row["high"])
            lines.append(f"| {beams} | {name} | {row['rate']:,.0f} | {times} |")
    equal = ", ".join(f"{rows[b]['equal targets in fp32']:.1%} with {b}" for b in ("1", "4"))
    return [*lines, "", f"Of {rows['sentences']:,} targets those that are the same in fp32: {equal}. {_made(rows)}"]


def _made(rows: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in rows["versions"].items() if number)
    made = f"{rows['date']}: {rows['processor']}, {rows['threads']} threads, {rows['instructions']}, {rows['kernels']}"
    return f"{made}; Python {rows['python']}, {packages}, sacrebleu {rows['sacrebleu']}; seed {SEED}."


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "data": write_data,
    "command": print_command,
    "plain": train_plain,
    "quality": measure_quality,
    "speed": measure_speed,
    "write": write_page,
}

if __name__ == "__main__":
    main()
