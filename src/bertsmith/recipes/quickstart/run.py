"""The quickstart from start to end: gathers, learns, measures. Calls the other recipes, fits their steps to the time.

The time given is that of the whole run. Before training starts, a few steps of each kind are timed; fine-tuning gets
what it can use, pre-training the rest.
"""

from __future__ import annotations

import math
import random
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from bertsmith.artifact import Artifact, save_artifact, versions
from bertsmith.catalog.python_docs import PythonDocs, family_rows, gather, pair_rows
from bertsmith.errors import DataError
from bertsmith.files import atomic_file, write_json
from bertsmith.inference.predictor import load
from bertsmith.model.checkpoints import read_config
from bertsmith.model.presets import preset
from bertsmith.recipes.finetune import FinetuneReport
from bertsmith.recipes.prepare import PrepareReport, PrepareSettings, prepare
from bertsmith.recipes.pretrain import PretrainReport, PretrainSettings, pretrain
from bertsmith.recipes.quickstart.page import page
from bertsmith.recipes.quickstart.questions import (
    Answers,
    Fold,
    Question,
    answer,
    baselines_of,
    fine_tune,
    write_rows,
)
from bertsmith.recipes.quickstart.results import (
    PRETRAINED,
    CorpusFacts,
    Fill,
    PretrainingFacts,
    QuestionFacts,
    QuickstartReport,
)
from bertsmith.runtime.device import Precision, pick_device, pick_precision
from bertsmith.runtime.progress import Progress
from bertsmith.settings import Settings
from bertsmith.tasks.pretraining import Pretraining, PretrainingSettings
from bertsmith.text.tokenizer import Tokenizer
from bertsmith.text.wordpiece import VocabularyReport, WordPieceSettings, learn_wordpiece
from bertsmith.training.optimizer import OptimizerSettings
from bertsmith.training.settings import TrainingSettings

TIMED_STEPS = 8
FILLS_SHOWN = 8
PRETRAINING_EVALUATIONS = 8


class QuickstartSettings(Settings):
    """What a newcomer may wish to change; `docs/log.md` tells what else was tried."""

    output_dir: Path = Field(Path("quickstart"), description="folder for the report, the data and the models")
    minutes: float = Field(8.0, gt=0, description="time for the whole run, in minutes")
    seed: int = Field(0, ge=0, description="decides new weights, order, masks and pairs")
    stdlib: Path | None = Field(None, description="folder of a Python standard library; None: the running Python's")
    vocab_size: int = Field(8_000, ge=100, description="pieces in the vocabulary")
    model_size: str = Field("tiny", description="tiny, mini, small, medium, base or large")
    architecture: dict[str, Any] = Field(
        {
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "max_position_embeddings": 128,
            "initializer_range": 0.06,
            "positions": {"kind": "rotary"},
            "normalization": {"kind": "layer_norm", "placement": "pre"},
        },
        description="numbers and variants laid over the model size; these learn fastest in little time",
    )
    max_length: int = Field(64, ge=16, le=128, description="longest pre-training input, in tokens")
    batch_size: int = Field(16, ge=1, description="examples an optimizer step")
    pretraining_learning_rate: float = Field(2e-3, gt=0, description="peak learning rate of pre-training")
    finetuning_learning_rate: float = Field(1e-3, gt=0, description="peak learning rate of fine-tuning")
    finetuning_epochs: float = Field(4.0, gt=0, description="passes of fine-tuning, fewer where the time is short")
    precision: Precision = Field("auto", description="bf16 or fp32; auto: bf16 where the machine has it")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")


def quickstart(settings: QuickstartSettings, progress: Progress | None = None) -> QuickstartReport:
    """Run it; `output_dir` holds report.html, report.json, the data as CSV and text, and all models.

    Raises `DataError` where the installation carries no documentation.
    """
    run = _Run(settings, progress or Progress())
    report = run.report()
    page(report).write(Path(report.report))
    with atomic_file(settings.output_dir / "report.json") as temporary:
        write_json(temporary, asdict(report))
    return report


