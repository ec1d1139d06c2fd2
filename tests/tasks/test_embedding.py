"""Embedding: losses by hand, windows, what scores mean, metrics, and folders that sentence-transformers reads."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import WORDS, toy_config, toy_task, toy_text, toy_tokenizer

from bertsmith.artifact import RECORD, Artifact, load_artifact, save_artifact
from bertsmith.data.lines import Reading
from bertsmith.data.order import sample_rng
from bertsmith.errors import BertsmithError, DataError, FileFormatError
from bertsmith.files import sha256
from bertsmith.inference.predictor import Predictor, load
from bertsmith.model.config import EncoderConfig
from bertsmith.model.networks import BareNetwork, EmbeddingNetwork, Pooling
from bertsmith.model.packed import Packed
from bertsmith.runtime.processes import ALONE
from bertsmith.tasks import Example
from bertsmith.tasks.embedding import Embedding, EmbeddingPrediction, EmbeddingRequest, EmbeddingSettings, TextPart
from bertsmith.tasks.pair_objectives import Alike, Contrastive, Cosine, StepTexts
from bertsmith.tasks.reading import read_examples
from bertsmith.tasks.sentence_folder import read_sentence_folder
from bertsmith.training.parallel import Replicas
from bertsmith.training.settings import TrainingSettings
from bertsmith.training.step import make_step
from bertsmith.training.trainer import train

TEXTS = ("ba be", "fo fu ga", "ka ki")


def task_of(**settings: Any) -> Embedding:
    return Embedding(EmbeddingSettings(max_length=64).model_copy(update=settings))


def network_of(task: Embedding, config: EncoderConfig | None = None) -> EmbeddingNetwork:
    torch.manual_seed(0)
    return task.build(config or toy_config()).eval()


def predictor_of(task: Embedding) -> Predictor:
    return Predictor(task, network_of(task), toy_tokenizer(), precision="fp32")


def pairs(*scores: float | None) -> list[Example[EmbeddingRequest]]:
    return [Example(EmbeddingRequest("ba", "be"), score, f"row {i}") for i, score in enumerate(scores, 1)]


# --- vectors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("normalize", [True, False])
def test_pooling_over_each_sequence_alone(pooling: Pooling, normalize: bool) -> None:
    network = network_of(task_of(pooling=pooling, normalize=normalize))
    rows = [[2, 7, 8, 9, 3], [2, 3], [2, 11, 3]]
    bare = BareNetwork(toy_config(), pooled=False).eval()
    bare.encoder.load_state_dict(network.encoder.state_dict())
    for row, vector in zip(rows, network(Packed.of(rows)), strict=True):
        hidden, _ = bare(Packed.of([row]))
        expected = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.max(0).values}[pooling]
        if normalize:
            expected = expected / expected.norm()
        torch.testing.assert_close(vector, expected, atol=1e-6, rtol=1e-5)


def test_a_long_text_is_the_mean_of_its_windows_weighted_by_tokens() -> None:
    task = task_of(max_length=12, stride=2)
    predictor = predictor_of(task)
    words = list(WORDS[:25])
    whole = predictor.predict([" ".join(words)])[0]
    # 10 words a window, 2 of them shared: 0-10, 8-18, 16-25 with 12, 12 and 11 tokens.
    windows = [" ".join(words[start:end]) for start, end in ((0, 10), (8, 18), (16, 25))]
    vectors = np.array([part.embedding for part in predictor.predict(windows)])
    mean = (12 * vectors[0] + 12 * vectors[1] + 11 * vectors[2]) / 35
    np.testing.assert_allclose(whole.embedding, mean / np.linalg.norm(mean), atol=1e-6)
    assert (whole.num_windows, whole.num_cut_tokens) == (3, 0)
    assert predictor.predict([{"text": TEXTS[0], "text_pair": TEXTS[1]}])[0].num_windows == 1
    head = predictor_of(task_of(max_length=12, truncation="head")).predict([" ".join(words)])[0]
    assert (head.num_windows, head.num_cut_tokens) == (1, 15)
    np.testing.assert_allclose(head.embedding, vectors[0], atol=1e-6)


def test_each_text_of_a_request_is_read_alone() -> None:
    predictor = predictor_of(task_of())
    both = predictor.predict([{"text": TEXTS[0], "text_pair": TEXTS[1], "negatives": [TEXTS[2]]}])[0]
    first, second, third = (np.array(alone.embedding) for alone in predictor.predict(TEXTS))
    np.testing.assert_allclose(both.embedding, first, atol=1e-6)
    np.testing.assert_allclose(both.embedding_pair, second, atol=1e-6)
    assert both.similarity == pytest.approx(first @ second, abs=1e-6)
    assert both.negative_similarities == (pytest.approx(first @ third, abs=1e-6),)


def test_a_prompt_stands_before_every_text() -> None:
    plain, prompted = predictor_of(task_of()), predictor_of(task_of(prompt="do "))
    pair = prompted.predict([("ba", "be")])[0]
    for vector, text in ((pair.embedding, "do ba"), (pair.embedding_pair, "do be")):
        np.testing.assert_allclose(vector, plain.predict([text])[0].embedding, atol=1e-6)


# --- losses ----------------------------------------------------------------------------------------------------------


def step_texts(anchors: Any, partners: Any, negatives: Any = (), keys: Any = None, scores: Any = ()) -> StepTexts:
    """Vectors in two dimensions, made to have length 1; every text is another unless `keys` say so."""

    def unit(rows: Any) -> torch.Tensor:
        vectors = torch.tensor(rows, dtype=torch.float32).reshape(-1, 2)
        return vectors / vectors.norm(dim=1, keepdim=True)

    sizes = [len(anchors), len(partners), len(negatives)]
    split = torch.tensor(keys if keys is not None else range(sum(sizes))).split(sizes)
    return StepTexts(unit(anchors), unit(partners), unit(negatives), *split, torch.tensor(scores))


def test_contrastive_loss_by_hand() -> None:
    # Cosines of a: 1 (its partner), 0 (the other), -1 (the negative); of b: 1, 0, 0. Times the scale 2.
    texts = step_texts([[1, 0], [0, 1]], [[1, 0], [0, 1]], [[-1, 0]])
    expected = math.log(1 + math.exp(-2) + math.exp(-4)) + math.log(1 + 2 * math.exp(-2))
    assert Contrastive(2.0).loss(texts).item() == pytest.approx(expected, abs=1e-6)


def test_a_text_that_is_the_partner_or_the_anchor_once_more_is_no_negative() -> None:
    # The second pair's partner is the first one's again, the negative is the first anchor.
    texts = step_texts([[1, 0], [0, 1]], [[1, 1], [1, 1]], [[1, 0]], keys=[1, 2, 3, 3, 1])
    # First pair: nothing is left to tell apart. Second: its partner (cosine 0.7071) against the first anchor (0).
    assert Contrastive(1.0).loss(texts).item() == pytest.approx(math.log(1 + math.exp(-math.sqrt(0.5))), abs=1e-6)


def test_losses_of_scored_pairs_by_hand() -> None:
    # Cosines 1, 0, and 0.6.
    texts = step_texts([[1, 0], [1, 0], [1, 0]], [[2, 0], [0, 1], [3, 4]], scores=[1.0, 0.5, 0.0])
    assert Cosine(0.0, 5.0).loss(texts).item() == pytest.approx(0 + 0.25 + 0.36, abs=1e-6)
    texts = replace(texts, scores=torch.tensor([1.0, 1.0, 0.0]))
    # Distances 0 and 1 of like texts; 0.4 of unlike ones, 0.1 short of the margin.
    assert Alike(0.5).loss(texts).item() == pytest.approx((0 + 1 + 0.01) / 2, abs=1e-6)


@pytest.mark.parametrize("objective", ["contrastive", "cosine", "pair"])
def test_pieces_of_a_step_change_neither_loss_nor_gradient(objective: str) -> None:
    rng = np.random.default_rng(0)
    task = task_of(objective=objective, max_length=8, stride=2)  # texts of up to 3 windows
    samples = [
        Example(EmbeddingRequest(*(toy_text(rng, 3 + i) for _ in range(2)), (toy_text(rng, 4),)), i % 2)
        for i in range(6)
    ]
    network = network_of(task)
    windows = [task.encode(sample, toy_tokenizer(), sample_rng(0, 0, 0)) for sample in samples]
    results = []
    for max_tokens in (10_000, 30):
        step = make_step(task, windows, max_tokens)
        network.zero_grad()
        losses = Replicas(network, ALONE).backward(task, step, step.facts.counts, "fp32")
        results.append((losses[objective], [p.grad.clone() for p in network.parameters() if p.grad is not None]))
    assert step.facts.counts == {objective: 6}
    (whole, gradients), (pieces, others) = results
    assert pieces == pytest.approx(whole, rel=1e-5)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(("objective", "metric"), [("cosine", "spearmanr"), ("pair", "average_precision")])
def test_scored_pairs_are_learned(objective: str, metric: str) -> None:
    rng = np.random.default_rng(0)
    scores = [0.0, 1.0] * 4 if objective == "pair" else [0, 1, 2, 3, 4, 5, 1.5, 2.5]
    records = [{"text": toy_text(rng, 4), "text_pair": toy_text(rng, 4), "score": score} for score in scores]
    examples = [task_of().example(record, f"row {i}") for i, record in enumerate(records)]
    task = task_of().fitted(examples)
    assert task.settings.objective == objective
    predictor = predictor_of(task)
    settings = TrainingSettings(max_steps=60, per_device_train_batch_size=8, learning_rate=5e-3, precision="fp32")
    train(task, predictor.network, toy_tokenizer(), examples, settings)
    assert task.score(examples, predictor.run(examples).predictions)[metric] > 0.95


# --- examples --------------------------------------------------------------------------------------------------------


def test_scores_decide_the_objective() -> None:
    assert task_of().fitted(pairs(None, None)).settings.objective == "contrastive"
    assert task_of().fitted(pairs(0.0, 1.0, 1.0)).settings.objective == "pair"
    fitted = task_of().fitted(pairs(0.5, 1.0)).settings
    assert (fitted.objective, fitted.score_range) == ("cosine", (0.0, 1.0))
    assert task_of().fitted(pairs(4.8, 0.2, 2.5)).settings.score_range == (0.0, 5.0)
    assert task_of(objective="contrastive").fitted(pairs(5.0, 0.0)).settings.objective == "contrastive"


@pytest.mark.parametrize(
    ("settings", "scores", "message"),
    [
        ({}, (1.0, None, 0.5), r"1 of 3 pairs have no score, .*'cosine' needs:\n  row 2: None"),
        ({"objective": "pair"}, (1.0, 0.5), r"1 of 2 pairs have a score that is neither 0 nor 1:\n  row 2: 0\.5"),
        (
            {"objective": "cosine", "score_range": (0, 5)},
            (3.0, 6.0),
            r"outside of score_range, 0 to 5: .*:\n  row 2: 6\.0",
        ),
        ({}, (3.0, 3.0), "all pairs have the score 3"),
    ],
)
def test_scores_that_cannot_be_are_shown(settings: Any, scores: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        task_of(**settings).fitted(pairs(*scores))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": "ba"}, "row 1: no value in 'text_pair'"),
        ({"text": "ba", "text_pair": "be", "score": "high"}, "row 1: no number in 'score': 'high'"),
        ({"text": "ba", "text_pair": "be", "score": math.nan}, "no number in 'score': nan"),
        ({"text": "ba", "text_pair": "be", "negatives": [3]}, r"field 'negatives\.0'"),
    ],
)
def test_a_row_that_cannot_be_is_named(record: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        task_of().example(record, "row 1")


def test_repeated_partners_are_counted() -> None:
    assert task_of(objective="contrastive").notices(pairs(None, None, None))[0].startswith("2 of 3 pairs repeat")
    assert task_of(objective="pair").notices(pairs(0, 1)) == []


def test_a_range_that_falls_is_refused() -> None:
    with pytest.raises(BertsmithError, match="lower score first, not 5 and 0"):
        Embedding.from_dict({"score_range": [5, 0]}, "test")


@pytest.mark.parametrize(
    ("lines", "request_", "score"),
    [
        (['{"anchor": "ba", "positive": "be", "negative": "bi"}'], EmbeddingRequest("ba", "be", ("bi",)), None),
        (
            ['{"query": "ba", "positive": "be", "negatives": ["bi", "bo"]}'],
            EmbeddingRequest("ba", "be", ("bi", "bo")),
            None,
        ),
        (
            ['{"query": "ba", "positive": "be", "negative_2": "bo", "negative_1": "bi", "negative_3": null}'],
            EmbeddingRequest("ba", "be", ("bi", "bo")),
            None,
        ),
        (['{"sentence1": "ba", "sentence2": "be", "score": 2.5}'], EmbeddingRequest("ba", "be"), 2.5),
        (['{"question1": "ba", "question2": "be", "is_duplicate": "1"}'], EmbeddingRequest("ba", "be"), 1.0),
        (['{"text": "ba", "text_pair": "be"}'], EmbeddingRequest("ba", "be"), None),
    ],
)
def test_shapes_of_files(tmp_path: Path, lines: list[str], request_: EmbeddingRequest, score: float | None) -> None:
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    examples, _ = read_examples(task_of(), tmp_path / "pairs.jsonl", {}, Reading())
    assert [(example.request, example.answer) for example in examples] == [(request_, score)]


def test_numbered_negatives_of_a_table(tmp_path: Path) -> None:
    lines = ("anchor,positive,negative_1,negative_10,negative_2", "ba,be,bi,bu,bo", "da,de,,,do")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    examples, columns = read_examples(task_of(), tmp_path / "pairs.csv", {}, Reading())
    assert [example.request.negatives for example in examples] == [("bi", "bo", "bu"), ("do",)]
    assert columns.by_field["negatives"] == "negatives"


def test_columns_of_ones_own_keep_the_score_in_sight(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("one,two,score\nba,be,3\nbi,bo,4\n")
    examples, columns = read_examples(task_of(), tmp_path / "pairs.csv", {"text": "one", "text_pair": "two"}, Reading())
    assert [example.answer for example in examples] == [3.0, 4.0]
    assert columns.by_field == {"text": "one", "text_pair": "two", "score": "score"}


# --- judging ---------------------------------------------------------------------------------------------------------


def test_metrics_depend_on_the_objective() -> None:
    known = pairs(0.0, 1.0, 1.0, 0.0)
    given = [EmbeddingPrediction((1.0,), similarity=value) for value in (0.9, 0.8, 0.7, 0.1)]
    # Ordered: wrong, right, right, wrong: precision (1/2 + 2/3) / 2; from 0.7 on 3 of 4 calls are right.
    expected = {"average_precision": pytest.approx(7 / 12), "accuracy": 0.75}
    alike = task_of(objective="pair", threshold=0.7)
    assert alike.score(known, given) == expected
    untuned = task_of(objective="pair")
    assert untuned.score(known, given) == {name.replace("acc", "best_acc"): value for name, value in expected.items()}
    assert list(untuned.metrics) == ["average_precision", "best_accuracy"]
    assert alike.credit(alike.marks(known, given)).tolist() == [0.0, 1.0, 1.0, 1.0]
    assert task_of(objective="cosine").score(known, given).keys() == {"spearmanr", "pearson"}
    with pytest.raises(DataError, match="1 of 1 pairs have no score"):
        task_of(objective="cosine").marks(pairs(None), given[:1])


@pytest.mark.parametrize(
    ("scores", "metrics"),
    [
        ((0.0, 1.0), {"average_precision", "best_accuracy"}),
        ((0.0, 4.5), {"spearmanr", "pearson"}),
        ((None, None), {"mrr@10", "recall@1"}),
    ],
)
def test_an_encoder_from_elsewhere_is_judged_by_what_the_pairs_allow(scores: Any, metrics: set[str]) -> None:
    task, known = task_of(), pairs(*scores)
    marks = task.marks(known, predictor_of(task).run(known).predictions)
    assert task.metrics_of(marks).keys() == metrics <= task.metrics.keys()
    assert task.credit(marks).shape == (2,)


def test_retrieval_counts_own_negatives_but_not_the_partner_among_them() -> None:
    vectors = [(1.0, 0.0), (0.0, 1.0)]
    requests = [EmbeddingRequest("a", "A", ("A", "n")), EmbeddingRequest("b", "B", ("n",))]
    given = [
        EmbeddingPrediction(vector, vector, 1.0, tuple(0.5 for _ in request.negatives))
        for vector, request in zip(vectors, requests, strict=True)
    ]
    task = task_of(objective="contrastive")
    known = [Example(request, None) for request in requests]
    assert task.score(known, given) == {"mrr@10": 1.0, "recall@1": 1.0}
    given[0] = replace(given[0], negative_similarities=(1.0, 1.0))
    assert task.score(known, given) == {"mrr@10": 0.75, "recall@1": 0.5}
    assert task.credit(task.marks(known, given)).tolist() == [0.5, 1.0]


def test_baselines() -> None:
    rows = [("red apple", "a red apple", 1.0), ("green pear", "old tin", 0.0), ("old tin can", "old tin", 1.0)]
    known = [Example(EmbeddingRequest(first, second), score) for first, second, score in rows]
    (answers,) = task_of(objective="cosine").baselines(known, known).values()
    first, second, third = (answer.similarity for answer in answers)
    assert second == 0.0 < 0.5 < third < first
    unscored = [replace(example, answer=None) for example in known[::2]]
    task = task_of(objective="contrastive")
    assert task.score(unscored, task.baselines(known, unscored)["LSA"]) == {"mrr@10": 1.0, "recall@1": 1.0}


# --- folders ---------------------------------------------------------------------------------------------------------


def save(folder: Path, task: Embedding, config: EncoderConfig | None = None) -> Path:
    save_artifact(folder, Artifact(task, network_of(task, config), toy_tokenizer()))
    return folder


def rewrite(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_a_folder_without_its_record_says_the_same(tmp_path: Path, pooling: Pooling) -> None:
    task = task_of(pooling=pooling, normalize=pooling != "cls", prompt="do ", max_length=20, truncation="head")
    folder = save(tmp_path / "model", task)
    expected = load(folder, precision="fp32").predict(TEXTS)
    (folder / RECORD).unlink()
    artifact = load_artifact(folder)
    assert artifact.task == task
    assert Predictor.of(artifact, precision="fp32").predict(TEXTS) == expected
    assert "sentence-transformers" in artifact.record["notes"][0]


def test_companions_are_vouched_for(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", task_of())
    assert {"modules.json", "1_Pooling/config.json"} <= load_artifact(folder).record["files"].keys()
    rewrite(folder / "1_Pooling/config.json", pooling_mode_mean_tokens=False)
    with pytest.raises(FileFormatError, match=r"1_Pooling/config\.json: does not match its hash"):
        load_artifact(folder)


def test_a_bare_encoder_gives_means_and_says_so(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", task_of())
    expected = load(folder, precision="fp32").predict(TEXTS)
    for name in (RECORD, "modules.json"):
        (folder / name).unlink()
    artifact = load_artifact(folder)
    predictor = Predictor.of(artifact, precision="fp32")
    assert predictor.predict(TEXTS) == expected
    assert predictor.sha256 == sha256(folder / "model.safetensors")
    assert "encoder without a task" in artifact.record["notes"][0]


def test_heads_of_a_pretrained_model_are_left_out(tmp_path: Path) -> None:
    toy = toy_task("pretraining")
    network = toy.task.build(toy_config()).eval()  # with a pooler and both heads
    save_artifact(tmp_path / "model", Artifact(toy.task, network, toy_tokenizer()))
    (tmp_path / "model" / RECORD).unlink()
    encoder = network_of(task_of())
    encoder.encoder.load_state_dict(network.encoder.state_dict())
    expected = Predictor(task_of(), encoder, toy_tokenizer(), precision="fp32").embed(TEXTS)
    np.testing.assert_array_equal(load(tmp_path / "model", precision="fp32").embed(TEXTS), expected)


def test_an_encoder_that_only_we_know_has_no_companions(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", task_of(), toy_config(normalization={"kind": "rms_norm"}))
    assert not (folder / "modules.json").exists()
    assert load(folder).predict(["ba"])[0].num_windows == 1


@pytest.mark.parametrize(
    ("file", "value", "message"),
    [
        ("modules.json", [{"type": "st.Transformer", "path": ""}, {"type": "st.Dense", "path": "d"}], "Dense"),
        ("modules.json", [], "its modules are none"),
        ("modules.json", {"a": 1}, "expected a list of modules"),
        ("modules.json", [{"type": "a.Transformer", "path": "../x"}, {"type": "a.Pooling", "path": ""}], "leads out"),
        ("1_Pooling/config.json", {"pooling_mode": "lasttoken"}, "pooling lasttoken; known: mean, cls, max"),
        ("1_Pooling/config.json", {"pooling_mode": ["cls", "mean"]}, "pooling cls with mean"),
        ("1_Pooling/config.json", {"pooling_mode_weightedmean_tokens": True}, "pooling_mode_weightedmean_tokens"),
        ("sentence_bert_config.json", {"max_seq_length": 0}, "max_seq_length is 0"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "gives token embeddings"),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "q", "prompts": {}},
            "default_prompt_name is 'q'",
        ),
    ],
)
def test_other_modules_are_refused(tmp_path: Path, file: str, value: Any, message: str) -> None:
    folder = save(tmp_path / "model", task_of())
    (folder / RECORD).unlink()
    (folder / file).write_text(json.dumps(value))
    with pytest.raises(FileFormatError, match=message):
        load_artifact(folder)


def test_prompts_that_are_not_pooled_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", task_of(prompt="do "))
    rewrite(folder / "1_Pooling/config.json", include_prompt=False)
    with pytest.raises(FileFormatError, match="leave out the tokens of a prompt"):
        read_sentence_folder(folder)


def test_an_encoder_in_a_subfolder(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", task_of(max_length=30))
    expected = load(folder, precision="fp32").predict(TEXTS)
    (folder / RECORD).unlink()
    inner = folder / "0_Transformer"
    inner.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "sentence_bert_config.json"):
        shutil.move(folder / name, inner / name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))
    loaded = load(folder, precision="fp32")
    assert loaded.task.settings.max_length == 30
    assert loaded.predict(TEXTS) == expected


# --- sentence-transformers -------------------------------------------------------------------------------------------

REAL_TEXTS = ("Hello, world", "", "Zwölf Boxkämpfer jagen Viktor quer über den Deich.", "long text " * 300, "日本語 é")


@pytest.mark.peers
def test_a_folder_of_theirs_gives_their_vectors(minilm: Path, tmp_path: Path) -> None:
    peer = pytest.importorskip("sentence_transformers").SentenceTransformer(str(minilm), device="cpu")
    expected = peer.encode(list(REAL_TEXTS))
    with pytest.warns(UserWarning, match="1 of 5 texts were cut"):
        given = load(minilm, device="cpu", precision="fp32").embed(REAL_TEXTS)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, expected, atol=1e-5)
    peer.save(str(tmp_path / "theirs"))  # in the newer of their layouts
    saved = load(tmp_path / "theirs", device="cpu", precision="fp32").embed(REAL_TEXTS[:3])
    np.testing.assert_allclose(saved, expected[:3], atol=1e-5)


@pytest.mark.peers
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.filterwarnings("ignore:1 of 4 texts were cut")
def test_a_folder_of_ours_gives_our_vectors(tmp_path: Path, pooling: Pooling) -> None:
    peers = pytest.importorskip("sentence_transformers")
    task = task_of(pooling=pooling, normalize=pooling == "mean", truncation="head", max_length=20, prompt="do ")
    folder = save(tmp_path / "model", task)
    texts = [*TEXTS, " ".join(WORDS)]
    expected = load(folder, device="cpu", precision="fp32").embed(texts)
    np.testing.assert_allclose(peers.SentenceTransformer(str(folder), device="cpu").encode(texts), expected, atol=1e-5)


def test_embed_is_predict_as_one_array(tmp_path: Path) -> None:
    predictor = predictor_of(task_of(max_length=12))
    texts = [*TEXTS, " ".join(WORDS)]
    vectors = predictor.embed(texts)
    assert (vectors.dtype, vectors.shape) == (np.float32, (4, 32))
    np.testing.assert_array_equal(vectors, [prediction.embedding for prediction in predictor.predict(texts)])
    assert predictor.embed([]).shape == (0, 32)
    with pytest.raises(DataError, match="a list of texts"):
        predictor.embed("ba be")
    with pytest.raises(DataError, match="text 2: no value in 'text'"):
        predictor.embed(["ba", None])  # type: ignore[list-item]


def test_embed_of_another_model_says_what_it_is_for() -> None:
    toy = toy_task("classification")
    predictor = Predictor(toy.task, toy.task.build(toy_config()), toy_tokenizer())
    with pytest.raises(BertsmithError, match="classification"):
        predictor.embed(["ba"])


def test_the_threshold_of_alike_pairs_is_fitted_to_held_out_ones_and_kept() -> None:
    # Similarities 0.9 (alike), 0.7 (alike), 0.6 (not), 0.2 (not): from 0.7 on all calls are right.
    task = task_of(objective="pair")
    request = EmbeddingRequest("ba", "be")
    examples = [Example(request, score) for score in (1.0, 1.0, 0.0, 0.0)]
    vectors = [np.array([math.cos(angle), math.sin(angle)]) for angle in map(math.acos, (0.9, 0.7, 0.6, 0.2))]
    parts = [[TextPart(0, 1, np.array([1.0, 0.0])), TextPart(1, 1, vector)] for vector in vectors]
    tuned = task.tuned(examples, parts)
    assert tuned.settings.threshold == pytest.approx(0.7)
    # Other pairs are judged by it, not by their own best one: 0.65 (alike) is called unlike.
    assert tuned.metrics_of(np.array([[0.65, 1.0], [0.1, 0.0]]))["accuracy"] == 0.5
    assert task.metrics_of(np.array([[0.65, 1.0], [0.1, 0.0]]))["best_accuracy"] == 1.0
