from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from bertsmith.catalog.python_docs import FAMILIES, is_held_out
from bertsmith.errors import DataError
from bertsmith.evaluation.compare import Comparison
from bertsmith.evaluation.intervals import Interval
from bertsmith.inference.predictor import load
from bertsmith.recipes.quickstart import QuickstartReport, QuickstartSettings, quickstart
from bertsmith.recipes.quickstart.page import page
from bertsmith.recipes.quickstart.results import PRETRAINED, TFIDF, UNTRAINED, QuestionFacts, Score, winner

THINGS = ["socket", "window", "parser", "thread", "folder", "number", "letter", "signal", "column", "packet"]
VERBS = ["Open", "Close", "Read", "Write", "Send", "Draw", "Count", "Join"]


def write_stdlib(folder: Path) -> None:
    """A standard library of three modules a family, on both sides of the split, with a sentence for each function."""
    for number, (family, modules) in enumerate(sorted(FAMILIES.items())[:3]):
        trained = [module for module in modules if not is_held_out(module)][:2]
        held_out = [module for module in modules if is_held_out(module)][:1]
        for place, module in enumerate(trained + held_out, start=10 * number + 1):
            functions = [
                f'def {verb.lower()}_{thing}(): """{verb} the {thing} of the {family} {module}.\n\n'
                f"    The {thing} is what {verb.lower()} works on, {place}{i} times, before it ends.\n"
                '    """\n'
                for i, verb in enumerate(VERBS)
                for thing in THINGS[number * 3 : number * 3 + 4]
            ]
            (folder / f"{module}.py").write_text("\n".join(functions), encoding="utf-8")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> QuickstartSettings:
    stdlib = tmp_path_factory.mktemp("stdlib")
    write_stdlib(stdlib)
    return QuickstartSettings(
        output_dir=tmp_path_factory.mktemp("run") / "out",
        stdlib=stdlib,
        minutes=0.01,
        vocab_size=200,
        model_size="tiny",
        architecture={"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2},
        max_length=48,
        batch_size=8,
    )


@pytest.fixture(scope="module")
def report(settings: QuickstartSettings) -> QuickstartReport:
    return quickstart(settings)


def test_it_leaves_a_page_a_record_data_and_models_that_load(
    settings: QuickstartSettings, report: QuickstartReport
) -> None:
    html = Path(report.report).read_text(encoding="utf-8")
    assert html == page(report).html()
    assert html.count("<svg") == 6
    record = json.loads((settings.output_dir / "report.json").read_text(encoding="utf-8"))
    assert record["questions"][0]["scores"][0]["model"] == PRETRAINED
    assert record["pretraining"]["num_steps"] == report.pretraining.num_steps
    assert load(settings.output_dir / "pretrained").predict(["Open the [MASK]."])[0].fills
    labels = load(settings.output_dir / "families-pretrained").task.labels()
    assert labels == tuple(sorted(FAMILIES)[:3])


def test_scores_are_those_of_the_saved_models_on_the_held_out_file(
    settings: QuickstartSettings, report: QuickstartReport
) -> None:
    for question in report.questions:
        with (settings.output_dir / "data" / f"{question.name}-held-out.csv").open(
            encoding="utf-8", newline=""
        ) as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == sum(held_out for _, held_out in question.counts.values())
        assert all(is_held_out(row["source"].partition(".")[0]) for row in rows)
        for model, folder in ((PRETRAINED, "pretrained"), (UNTRAINED, "untrained")):
            predictor = load(settings.output_dir / f"{question.name}-{folder}")
            requests = [{k: row[k] for k in ("text", "text_pair") if k in row} for row in rows]
            said = predictor.predict(requests)
            right = sum(p.label == row["label"] for p, row in zip(said, rows, strict=True))
            assert question.score(model).accuracy.value == pytest.approx(right / len(rows))


def test_no_module_is_on_two_sides(settings: QuickstartSettings, report: QuickstartReport) -> None:
    for question in report.questions:
        modules = []
        for part in ("train", "validation", "held-out"):
            path = settings.output_dir / "data" / f"{question.name}-{part}.csv"
            with path.open(encoding="utf-8", newline="") as file:
                modules.append({row["source"].partition(".")[0] for row in csv.DictReader(file)})
        assert modules[0].isdisjoint(modules[2])
        assert modules[1].isdisjoint(modules[0] | modules[2])
        assert all(modules)


def test_too_little_documentation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "os.py").write_text('"""Only one docstring."""', encoding="utf-8")
    with pytest.raises(DataError, match="too few"):
        quickstart(QuickstartSettings(output_dir=tmp_path / "out", stdlib=tmp_path))


@pytest.mark.parametrize(
    ("low", "high", "said"), [(1, 3, "BERT wins"), (-3, -1, "TF-IDF wins"), (-1, 3, "too close to call, BERT ahead")]
)
def test_the_verdict_is_said_in_plain_words(low: float, high: float, said: str) -> None:
    value = (low + high) / 200
    comparison = Comparison(Interval(value, low / 100, high / 100), 0, 0, 1.0)
    scores = (Score(PRETRAINED, Interval(0.7 + value, 0, 1), 0.7), Score(TFIDF, Interval(0.7, 0, 1), 0.7))
    facts = QuestionFacts(
        "pairs", "A question?", "", {}, 3, 1, 1.0, 0, scores, TFIDF, comparison, comparison, (), (), ()
    )
    assert f"A question?: {said}." in winner(facts)
