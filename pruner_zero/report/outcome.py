"""What a finished search concluded: final table, validated metrics, counts, versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from statistics import geometric_mean
from typing import Any, TypeVar

Part = TypeVar("Part")


@dataclass(frozen=True)
class FinalRow:
    """One method of the final table.

    Attributes:
        method: its name.
        metric: its formula, None when it has none.
        sparsity: what was pruned.
        scope: whose scores competed, None where that means nothing.
        model: which one, empty in folders that did not say.
        perplexity: corpus → perplexity on its test split, None when it was not finite.
    """

    method: str
    metric: str | None
    sparsity: str
    scope: str | None
    model: str
    perplexity: Mapping[str, float | None]


@dataclass(frozen=True)
class BestMetric:
    """A metric of the hall of fame.

    Attributes:
        formula: its text.
        scope: whose scores compete, None for the run's own.
        search: perplexity on the search split, None when it was not recorded.
        validation: perplexity on the validation split, None when it was not measured.
    """

    formula: str
    scope: str | None
    search: float | None
    validation: float | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> BestMetric:
        """Read an entry of ``hall_of_fame.json`` or of the validation in ``results.json``."""
        return cls(
            str(record["expression"]),
            record.get("scope"),
            _number(record.get("search_perplexity")),
            _number(record.get("validation_perplexity")),
        )


@dataclass(frozen=True)
class TestedPlace:
    """The part of the final table that is about one model under one sparsity.

    Attributes:
        label: what tells it from the others of the table, empty when it is alone.
        rows: dense first, the best of the search last.
    """

    label: str
    rows: tuple[FinalRow, ...]

    def best(self, corpus: str) -> float | None:
        """Perplexity of the search's best metric on a test corpus."""
        return self.rows[-1].perplexity.get(corpus)

    def dense(self, corpus: str) -> float | None:
        """Perplexity of the dense model on a test corpus, None when it was not measured."""
        return next((r.perplexity.get(corpus) for r in self.rows if r.method == "dense"), None)


@dataclass(frozen=True)
class Outcome:
    """The readable parts of ``results.json``; an unreadable part is empty and named in ``gaps``.

    Attributes:
        rows: the final table; for each model and sparsity dense first, the best of the search last.
        windows: corpus → (windows, tokens of each) of its test split.
        picks: metrics that validation ranked, best first.
        counts: what the search counted, see `pruner_zero.search.driver.Progress`.
        provenance: versions, machine and time.
        minutes: whole time, None when it was not recorded.
        gaps: what could not be read.
    """

    rows: tuple[FinalRow, ...] = ()
    windows: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    picks: tuple[BestMetric, ...] = ()
    counts: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    minutes: float | None = None
    gaps: tuple[str, ...] = ()

    @classmethod
    def from_results(cls, results: Mapping[str, Any]) -> Outcome:
        """Read what an ended search wrote, part by part."""
        gaps: list[str] = []

        def part(name: str, read: Callable[[], Part], absent: Part) -> Part:
            try:
                return read()
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                gaps.append(f"results.json: {name} cannot be read ({type(error).__name__} {error})")
                return absent

        empty: Mapping[str, tuple[int, int]] = {}
        return cls(
            rows=part("the final table", lambda: _rows(results), ()),
            windows=part("the test windows", lambda: _windows(results["test"]), empty),
            picks=part("the validation", lambda: _picks(results), ()),
            counts=part("the search's counts", lambda: dict(results["search"]), {}),
            provenance=part("the versions", lambda: dict(results["provenance"]), {}),
            minutes=part("the time", lambda: _number(results.get("minutes")), None),
            gaps=tuple(gaps),
        )

    @property
    def corpora(self) -> list[str]:
        """The test corpora, in the order of the table."""
        return list(dict.fromkeys(name for row in self.rows for name in row.perplexity))

    @cached_property
    def places(self) -> tuple[TestedPlace, ...]:
        """The models and sparsities of the table, one after the other."""
        starts = [i for i, row in enumerate(self.rows) if i == 0 or row.method == "dense"]
        parts = [self.rows[a:b] for a, b in zip(starts, [*starts[1:], len(self.rows)], strict=True)]
        found = [(rows[-1].model, rows[-1].sparsity) for rows in parts]
        differs = [len(set(kind)) > 1 for kind in zip(*found, strict=True)]
        return tuple(
            TestedPlace(", ".join(compress(names, differs)), rows)
            for names, rows in zip(found, parts, strict=True)
        )

    def best(self, corpus: str) -> float | None:
        """Perplexity of the search's best metric on a test corpus, None when it is not finite.

        Of several models or sparsities it is the geometric mean, as the fitness is.
        """
        values = [place.best(corpus) for place in self.places]
        known = [value for value in values if value is not None]
        if len(values) == 1:
            return values[0]
        return geometric_mean(known) if known and len(known) == len(values) else None


def _rows(results: Mapping[str, Any]) -> tuple[FinalRow, ...]:
    rows = []
    for row in results["table"]:
        values = row["test_perplexity"]
        # One corpus, named beside the table, before the second domain came in.
        if not isinstance(values, Mapping):
            values = {results["test"]["corpus"]: values}
        rows.append(
            FinalRow(
                method=str(row["method"]),
                metric=row.get("metric"),
                sparsity=str(row["sparsity"]),
                scope=row.get("scope"),
                model=str(row.get("model", "")),
                perplexity={str(name): _number(value) for name, value in values.items()},
            )
        )
    return tuple(rows)


def _windows(test: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    corpora = test.get("corpora") or {test["corpus"]: (test["windows"], test["length"])}
    return {str(name): (int(size[0]), int(size[1])) for name, size in corpora.items()}


def _picks(results: Mapping[str, Any]) -> tuple[BestMetric, ...]:
    if "validation" in results:
        return tuple(BestMetric.from_record(record) for record in results["validation"])
    return (BestMetric.from_record(results["best"]),)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
