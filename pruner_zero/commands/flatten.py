"""Nested settings as one level of dotted keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf


def flatten(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by dotted key, such as ``search.minutes``.

    Args:
        config: a configuration, whose interpolations are resolved, or plain nested mappings.
    """
    tree: Any = config
    if isinstance(config, DictConfig):
        tree = OmegaConf.to_container(config, resolve=True)
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update({f"{key}.{inner}": leaf for inner, leaf in flatten(value).items()})
        else:
            flat[str(key)] = value
    return flat
