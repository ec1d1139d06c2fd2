"""The classifier with scikit-learn's face, in scikit-learn's own company."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from toys import toy_config, toy_task, toy_tokenizer

from bertsmith import BertClassifier, load
from bertsmith.artifact import Artifact, save_artifact
from bertsmith.errors import BertsmithError, DataError, SettingsError

TEXTS = [f"{'good fine nice' if i % 2 else 'bad poor sad'} film number {i}" for i in range(40)]
LABELS = ["praise" if i % 2 else "blame" for i in range(40)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-trained model, as small as can be."""
    toy = toy_task("classification")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "small"
    save_artifact(folder, Artifact(toy.task, toy.task.build(toy_config()), toy_tokenizer()))
    return folder


def quick(model: Path, **changes: Any) -> BertClassifier:
    return BertClassifier(model, **{"epochs": 2, "learning_rate": 2e-3, "precision": "fp32", **changes})


@pytest.fixture(scope="module")
def fitted() -> BertClassifier:
    """From new weights, with everything left to its default but the precision."""
    return BertClassifier(batch_size=4, precision="fp32").fit(TEXTS, LABELS)


def test_it_learns(fitted: BertClassifier) -> None:
    assert fitted.classes_.tolist() == ["blame", "praise"]
    assert fitted.score(TEXTS, LABELS) == 1.0
    assert fitted.predict(["a good nice film", "a poor film"]).tolist() == ["praise", "blame"]


def test_probabilities_are_in_the_order_of_the_classes(fitted: BertClassifier) -> None:
    probabilities = fitted.predict_proba(TEXTS[:3])
    assert probabilities.shape == (3, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1.0, atol=1e-6)
    assert fitted.classes_[probabilities.argmax(1)].tolist() == LABELS[:3]
    assert fitted.predict_proba([]).shape == (0, 2)


