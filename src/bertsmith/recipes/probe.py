"""What the layers of a model know of a task, measured by linear probes, as one function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from bertsmith.catalog import data_set
from bertsmith.errors import SettingsError
from bertsmith.evaluation.probe import Probing, probe
from bertsmith.evaluation.probe_page import probe_page
from bertsmith.evaluation.probe_states import Pooling, read_states, refuse_to_probe
from bertsmith.files import atomic_file, write_json
from bertsmith.inference.predictor import CPU_TOKENS, GPU_TOKENS, Predictor
from bertsmith.recipes.examples import DataSettings, drawn, load_examples
from bertsmith.recipes.start import ModelName, start_from
from bertsmith.runtime.device import pick_device
from bertsmith.runtime.progress import Progress
from bertsmith.tasks import Task, task_class

REPORT, FACTS = "probe.html", "probe.json"


class ProbeSettings(DataSettings):
    """One model, and the examples that its layers are probed with."""

    model: ModelName = Field(description="a model for any task, or a pre-trained one: a folder or a hub name")
    task: str | None = Field(
        None, description="classification (of whole texts) or token_classification; None: that of the data set"
    )
    max_train_samples: int | None = Field(
        2000, ge=1, description="use so many training examples, those split off among them; always the same ones"
    )
    max_eval_samples: int | None = Field(1000, ge=1, description="judge on so many examples, always the same ones")
    pooling: Pooling = Field("mean", description="a text's vector: the mean of its tokens' states, or the first one's")
    penalty: float = Field(1.0, gt=0, description="of the probe's squared weights, beside the sum of its losses")
    seed: int = Field(0, ge=0, description="of the control's random labels")
    report_dir: Path | None = Field(None, description=f"folder for {REPORT} and {FACTS}; None: no report")
    device: str = Field("auto", description="cpu, cuda or cuda:N; auto: the first GPU, else the CPU")


@dataclass(frozen=True)
class ProbeReport:
    """judged_on: the side of the data. warnings: of the data and the model. report: the page's path, if asked for."""

    found: Probing
    judged_on: str
    warnings: tuple[str, ...]
    report: Path | None = None


def probe_layers(settings: ProbeSettings | Mapping[str, Any], progress: Progress | None = None) -> ProbeReport:
    """Probe every layer of the model; judged on the test examples, or where there are none on those for validation."""
    settings = settings if isinstance(settings, ProbeSettings) else ProbeSettings.of(settings)
    progress = progress or Progress()
    examples = load_examples(_task(settings), settings)
    refuse_to_probe(examples.task)
    side = "test" if examples.test else "validation"
    judged, notes = drawn(examples.test or examples.validation, settings.max_eval_samples)
    start = start_from(examples.task, settings.model, {})
    device = pick_device(settings.device)
    budget = CPU_TOKENS if device.type == "cpu" else GPU_TOKENS
    predictor = Predictor(start.task, start.network.to(device).eval(), start.tokenizer, "fp32", budget)
    train = examples.train
    states = [read_states(predictor, rows, pooling=settings.pooling, progress=progress) for rows in (train, judged)]
    found = probe(
        start.task,
        (train, states[0]),
        (judged, states[1]),
        penalty=settings.penalty,
        seed=settings.seed,
        progress=progress,
    )
    warnings = (*examples.warnings, *notes)
    if settings.report_dir is None:
        return ProbeReport(found, side, warnings)
    model = Path(settings.model).name or settings.model
    path = settings.report_dir / REPORT
    data = f"{settings.data_name.name}, {side}"
    probe_page(found, model=model, data=data, warnings=warnings).write(path)
    facts = asdict(found) | {"model": settings.model, "judged_on": side, "data": examples.record()}
    with atomic_file(settings.report_dir / FACTS) as temporary:
        write_json(temporary, facts)
    return ProbeReport(found, side, warnings, path)


def _task(settings: ProbeSettings) -> Task[Any, Any]:
    known = None if settings.dataset is None else data_set(settings.dataset)
    asked = None if settings.task is None else settings.task.replace("-", "_")
    name = asked or (None if known is None else known.task)
    if name is None:
        raise SettingsError("probe for which task? Say --task classification or --task token_classification")
    if known is not None and known.task != name:
        raise SettingsError(f"{known.name} is a data set for {known.task}, not for {name}")
    kind = task_class(name)
    task = kind(kind.Settings.of(known.task_settings if known else {}, name))
    refuse_to_probe(task)
    return task
