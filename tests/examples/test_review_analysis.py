"""The worked example of reviews: what was planted in made-up reviews is found, by models that are trained here."""

from __future__ import annotations

import doctest
import random
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aspects
import key_phrases
import leave_last_out
import measure_phrases
import numpy as np
import pytest
import recommend
import torch
import write_reviews
from page_commands import commands
from reviews import Review, read_reviews, unit

import bertsmith
from bertsmith.artifact import Artifact, save_artifact
from bertsmith.cli.main import main as bertsmith_main
from bertsmith.errors import DataError, SettingsError
from bertsmith.inference.predictor import Predictor
from bertsmith.model.presets import preset
from bertsmith.tasks.embedding import Embedding
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.wordpiece import WordPieceSettings, learn_wordpiece

FOLDER = Path(aspects.__file__).parent
SCRIPTS = {
    script.__name__: script.main
    for script in (aspects, key_phrases, leave_last_out, measure_phrases, recommend, write_reviews)
}
FOOD = write_reviews.ASPECTS["food"]
WORLD = {"seed": 1, "num_users": 80, "restaurants_per_kitchen": 4}


@dataclass
class Written:
    """The files of one world, and two models that have read others of its kind."""

    world: write_reviews.World
    data: Path
    encoder: Path
    taught: Path

    def reviews(self, encoder: Predictor) -> recommend.Reviews:
        read = read_reviews(self.data / "reviews.jsonl")
        return recommend.Reviews(read, encoder.embed([review.text for review in read]))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("reviews")
    world = write_reviews.make_world(**WORLD)
    write_reviews.write(folder / "data", world, seed=1)
    texts = folder / "texts.txt"
    texts.write_text("\n".join(review["text"] for review in world.reviews), encoding="utf-8")
    tokenizer = learn_wordpiece([texts], WordPieceSettings(vocab_size=1000)).tokenizer()
    return Written(world, folder / "data", _encoder(folder, tokenizer), _taught(folder, tokenizer))


def _untrained(folder: Path, tokenizer: Tokenizer, num_layers: int, **changes: Any) -> Path:
    torch.manual_seed(0)
    task = Embedding().within(128)
    shape = {"hidden_size": 64, "num_hidden_layers": num_layers, "num_attention_heads": 2, "intermediate_size": 128}
    config = preset(
        "tiny",
        vocab_size=tokenizer.vocab_size,
        max_position_embeddings=128,
        initializer_range=0.1,  # of new weights this narrow: they learn in hundreds of steps, not in thousands
        **shape,
        **changes,
    )
    save_artifact(folder, Artifact(task, task.build(config), tokenizer))
    return folder


def _training(max_steps: int) -> dict[str, Any]:
    return {"max_steps": max_steps, "eval_steps": max_steps, "learning_rate": 3e-3, "precision": "fp32"}


def _encoder(folder: Path, tokenizer: Tokenizer) -> Path:
    """Sentences on the food of one restaurant belong together; of another world, with the same kitchens."""
    rng = random.Random(0)
    said = write_reviews.make_world(**WORLD | {"seed": 2}).sentences.values()
    groups = [[s["text"] for s in rows if not s["labels"] or s["labels"][0].startswith("food")] for rows in said]
    pairs = [rng.sample(rng.choice(groups), 2) for _ in range(5000)]
    write_reviews.write_jsonl(folder / "pairs.jsonl", ({"text": a, "text_pair": b} for a, b in pairs))
    bertsmith.finetune(
        "embedding",
        {
            "train_file": folder / "pairs.jsonl",
            "validation_fraction": 0.02,
            "model": _untrained(folder / "untrained-1", tokenizer, 1),
            "dropout": 0.0,
            "output_dir": folder / "encoder",
            "training": _training(150),
        },
    )
    return folder / "encoder"


def _taught(folder: Path, tokenizer: Tokenizer) -> Path:
    changes = {"positions": {"kind": "rotary"}, "normalization": {"kind": "layer_norm", "placement": "pre"}}
    bertsmith.finetune(
        "classification",
        {
            "train_file": folder / "data" / "sentences-train.jsonl",
            "model": _untrained(folder / "untrained-2", tokenizer, 2, **changes),
            "dropout": 0.0,
            "output_dir": folder / "aspects",
            "task": {"problem_type": "multi_label"},
            "training": _training(400),
        },
    )
    return folder / "aspects"


# What is written


def test_the_same_seed_writes_the_same_world() -> None:
    first, again = (write_reviews.make_world(**WORLD | {"num_users": 5}) for _ in range(2))
    assert first == again
    assert first.reviews != write_reviews.make_world(**WORLD | {"num_users": 5, "seed": 3}).reviews


def test_held_out_sentences_were_not_trained_on(written: Written) -> None:
    train, held_out, new = (
        {text for text, _ in aspects.read_labelled(written.data / f"sentences-{name}.jsonl")}
        for name in ("train", "held-out", "new-words")
    )
    assert len(held_out) > 100
    assert not held_out & train
    assert not new & (train | held_out)


# Sentiment by aspect