def test_the_same_seed_gives_the_same_classifier(model: Path) -> None:
    first, again, other = (quick(model, seed=seed).fit(TEXTS, LABELS).predict_proba(TEXTS) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_lists_arrays_and_series_are_alike(model: Path) -> None:
    pandas = pytest.importorskip("pandas")
    expected = quick(model).fit(TEXTS, LABELS).predict_proba(TEXTS)
    frame = pandas.DataFrame({"text": TEXTS, "label": LABELS}, index=range(100, 140))
    for texts, labels in (
        (np.array(TEXTS), np.array(LABELS)),
        (frame["text"], frame["label"]),
        (frame[["text"]], frame["label"]),
        (tuple(TEXTS), tuple(LABELS)),
    ):
        np.testing.assert_array_equal(quick(model).fit(texts, labels).predict_proba(texts), expected)


def test_pairs_are_two_columns(model: Path) -> None:
    pairs = [("ba be", "bi"), ("fo", "fu ga"), ("ka", "ke ki ko"), ("la", "le")]
    as_list = quick(model).fit(pairs, [0, 1, 0, 1], validation_split=0)
    as_array = quick(model).fit(np.array(pairs), [0, 1, 0, 1], validation_split=0)
    np.testing.assert_array_equal(as_list.predict_proba(pairs), as_array.predict_proba(np.array(pairs)))
    swapped = [(second, first) for first, second in pairs]
    assert not np.array_equal(as_list.predict_proba(pairs), as_list.predict_proba(swapped))


@pytest.mark.parametrize(
    "labels", [[3, 10, 3, 10], [True, False, False, True], [0.5, 1.0, 0.5, 1.0][::-1], ["", "a"] * 2]
)
def test_labels_come_back_as_they_were_given(model: Path, labels: list[Any]) -> None:
    if 0.5 in labels:
        with pytest.raises(ValueError, match="continuous"):
            quick(model).fit(TEXTS[:4], labels, validation_split=0)
        return
    classifier = quick(model, epochs=30, learning_rate=1e-2).fit(TEXTS[:4], labels, validation_split=0)
    assert classifier.classes_.tolist() == sorted(set(labels))
    assert classifier.predict(TEXTS[:4]).dtype == np.array(labels).dtype
    assert classifier.predict_proba(TEXTS[:4]).shape == (4, 2)


def test_settings_are_parameters(model: Path) -> None:
    classifier = quick(model, seed=3)
    assert clone(classifier).get_params() == classifier.get_params()
    assert classifier.set_params(batch_size=4).batch_size == 4
    assert "BertClassifier" in repr(classifier)


def test_cross_validation_and_grid_search(model: Path) -> None:
    scores = cross_val_score(quick(model), TEXTS, LABELS, cv=2)
    assert scores.shape == (2,)
    pipeline = make_pipeline(FunctionTransformer(lambda texts: [text.lower() for text in texts]), quick(model))
    grid = GridSearchCV(pipeline, {"bertclassifier__epochs": [1, 2]}, cv=2)
    grid.fit(TEXTS, LABELS, bertclassifier__validation_split=0)
    assert grid.best_params_["bertclassifier__epochs"] in (1, 2)
    assert grid.predict(TEXTS).shape == (40,)
    assert grid.best_estimator_[-1].training_.best_step is None


def test_validation_chooses_the_best_weights(model: Path) -> None:
    classifier = quick(model, epochs=4).fit(TEXTS, LABELS, validation_split=0.2)
    training = classifier.training_
    accuracies = [metrics["accuracy"] for _, metrics in training.evaluations]
    assert len(accuracies) == 4
    assert training.best_metrics is not None
    assert training.best_metrics["accuracy"] == max(accuracies)


def test_save_keeps_it_for_the_rest_of_the_package(fitted: BertClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    loaded = load(tmp_path / "model", precision="fp32")
    rows = [list(prediction.scores.values()) for prediction in loaded.predict(TEXTS)]
    np.testing.assert_allclose(fitted.predict_proba(TEXTS), rows, atol=1e-6)
    assert loaded.task.labels() == ("blame", "praise")


def test_a_fitted_classifier_survives_a_pickle(fitted: BertClassifier) -> None:
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(TEXTS), fitted.predict_proba(TEXTS))


def test_not_fitted() -> None:
    with pytest.raises(NotFittedError):
        BertClassifier().predict(["a"])


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ("a text", ["a"], "expected a list of texts"),
        (["a", None], ["x", "y"], "text 2: expected a string, or two, found None"),
        (["a", 3.0], ["x", "y"], "text 2: expected a string"),
        ([["a", "b", "c"]] * 2, ["x", "y"], "text 1: expected a string, or two"),
        (["a", "b"], ["x", None], "text 2: no label"),
        (["a", "b"], [1.0, float("nan")], "text 2: no label"),
        (["a", "b"], ["x", "x"], "two labels or more, found .'x'."),
        (["a", "b"], ["x", "y"], "too few to split off .* or validation_split=0"),
    ],
)
def test_what_cannot_be_learned_from_is_told(texts: Any, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        BertClassifier().fit(texts, labels)


def test_settings_that_cannot_be_are_told() -> None:
    with pytest.raises(SettingsError, match="num_train_epochs"):
        BertClassifier(epochs=-1).fit(TEXTS, LABELS)
    with pytest.raises(SettingsError, match="lora keeps pre-trained weights"):
        BertClassifier(train="lora").fit(TEXTS, LABELS)
    with pytest.raises(SettingsError, match="num_top_layers go together"):
        BertClassifier(train="top_layers").fit(TEXTS, LABELS)
    with pytest.raises(SettingsError, match="truncation"):
        BertClassifier(truncation="middle").fit(TEXTS, LABELS)
    with pytest.raises(SettingsError, match="validation_split"):
        BertClassifier().fit(TEXTS, LABELS, validation_split=1.5)
    with pytest.raises(BertsmithError, match="no such folder"):
        BertClassifier(Path("nowhere")).fit(TEXTS, LABELS)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        BertClassifier().fit(TEXTS, LABELS[:-1])


def test_the_steps_may_be_named(model: Path) -> None:
    assert quick(model, max_steps=3).fit(TEXTS, LABELS).training_.num_steps == 3


RARE = ["praise"] * 3 + ["blame"] * 37
"""Labels that the texts do not tell: what is given for them is the more frequent one, unless weights say otherwise."""


def share_of_praise(model: Path, **changes: Any) -> float:
    texts = ["a film number one"] * 40
    fitted = quick(model, epochs=10, batch_size=40, learning_rate=1e-2, **changes).fit(texts, RARE, validation_split=0)
    return float(fitted.predict_proba(texts[:1])[0, 1])


def test_classes_are_weighed_as_scikit_learn_weighs_them(model: Path) -> None:
    assert share_of_praise(model) < 0.3
    balanced = share_of_praise(model, class_weight="balanced")
    assert balanced == pytest.approx(0.5, abs=0.15)
    by_hand = {"praise": 40 / (2 * 3), "blame": 40 / (2 * 37)}
    assert share_of_praise(model, class_weight=by_hand) == pytest.approx(balanced, abs=1e-5)
    assert share_of_praise(model, class_weight={"praise": 200.0, "blame": 1}) > 0.7


def test_weights_are_by_the_labels_as_they_were_given(model: Path) -> None:
    classifier = quick(model, max_steps=1, class_weight={3: 2.0, 10: 0.5})
    fitted = classifier.fit(TEXTS, [3, 10] * 20)
    assert fitted.predictor_.task.settings.class_weights == {"3": 2.0, "10": 0.5}
    with pytest.raises(ValueError, match="not in class_weight"):
        clone(classifier).set_params(class_weight={3: 2.0, 11: 1.0}).fit(TEXTS, [3, 10] * 20)
    with pytest.raises(ValueError, match="class_weight"):
        clone(classifier).set_params(class_weight="even").fit(TEXTS, [3, 10] * 20)
    with pytest.raises(SettingsError, match="from 0 on"):
        clone(classifier).set_params(class_weight={3: -2.0, 10: 1.0}).fit(TEXTS, [3, 10] * 20)


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"train": "head"}, ()),
        ({"train": "lora", "lora_rank": 2}, ("query", "value")),
        (
            {"train": "lora", "lora_targets": ["all_linear"]},
            ("query", "key", "value", "attention.output", "feed_forward"),
        ),
        ({"train": "top_layers", "num_top_layers": 1}, ("layers.1.", "final_norm")),
    ],
)
def test_what_is_trained_is_what_was_asked_for(model: Path, changes: dict[str, Any], changed: tuple[str, ...]) -> None:
    before = load(model, precision="fp32").network.encoder.state_dict()
    fitted = quick(model, **changes).fit(TEXTS, LABELS)
    after = fitted.predictor_.network.encoder.state_dict()
    assert after.keys() == before.keys()  # adapters are merged
    found = {name for name, values in after.items() if not torch.equal(values.cpu(), before[name])}
    assert bool(found) == bool(changed)
    assert all(any(part in name for part in changed) for name in found)
    assert any("training changes" in note for note in fitted.notes_)
    pickle.loads(pickle.dumps(fitted)).predict(TEXTS[:2])


