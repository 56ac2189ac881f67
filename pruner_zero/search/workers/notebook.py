"""The ledger as a worker sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pruner_zero.search.known import Key
from pruner_zero.search.ledger import Losses


@dataclass(frozen=True)
class Note:
    """A line for the ledger, see `LedgerContext.record`."""

    key: Key
    digest: str
    losses: Losses
    seconds: float


@dataclass
class Notebook:
    """A ledger that lives with a worker: a copy of the real one, and what is new.

    A database file is on one machine; what workers find travels back to it with their results.

    Attributes:
        digests: of masks, by expression and scope.
        known: losses by digest.
        news: recorded since they were last taken.
    """

    digests: dict[Key, str]
    known: dict[str, Losses]
    news: list[Note] = field(default_factory=list)

    def digest(self, expression: str, scope: str) -> str | None:
        """See `LedgerContext.digest`."""
        return self.digests.get((expression, scope))

    def losses(self, digest: str) -> Losses:
        """See `LedgerContext.losses`."""
        return self.known.get(digest, ())

    def record(
        self, expression: str, scope: str, digest: str, losses: Losses, seconds: float
    ) -> None:
        """See `LedgerContext.record`."""
        self.digests[expression, scope] = digest
        if len(losses) > len(self.losses(digest)):
            self.known[digest] = losses
        self.news.append(Note((expression, scope), digest, losses, seconds))

    def snapshot(self) -> tuple[dict[Key, str], dict[str, Losses]]:
        """See `LedgerContext.snapshot`."""
        return dict(self.digests), dict(self.known)

    def take(self) -> list[Note]:
        """Return the news and forget that they are new."""
        news, self.news = self.news, []
        return news
