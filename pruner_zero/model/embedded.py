"""The embedded SmolLM2-135M: from its GGUF file to a folder that loads in half a second.

Reading a GGUF dequantises every weight in numpy, which takes many seconds; the result is stored
once as safetensors. The folder appears under its final name only when it is complete.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from pruner_zero.assets import ASSETS, Announce, fetch_asset, silent
from pruner_zero.errors import UserError
from pruner_zero.model.checkpoint import from_checkpoint

EMBEDDED_NAME = "smollm2-135m"
CONVERSION_VERSION = 1  # raise it when the conversion changes, so that old folders are redone
_MARKER = "converted.json"


def embedded_folder(cache: Path, announce: Announce = silent) -> Path:
    """Return the folder of the converted embedded model, making it when needed.

    Args:
        cache: the cache folder.
        announce: takes one line for each slow step.

    Returns:
        A folder with config, float32 safetensors and tokenizer.

    Raises:
        UserError: the GGUF cannot be fetched, or the cache cannot be written.
    """
    folder = cache / "models" / EMBEDDED_NAME
    if _is_complete(folder):
        return folder
    source = fetch_asset(EMBEDDED_NAME, cache, announce)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / ".lock"):
            if not _is_complete(folder):  # another process may have made it while we waited
                announce(f"Converting {source.name} to safetensors (once, about 20 s)")
                _convert(source, folder)
    except OSError as error:
        raise UserError(
            f"cannot write the cache folder {folder} ({error.strerror or error}): "
            "set PRUNER_ZERO_CACHE to a folder with 700 MB of room"
        ) from error
    return folder


def gguf_checkpoint(path: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """Read a GGUF file into a plain, unquantised model.

    Args:
        path: the ``.gguf`` file.
        dtype: dtype of the dequantised weights.

    Returns:
        The model on the CPU and its tokenizer.

    Raises:
        UserError: an unreadable file or an architecture that transformers cannot convert.
    """
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise UserError(f"{path} is not a GGUF file, or it is damaged")
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that has no other switch
        model, tokenizer = from_checkpoint(
            str(path.parent), dtype, local_files_only=True, gguf_file=path.name
        )
    # The weights are plain floats now, but the model still believes that it is quantised and
    # refuses to be saved or moved.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    for attribute in ("hf_quantizer", "quantization_method"):
        if hasattr(model, attribute):
            setattr(model, attribute, None)
    for attribute in ("is_quantized", "_is_quantized"):
        if hasattr(model, attribute):
            setattr(model, attribute, False)
    return model, tokenizer


def _convert(source: Path, folder: Path) -> None:
    """Write the converted model next to `folder`, then rename it into place."""
    for stale in folder.parent.glob(f".{folder.name}-*"):  # left behind by a killed conversion
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        draft = Path(scratch) / folder.name
        model, tokenizer = gguf_checkpoint(source, torch.float32)
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        sizes = {file.name: file.stat().st_size for file in sorted(draft.iterdir())}
        (draft / _MARKER).write_text(json.dumps({**_origin(), "sizes": sizes}, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)


def _origin() -> dict[str, Any]:
    return {"version": CONVERSION_VERSION, "gguf_sha256": ASSETS[EMBEDDED_NAME].sha256}


def _is_complete(folder: Path) -> bool:
    """Whether the folder was finished by this version and no file was cut off since."""
    try:
        marker = json.loads((folder / _MARKER).read_text())
        sizes = marker.pop("sizes")
        return marker == _origin() and all(
            (folder / name).stat().st_size == size for name, size in sizes.items()
        )
    except (OSError, ValueError, KeyError, AttributeError):
        return False
