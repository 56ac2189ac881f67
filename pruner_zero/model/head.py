"""From hidden states to losses without ever holding [tokens × vocabulary] numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruner_zero.errors import UserError
from pruner_zero.model.modes import evaluation_mode

# 32 MB of float32 logits: the allocator gives larger pieces back to the system each time, and
# taking them again can double the time of the head.
_CPU_CELLS = 1 << 23
_CUDA_CELLS = 1 << 28
_PROBE_TOKENS = 8


@dataclass(frozen=True)
class CausalHead:
    """A causal language model cut in two: the decoder, and the output layer with what follows it.

    Use ``CausalHead.of``, which checks that both halves together are the model.

    Attributes:
        model: the whole model.
        decoder: ids → object with ``last_hidden_state``; None when the model cannot be cut, then
            the complete logits are computed.
        output: the output layer, hidden → logits.
        multiplier: factor on the logits (Cohere, Granite).
        softcap: soft cap on the logits, 0 for none (Gemma 2).
        losses: what computes `token_losses` when it is compiled.
    """

    model: nn.Module
    decoder: nn.Module | None
    output: nn.Module
    multiplier: float = 1.0
    softcap: float = 0.0
    losses: Callable[[Tensor, Tensor], Tensor] | None = None

    @classmethod
    def of(cls, model: nn.Module) -> CausalHead:
        """Cut a model and check the cut on a few tokens.

        Args:
            model: a causal language model.

        Returns:
            The two halves, or the model as a whole when the halves do not give its own logits.

        Raises:
            UserError: the model has no output layer.
        """
        causal: Any = model
        output = causal.get_output_embeddings()
        if output is None:
            raise UserError(f"{type(model).__name__} has no output layer: not a language model")
        config = causal.config.get_text_config()
        scaling = getattr(config, "logits_scaling", None)
        multiplier = getattr(config, "logit_scale", None) or (1.0 / scaling if scaling else 1.0)
        softcap = getattr(config, "final_logit_softcapping", None) or 0.0
        decoder = causal.base_model if causal.base_model is not model else None
        head = cls(model, decoder, output, float(multiplier), float(softcap))
        return head if head._is_the_model() else cls(model, None, output)

    def compiled(self, backend: str | Callable[..., Any] = "inductor") -> CausalHead:
        """Return the same head, compiled by ``torch.compile``.

        The decoder's blocks are compiled one at a time, which takes seconds where the whole takes
        minutes, for all of them are one program. Weights may change in place without a new
        compilation, and so may the number and length of windows (one window alone is compiled
        apart from several).

        Args:
            backend: of ``torch.compile``.
        """
        if self.decoder is None:
            return self
        from accelerate.utils import compile_regions

        decoder = compile_regions(self.decoder, dynamic=True, backend=backend)
        losses: Any = torch.compile(self._token_losses, dynamic=True, backend=backend)
        return replace(self, decoder=decoder, losses=losses)

    @property
    def device(self) -> torch.device:
        """Where ids must be."""
        embeddings: Any = self.model
        return embeddings.get_input_embeddings().weight.device

    @property
    def positions(self) -> int | None:
        """The longest sequence the model was made for, None when it has no limit."""
        causal: Any = self.model
        return getattr(causal.config.get_text_config(), "max_position_embeddings", None)

    @property
    def vocabulary(self) -> int:
        """Number of logits per token."""
        causal: Any = self.model
        return causal.config.get_text_config().vocab_size

    def chunk_tokens(self) -> int:
        """Tokens whose logits are computed at once, by the device's memory."""
        return chunk_tokens(self.device, self.vocabulary)

    def hidden(self, ids: Tensor) -> Tensor:
        """Run the decoder.

        Args:
            ids: [batch, length] int64.

        Returns:
            Hidden states [batch, length, width], or complete logits when the model is not cut.
        """
        if self.decoder is None:
            return self.model(input_ids=ids, use_cache=False).logits
        return self.decoder(input_ids=ids, use_cache=False).last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """Finish what ``hidden`` began.

        Args:
            hidden: [..., width].

        Returns:
            Logits [..., vocabulary] in float32.
        """
        if self.decoder is None:
            return hidden.float()
        weight = getattr(self.output, "weight", None)
        logits = self.output(hidden if weight is None else hidden.to(weight.device)).float()
        if self.multiplier != 1.0:
            logits = logits * self.multiplier
        if self.softcap:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return logits

    def token_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Negative log likelihood of given tokens, logits held for all of them at once.

        Args:
            hidden: [tokens, width].
            targets: [tokens] ids to be predicted.

        Returns:
            [tokens] float32, in nats.
        """
        return (self.losses or self._token_losses)(hidden, targets)

    def _token_losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        logits = self.logits(hidden)
        return F.cross_entropy(logits, targets.to(logits.device), reduction="none")

    @torch.no_grad()
    def _is_the_model(self) -> bool:
        if self.decoder is None:
            return False
        ids = torch.arange(_PROBE_TOKENS, device=self.device).unsqueeze(0) % self.vocabulary
        with evaluation_mode(self.model):
            theirs = self.model(input_ids=ids, use_cache=False).logits.float()
            try:
                mine = self.logits(self.hidden(ids))
            except (AttributeError, TypeError):
                return False
        if mine.shape != theirs.shape:
            return False
        finite = theirs[theirs.isfinite()]
        near = 1e-2 * float(finite.abs().max()) if len(finite) else 0.0
        return torch.allclose(mine, theirs, rtol=0.0, atol=near, equal_nan=True)


def chunk_tokens(device: torch.device, vocabulary: int) -> int:
    """Tokens whose logits exist at once.

    Args:
        device: where they are computed.
        vocabulary: logits per token.
    """
    cells = _CUDA_CELLS if device.type == "cuda" else _CPU_CELLS
    return max(16, cells // vocabulary)


def check_length(head: CausalHead, length: int) -> None:
    """Check that sequences fit the model.

    Args:
        head: the model.
        length: tokens per sequence.

    Raises:
        UserError: longer than the model's positions, or too short to predict anything.
    """
    if head.positions is not None and length > head.positions:
        raise UserError(
            f"sequences of {length} tokens are longer than the model's {head.positions} positions: "
            "use shorter windows"
        )
    if length < 2:
        raise UserError("a sequence needs at least 2 tokens, so that one can be predicted")