class _Run:
    """The stages in order, and the time that each took."""

    def __init__(self, settings: QuickstartSettings, progress: Progress):
        self.settings = settings
        self.progress = progress
        self.folder = settings.output_dir
        self.seconds: dict[str, float] = {}
        self._started = time.monotonic()

    def report(self) -> QuickstartReport:
        settings = self.settings
        with self.stage("reading the documentation"):
            docs = gather(settings.stdlib)
            questions = _questions(docs, settings.seed)
            folds = [write_rows(question, self.folder / "data", settings.seed) for question in questions]
            text = _write_documents(docs, self.folder / "data" / "documents.txt")
        with self.stage("learning the vocabulary"):
            vocabulary, tokenizer = self.learn_vocabulary(text)
        with self.stage("preparing the corpus"):
            corpus = prepare(
                PrepareSettings(
                    files=(text,),
                    tokenizer=self.folder / "tokenizer",
                    output_dir=self.folder / "corpus",
                    format="sentences",
                ),
                self.progress,
            )
        with self.stage("baselines"):
            baselines = [baselines_of(question) for question in questions]
        with self.stage("timing a few steps"):
            self.save_untrained(tokenizer)
            steps = self.plan(questions, folds)
        with self.stage("pre-training"):
            pretrained = self.pretrain(steps[0], self.folder / "pretrained")
            pretraining = self.pretraining_facts(pretrained, docs, tokenizer)
        answers = []
        for question, fold, scores, num_steps in zip(questions, folds, baselines, steps[1:], strict=True):
            with self.stage(f"fine-tuning: {question.name}"):
                answers.append(self.answer(question, fold, scores, num_steps))
        return QuickstartReport(
            output_dir=str(self.folder),
            report=str(self.folder / "report.html"),
            corpus=_corpus_facts(docs, corpus),
            vocabulary=vocabulary,
            network=self.network_in_words(),
            pretraining=pretraining,
            questions=tuple(answers),
            seconds=self.seconds,
            precision=pick_precision(settings.precision, pick_device(settings.device)),
            num_threads=torch.get_num_threads(),
            versions=versions(),
        )

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.progress.note(name)
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started

    def learn_vocabulary(self, text: Path) -> tuple[VocabularyReport, Tokenizer]:
        learned = learn_wordpiece([text], WordPieceSettings(vocab_size=self.settings.vocab_size), self.progress)
        tokenizer = learned.tokenizer()
        tokenizer.save(self.folder / "tokenizer")
        return learned.report, tokenizer

    def save_untrained(self, tokenizer: Tokenizer) -> None:
        """The network with the weights that pre-training would start from, in the layout of a pre-trained one."""
        torch.manual_seed(self.settings.seed)
        task = Pretraining(PretrainingSettings(max_length=self.settings.max_length))
        shape = {"vocab_size": tokenizer.vocab_size, "pad_token_id": tokenizer.pad_id} | self.settings.architecture
        network = task.build(preset(self.settings.model_size, **shape))
        save_artifact(self.folder / "untrained", Artifact(task, network, tokenizer))

    def plan(self, questions: Sequence[Question], folds: Sequence[Fold]) -> list[int]:
        """Steps of pre-training and of each question, from the time left and the speed of a few steps of each."""
        settings = self.settings
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            trial = Path(folder)
            pretraining = self.pretrain(TIMED_STEPS, trial / "pretrained").training
            tuning = [
                self.fine_tune(question, fold, "untrained", trial / question.name, TIMED_STEPS).training
                for question, fold in zip(questions, folds, strict=True)
            ]
        # A fifth is for evaluating, saving, and a machine that is slower later.
        left = 0.8 * (60 * settings.minutes - (time.monotonic() - self._started))
        wanted = [q.steps_per_epoch(settings.batch_size) * settings.finetuning_epochs for q in questions]
        cost = sum(2 * n * t.seconds / t.num_steps for n, t in zip(wanted, tuning, strict=True))
        share = min(1.0, max(0.0, 0.4 * left / cost))
        rest = max(0.0, left - share * cost)
        steps = [rest / (pretraining.seconds / pretraining.num_steps), *(share * n for n in wanted)]
        return [max(TIMED_STEPS, math.floor(n)) for n in steps]

    def pretrain(self, num_steps: int, output_dir: Path) -> PretrainReport:
        settings = self.settings
        return pretrain(
            PretrainSettings(
                corpus=(self.folder / "corpus",),
                output_dir=output_dir,
                overwrite_output_dir=True,
                model_size=settings.model_size,
                architecture=settings.architecture,
                validation_fraction=0.02,
                task=PretrainingSettings(max_length=settings.max_length),
                training=self.training(num_steps, settings.pretraining_learning_rate, PRETRAINING_EVALUATIONS),
            ),
            self.progress,
        )

    def fine_tune(self, question: Question, fold: Fold, model: str, output_dir: Path, num_steps: int) -> FinetuneReport:
        evaluations = max(1, round(num_steps / question.steps_per_epoch(self.settings.batch_size)))
        training = self.training(num_steps, self.settings.finetuning_learning_rate, evaluations)
        return fine_tune(question, fold, self.folder / model, output_dir, training, self.progress)

    def training(self, num_steps: int, learning_rate: float, evaluations: int) -> TrainingSettings:
        return TrainingSettings(
            max_steps=num_steps,
            per_device_train_batch_size=self.settings.batch_size,
            learning_rate=learning_rate,
            eval_steps=math.ceil(num_steps / evaluations),
            optimizer=OptimizerSettings(adam_beta2=0.98),
            seed=self.settings.seed,
            precision=self.settings.precision,
            device=self.settings.device,
        )

    def answer(self, question: Question, fold: Fold, baselines: Sequence[Answers], num_steps: int) -> QuestionFacts:
        def tune(model: str) -> FinetuneReport:
            start = "pretrained" if model == PRETRAINED else "untrained"
            return self.fine_tune(question, fold, start, self.folder / f"{question.name}-{start}", num_steps)

        return answer(
            question,
            tune,
            baselines,
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
            device=self.settings.device,
        )

    def pretraining_facts(self, run: PretrainReport, docs: PythonDocs, tokenizer: Tokenizer) -> PretrainingFacts:
        training, best = run.training, run.metrics or {}
        return PretrainingFacts(
            num_parameters=run.num_parameters,
            num_steps=training.num_steps,
            num_tokens=training.num_tokens,
            num_epochs=training.num_steps * self.settings.batch_size / run.num_passages,
            tokens_per_second=training.tokens_per_second,
            masked_accuracy=best["masked_accuracy"],
            sentence_accuracy=best["sentence_accuracy"],
            losses=tuple((step, losses["mlm"], losses["next"]) for step, losses in training.history),
            scores=tuple((step, m["masked_accuracy"], m["sentence_accuracy"]) for step, m in training.evaluations),
            fills=self.fills(docs.held_out_sentences(), tokenizer),
        )

    def fills(self, sentences: Sequence[str], tokenizer: Tokenizer) -> tuple[Fill, ...]:
        """Guesses at words hidden in held-out sentences; sentences and words are drawn at random."""
        rng = random.Random(self.settings.seed)
        hidden: list[tuple[str, str]] = []
        for sentence in rng.sample(sentences, min(len(sentences), 50 * FILLS_SHOWN)):
            words = [word for word in re.finditer(r"\b[a-z]{4,}\b", sentence) if word[0] in tokenizer.ids]
            if words and 8 <= len(sentence.split()) <= 20 and len(hidden) < FILLS_SHOWN:
                word = rng.choice(words)
                hidden.append((f"{sentence[: word.start()]}[MASK]{sentence[word.end() :]}", word[0]))
        predictor = load(self.folder / "pretrained", device=self.settings.device, precision=self.settings.precision)
        predictions = predictor.predict([text for text, _ in hidden])
        return tuple(
            Fill(text, word, tuple((fill.token, fill.score) for fill in prediction.fills[0]))
            for (text, word), prediction in zip(hidden, predictions, strict=True)
        )

    def network_in_words(self) -> str:
        config = read_config(self.folder / "pretrained")
        return (
            f"{config.num_hidden_layers} layers of width {config.hidden_size}, {config.num_attention_heads} heads, "
            f"{config.positions.kind} positions, {config.normalization.placement}-normalized"
        )


