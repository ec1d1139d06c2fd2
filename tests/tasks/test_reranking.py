"""Reranking: losses by hand, windows, what files look like, metrics, and the cross-encoders of others."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from toys import WORDS, toy_config, toy_task, toy_text, toy_tokenizer

from bertsmith.artifact import Artifact, save_artifact
from bertsmith.data.lines import Reading
from bertsmith.data.order import sample_rng
from bertsmith.errors import DataError
from bertsmith.inference.predictor import Predictor, load
from bertsmith.runtime.processes import ALONE
from bertsmith.tasks import Example
from bertsmith.tasks.ranking_records import RankingPrediction, RerankingRequest
from bertsmith.tasks.reading import read_examples
from bertsmith.tasks.reranking import PassagePart, Reranking, RerankingSettings
from bertsmith.training.parallel import Replicas
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.step import make_step
from bertsmith.training.trainer import train


def task_of(**settings: Any) -> Reranking:
    return Reranking(RerankingSettings(max_length=64).model_copy(update=settings))


def ranking(labels: tuple[float, ...], query: str = "ba") -> Example[RerankingRequest]:
    return Example(RerankingRequest(query, tuple(WORDS[: len(labels)])), labels, "row 1")


def predictor_of(task: Reranking) -> Predictor:
    torch.manual_seed(0)
    return Predictor(task, task.build(toy_config()).eval(), toy_tokenizer(), precision="fp32")


class GivenLogits(nn.Module):
    """Says what it is told."""

    def __init__(self, logits: list[float]):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, packed: Any) -> Tensor:
        assert len(packed.lengths) == len(self.logits)
        return self.logits[:, None]


def loss_of(task: Reranking, examples: list[Example[RerankingRequest]], logits: list[float]) -> tuple[float, float]:
    """The loss's sum and its count."""
    windows = [w for example in examples for w in task.encode(example, toy_tokenizer(), sample_rng(0, 0, 0))]
    batch = task.collate(windows)
    name = task.settings.objective
    return task.loss(GivenLogits(logits), batch)[name].item(), batch.counts[name]


def log_one_plus_exp(value: float) -> float:
    return math.log1p(math.exp(value))


# --- losses ----------------------------------------------------------------------------------------------------------


def test_pointwise_loss_by_hand() -> None:
    # Relevance 1, 0.5 and 0: cross-entropy is log(1 + exp(z)) - relevance * z.
    loss, count = loss_of(task_of(max_relevance=2.0), [ranking((2, 1, 0))], [1.0, 2.0, -1.0])
    assert loss == pytest.approx(log_one_plus_exp(1) - 1 + log_one_plus_exp(2) - 1 + log_one_plus_exp(-1), abs=1e-5)
    assert count == 3


def test_pairwise_loss_by_hand() -> None:
    examples = [ranking((2, 1, 0)), ranking((0, 1)), ranking((1, 1))]
    loss, count = loss_of(task_of(objective="pairwise"), examples, [3.0, 1.0, 2.0, 0.5, 1.5, 9.0, -9.0])
    first = (log_one_plus_exp(1 - 3) + log_one_plus_exp(2 - 3) + log_one_plus_exp(2 - 1)) / 3
    assert loss == pytest.approx(first + log_one_plus_exp(0.5 - 1.5), abs=1e-5)
    assert count == 2  # the third query has nothing to compare


def test_the_best_window_of_a_passage_counts() -> None:
    task = task_of(max_length=10, stride=0, max_relevance=1.0)
    # 10 tokens hold the query and 6 pieces: 8 words are two windows, 5 words one.
    request = RerankingRequest("ba", (" ".join(WORDS[:8]), " ".join(WORDS[8:13])))
    assert [w.continues for w in task.encode(request, toy_tokenizer(), sample_rng(0, 0, 0))] == [False, True, False]
    loss, count = loss_of(task, [Example(request, (1.0, 0.0))], [-4.0, 2.0, 0.0])
    assert loss == pytest.approx(log_one_plus_exp(2) - 2 + log_one_plus_exp(0), abs=1e-5)
    assert count == 2
    merged = task.merge(request, [PassagePart(0, -4.0), PassagePart(0, 2.0), PassagePart(1, 0.0)], 0)
    assert merged.scores == (pytest.approx(1 / (1 + math.exp(-2))), 0.5)
    assert (merged.ranking, merged.num_windows) == ((0, 1), 2)