def test_adapters_are_merged_in_what_is_saved(model: Path, tmp_path: Path) -> None:
    fitted = quick(model, train="lora", max_steps=4).fit(TEXTS, LABELS)
    fitted.save(tmp_path / "model")
    rows = [
        list(prediction.scores.values()) for prediction in load(tmp_path / "model", precision="fp32").predict(TEXTS)
    ]
    np.testing.assert_allclose(fitted.predict_proba(TEXTS), rows, atol=1e-6)


def test_adapters_have_the_learning_rate_of_the_command_line(model: Path) -> None:
    fitted = BertClassifier(model, train="lora", max_steps=5, precision="fp32").fit(TEXTS, LABELS)
    assert fitted.training_.history[-1][1]["learning_rate"] == pytest.approx(5e-4 / 5, rel=0.5)


def test_every_new_parameter_is_searched_and_cloned(model: Path) -> None:
    grid = GridSearchCV(
        quick(model, max_steps=2),
        [{"train": ["lora"], "lora_rank": [1, 2]}, {"class_weight": [None, "balanced"], "truncation": ["head"]}],
        cv=2,
    )
    grid.fit(TEXTS, LABELS, validation_split=0)
    assert len(grid.cv_results_["params"]) == 4
    assert np.isfinite(grid.cv_results_["mean_test_score"]).all()
    params = {"lora_targets": ("key",), "num_top_layers": None, "stride": 3, "max_steps": 7, "class_weight": {"a": 1.0}}
    classifier = BertClassifier().set_params(**params)
    assert clone(classifier).get_params().items() >= params.items()


def test_texts_that_are_cut_are_counted_once_and_warned_of(model: Path) -> None:
    short = quick(model, max_length=6, truncation="head", epochs=3)
    with pytest.warns(UserWarning, match=r"cut in training, to fit into max_length: .* of 40 of 40 examples"):
        fitted = short.fit(TEXTS, LABELS, validation_split=0)
    assert fitted.truncation_.num_examples == fitted.truncation_.num_cut_examples == 40
    with pytest.warns(UserWarning, match=r"2 of 3 texts were cut to the model's max_length"):
        fitted.predict([*TEXTS[:2], "ba"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        whole = quick(model, max_length=6).fit(TEXTS, LABELS, validation_split=0)
        whole.predict(TEXTS[:2])
    assert (whole.truncation_.num_cut_tokens, whole.truncation_.num_windowed_examples) == (0, 40)
    with pytest.raises(DataError, match=r"40 examples are too long:\ntext 1: .* more than max_length 6"):
        quick(model, max_length=6, truncation="error").fit(TEXTS, LABELS)
