"""Sequence to sequence: what stands in a source, what is measured, what is refused, and how BERT is a start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toy_models import toy_bert
from toys import toy_config, toy_tokenizer

from bertsmith.artifact import Artifact, load_artifact, save_artifact
from bertsmith.data.batch import Window
from bertsmith.errors import BertsmithError, DataError, SettingsError
from bertsmith.inference.predictor import Predictor
from bertsmith.metrics.generation import rouge_rows
from bertsmith.model.networks import Seq2SeqNetwork
from bertsmith.model.presets import preset
from bertsmith.recipes.start import start_from
from bertsmith.tasks.seq2seq import Seq2Seq, SourceRequest
from bertsmith.tasks.task import Example
from bertsmith.text.noise import typos

RNG = np.random.default_rng(0)


def task_of(**settings: Any) -> Seq2Seq:
    return Seq2Seq.from_dict({"measure": "exact_match", "max_length": 16, "max_target_length": 16, **settings}, "toy")


def windows(task: Seq2Seq, item: Any) -> list[Window]:
    return task.encode(item, toy_tokenizer(), RNG)


def predictor(task: Seq2Seq) -> Predictor:
    torch.manual_seed(0)
    return Predictor(task, task.build(toy_config(initializer_range=0.2)), toy_tokenizer(), "fp32")


def test_language_and_keywords_are_a_first_segment() -> None:
    task = task_of(languages=["ba", "de"])
    (window,) = windows(task, SourceRequest("be bi", keywords="bo bu", language="de"))
    tokens = [toy_tokenizer().vocab[id] for id in window.input_ids]
    assert tokens == ["[CLS]", "de", "[UNK]", "bo", "bu", "[SEP]", "be", "bi", "[SEP]"]
    assert list(window.token_type_ids) == [0] * 6 + [1] * 3
    (bare,) = windows(task_of(), SourceRequest("be bi"))
    assert list(bare.token_type_ids) == [0] * 4


def test_languages_are_learned_and_others_refused() -> None:
    rows = [{"text": "be", "target": "ba", "language": name} for name in ("de", "fr")]
    task = task_of()
    task = task.fitted([task.example(row, f"row {n}") for n, row in enumerate(rows)])
    assert task.settings.languages == ("de", "fr")
    with pytest.raises(DataError, match="does not write in 'da'; known: de, fr"):
        windows(task, SourceRequest("be", language="da"))
    with pytest.raises(DataError, match="say which: de, fr"):
        windows(task, SourceRequest("be"))
    with pytest.raises(DataError, match="trained without languages"):
        windows(task_of(), SourceRequest("be", language="de"))
    with pytest.raises(DataError, match="row 2: this model does not write in 'xx'"):
        task.check([Example(SourceRequest("be", language="xx"), "ba", "row 2")])
    # Where a request is read its row is known, and can be skipped.
    with pytest.raises(DataError, match="row 4: this model does not write in 'xx'; known: de, fr"):
        task.request({"text": "be", "language": "xx"}, "row 4")
    with pytest.raises(DataError, match="row 5: this model writes in several languages"):
        task.request("be", "row 5")
    with pytest.raises(DataError, match="row 7: no language, where other rows name one"):
        named = Example(SourceRequest("be", language="de"), "ba", "row 6")
        task_of().fitted([named, Example(SourceRequest("be"), "ba", "row 7")])


def test_noise_leaves_the_language_and_what_is_written_already() -> None:
    task = task_of(languages=["english", "german"])
    request = SourceRequest("bobo bubu", keywords="bebe", language="german", prefix="baba")
    changed = task.changed(Example(request, "ba", "row 1"), typos(1.0), np.random.default_rng(0)).request
    assert (changed.language, changed.prefix) == ("german", "baba")
    assert changed.text != request.text
    assert changed.keywords != request.keywords


@pytest.mark.parametrize(
    "record", [{"text": ""}, {"text": " \n"}, {}, {"prefix": "ba"}, {"text": "\u200b\u200b", "keywords": "\x01"}]
)
def test_an_empty_source_is_refused(record: dict[str, str]) -> None:
    with pytest.raises(DataError, match="row 3: an empty source"):
        task_of().request(record, "row 3")
    assert task_of().request({"keywords": "ba"}).text == ""


def test_a_source_of_which_no_token_is_left_is_refused() -> None:
    """The tokenizer drops what is no character, and of a text without case its accents."""
    for text in ("\ufffd", "\u0301"):
        with pytest.raises(DataError, match="text: an empty source"):
            windows(task_of(languages=["de"]), SourceRequest(text, language="de"))
        assert len(windows(task_of(), SourceRequest(text, keywords="ba"))) == 1


def test_an_empty_target_is_refused() -> None:
    for target in ("", " ", "\u200b"):
        with pytest.raises(DataError, match="row 3: an empty target"):
            task_of().example({"text": "ba", "target": target}, "row 3")


def test_a_long_source_is_rewritten_in_windows_and_none_of_it_is_lost() -> None:
    task = task_of()
    words = ["ba", "be", "bi", "bo", "bu", "da", "de"] * 5
    cut = windows(task, SourceRequest(" ".join(words)))
    inner = [id for window in cut for id in window.input_ids[1:-1]]
    assert [toy_tokenizer().vocab[id] for id in inner] == words  # 14 to a window, none twice
    assert len(cut) == 3
    whole = predictor(task).predict([" ".join(words)])[0]
    parts = [predictor(task).predict([" ".join(words[i : i + 14])])[0] for i in (0, 14, 28)]
    assert whole.text == " ".join(part.text for part in parts)
    assert whole.tokens == sum((part.tokens for part in parts), ())
    assert whole.num_cut_tokens == 0
    # In training the target belongs to the whole: what does not fit is cut, and counted.
    (window,) = windows(task, Example(SourceRequest(" ".join(words)), "ba"))
    assert window.num_cut_tokens == 35 - 14
    with pytest.raises(DataError, match="more than max_length 16"):
        windows(task_of(truncation="error"), SourceRequest(" ".join(words)))


def test_a_prefix_begins_the_target_and_leaves_room() -> None:
    answer = predictor(task_of()).predict([{"text": "ba be", "prefix": "da de"}])[0]
    assert answer.text.startswith("da de")
    assert answer.probabilities[:2] == (1.0, 1.0)
    assert answer.score == pytest.approx(float(np.exp(np.log(answer.probabilities).mean())))
    with pytest.raises(DataError, match="the prefix has 15 tokens, at most 15 are written"):
        predictor(task_of()).predict([{"text": "ba", "prefix": "da " * 15}])


def test_a_prefix_begins_the_first_window_alone() -> None:
    request = SourceRequest("ba be bi bo bu " * 6, prefix="da de")
    prefixes = [window.targets.get("prefix", []) for window in windows(task_of(), request)]
    assert [len(prefix) for prefix in prefixes] == [2, 0, 0]
    assert predictor(task_of()).predict([request])[0].text.count("da de") == 1


@pytest.mark.parametrize(("prefix", "said"), [("da [SEP] de", "'[SEP]' in"), ("da Zug", "'Zug' in .* is .UNK. to")])
def test_a_prefix_of_what_is_no_token_is_refused(prefix: str, said: str) -> None:
    with pytest.raises(DataError, match=said.replace("[SEP]", r"\[SEP\]")):
        windows(task_of(), SourceRequest("ba", prefix=prefix))


@pytest.mark.parametrize("name", ["min_new_tokens", "max_new_tokens"])
def test_no_more_is_asked_for_than_a_target_may_have(name: str) -> None:
    assert task_of(generation={name: 15}).settings.max_target_length == 16
    with pytest.raises(SettingsError, match=f"{name} 16 is not below max_target_length 16"):
        task_of(generation={name: 16})
    with pytest.raises(SettingsError, match=f"{name} 15 is not below max_target_length 10"):
        task_of(generation={name: 15}).within(10)


def test_windows_of_ideographs_are_joined_without_blanks() -> None:
    task = task_of()
    kind = task.Prediction
    parts = [kind(text, 1.0, True, tokens=("x",), probabilities=(1.0,)) for text in ("我在。", "", "你好", "BERT")]
    assert task.merge(SourceRequest("x"), parts, 0).text == "我在。你好 BERT"


def test_generation_settings_are_the_task_s_and_kept() -> None:
    task = task_of(generation={"max_new_tokens": 3, "min_new_tokens": 3})
    assert len(predictor(task).predict(["ba be"])[0].tokens) == 3
    assert Seq2Seq.from_dict(task.to_dict(), "again") == task


def test_the_loss_is_smoothed_in_training_alone() -> None:
    """Szegedy et al. 2016: (1 - e) times the loss of the label, e times the mean loss of all labels."""
    task = task_of(label_smoothing=0.1)
    (window,) = windows(task, Example(SourceRequest("ba be"), "bi"))
    batch = task.collate([window])
    network = task.build(toy_config())
    logits = network(batch.packed, batch.decoder)
    labels = batch.targets["labels"]
    plain = F.cross_entropy(logits, labels, reduction="sum")
    spread = -logits.log_softmax(-1).mean(-1).sum()
    torch.testing.assert_close(task.loss(network.train(), batch)["seq2seq"], 0.9 * plain + 0.1 * spread)
    torch.testing.assert_close(task.loss(network.eval(), batch)["seq2seq"], plain)


def test_a_decoder_starts_from_bert(tmp_path: Path) -> None:
    start = start_from(task_of(), str(toy_bert(tmp_path / "bert")), {})
    network = start.network
    assert isinstance(network, Seq2SeqNetwork)
    for layer, first in zip(network.decoder.layers, network.encoder.layers, strict=True):
        torch.testing.assert_close(layer.attention.query.weight, first.attention.query.weight)
        torch.testing.assert_close(layer.feed_forward.up.weight, first.feed_forward.up.weight)
        assert layer.attention.query.weight is not first.attention.query.weight
    bert = load_artifact(tmp_path / "bert").network
    torch.testing.assert_close(network.vocabulary_head.dense.weight, bert.vocabulary_head.dense.weight)
    torch.testing.assert_close(network.decoder.positions.table.weight, network.encoder.positions.table.weight)


def test_a_shallow_decoder_takes_layers_that_are_apart() -> None:
    network = task_of(num_decoder_layers=1).build(toy_config())
    network.decoder.start_from(network.encoder)
    (layer,), last = network.decoder.layers, network.encoder.layers[1]
    torch.testing.assert_close(layer.attention.key.weight, last.attention.key.weight)


def test_shared_layers_are_saved_once_and_come_back(tmp_path: Path) -> None:
    task = task_of(share_layers=True)
    network = task.build(toy_config(initializer_range=0.2)).eval()
    alone = task_of().build(toy_config())
    own = sum(p.numel() for p in network.parameters())
    assert own < sum(p.numel() for p in alone.parameters())
    assert not any(name.startswith("decoder.layers.0.attention.") for name, _ in network.named_parameters())
    save_artifact(tmp_path / "model", Artifact(task, network, toy_tokenizer()))
    again = load_artifact(tmp_path / "model")
    texts = ["ba be bi", "da"]
    before, after = (Predictor(task, net, toy_tokenizer(), "fp32").predict(texts) for net in (network, again.network))
    assert before == after
    with pytest.raises(SettingsError, match="1 layers that write cannot share"):
        task_of(share_layers=True, num_decoder_layers=1).build(toy_config())


def test_sharing_spares_a_third_of_a_bert_base() -> None:
    """What docs/seq2seq.md says: 62% of the parameters are left."""
    with torch.device("meta"):
        numbers = [sum(p.numel() for p in task_of(share_layers=s).build(preset("base")).parameters()) for s in (0, 1)]
    assert round(100 * numbers[1] / numbers[0]) == 62


def test_bleu_is_that_of_sacrebleu_for_any_selection() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    task = task_of(measure="bleu")
    known = ["a man rides a red bike .", "two dogs play in the deep snow", "a child sleeps on the couch ."]
    given = ["a man rides a bike .", "two dogs run in the snow", "a child sleeps on the couch ."]
    examples = [Example(SourceRequest("x"), text) for text in known]
    answers = [predictor(task_of()).predict(["ba"])[0].__class__(text, 1.0, True) for text in given]
    marks = task.marks(examples, answers)
    assert task.metrics_of(marks)["bleu"] == pytest.approx(sacrebleu.corpus_bleu(given, [known]).score)
    some = sacrebleu.corpus_bleu(given[1:], [known[1:]]).score
    assert task.metrics_of(marks[1:])["bleu"] == pytest.approx(some)
    assert marks[2, 0] == pytest.approx(1.0)
    assert task.metric_bounds("bleu") == (0.0, 100.0)


def test_rouge_is_that_of_rouge_score_and_knows_chinese() -> None:
    scorers = pytest.importorskip("rouge_score.rouge_scorer")
    task = task_of(measure="rouge")
    known, given = ["The cat sat on the mat.", "我在北京"], ["A cat sat on a mat", "我在上海"]
    examples = [Example(SourceRequest("x"), text) for text in known]
    answers = [predictor(task_of()).predict(["ba"])[0].__class__(text, 1.0, True) for text in given]
    marks = task.marks(examples, answers)
    theirs = scorers.RougeScorer(["rouge1", "rouge2", "rougeL"]).score(known[0], given[0])
    assert marks[0, 2:].tolist() == pytest.approx([theirs[n].fmeasure for n in ("rouge1", "rouge2", "rougeL")])
    # Two of four characters, one of three pairs: 我 在.
    assert marks[1, 2:].tolist() == pytest.approx([0.5, 1 / 3, 0.5])


def test_rouge_parts_chinese_from_what_it_is_mixed_with() -> None:
    pytest.importorskip("rouge_score.rouge_scorer")
    marks = rouge_rows(["2012年BERT很好", "\U00020000字x"], ["2013年BERT很好", "\U00020000x"])
    # Of 2012 年 BERT 很 好 all but the first; of 𠀀 字 x two, where two are known.
    assert marks[:, 0].tolist() == pytest.approx([0.8, 0.8])


def test_without_the_extra_training_says_so_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu.metrics", None)
    with pytest.raises(BertsmithError, match=r"pip install 'bertsmith\[seq2seq\]', or set measure to exact_match"):
        task_of(measure="bleu").fitted([Example(SourceRequest("x"), "y")])