def test_a_taught_model_is_right_on_held_out_sentences(written: Written) -> None:
    """Of two aspects too, of which one is good and one is bad."""
    found = aspects.agreement(
        aspects.Taught(bertsmith.load(written.taught)),
        aspects.read_labelled(written.data / "sentences-held-out.jsonl"),
    )
    assert found.one > 0.95
    assert found.two > 0.7


def test_a_summary_counts_and_cites(written: Written) -> None:
    sentences = ["The waiter was rude.", "The staff was friendly.", "The service was careless.", "The bill was fair."]
    read = aspects.Taught(bertsmith.load(written.taught)).read(sentences)
    service, price = aspects.summaries([opinion for found in read for opinion in found])
    assert (service.aspect, service.num_good, service.num_bad) == ("service", 1, 2)
    assert service.best is not None
    assert service.best.text == "The staff was friendly."
    assert (price.num_good, price.num_bad, price.worst) == (1, 0, None)


def test_by_name_each_clause_is_judged_by_itself(written: Written, tmp_path: Path) -> None:
    rows = [
        {"text": f"{subject} was {said}.", "label": "good" if side else "bad"}
        for subject in ("the dal", "the taco", "the steak", "the crab")
        for side in (True, False)
        for said in (FOOD.good if side else FOOD.bad)
    ]
    write_reviews.write_jsonl(tmp_path / "rows.jsonl", rows)
    bertsmith.finetune(
        "classification",
        {
            "train_file": tmp_path / "rows.jsonl",
            "model": written.taught,
            "dropout": 0.0,
            "output_dir": tmp_path / "sentiment",
            "training": _training(40),
        },
    )
    sentiment = bertsmith.load(tmp_path / "sentiment")
    reader = aspects.ByName(
        bertsmith.load(written.encoder),
        sentiment,
        {"Indian": "the naan and the dal", "Japanese": "the ramen and the udon"},
        closest=0.1,
    )
    found = reader.read(["The naan was delicious, but the ramen was bland.", "", "The naan was bland."])
    assert [[opinion.label for opinion in row] for row in found] == [
        ["Indian: good", "Japanese: bad"],
        [],
        ["Indian: bad"],
    ]
    assert reader.read([]) == []
    with pytest.raises(SettingsError, match=r"has the labels .*food: bad.*; none is 'good'"):
        aspects.ByName(bertsmith.load(written.encoder), bertsmith.load(written.taught), {"Indian": "the naan"})


# Key phrases


def test_candidates_stay_within_clauses_and_end_at_words_that_say_nothing() -> None:
    assert doctest.testmod(key_phrases).failed == 0
    found = key_phrases.candidates(["The price of a glass? It wasn't low.<br />Rude staff", "rude staff"])
    assert found == {
        **dict.fromkeys(("price", "glass", "low"), 1),
        **dict.fromkeys(("rude", "rude staff", "staff"), 2),
    }
    assert set(key_phrases.candidates(["one ramen", "cold ramen", "ramen"], min_fraction=0.5)) == {"ramen"}


def test_diversity_leaves_out_what_was_said_already() -> None:
    vectors = unit(np.array([[1, 0.1, 0], [1, 0.11, 0], [0.5, 0, 1], [0, 1, 0.2]], dtype=np.float32))
    closeness = vectors @ unit(np.array([1, 0.2, 0.4], dtype=np.float32))
    order = np.argsort(-closeness).tolist()
    assert key_phrases.diverse(closeness, vectors, 9, 0.0) == order
    first, second, *_ = key_phrases.diverse(closeness, vectors, 3, 0.6)
    assert first == order[0]
    assert second not in (0, 1)


def test_key_phrases_are_in_the_texts(written: Written) -> None:
    texts = [row["text"] for row in written.world.reviews if row["item"] == "vegan 1"]
    found = key_phrases.key_phrases(bertsmith.load(written.encoder), texts, num=4)
    assert len(found) == 4
    for phrase in found:
        assert sum(phrase.phrase in text.lower() for text in texts) >= phrase.num_texts >= len(texts) / 10
        assert -1 <= phrase.closeness <= 1.0001
    with pytest.raises(DataError, match="no phrase"):
        key_phrases.key_phrases(bertsmith.load(written.encoder), ["It is. I am."])


# Recommendations


def _reviews(rows: list[tuple[str, str, int, float, list[float]]]) -> recommend.Reviews:
    """Rows of user, item, day, stars, and the vector of the text."""
    read = [Review(user, item, day, stars, f"{user} on {item}") for user, item, day, stars, _ in rows]
    return recommend.Reviews(read, np.array([row[-1] for row in rows], dtype=np.float32))


NOODLES, CAKE = [1.0, 0.0], [0.0, 1.0]
FEW = [
    ("ann", "noodle bar", 1, 5, NOODLES),
    ("ann", "old bakery", 301, 5, CAKE),
    ("bob", "ramen den", 10, 5, NOODLES),
    ("bob", "new bakery", 11, 4, CAKE),
    ("cleo", "new bakery", 12, 1, CAKE),
    ("cleo", "bad diner", 13, 2, NOODLES),
]


