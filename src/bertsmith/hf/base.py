"""What the Hugging Face shaped classes have in common, and the one without a head.

Shapes: B rows, S columns.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Generic, Self, TypedDict, TypeVar, Unpack

import torch
from torch import Tensor

from bertsmith.errors import nearest
from bertsmith.files import atomic_folder, write_json
from bertsmith.hf.config import BertConfig
from bertsmith.hf.naming import Named, attach
from bertsmith.hf.outputs import BaseModelOutput, ModelOutput
from bertsmith.hf.padding import Padded
from bertsmith.hub import resolve_folder
from bertsmith.model.attention import Capture
from bertsmith.model.checkpoints import (
    CONFIG,
    config_to_hugging_face,
    load_weights,
    read_config,
    save_weights,
    shapes_only,
)
from bertsmith.model.name_tables import HUGGING_FACE
from bertsmith.model.networks import BareNetwork, Network

N = TypeVar("N", bound=Network)
_log = logging.getLogger("bertsmith")


class CallOptions(TypedDict, total=False):
    """What a call returns beside the logits, and whether as a plain tuple; the config's settings where not given."""

    output_hidden_states: bool | None
    output_attentions: bool | None
    return_dict: bool | None


class BertPreTrainedModel(Named, Generic[N]):
    """What the classes have in common. `network` computes; the children are its leaf modules under the usual names."""

    def __init__(self, config: BertConfig, network: N):
        super().__init__()
        self.config = config
        self._wrapped = (network,)  # in a tuple, so that it is no child and nothing has two names
        names = HUGGING_FACE.published_names(network.config.num_hidden_layers)
        names = {own: names[own] for own, _ in network.named_parameters()}
        if isinstance(network, BareNetwork):
            attach(self, network, {own: name.removeprefix(HUGGING_FACE.prefix) for own, name in names.items()})
        else:
            self.bert = BertModel(config, trunk_of=network)
            heads = {own: name for own, name in names.items() if not name.startswith(HUGGING_FACE.prefix)}
            attach(self, network, heads)

    @property
    def network(self) -> N:
        return self._wrapped[0]

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.network.train(mode)  # dropout belongs to modules that have no name there
        return self

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, *, ignore_mismatched_sizes: bool = False, **overrides: Any
    ) -> Self:
        """A model in evaluation mode from a folder, a Google checkpoint's prefix, or the Hugging Face hub by name.

        `overrides` are settings of `BertConfig` (`num_labels=3`). What the checkpoint lacks is new and logged. A head
        of another size is refused, or with `ignore_mismatched_sizes` new. Raises `FileFormatError` for files that are
        damaged, unsafe or of another family.
        """
        place = resolve_folder(name_or_folder)
        config = BertConfig.read(place, **overrides)
        read_config(place)
        model = cls(config)  # type: ignore[call-arg]  # the classes to construct take a config alone
        report = load_weights(model.network, place, heads="fit" if ignore_mismatched_sizes else "load")
        if report.missing:
            _log.warning(
                "%s: not in the checkpoint, so new and in need of training: %s", place, ", ".join(report.missing)
            )
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors`, which `transformers` reads too; whole or not at all."""
        config = self.config.to_dict()
        labels = {name: config[name] for name in ("id2label", "label2id")}
        with atomic_folder(Path(folder)) as temporary:
            write_json(temporary / CONFIG, config | config_to_hugging_face(self.network) | labels)
            save_weights(self.network, temporary)

    def _pad(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
    ) -> Padded:
        return Padded.of(input_ids, attention_mask, token_type_ids, position_ids, self.network.config)

    def _capture(self, options: CallOptions) -> Capture:
        for name in options:
            if name not in CallOptions.__annotations__:
                raise TypeError(
                    f"{type(self).__name__} takes no {name!r}; {nearest(name, CallOptions.__annotations__)}"
                )
        return Capture(self._option(options, "output_hidden_states"), self._option(options, "output_attentions"))

    def _answer(self, output: ModelOutput, padded: Padded, capture: Capture, options: CallOptions) -> Any:
        if capture.want_hidden_states:
            output["hidden_states"] = tuple(padded.spread(states.to(self.dtype)) for states in capture.hidden_states)
        if capture.want_attentions:
            output["attentions"] = tuple(padded.spread_pairs(layer) for layer in capture.attentions)
        return output if self._option(options, "return_dict") else output.to_tuple()

    def _option(self, options: CallOptions, name: str) -> bool:
        given = options.get(name)
        return bool(getattr(self.config, name) if given is None else given)


class BertModel(BertPreTrainedModel[BareNetwork]):
    """The encoder and its pooler. In the other classes, `model.bert` is one that shares their weights."""

    def __init__(self, config: BertConfig, add_pooling_layer: bool = True, *, trunk_of: Network | None = None):
        network = BareNetwork(config.encoder(), pooled=add_pooling_layer) if trunk_of is None else _trunk(trunk_of)
        super().__init__(config, network)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """[B, S] each -> `BaseModelOutput`."""
        padded, capture = self._pad(input_ids, attention_mask, token_type_ids, position_ids), self._capture(options)
        hidden, pooled = self.network(padded.packed, capture)
        return self._answer(BaseModelOutput(padded.spread(hidden.to(self.dtype)), pooled), padded, capture, options)


def _trunk(network: Network) -> BareNetwork:
    """The encoder and, where there is one, the pooler of another network, shared."""
    pooler = getattr(network, "pooler", None)
    with shapes_only():
        trunk = BareNetwork(network.config, pooled=pooler is not None)
    trunk.encoder, trunk.pooler = network.encoder, pooler
    return trunk
