"""Everything that concerns the Hugging Face hub and its libraries' voices.

Models and data sets share two needs: to learn quickly that there is no hub (instead of hanging
in retries), and to keep progress bars and warnings of the libraries off the user's screen.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

PROBE_SECONDS = 4.0


def hub_reachable() -> bool:
    """Whether the hub answers within a few seconds.

    Returns:
        False at once when ``HF_HUB_OFFLINE`` or ``TRANSFORMERS_OFFLINE`` is set, else the result
        of one small request (any HTTP answer counts; proxies and ``HF_ENDPOINT`` are honoured).
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if offline_asked():
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception:  # the HTTP client's own hierarchy, which differs by hub version
        return False
    return True


def offline_asked() -> bool:
    """Whether the environment asks for offline work."""
    from huggingface_hub import constants

    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    asked = any(os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"} for name in names)
    return asked or bool(constants.HF_HUB_OFFLINE)


def first_line(error: BaseException, limit: int = 160) -> str:
    """Return the first line of an exception's message, shortened, for a one-line report."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    if text.endswith(":") and len(lines) > 1:  # a heading says nothing without what it heads
        text += f" {lines[1]}"
    return text if len(text) <= limit else text[: limit - 1] + "…"


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence transformers, datasets and the hub client inside a block; restore them after.

    Only libraries that are already imported are touched, so import what the block uses before
    entering it; nothing is changed at import time.
    """
    with ExitStack() as restore, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "transformers" in sys.modules:
            from transformers.utils import logging as library

            restore.callback(library.set_verbosity, library.get_verbosity())
            library.set_verbosity_error()
            if library.is_progress_bar_enabled():
                restore.callback(library.enable_progress_bar)
                library.disable_progress_bar()
        if "datasets" in sys.modules:
            import datasets

            restore.callback(datasets.logging.set_verbosity, datasets.logging.get_verbosity())
            datasets.logging.set_verbosity_error()
            if not datasets.are_progress_bars_disabled():
                restore.callback(datasets.enable_progress_bars)
                datasets.disable_progress_bars()
        if "huggingface_hub" in sys.modules:
            from huggingface_hub import utils

            restore.callback(utils.logging.set_verbosity, utils.logging.get_verbosity())
            utils.logging.set_verbosity_error()
            if not utils.are_progress_bars_disabled():
                restore.callback(utils.enable_progress_bars)
                utils.disable_progress_bars()
        yield
