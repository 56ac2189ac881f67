"""Tables in the Markdown files that commands leave."""

from __future__ import annotations

from collections.abc import Sequence


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, without a line break at its end.

    Args:
        header: names of the columns.
        rows: as many cells each.
    """
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))
