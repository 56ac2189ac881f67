"""From run folders to something people can read: tables, plots, one self-contained HTML page.

A page is made in three steps, one direction: `finding` and `run` read folders, whatever version
wrote them, and say what is missing; `convergence`, `front`, `genealogy`, `savings`, `words` and
`sweep` compute plain values; `run_page` and `comparison_page` turn them into figures and a page.
"""

from pruner_zero.report.convergence import Curve, Spread, common_costs, spread
from pruner_zero.report.finding import find_runs, is_run
from pruner_zero.report.outcome import Outcome
from pruner_zero.report.page import Page
from pruner_zero.report.reports import default_place, report_on
from pruner_zero.report.run import Run, read_run
from pruner_zero.report.words import Word, word_statistics, words_of

__all__ = [
    "Curve",
    "Outcome",
    "Page",
    "Run",
    "Spread",
    "Word",
    "common_costs",
    "default_place",
    "find_runs",
    "is_run",
    "read_run",
    "report_on",
    "spread",
    "word_statistics",
    "words_of",
]
