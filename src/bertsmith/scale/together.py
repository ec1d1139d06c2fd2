"""One function in several workers at once, as one training run: processes of this machine, or workers of a Ray cluster.

The workers find each other by what the launcher puts into their environment (`runtime/processes.py`). Where one dies
all are started again, and the function goes on from what it has saved. Knows no training.
"""

from __future__ import annotations

import logging
import os
import pickle
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from bertsmith.errors import BertsmithError
from bertsmith.files import atomic_file
from bertsmith.runtime.interruption import InterruptedRunError
from bertsmith.runtime.processes import LostProcessError
from bertsmith.scale.local import threads_of_workers
from bertsmith.scale.ray_cluster import connected, num_workers
from bertsmith.scale.runner import ScaleSettings

Value = TypeVar("Value")
Outcome = tuple[Any, BertsmithError | OSError | None]
"""The value, or why there is none."""
Call = tuple[Callable[..., Any], tuple[Any, ...]]
JOB = "TORCHELASTIC_RUN_ID"
GO_ON = "what was saved is whole: the same command and --resume-from-checkpoint auto go on"


def run_together(
    function: Callable[..., Value], arguments: tuple[Any, ...], settings: ScaleSettings, timeout_seconds: float
) -> Value:
    """What `function(*arguments)` returns in the first worker; every worker calls it. Both are pickled.

    timeout_seconds: for how long a worker may not answer. Raises the function's `BertsmithError`, `LostProcessError`
    where workers died too often, `InterruptedRunError` where a signal has come.
    """
    assert settings.on is not None
    call = (function, arguments)
    value, error = (_on_ray if settings.on == "ray" else _here)(call, settings, timeout_seconds)
    if error is not None:
        raise error
    return value  # type: ignore[no-any-return]


def _here(call: Call, settings: ScaleSettings, timeout_seconds: float) -> Outcome:
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Of a worker that ended the launcher writes pages; what matters is told below.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=settings.local_workers,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=settings.max_restarts,
        monitor_interval=0.5,
        start_method="spawn",
        signals_to_handle="SIGTERM,SIGINT,SIGUSR1",
    )
    try:
        with (
            tempfile.TemporaryDirectory(prefix="bertsmith-errors-") as name,
            threads_of_workers(settings.local_threads),
        ):
            errors = Path(name)
            try:
                return _first(elastic_launch(config, _in_process)(errors, *call))
            except ChildFailedError:
                if (found := next(iter(sorted(errors.iterdir())), None)) is not None:
                    return None, pickle.loads(found.read_bytes())  # written by our own worker
                raise
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise LostProcessError(
            f"worker {rank} ended with {failure.exitcode}, after {settings.max_restarts} new starts of all; {GO_ON}"
        ) from None
    except SignalException as error:
        raise InterruptedRunError(f"stopped by {error.sigval.name}; {GO_ON}") from None


def _first(outcomes: Mapping[int, Outcome]) -> Outcome:
    """The first worker's value; or the error of any."""
    errors = [error for _, error in outcomes.values() if error is not None and not getattr(error, "is_told", False)]
    return outcomes[0][0], errors[0] if errors else None


def _in_process(errors: Path, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Outcome:
    """The worker. An error of its own is left in `errors`: the launcher would start all again, and they end at once."""
    with suppress(OSError):
        os.setpgid(0, 0)  # Ctrl-C is for the launcher, which passes it on once
    if any(errors.iterdir()):
        os._exit(1)
    try:
        return _outcome(function, arguments)
    except LostProcessError:
        raise
    except (BertsmithError, OSError) as error:
        with atomic_file(errors / os.environ["RANK"]) as temporary:
            temporary.write_bytes(pickle.dumps(error))
        os._exit(1)


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Outcome:
    """The value, or the error that all workers have; one of this worker alone is raised, as is a lost one."""
    try:
        return function(*arguments), None
    except (BertsmithError, OSError) as error:
        if not getattr(error, "is_common", False):
            raise
        return None, error


def _on_ray(call: Call, settings: ScaleSettings, timeout_seconds: float) -> Outcome:
    with connected(settings) as ray, tempfile.TemporaryDirectory(prefix="bertsmith-ray-") as storage:
        train = import_module("ray.train")
        torch_train = import_module("ray.train.torch")

        most, gpus = num_workers(ray, settings), settings.gpus_per_worker
        job = uuid4().hex
        trainer = torch_train.TorchTrainer(
            _on_ray_worker,
            train_loop_config={
                "call": call,
                "job": job,
                "folder": os.getcwd(),
                "threads": settings.threads_per_worker or 1,
            },
            torch_config=torch_train.TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=int(timeout_seconds)),
            scaling_config=train.ScalingConfig(
                num_workers=most if settings.min_workers is None else (settings.min_workers, most),
                use_gpu=bool(gpus),
                resources_per_worker={"CPU": settings.threads_per_worker or 1} | ({"GPU": gpus} if gpus else {}),
            ),
            run_config=train.RunConfig(
                name=job, storage_path=storage, failure_config=train.FailureConfig(max_failures=settings.max_restarts)
            ),
        )
        try:
            outcome: Outcome = trainer.fit().return_value
        except train.TrainingFailedError as error:
            reason = str(error).strip().splitlines()[-1]
            raise LostProcessError(
                f"training on Ray ended after {settings.max_restarts} new starts ({reason}); {GO_ON}"
            ) from None
    return outcome


def _on_ray_worker(config: dict[str, Any]) -> Outcome:
    import torch

    os.environ[JOB] = config["job"]
    torch.set_num_threads(config["threads"])
    try:
        os.chdir(config["folder"])
    except OSError as error:
        return None, BertsmithError(
            f"{config['folder']}: {error.strerror} on a machine of the cluster; data and output have to be in a folder "
            "that all machines share"
        )
    return _outcome(*config["call"])