@pytest.mark.parametrize("objective", ["pointwise", "pairwise"])
def test_pieces_of_a_step_change_neither_loss_nor_gradient(objective: str) -> None:
    rng = np.random.default_rng(0)
    task = task_of(objective=objective, max_length=12, stride=2, max_relevance=2.0)
    windows = []
    for i in range(5):
        request = RerankingRequest(toy_text(rng, 2), tuple(toy_text(rng, 4 + 3 * j) for j in range(3)))
        windows.append(task.encode(Example(request, (i % 3, 1, 0)), toy_tokenizer(), sample_rng(0, 0, i)))
    predictor = predictor_of(task)
    results = []
    for max_tokens in (10_000, 40):
        step = make_step(task, windows, max_tokens)
        predictor.network.zero_grad()
        losses = Replicas(predictor.network, ALONE).backward(task, step, step.facts.counts, "fp32")
        results.append((losses[objective], [p.grad for p in predictor.network.parameters() if p.grad is not None]))
        results[-1] = (results[-1][0], [gradient.clone() for gradient in results[-1][1]])
    assert len(step.batches) > 1
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    for whole, pieces in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(whole, pieces, atol=1e-5, rtol=1e-3)


def test_pairwise_training_learns_an_order() -> None:
    toy = toy_task("reranking")
    examples = [Example(sample.request, (0.0, 2.0, 1.0)) for sample in toy.samples]
    task = task_of(objective="pairwise").fitted(examples)
    predictor = predictor_of(task)
    settings = TrainingSettings(max_steps=80, per_device_train_batch_size=8, learning_rate=5e-3, precision="fp32")
    train(task, predictor.network, toy_tokenizer(), examples, settings)
    answers = predictor.run(examples).predictions
    assert [answer.ranking for answer in answers] == [(1, 2, 0)] * 8
    assert task.score(examples, answers) == {"ndcg@10": 1.0, "mrr@10": 1.0, "map": 1.0}


# --- files -----------------------------------------------------------------------------------------------------------


