"""Pseudo-log-likelihoods against `transformers`, and what is made of them."""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_models import toy_bert
from toys import WORDS, toy_config, toy_text, toy_tokenizer

from bertsmith.artifact import Artifact, save_artifact
from bertsmith.cli.main import main
from bertsmith.data.batch import Window
from bertsmith.errors import DataError, SettingsError
from bertsmith.evaluation.minimal_pairs import MinimalPair, Scoring, prefer, pseudo_log_likelihoods
from bertsmith.inference.predictor import Predictor
from bertsmith.recipes.minimal_pairs import MinimalPairsSettings, minimal_pairs, read_pairs
from bertsmith.tasks.pretraining import Pretraining, PretrainingSettings


def toy_predictor(max_tokens: int = 8192, **changes: Any) -> Predictor:
    torch.manual_seed(0)
    task = Pretraining(PretrainingSettings(sentence_task="none"))
    network = task.build(toy_config(initializer_range=0.5, **changes)).eval()
    return Predictor(task, network, toy_tokenizer(), "fp32", max_tokens)


def texts(num: int) -> list[str]:
    rng = np.random.default_rng(3)
    return [toy_text(rng, int(rng.integers(1, 12)), (*WORDS, "bast", "fets")) for _ in range(num)]


@pytest.mark.peers
@pytest.mark.parametrize("scoring", ["token", "word"])
def test_scores_are_those_of_transformers(tmp_path: Path, scoring: Scoring) -> None:
    transformers = pytest.importorskip("transformers")
    predictor = toy_predictor()
    save_artifact(tmp_path / "bert", Artifact(predictor.task, predictor.network, predictor.tokenizer))
    theirs = transformers.BertForMaskedLM.from_pretrained(tmp_path / "bert").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "bert")
    scored = pseudo_log_likelihoods(predictor, texts(6), scoring=scoring)
    num_tokens = 0
    for text, score in zip(texts(6), scored.scores, strict=True):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        expected = 0.0
        for place in range(1, ids.shape[1] - 1):
            masked = ids.clone()
            masked[0, place] = tokenizer.mask_token_id
            rest = place + 1
            while scoring == "word" and tokenizer.convert_ids_to_tokens(int(ids[0, rest])).startswith("##"):
                masked[0, rest] = tokenizer.mask_token_id
                rest += 1
            with torch.no_grad():
                logits = theirs(masked).logits[0, place]
            expected += float(logits.log_softmax(-1)[ids[0, place]])
            num_tokens += ids.shape[1]
        assert score == pytest.approx(expected, abs=1e-3)
    assert scored.num_tokens == num_tokens


def test_packing_changes_no_score() -> None:
    whole, apart = (pseudo_log_likelihoods(toy_predictor(budget), texts(20)).scores for budget in (8192, 1))
    assert whole == pytest.approx(apart, abs=1e-3)


