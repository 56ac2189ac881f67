"""Which weights of a decoder may be pruned: the Linear layers inside its blocks, nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import Tensor, nn

from pruner_zero.errors import UserError

_EXPERTS = re.compile(r"Expert|Router|SparseMo[eE]|Mo[eE]$|MoeBlock|MoeMLP")


@dataclass(frozen=True, eq=False)
class PrunableLayer:
    """One ``nn.Linear`` of one decoder block.

    Attributes:
        name: full dotted name in the model, e.g. ``"model.layers.0.self_attn.q_proj"``.
        short_name: name inside the block, e.g. ``"self_attn.q_proj"``.
        block: index of the decoder block, from 0.
        blocks: number of decoder blocks of the model.
        module: the layer; its weight has shape [out, in].
    """

    name: str
    short_name: str
    block: int
    blocks: int
    module: nn.Linear

    @property
    def weight(self) -> Tensor:
        """The weight, [out, in], as it is in the model right now."""
        return self.module.weight

    @property
    def shape(self) -> tuple[int, int]:
        """``(out, in)``."""
        return self.module.out_features, self.module.in_features

    @property
    def depth(self) -> float:
        """Relative depth, ``(block + 1) / blocks``, in (0, 1]."""
        return (self.block + 1) / self.blocks

    @property
    def public_key(self) -> str:
        """Key of this layer in gradient files of the public code, ``self_attn.q_proj_layer_0``."""
        return f"{self.short_name}_layer_{self.block}"


def find_blocks(model: nn.Module) -> nn.ModuleList:
    """Find the decoder blocks of any decoder-only transformer of the transformers library.

    They are the one ``ModuleList`` that is as long as the config's ``num_hidden_layers`` and holds
    Linear layers, whatever the architecture calls it (``model.layers``, ``gpt_neox.layers``, …).

    Args:
        model: a causal language model.

    Returns:
        The blocks, in the order in which they run.

    Raises:
        UserError: the model has no config, is an encoder-decoder, or no such list exists.
    """
    return _named_blocks(model)[1]


def prunable_layers(model: nn.Module) -> tuple[PrunableLayer, ...]:
    """List every Linear layer inside the decoder blocks, in module order.

    Embeddings, norms and the output head are never among them.

    Args:
        model: a causal language model.

    Returns:
        The layers, block by block.

    Raises:
        UserError: a block holds weights that are not in a plain ``nn.Linear`` (mixture of experts,
            quantised layers, Conv1D): a score would silently miss them.
    """
    path, blocks = _named_blocks(model)
    found: list[PrunableLayer] = []
    for index, block in enumerate(blocks):
        for short_name, module in block.named_modules():
            name = f"{path}.{index}.{short_name}" if short_name else f"{path}.{index}"
            if type(module) is nn.Linear:
                if not module.weight.is_floating_point():
                    raise _not_supported(name, module, "quantised weights")
                found.append(PrunableLayer(name, short_name, index, len(blocks), module))
            else:
                _refuse_hidden_weights(name, module)
    if not found:
        raise UserError(f"{type(model).__name__}: no nn.Linear inside its blocks, nothing to prune")
    return tuple(found)


def _named_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    config = getattr(model, "config", None)
    if config is None:
        raise UserError(f"{type(model).__name__} has no config: not a transformers model")
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"{type(model).__name__}: not supported, only decoder-only models can be pruned"
        )
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    depth = getattr(text, "num_hidden_layers", None)
    candidates = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth and _holds_matrices(module)
    ]
    # A list inside a block (its experts, say) can have the same length: the outermost one is meant.
    outer = [
        (name, module)
        for name, module in candidates
        if not any(name.startswith(f"{other}.") for other, _ in candidates)
    ]
    if len(outer) != 1:
        what = "no" if not outer else "more than one"
        raise UserError(
            f"{type(model).__name__}: not supported, {what} list of {depth} decoder blocks found"
        )
    return outer[0]


def _holds_matrices(blocks: nn.ModuleList) -> bool:
    return any(parameter.dim() >= 2 for parameter in blocks[0].parameters())


def _refuse_hidden_weights(name: str, module: nn.Module) -> None:
    kind = type(module).__name__
    if isinstance(module, nn.Linear):
        raise _not_supported(name, module, "a special Linear (quantised, parametrised or adapted)")
    own = dict(module.named_parameters(recurse=False))
    if any(parameter.dim() >= 3 for parameter in own.values()) or _EXPERTS.search(kind):
        raise _not_supported(name, module, "mixture of experts")
    packed = {"qweight", "scales", "weight_packed", "weight_scale", "_packed_params"}
    if packed & set(vars(module)) or packed & set(module._buffers) or packed & set(own):
        raise _not_supported(name, module, "quantised weights")
    if any(parameter.dim() == 2 for parameter in own.values()):
        raise _not_supported(name, module, "a matrix outside nn.Linear")


def _not_supported(name: str, module: nn.Module, reason: str) -> UserError:
    return UserError(f"not supported: {name} is {type(module).__name__} ({reason})")


def check_same_layer(layer: PrunableLayer, tensor: Tensor, what: str) -> None:
    """Check that a tensor has the shape of a layer's weight.

    Args:
        layer: the layer.
        tensor: expected to be [out, in].
        what: what the tensor is, for the message.

    Raises:
        UserError: the shapes differ; the message names the layer and both shapes.
    """
    if tuple(tensor.shape) != layer.shape:
        raise UserError(
            f"{what} of {layer.name} has shape {list(tensor.shape)}, "
            f"the model's weight has {list(layer.shape)}"
        )