def test_rows_of_one_passage_are_gathered_by_query(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("question,sentence,label\nq1,a,1\nq2,b,0\nq1,c,0\n")
    examples, columns = read_examples(task_of(), tmp_path / "pairs.csv", {}, Reading())
    assert columns.by_field == {"query": "question", "passages": "sentence", "labels": "label"}
    assert [(example.request, example.answer) for example in examples] == [
        (RerankingRequest("q1", ("a", "c")), (1.0, 0.0)),
        (RerankingRequest("q2", ("b",)), (0.0,)),
    ]
    assert examples[0].where.endswith("row 1 (line 2)")
    assert task_of().notices(examples)[0] == (
        "3 rows are 2 queries: rows with the same query are one; --id-column names a column that tells them apart"
    )


@pytest.mark.parametrize("column", ["query_id", "number"])
def test_an_id_tells_queries_of_one_text_apart(tmp_path: Path, column: str) -> None:
    # two people asked q1; a column `id` numbers the rows, and is none
    rows = ["1,q1,a,1,7", "2,q1,b,0,7", "3,q1,c,1,8", "4,q1,d,0,8", "5,q2,e,1,9", "6,q2,f,0,9"]
    (tmp_path / "pairs.csv").write_text("\n".join([f"id,query,text,label,{column}", *rows]))
    given = {} if column == "query_id" else {"id": column}
    examples, _ = read_examples(task_of(), tmp_path / "pairs.csv", given, Reading())
    assert [(e.request, e.num_rows) for e in examples] == [
        (RerankingRequest("q1", ("a", "b"), "7"), 2),
        (RerankingRequest("q1", ("c", "d"), "8"), 2),
        (RerankingRequest("q2", ("e", "f"), "9"), 2),
    ]
    assert task_of().notices(examples) == ["6 rows are 3 queries: rows with the same query and id are one"]
    assert task_of().texts(examples[0].request) == ["q1", "a", "b"]
    assert task_of().split_key(examples[0].request) == task_of().split_key(examples[1].request)
    assert task_of().request({"query": "q", "passages": ["a"], "id": 7}) == RerankingRequest("q", ("a",), "7")


@pytest.mark.parametrize(
    "line",
    [
        '{"query": "q", "passages": ["a", "b", "c"], "labels": [1, 0, 0]}',
        '{"query": "q", "positive": "a", "negatives": ["b", "c"]}',
        '{"question": "q", "positives": ["a"], "negatives": ["b", "c"]}',
    ],
)
def test_lists_of_passages(tmp_path: Path, line: str) -> None:
    (tmp_path / "lists.jsonl").write_text(line)
    examples, _ = read_examples(task_of(), tmp_path / "lists.jsonl", {}, Reading())
    assert [(example.request, example.answer) for example in examples] == [
        (RerankingRequest("q", ("a", "b", "c")), (1.0, 0.0, 0.0))
    ]


def test_a_column_named_positive_beside_passages_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("query,text,positive\nq,a,1\n")
    given = {"labels": "positive"}
    examples, _ = read_examples(task_of(), tmp_path / "pairs.csv", given, Reading())
    assert examples[0].request == RerankingRequest("q", ("a",))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"query": "q", "passages": ["a", "b"], "labels": [1]}, "labels and passages of different number: 1 and 2"),
        ({"query": "q", "passages": ["a"], "labels": ["good"]}, "row 1: expected labels that are numbers.*'good'"),
        ({"query": "q", "passages": ["a"], "labels": [-1]}, "0 .irrelevant. or more: found -1"),
        ({"query": "q", "passages": ["a"], "labels": [math.nan]}, "found nan"),
        ({"query": "q", "passages": [], "labels": []}, "row 1: no passages"),
        ({"query": "q", "passages": ["a"]}, "row 1: no value in 'labels'"),
    ],
)
def test_a_row_that_cannot_be_is_named(record: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        task_of().example(record, "row 1")


def test_labels_decide_what_wholly_relevant_means() -> None:
    assert task_of().fitted([ranking((0, 1))]).settings.max_relevance == 1.0
    assert task_of().fitted([ranking((0, 3))]).settings.max_relevance == 3.0
    with pytest.raises(DataError, match="row 1: the label 3 is above max_relevance, 2"):
        task_of(max_relevance=2.0).fitted([ranking((0, 3))])
    with pytest.raises(DataError, match="all 2 passages have the label 1"):
        task_of().fitted([ranking((1, 1))])
    with pytest.raises(DataError, match="no query has passages of different relevance"):
        task_of(objective="pairwise").fitted([ranking((1,)), ranking((0,))])


def test_queries_with_nothing_to_find_are_counted() -> None:
    known = [ranking((0, 1)), ranking((0, 0)), ranking((1,)), ranking((2, 2))]
    assert task_of().notices(known) == [
        "1 of 4 queries have no relevant passage, and count as 0 in the metrics",
        "2 of 4 queries have equally relevant passages alone",
    ]
    assert task_of().notices(known[:1]) == []


# --- judging ---------------------------------------------------------------------------------------------------------


def answers(*scores: tuple[float, ...]) -> list[RankingPrediction]:
    return [RankingPrediction(row, tuple(np.argsort(row)[::-1].tolist())) for row in scores]


def test_metrics_are_means_over_queries() -> None:
    known = [ranking((0, 1, 0)), ranking((1, 0)), ranking((0, 0))]
    metrics = task_of().score(known, answers((0.9, 0.5, 0.1), (0.9, 0.1), (0.3, 0.2)))
    # The relevant passage is second, first, and nowhere.
    assert metrics["ndcg@10"] == pytest.approx((1 / math.log2(3) + 1 + 0) / 3)
    assert metrics["mrr@10"] == metrics["map"] == pytest.approx((1 / 2 + 1 + 0) / 3)


@settings(max_examples=20)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 2), st.integers(-9, 9)), min_size=2, max_size=12), min_size=1, max_size=4
    )
)
def test_ndcg_is_the_mean_of_scikit_learn(queries: list[list[tuple[int, int]]]) -> None:
    from sklearn.metrics import ndcg_score

    known = [ranking(tuple(float(label) for label, _ in query)) for query in queries]
    given_ = answers(*(tuple(float(score) for _, score in query) for query in queries))
    expected = [ndcg_score([e.answer], [a.scores], k=10) for e, a in zip(known, given_, strict=True)]
    assert task_of().score(known, given_)["ndcg@10"] == pytest.approx(np.mean(expected))


