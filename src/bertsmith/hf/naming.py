"""Hugging Face's module names over our networks: a tree of containers that share the leaf modules. Computes nothing.

`model.bert.encoder.layer[0].attention.self.query` is then the very module that the network computes with, so parameter
names, state dicts, weight decay by name, freezing and replaced modules work as their users expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import nn


class Named(nn.Module):
    """A container whose children belong to other modules too; setting one here sets it there."""

    def __init__(self) -> None:
        super().__init__()
        self._owners: dict[str, tuple[nn.Module, str]] = {}

    def adopt(self, name: str, owner: nn.Module, attribute: str) -> None:
        """Make `owner.attribute`, a module or parameter, the child `name` as well."""
        super().__setattr__(name, getattr(owner, attribute))
        self._owners[name] = (owner, attribute)

    def __setattr__(self, name: str, value: Any) -> None:
        owner, attribute = self.__dict__.get("_owners", {}).get(name, (None, ""))
        if owner is not None:
            setattr(owner, attribute, value)
        elif name in self.__dict__.get("_modules", {}):
            raise AttributeError(
                f"{name!r} only holds names and cannot be replaced: replace the modules in it one by one"
            )
        super().__setattr__(name, value)


def attach(root: Named, network: nn.Module, names: Mapping[str, str]) -> None:
    """Build the tree of `names` (parameter of `network` -> name under `root`) around the modules that hold them."""
    for own, published in names.items():
        owner, _, attribute = own.rpartition(".")
        path = published.split(".")
        if not list(network.get_submodule(owner).children()):
            # Adopt the leaf module rather than each of its parameters: the last part of both names is the parameter's.
            owner, _, attribute = owner.rpartition(".")
            path.pop()
        _container(root, path[:-1]).adopt(path[-1], network.get_submodule(owner), attribute)


def _container(root: Named, path: list[str]) -> Named:
    node: nn.Module = root
    for part, following in zip(path, [*path[1:], ""], strict=False):
        if part not in node._modules:
            node.add_module(part, nn.ModuleList() if following.isdigit() else Named())
        node = node.get_submodule(part)
    return cast("Named", node)
