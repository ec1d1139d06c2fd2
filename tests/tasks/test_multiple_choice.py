"""Multiple choice: what is compared with what, long contexts, labels, metrics, and the reference model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import toy_config, toy_tokenizer

from bertsmith.data.batch import Batch
from bertsmith.data.lines import Reading
from bertsmith.data.order import sample_rng
from bertsmith.errors import DataError
from bertsmith.inference.predictor import Predictor
from bertsmith.tasks.multiple_choice import (
    ChoicePart,
    ChoicePrediction,
    ChoiceRequest,
    MultipleChoice,
    MultipleChoiceSettings,
)
from bertsmith.tasks.reading import read_examples, read_requests
from bertsmith.tasks.task import Example

RNG = sample_rng(0, 0, 0)


def task(**settings: Any) -> MultipleChoice:
    return MultipleChoice(MultipleChoiceSettings(**settings))


def encoded_texts(request: ChoiceRequest, **settings: Any) -> list[str]:
    tokenizer = toy_tokenizer()
    return [
        tokenizer.decode(window.input_ids, skip_special_tokens=False)
        for window in task(**settings).encode(request, tokenizer, RNG)
    ]


def test_a_choice_stands_beside_the_question_or_goes_on_from_it_beside_the_context() -> None:
    assert encoded_texts(ChoiceRequest("ba be", ("da", "de do"))) == [
        "[CLS] ba be [SEP] da [SEP]",
        "[CLS] ba be [SEP] de do [SEP]",
    ]
    assert encoded_texts(ChoiceRequest("ba", ("da", "de"), "fa fe")) == [
        "[CLS] fa fe [SEP] ba da [SEP]",
        "[CLS] fa fe [SEP] ba de [SEP]",
    ]
    assert encoded_texts(ChoiceRequest("", ("da", "de"), "fa"))[0] == "[CLS] fa [SEP] da [SEP]"


def test_a_long_context_is_read_in_windows_for_every_choice() -> None:
    request = ChoiceRequest("ba", ("da", "de"), "fa fe fi fo fu")
    assert encoded_texts(request, max_length=8, stride=1) == [
        "[CLS] fa fe fi [SEP] ba da [SEP]",
        "[CLS] fi fo fu [SEP] ba da [SEP]",
        "[CLS] fa fe fi [SEP] ba de [SEP]",
        "[CLS] fi fo fu [SEP] ba de [SEP]",
    ]
    windows = task(max_length=8, truncation="head").encode(request, toy_tokenizer(), RNG)
    assert [window.num_cut_tokens for window in windows] == [2, 2]


def test_the_best_window_of_a_choice_counts() -> None:
    request = ChoiceRequest("ba", ("da", "de"), "fa")
    parts = [ChoicePart(0, 1.0), ChoicePart(0, -5.0), ChoicePart(1, 0.0), ChoicePart(1, 1.0 + math.log(3))]
    prediction = task().merge(request, parts, 4)
    assert prediction.label == 1
    assert prediction.choice == "de"
    assert prediction.scores == pytest.approx((0.25, 0.75))
    assert prediction.score == pytest.approx(0.75)
    assert (prediction.num_windows, prediction.num_cut_tokens) == (2, 4)
    # Twice the temperature takes the square root of the odds.
    warm = task(temperature=2.0).merge(request, parts, 0)
    assert warm.scores[1] / warm.scores[0] == pytest.approx(math.sqrt(3))


def test_loss_is_a_softmax_over_the_best_windows_of_each_question() -> None:
    class Fixed(torch.nn.Module):
        def forward(self, packed: Any) -> torch.Tensor:
            return torch.tensor([1.0, 5.0, 2.0, 0.0, 3.0, 3.0, 3.0])

    long = Example(ChoiceRequest("ba", ("da", "de"), "fa fe fi fo fu"), 1)
    short = Example(ChoiceRequest("ba", ("da", "de", "di")), 2)
    it = task(max_length=8, stride=1)
    windows = [window for item in (long, short) for window in it.encode(item, toy_tokenizer(), RNG)]
    batch = it.collate(windows)
    assert batch.counts == {"choice": 2}
    # Of the first, choices with max(1, 5) and max(2, 0); of the second, three alike.
    expected = math.log(1 + math.exp(5 - 2)) + math.log(3)
    assert float(it.loss(Fixed(), batch)["choice"]) == pytest.approx(expected)


def test_requests_have_no_targets() -> None:
    batch = task().collate(task().encode(ChoiceRequest("ba", ("da", "de")), toy_tokenizer(), RNG))
    assert not batch.targets
    assert batch.counts == {"choice": 0}


@pytest.mark.parametrize("label", [1, 1.0, "1", " 1 ", "B", "b", "Wood"])
def test_a_label_is_an_index_a_letter_or_a_text(label: Any) -> None:
    record = {"question": "q", "choices": ["Iron", "Wood"], "label": label}
    assert task().example(record, "row 1").answer == 1


def test_a_text_goes_before_a_letter() -> None:
    assert task().example({"question": "q", "choices": ["B", "A"], "label": "A"}, "row 1").answer == 1


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (2, "row 3: a label that is no choice: 2 of 2, which count from 0"),
        ("C", "row 3: a label that is no choice: 'C'"),
        ("Irn", "row 3: a label that is no choice: 'Irn'; did you mean 'Iron'"),
        (None, "row 3: no value in 'label'"),
        ("", "row 3: expected the right choice's index"),
        (-1, "row 3: a label that is no choice: -1 of 2"),
        ("1" * 5000, "row 3: a label that is no choice: '111"),
        (0.5, "row 3: expected the right choice's index"),
        (True, "row 3: expected the right choice's index"),
    ],
)
def test_other_labels_are_refused(label: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        task().example({"question": "q", "choices": ["Iron", "Wood"], "label": label}, "row 3")


@pytest.mark.parametrize("choices", [[], ["one"]])
def test_a_choice_needs_two(choices: list[str]) -> None:
    with pytest.raises(DataError, match="row 1: expected two choices or more"):
        task().request({"question": "q", "choices": choices}, "row 1")


def test_files_of_known_shapes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "arc.csv"
    path.write_text("What rusts?,iron,wood,,A\nWhat burns?,iron,wood,tin,B\n")
    examples, _ = read_examples(task(), path, {}, Reading())
    assert [item.answer for item in examples] == [0, 1]
    assert examples[0].request == ChoiceRequest("What rusts?", ("iron", "wood"))
    path = tmp_path / "swag.csv"
    path.write_text("sent1,sent2,ending0,ending1,label\nA man sits.,He,sings.,runs.,1\n")
    (example,), _ = read_examples(task(), path, {}, Reading())
    assert example.request == ChoiceRequest("He", ("sings.", "runs."), "A man sits.")
    assert example.answer == 1


def given(label: int, score: float = 1.0) -> ChoicePrediction:
    return ChoicePrediction(label, "x", score, ())


def test_choices_in_columns_of_their_own_or_in_a_cell(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for content in (
        "question,A,B,C,answer\nq,ba,be,bi,C\n",
        "answer,question,A,B,C\nC,q,ba,be,bi\n",
        'question,choices,answer\nq,"[""ba"", ""be"", ""bi""]",2\n',
    ):
        path.write_text(content)
        ((example,), columns) = read_examples(MultipleChoice(), path, {}, Reading())
        assert (example.request, example.answer) == (ChoiceRequest("q", ("ba", "be", "bi")), 2)
        assert columns.by_field == {"question": "question", "choices": "choices", "label": "answer"}
        (placed,) = read_requests(MultipleChoice(), path, {}, Reading())
        assert placed.request == example.request


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "question,first,second,label\nq,ba,be,0\n",
            r"no choices among the columns 'question', 'first', .*; expected a .* for each choice: A, B, C",
        ),
        ("question,option1,option2,label\nq,ba,be,1\n", "'option1' begins at 1, but labels count from 0: use letters"),
        (
            "question,choices,label\nq,ba|be,1\n",
            r"\(line 2\): choices that are no list \('ba\|be'; expected a col",
        ),
        ("question,A,B,answer,key\nq,ba,be,A,B\n", "no column for 'label' among .*--label-column"),
    ],
)
def test_a_file_whose_choices_are_not_found_is_told_how_to_name_them(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_examples(MultipleChoice(), tmp_path / "a.csv", {}, Reading())


def test_metrics_and_confidences_by_hand() -> None:
    examples = [Example(ChoiceRequest("q", ("a", "b")), answer) for answer in (0, 1, 1, 0)]
    predictions = [given(0, 0.9), given(1, 0.8), given(0, 0.7), given(1, 0.6)]
    assert task().score(examples, predictions) == {"accuracy": 0.5}
    confidence, right = task().confidences(examples, predictions)
    assert confidence.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert right.tolist() == [1, 1, 0, 0]


def test_temperature_is_fitted_over_questions_with_different_numbers_of_choices() -> None:
    # Two choices a logit of 4 apart, right in three of four cases: the odds are 3 at T = 4 / ln 3.
    two = [[ChoicePart(0, 4.0), ChoicePart(1, 0.0)]] * 12
    examples = [Example(ChoiceRequest("q", ("a", "b")), int(i < 3)) for i in range(12)]
    tuned = task(temperature=9.0).tuned(examples, two)
    assert tuned.settings.temperature == pytest.approx(4 / math.log(3), rel=1e-3)
    three = [ChoicePart(0, 4.0), ChoicePart(1, 0.0), ChoicePart(2, -90.0)]
    assert task().tuned(examples, [*two[:11], three]).settings.temperature == pytest.approx(4 / math.log(3), rel=1e-3)


def test_baselines_by_hand() -> None:
    train = [Example(ChoiceRequest("cold metal", ("ice", "steel")), 1)] * 3 + [
        Example(ChoiceRequest("hot metal", ("steam", "iron")), 0)
    ]
    test = [
        Example(ChoiceRequest("which one is ice", ("ice ice", "steel")), 0),
        Example(ChoiceRequest("iron?", ("steam", "steel", "iron")), 2),
    ]
    answers = task().baselines(train, test)
    assert [p.label for p in answers["commonest place"]] == [1, 1]
    assert [p.label for p in answers["TF-IDF cosine"]] == [0, 2]
    assert task().score(test, answers["TF-IDF cosine"]) == {"accuracy": 1.0}


def test_order_of_choices_does_not_matter() -> None:
    torch.manual_seed(0)
    predictor = Predictor(task(max_length=16), task().build(toy_config()).eval(), toy_tokenizer(), precision="fp32")
    first, second = predictor.predict([("ba be", ("da", "de", "do"), "fa"), ("ba be", ("do", "da", "de"), "fa")])
    assert np.roll(first.scores, 1) == pytest.approx(second.scores, abs=1e-5)


@pytest.mark.peers
def test_equals_the_reference_model(minilm: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from bertsmith.artifact import start_network
    from bertsmith.text.tokenizer import Tokenizer

    network, _ = start_network(task(), minilm, heads="new")
    network.eval()
    reference = transformers.BertForMultipleChoice.from_pretrained(minilm).eval()
    with torch.no_grad():
        reference.classifier.weight.copy_(network.classifier.weight)
        reference.classifier.bias.copy_(network.classifier.bias)
    request = ChoiceRequest("He", ("sat down.", "flew away over the hills.", "ate."), "A man enters a room.")
    tokenizer = Tokenizer.load(minilm)
    windows = task().encode(Example(request, 2), tokenizer, RNG)
    batch: Batch = task().collate(windows)
    theirs = transformers.BertTokenizerFast.from_pretrained(minilm)(
        [request.context] * 3, [f"He {choice}" for choice in request.choices], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        ours = float(task().loss(network, batch)["choice"])
        expected = reference(**{key: value[None] for key, value in theirs.items()}, labels=torch.tensor([2]))
    torch.testing.assert_close(torch.stack(task().outputs(network, batch))[None], expected.logits, atol=1e-4, rtol=1e-4)
    assert ours == pytest.approx(float(expected.loss), abs=1e-4)
