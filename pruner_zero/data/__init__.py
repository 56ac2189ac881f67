"""Corpora: named texts, their splits, and windows of tokens."""
