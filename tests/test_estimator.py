"""The classifier with scikit-learn's face, in scikit-learn's own company."""

from __future__ import annotations

import pickle
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
    with pytest.raises(SettingsError, match="validation_split"):
        BertClassifier().fit(TEXTS, LABELS, validation_split=1.5)
    with pytest.raises(BertsmithError, match="no such folder"):
        BertClassifier(Path("nowhere")).fit(TEXTS, LABELS)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        BertClassifier().fit(TEXTS, LABELS[:-1])