def test_few_copies_are_held_at_once_and_that_changes_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a sentence of n pieces have n (n + 2) tokens."""
    rng = np.random.default_rng(0)
    some = ["", *(toy_text(rng, 30) for _ in range(8)), ""]
    whole = pseudo_log_likelihoods(toy_predictor(), some)
    held: list[int] = []

    class Watched(Predictor):
        def parts_of(self, windows: Sequence[Window]) -> list[Any]:
            held.append(sum(type(one) is Window for one in gc.get_objects()))
            return super().parts_of(windows)

    monkeypatch.setattr("bertsmith.evaluation.minimal_pairs.TOKENS_AT_ONCE", 1000, raising=False)
    predictor = toy_predictor()
    before = sum(type(one) is Window for one in gc.get_objects())
    watched = Watched(predictor.task, predictor.network, predictor.tokenizer, "fp32", predictor.max_tokens_per_batch)
    apart = pseudo_log_likelihoods(watched, some)
    assert max(held) - before <= 2 * (1000 // 32 + 1)
    assert apart.scores == pytest.approx(whole.scores, abs=1e-3)
    assert apart.num_tokens == whole.num_tokens == 8 * 30 * 32


def test_the_second_scoring_hides_the_rest_of_a_word_and_nothing_else() -> None:
    plain, split = "ba fe ko", "ba fets ko"
    token, word = (pseudo_log_likelihoods(toy_predictor(), [plain, split], scoring=s).scores for s in ("token", "word"))
    assert word[0] == token[0]
    assert word[1] != token[1]


def test_preferences_are_counted_by_phenomenon_and_paradigm() -> None:
    predictor = toy_predictor()
    some = texts(12)
    scores = dict(zip(some, pseudo_log_likelihoods(predictor, some).scores, strict=True))
    pairs = [MinimalPair(*some[i : i + 2], f"p{i % 4}", "first" if i % 4 else "second") for i in range(0, 10, 2)]
    found = prefer(predictor, [*pairs, MinimalPair("ba be", "BA be", "same", "second")])
    right = [scores[pair.good] > scores[pair.bad] for pair in pairs]
    assert [row.is_right for row in found.pairs] == [*right, False]
    assert found.num_alike == 1
    assert {group.name: group.num_pairs for group in found.phenomena} == {"second": 4, "first": 2}
    assert {group.name: group.num_pairs for group in found.paradigms} == {"p0": 3, "p2": 2, "same": 1}
    assert found.accuracy.value == pytest.approx(sum(right) / 6)


def test_too_long_a_sentence_is_named() -> None:
    with pytest.raises(DataError, match=r"pairs\.jsonl, row 1: 72 tokens, more than the model's 64 positions"):
        prefer(toy_predictor(), [MinimalPair("ba " * 70, "be", where="pairs.jsonl, row 1")])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    toy_bert(folder / "bert")
    some = texts(60)
    rows = [
        {"sentence_good": some[i], "sentence_bad": some[i + 1], "UID": f"p{i % 3}", "linguistics_term": "order"}
        for i in range(59)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_so_many_pairs_of_each_paradigm_are_always_the_same(house: Path) -> None:
    settings = MinimalPairsSettings.of({"model": "m", "file": house / "pairs.jsonl", "max_pairs": 4})
    pairs, notes = read_pairs(settings)
    assert [sum(pair.paradigm == f"p{k}" for pair in pairs) for k in range(3)] == [4, 4, 4]
    assert notes == ["using 12 of 59 pairs, chosen at random"]
    assert read_pairs(settings)[0] == pairs
    assert read_pairs(settings.model_copy(update={"seed": 1}))[0] != pairs


def test_the_verb_writes_a_page_and_prints_json(
    house: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["minimal-pairs", str(house / "bert"), str(house / "pairs.jsonl"), "--precision", "fp32"]
    assert main([*arguments, "--report-dir", str(tmp_path)]) == 0
    assert "all pairs\t\t59\t" in capsys.readouterr().out
    assert "By paradigm" in (tmp_path / "minimal-pairs.html").read_text(encoding="utf-8")
    facts = json.loads((tmp_path / "minimal-pairs.json").read_text(encoding="utf-8"))
    assert len(facts["pairs"]) == 59
    assert main([*arguments, "--phenomenon-column", "UID", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [group["name"] for group in answer["phenomena"]] == ["p0", "p1", "p2"]
    assert answer["accuracy"] == facts["accuracy"]
    assert main([*arguments, "--good-column", "best"]) == 1
    assert "no column 'best'" in capsys.readouterr().err


def test_a_model_that_guesses_no_tokens_is_refused(house: Path, tmp_path: Path) -> None:
    from bertsmith.tasks.embedding import Embedding

    task = Embedding()
    save_artifact(tmp_path / "vectors", Artifact(task, task.build(toy_config()), toy_tokenizer()))
    with pytest.raises(SettingsError, match="a model for embedding"):
        minimal_pairs({"model": tmp_path / "vectors", "file": house / "pairs.jsonl"})
    (tmp_path / "vectors" / "bertsmith.json").unlink()
    with pytest.raises(SettingsError, match="cannot guess masked tokens; train that with bertsmith pretrain"):
        minimal_pairs({"model": tmp_path / "vectors", "file": house / "pairs.jsonl"})
