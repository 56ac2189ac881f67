"""Load the public pruning code from the user's own clones and run it as it is.

That code was written for CUDA and an older transformers. What is adapted, from outside and only
while it runs:

- its data loader is replaced, so that both sides see the same token sequences;
- ``.cuda()`` and ``torch.cuda.synchronize`` do nothing on a machine without CUDA;
- decoder blocks get position embeddings and return a tuple, as they did then;
- Pruner-Zero's missing module ``lib/ablate.py`` is an empty one.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def load_library(clone: Path, alias: str) -> Any:
    """Import ``lib/prune.py`` of a wanda or Pruner-Zero clone under a name of its own."""
    package = types.ModuleType(alias)
    package.__path__ = [str(clone / "lib")]
    sys.modules[alias] = package
    if not (clone / "lib" / "ablate.py").exists():
        missing = types.ModuleType(f"{alias}.ablate")
        missing.__dict__["AblateGPT"] = None
        sys.modules[f"{alias}.ablate"] = missing
    _old_names()
    return importlib.import_module(f"{alias}.prune")


def load_file(path: Path, alias: str) -> Any:
    """Import one file whose imports are relative to its own folder."""
    _old_names()
    spec = importlib.util.spec_from_file_location(alias, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def _old_names() -> None:
    import transformers
    from transformers.pytorch_utils import Conv1D

    names: Any = transformers
    if not hasattr(names, "Conv1D"):
        names.Conv1D = Conv1D


@contextlib.contextmanager
def old_world(model: Any, length: int) -> Iterator[None]:
    """The model and torch as that code expects them, inside a ``with`` block; quiet."""
    rotary = model.model.rotary_emb

    def before(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if kwargs.get("position_embeddings") is None:
            kwargs["position_embeddings"] = rotary(args[0], kwargs["position_ids"])
        return args, kwargs

    with contextlib.ExitStack() as undo:
        for block in model.model.layers:
            handle = block.register_forward_pre_hook(before, with_kwargs=True)
            undo.callback(handle.remove)
            undo.callback(block.register_forward_hook(lambda *a: (a[-1],)).remove)
        _set(undo, model, "seqlen", length)
        _set(undo, model, "hf_device_map", {})
        if not torch.cuda.is_available():
            _set(undo, torch.Tensor, "cuda", lambda tensor, *a, **k: tensor)
            _set(undo, torch.cuda, "synchronize", lambda *a: None)
        undo.enter_context(contextlib.redirect_stdout(io.StringIO()))
        yield


def _set(undo: contextlib.ExitStack, owner: Any, name: str, value: Any) -> None:
    had, old = hasattr(owner, name), getattr(owner, name, None)
    setattr(owner, name, value)
    undo.callback(lambda: setattr(owner, name, old) if had else delattr(owner, name))


class _StableTorch:
    """torch, but ``topk`` of the lowest is the start of a stable sort."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def topk(self, tensor: Tensor, k: int, dim: int, largest: bool) -> tuple[Tensor, Tensor]:
        values, indices = torch.sort(tensor, dim=dim, descending=largest, stable=True)
        return values.narrow(dim, 0, k), indices.narrow(dim, 0, k)


def prune_public(
    library: Any,
    method: str,
    model: Any,
    ids: Tensor,
    sparsity: str,
    gradients: Path | None = None,
    engine: Any = None,
    stable_ties: bool = False,
) -> None:
    """Prune in place with the public function of that name.

    Under N:M it asks ``torch.topk`` for the lowest scores, whose order among equal scores is
    nowhere defined; with ``stable_ties`` equal scores go to the lower index there.
    """
    n, m = map(int, sparsity.split(":")) if ":" in sparsity else (0, 0)
    arguments = types.SimpleNamespace(
        nsamples=len(ids),
        seed=0,
        sparsity_ratio=0.5 if n else float(sparsity),
        use_variant=False,
        gradient_path=gradients and str(gradients),
    )
    loader = [(row.unsqueeze(0), row.unsqueeze(0)) for row in ids]
    library.get_loaders = lambda *a, **k: (loader, None)
    function = getattr(library, f"prune_{method.replace('-', '_')}")
    extra = {"engine": engine} if method == "pruner-zero" else {}
    with old_world(model, ids.shape[1]), contextlib.ExitStack() as undo:
        if stable_ties:
            # The N:M choice of SparseGPT stands in a module of its own beside the library's.
            for name, module in list(sys.modules.items()):
                if name.startswith(f"{library.__package__}.") and hasattr(module, "torch"):
                    _set(undo, module, "torch", _StableTorch())
        function(arguments, model, None, model.device, prune_n=n, prune_m=m, **extra)


def public_perplexity(library: Any, model: Any, ids: Tensor) -> float:
    """Perplexity by the public code's own function."""
    evaluation = importlib.import_module(f"{library.__package__}.eval")
    model.seqlen = ids.shape[1]
    tokens = types.SimpleNamespace(input_ids=ids.reshape(1, -1))
    try:
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            return evaluation.eval_ppl_wikitext(model, tokens, 1, model.device)
    finally:
        del model.seqlen
