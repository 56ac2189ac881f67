"""What a finished search says: its savings, its final table, its files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pruner_zero.commands.display import Display
from pruner_zero.commands.final import Pick
from pruner_zero.commands.markdown import markdown_table
from pruner_zero.commands.methods import published_equals
from pruner_zero.files import write_atomic
from pruner_zero.search.driver import Progress
from pruner_zero.search.run_folder import RunFolder

# How a candidate is known, in words.
_KNOWN = {"digest": "equal masks", "expression": "equal formula", "ledger": "an earlier run"}


def counts(progress: Progress) -> dict[str, Any]:
    """The progress as plain JSON values."""
    return {
        "candidates": progress.candidates,
        "evaluations": progress.evaluations,
        "full_evaluations": round(progress.equivalents, 2),
        "tokens": progress.cost,
        "tokens_computed": progress.computed,
        "known_by": progress.known_by,
        "refused": progress.refused,
        "waiting": progress.waiting,
        "alike": progress.alike,
        "stopped_early": progress.stopped_early,
        "failed": progress.failed,
        "seconds": round(progress.seconds, 1),
        "stopped": progress.stopped,
    }


def savings(progress: Progress) -> str:
    """Say in a few lines what was searched, and what it did not cost."""
    known = ", ".join(f"{n} by {_KNOWN.get(by, by)}" for by, n in sorted(progress.known_by.items()))
    ledger = progress.cost - progress.computed
    return (
        f"search ended ({progress.stopped}): {progress.candidates} candidates in "
        f"{progress.seconds / 60:.1f} min, work of {progress.equivalents:.1f} full evaluations\n"
        f"  {progress.stopped_early} stopped early, {progress.failed} failed, "
        f"known: {known or 'none'}, {progress.refused} repeats refused before evaluation"
        + (f", {progress.waiting} look-alikes put last" if progress.waiting else "")
        + (f", {progress.alike} look-alikes evaluated" if progress.alike else "")
        + (f", {ledger:,} tokens from the ledger" if ledger else "")
    )


def present(results: dict[str, Any], folder: RunFolder, best: Pick, display: Display) -> None:
    """Write the final table and print it with the metric that was found."""
    corpora = results["test"]["corpora"]
    sizes = ", ".join(f"{name} {n} x {length}" for name, (n, length) in corpora.items())
    models = {row["model"] for row in results["table"]}
    first = ["model"] if len(models) > 1 else []
    header = [
        *first,
        "method",
        "sparsity",
        "scope",
        *(f"{name} test" for name in corpora),
        "metric",
    ]
    rows = [
        [
            *(row[key] for key in first),
            row["method"],
            row["sparsity"],
            row["scope"] or "",
            *(_shown(row["test_perplexity"][name]) for name in corpora),
            row["metric"] or "",
        ]
        for row in results["table"]
    ]
    mode = "" if results["test"]["mode"] == "one_shot" else ", pruned block by block"
    title = f"Perplexity on test splits ({sizes} tokens{mode})"
    tables = [(title, header, rows), *_front(results)]
    parts = [f"{name}\n\n{markdown_table(columns, cells)}\n" for name, columns, cells in tables]
    write_atomic(folder.table, "\n".join(parts))
    for table in tables:
        display.table(*table)
    # The last row is the best one's: it says in which scope, also where scopes are not searched.
    own = best.scope or results["table"][-1]["scope"] or "row"
    scope = f", scope {own}" if best.scope or own != "row" else ""
    names = published_equals(best.metric, own)
    known = f", which orders weights like {' and '.join(names)}" if names else ""
    update = results["best"]["update"]
    with_it = "" if update == "none" else f", to be used with update={update}"
    display.say(f"best metric   {best.metric}{scope}{known}{with_it}")
    display.say(f"as JSON tree  {folder.best}")
    if with_it:
        sparsity, mode = results["table"][-1]["sparsity"], results["test"]["mode"]
        settings = f"sparsity={sparsity} update={update} mode={mode}"
        display.say(f"prune with    metric={folder.path} {settings}")
    display.say(f"run folder    {folder.path}")
    display.say(f"total time    {results['minutes']:.1f} min")


def _front(results: dict[str, Any]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield the table of the Pareto front where the algorithm keeps one."""
    front = results["front"]
    if not front:
        return
    best = results["table"][-1]["method"]
    places = [row for row in results["table"] if row["method"] == best] if front[0]["parts"] else []
    judged = [f"{row['model']} {row['sparsity']}" for row in places]
    rows = [
        [
            _shown(member["search_perplexity"]),
            *map(_shown, member["parts"]),
            str(member["nodes"]),
            member["scope"] or "",
            member["expression"],
        ]
        for member in front
    ]
    header = ["perplexity", *judged, "nodes", "scope", "metric"]
    yield "Pareto front on the search windows", header, rows


def _shown(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2f}"