def test_a_taste_of_long_ago_counts_less() -> None:
    by_half_life = {
        days: [r.item for r in recommend.recommend(_reviews(FEW), "ann", half_life_days=days)] for days in (30, 1e9)
    }
    assert by_half_life[30] == ["new bakery", "ramen den"]
    weights = _reviews(FEW).weights(0, day=601.0, half_life_days=300.0)
    assert weights.tolist() == pytest.approx([0.25, 0.5, 0, 0, 0, 0])


def test_a_recommendation_is_new_liked_by_others_and_says_why() -> None:
    best, *_ = recommend.recommend(_reviews(FEW), "ann", half_life_days=30)
    assert (best.because.text, best.like.text) == ("ann on old bakery", "bob on new bakery")
    with pytest.raises(DataError, match="'cleo' has liked nothing yet"):
        recommend.recommend(_reviews(FEW), "cleo")
    with pytest.raises(DataError, match="did you mean 'ann'"):
        recommend.recommend(_reviews(FEW), "anne")


def test_the_hidden_item_is_found_from_nothing_that_came_later() -> None:
    """What is written on the hidden day or after it, of the hidden item too, changes no score."""
    rows = [*FEW, ("ann", "ramen den", 302, 5, NOODLES), ("bob", "old bakery", 302, 5, CAKE)]
    case = leave_last_out.hidden(_reviews([*rows, ("ann", "ramen den", 400, 5, NOODLES)]), back=2)[0]
    assert case.day == 302
    changed = [row if row[2] < 302 else (*row[:3], 1, row[4]) for row in rows]
    for scores in (recommend.Reviews.by_popularity, lambda r, u, d: r.by_profile(u, d, 30.0)):
        first, second = (scores(_reviews(side), case.user, case.day) for side in (rows, changed))
        assert first.tolist() == second.tolist()


def test_ranks_leave_out_what_is_known_and_draw_lots_for_equals() -> None:
    reviews = _reviews([*FEW, ("ann", "ramen den", 302, 5, NOODLES)])
    (case,) = leave_last_out.hidden(reviews)
    assert reviews.items[case.item] == "ramen den"
    scores = np.array([2.0 if item in ("noodle bar", "old bakery") else 1.0 for item in reviews.items])
    assert leave_last_out.ranks(reviews, [case], lambda _: scores)[0] in (1, 2, 3)
    scores[case.item] = 1.5
    found = leave_last_out.ranks(reviews, [case], lambda _: scores)
    assert found.tolist() == [1]
    assert leave_last_out.figures(np.array([1, 3, 11])).ndcg.value == pytest.approx((1 + 0.5 + 0) / 3)


def test_planted_tastes_are_found_better_than_by_popularity(written: Written) -> None:
    reviews = written.reviews(bertsmith.load(written.encoder, precision="fp32"))
    found = leave_last_out.leave_last_out(reviews, leave_last_out.best_half_life(reviews))
    assert found["profile"].mrr.value > found["popularity"].mrr.value + 0.05 > found["by lot"].mrr.value
    assert found["profile"].hit_rate.value > found["popularity"].hit_rate.value
    assert found["profile"].mrr.low > found["by lot"].mrr.value


# Files, and the commands of the README


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"user": "ann", "item": "bar", "date": "2024-05-31", "stars": 5}, "no text; a review has user, item"),
        ({"user": "ann", "item": "bar", "date": "31.5.24", "stars": 5, "text": "Good."}, "write dates as 2024-05-31"),
        ({"user": "ann", "item": "bar", "date": "2024-05-31", "stars": 11, "text": "Good."}, "11 stars"),
    ],
)
def test_a_review_that_cannot_be_used_is_named(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_reviews.write_jsonl(tmp_path / "reviews.jsonl", [row])
    with pytest.raises(DataError, match=rf"reviews.jsonl, row 1 .*{message}"):
        read_reviews(tmp_path / "reviews.jsonl")


def test_the_commands_of_the_readme(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As they stand, with a small model for MiniLM, a smaller world and fewer steps."""
    monkeypatch.chdir(tmp_path)
    ran = []
    for command in commands(FOLDER / "README.md"):
        if any(word in command for word in ("--dataset", "--sentiment", "IMDB")):
            continue  # these read data sets that the repository has not
        words = shlex.split(command.replace("$MODEL", str(written.encoder)).replace("--report-dir", "#"), comments=True)
        if words[0] == "bertsmith":
            more = ["--max-steps", "20"] if words[1] == "finetune" else []
            assert bertsmith_main([*words[1:], *more]) == 0, command
        else:
            ran.append(Path(words[1]).stem)
            more = ["--users", "40", "--restaurants-per-kitchen", "3"] if ran[-1] == "write_reviews" else []
            SCRIPTS[ran[-1]]([*words[2:], *more])
    assert set(ran) == set(SCRIPTS)
    said = capsys.readouterr().out
    assert "| profile and popularity |" in said
    assert "because user 8 wrote of" in said