def _questions(docs: PythonDocs, seed: int) -> list[Question]:
    questions = [
        Question(
            "pairs",
            "Does the description belong to the summary?",
            "A docstring begins with a summary line; the description follows. Half of the descriptions were swapped "
            "with those of other objects of the same source file, so both texts are about the same things, and every "
            "text occurs once in a true and once in a false pair.",
            pair_rows(docs, seed),
        ),
        Question(
            "families",
            "Which family of modules does the docstring come from?",
            "Each module of the standard library belongs to one family by a written table. The module's own name is "
            "masked in the text as ___; the modules asked about were never seen in training.",
            family_rows(docs),
        ),
    ]
    for question in questions:
        if min(len(question.rows.train), len(question.rows.held_out)) < 20:
            raise DataError(
                f"the standard library has {len(docs.docstrings)} docstrings, too few for the question "
                f"{question.name!r}: expected a full Python installation with its source files"
            )
    return questions


def _write_documents(docs: PythonDocs, path: Path) -> Path:
    """One sentence a line, a blank line between documents."""
    with atomic_file(path) as temporary:
        temporary.write_text("\n\n".join("\n".join(document) for document in docs.documents) + "\n", encoding="utf-8")
    return path


def _corpus_facts(docs: PythonDocs, corpus: PrepareReport) -> CorpusFacts:
    return CorpusFacts(
        num_files=docs.num_files,
        num_unreadable_files=len(docs.unreadable_files),
        num_docstrings=len(docs.docstrings),
        num_duplicates=docs.num_duplicates,
        num_crossing_duplicates=docs.num_crossing_duplicates,
        num_characters=docs.num_characters,
        num_documents=corpus.num_documents,
        num_sentences=corpus.num_sentences,
        num_tokens=corpus.num_tokens,
    )
