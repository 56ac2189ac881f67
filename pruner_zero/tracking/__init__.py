"""Following a search elsewhere: TensorBoard, MLflow, Weights & Biases. The run folder is the truth.

A tracker takes plain numbers, text and files. ``tracker.py`` says what one must do and keeps a
search safe from it, ``observer.py`` says what a search tells it, and each further file is one
tracker: a thin layer over its library, which is imported when it is asked for.
"""

from pruner_zero.tracking.config import TrackerConfig, check_tracker
from pruner_zero.tracking.observer import SearchTracking, track

__all__ = ["SearchTracking", "TrackerConfig", "check_tracker", "track"]
