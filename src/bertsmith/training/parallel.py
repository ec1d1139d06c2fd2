"""One step over several processes: each computes on its share of the samples, and all do the step of the whole.

`Replicas` hold all weights in every process, `Shards` a piece of them in each (FSDP2). Knows gradients and weights, not
what is learned. Why replicas are not PyTorch's `DistributedDataParallel`: docs/decisions/010-several-processes.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence, Set
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bertsmith.errors import SettingsError
from bertsmith.runtime.device import Precision
from bertsmith.runtime.processes import Processes
from bertsmith.tasks.task import Task
from bertsmith.training.step import Step, backward

DataParallel = Literal["ddp", "fsdp"]


class Replicas:
    """A network of which every process holds all, and after each step the same. `trained` is what the optimizer steps.

    Alone, it is the network, and nothing is exchanged.
    """

    def __init__(self, network: nn.Module, group: Processes):
        self.network = self.trained = network
        self.group = group
        group.send_from_first(network.state_dict().values())

    def backward(
        self,
        task: Task[Any, Any],
        step: Step,
        counts: Mapping[str, float],
        precision: Precision,
        by_rows: Set[Tensor] = frozenset(),
        adversarial_epsilon: float | None = None,
    ) -> dict[str, float]:
        """The gradient of the step of all processes, in each what it holds of it; the mean of each named loss.

        counts: of all processes. by_rows: parameters whose gradient is sparse. adversarial_epsilon: as in `backward`.
        """
        sums = backward(task, self.trained, self._met(step), counts, precision, self.group, adversarial_epsilon)
        totals = self._total(sums, counts)
        self._exchange(by_rows)
        return {name: total / (counts[name] or 1) for name, total in totals.items()}

    def refresh(self) -> None:
        """Afterwards the network that the run was given holds the weights of now; every process calls it."""

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on with these weights of the whole network."""
        self.network.load_state_dict(weights)

    def _met(self, step: Step) -> Step:
        """The step such that the processes meet where they have to."""
        return step

    def _exchange(self, by_rows: Set[Tensor]) -> None:
        """Every gradient becomes that of all processes."""
        if self.group.size > 1:
            parameters = [parameter for parameter in self.trained.parameters() if parameter.requires_grad]
            _add_up_gradients(self.group, parameters, by_rows)

    def _total(self, sums: Mapping[str, Tensor], counts: Mapping[str, float]) -> dict[str, float]:
        """Each named sum over all processes; one without a batch has none of its own."""
        if self.group.size == 1:
            return {name: float(value) for name, value in sums.items()}
        names = sorted(counts)
        values = torch.tensor([float(sums.get(name, 0.0)) for name in names], dtype=torch.float64)
        values = values.to(next(self.trained.parameters()).device)
        self.group.add_up([values])
        return dict(zip(names, values.tolist(), strict=True))


class Shards(Replicas):
    """Weights, gradients and moments lie in pieces over the processes; a layer is put together while it computes.

    The network that was given is a plain copy, up to date after `refresh`. Every process computes the same number of
    micro-batches, because they meet in each: one that has fewer repeats its last with a weight of nothing.
    """

    def __init__(self, network: nn.Module, group: Processes):
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        super().__init__(network, group)
        # Networks that return a view are warned of changes in place, which no loss makes.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
        self.trained = deepcopy(network)
        mesh = init_device_mesh(next(network.parameters()).device.type, (group.size,))
        for module in [*_layers(self.trained), self.trained]:
            fully_shard(module, mesh=mesh)
        for module in self.trained.modules():
            if isinstance(module, FSDPModule):  # the loss is divided by the count of all already; gloo knows sums only
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)

    def refresh(self) -> None:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        self.network.load_state_dict(get_model_state_dict(self.trained, options=StateDictOptions(full_state_dict=True)))

    def load(self, weights: Mapping[str, Tensor]) -> None:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

        super().load(weights)
        set_model_state_dict(self.trained, dict(weights), options=StateDictOptions(full_state_dict=True))

    def _met(self, step: Step) -> Step:
        return step.idle(max(self.group.gather(len(step.batches))))

    def _exchange(self, by_rows: Set[Tensor]) -> None:
        assert not by_rows, "tables in pieces have dense gradients, which FSDP has exchanged"


def spread(network: nn.Module, kind: DataParallel, coupling: str, group: Processes) -> Replicas:
    """The network as `kind` spreads it over the processes. Raises `SettingsError` for a task that cannot be so."""
    if kind == "ddp" or group.size == 1:
        return Replicas(network, group)
    if coupling == "step":
        raise SettingsError(
            "data_parallel fsdp: this loss compares all rows of a step and needs whole weights; take ddp"
        )
    return Shards(network, group)


def bytes_beside(network: nn.Module, num_processes: int) -> int:
    """Of weights that each of the processes of `Shards` holds beside the plain network, while a layer computes.

    A piece of all weights; and whole what belongs to no layer, the layer that computes and the one that comes next.
    """
    layers = [sum(parameter.nbytes for parameter in layer.parameters()) for layer in _layers(network)]
    everything = sum(parameter.nbytes for parameter in network.parameters())
    outside = everything - sum(layers)
    return -(-everything // num_processes) + outside + sum(sorted(layers)[-2:])


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may lie in pieces; every process calls it."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """`value` on the parameter's device and, where that lies in pieces and is of the same shape, in the same pieces."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    value = value.to(parameter.device)
    if isinstance(parameter, DTensor) and value.shape == parameter.shape:
        return distribute_tensor(value, parameter.device_mesh, parameter.placements)
    return value


def _layers(network: nn.Module) -> list[nn.Module]:
    """The layers of its stacks: what is put together at a time. A decoder's are no modules to call, and stay whole."""
    layers = [layer for stack in network.modules() if isinstance(stack, nn.ModuleList) for layer in stack]
    return [layer for layer in layers if "forward" in vars(type(layer))]


def _add_up_gradients(group: Processes, parameters: Sequence[nn.Parameter], by_rows: Set[Tensor]) -> None:
    """Every gradient becomes its sum over all processes; one that no process has stays None."""
    holders = torch.tensor([float(parameter.grad is not None) for parameter in parameters], device=parameters[0].device)
    group.add_up([holders])
    dense = []
    for parameter, is_held in zip(parameters, holders.tolist(), strict=True):
        if not is_held:
            continue
        if parameter in by_rows:
            parameter.grad = _rows_of_all(group, parameter)
        else:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dense.append(parameter.grad)
    group.add_up(dense)


def _rows_of_all(group: Processes, table: Tensor) -> Tensor:
    """The sparse gradient of a table, with the rows of all processes."""
    if table.grad is None:
        rows, values = torch.empty(0, dtype=torch.int64, device=table.device), table.new_empty(0, table.shape[1])
    else:
        gradient = table.grad.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
    all_rows, _ = group.concatenate(rows)
    all_values, _ = group.concatenate(values)
    return torch.sparse_coo_tensor(all_rows[None], all_values, table.shape, check_invariants=False).coalesce()