def test_confidences_of_binary_labels_alone() -> None:
    given_ = answers((0.9, 0.6, 0.2))
    confidence, right = task_of().confidences([ranking((1, 0, 0))], given_)
    assert confidence.tolist() == pytest.approx([0.9, 0.6, 0.8])
    assert right.tolist() == [1.0, 0.0, 1.0]
    assert len(task_of().confidences([ranking((2, 0, 0))], given_)[0]) == 0
    assert len(task_of(objective="pairwise").confidences([ranking((1, 0, 0))], given_)[0]) == 0


def test_the_temperature_makes_probabilities_of_scores_and_keeps_the_order() -> None:
    # Of logits of 4 three in four are relevant, of -4 one in four: the true logit is log 3, whatever the window.
    examples = [ranking((1, 0)), ranking((1, 0)), ranking((1, 0)), ranking((0, 1))] * 5
    parts = [[PassagePart(0, -9.0), PassagePart(0, 4.0), PassagePart(1, -4.0)]] * len(examples)
    task = task_of()
    tuned = task.tuned(examples, parts)
    assert tuned.settings.temperature == pytest.approx(4 / math.log(3), rel=1e-3)
    before, after = (one.merge(examples[0].request, parts[0], 0) for one in (task, tuned))
    assert after.scores == (pytest.approx(0.75, abs=1e-3), pytest.approx(0.25, abs=1e-3))
    assert after.ranking == before.ranking
    assert task_of(objective="pairwise").tuned(examples, parts).settings.temperature == 1


def test_the_baseline_ranks_by_common_words() -> None:
    example = Example(RerankingRequest("red apple", ("green pear", "a red apple", "an apple")), (0.0, 1.0, 0.0))
    (given_,) = task_of().baselines([], [example])["BM25"]
    assert given_.ranking == (1, 2, 0)


# --- prediction ------------------------------------------------------------------------------------------------------


def test_passages_are_scored_one_by_one() -> None:
    predictor = predictor_of(task_of())
    texts = tuple(WORDS[:4])
    (together,) = predictor.predict([("ba", texts)])
    alone = [predictor.predict([{"query": "ba", "passages": text}])[0].scores[0] for text in texts]
    assert together.scores == pytest.approx(alone, abs=1e-6)
    assert [together.scores[place] for place in together.ranking] == sorted(together.scores, reverse=True)


@pytest.mark.peers
def test_cross_encoders_of_sentence_transformers_give_our_scores(tmp_path: Path) -> None:
    peers = pytest.importorskip("sentence_transformers")
    task = task_of()
    predictor = predictor_of(task)
    save_artifact(tmp_path / "model", Artifact(task, predictor.network, toy_tokenizer()))  # type: ignore[arg-type]
    texts = [" ".join(WORDS[start : start + 6]) for start in range(4)]
    theirs = peers.CrossEncoder(str(tmp_path / "model"), device="cpu").predict([("ba be", text) for text in texts])
    ours = load(tmp_path / "model", device="cpu", precision="fp32").predict([("ba be", tuple(texts))])[0].scores
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
