"""The ledger: every evaluation of every run, in one SQLite database that runs and workers share.

An evaluation belongs to a context (model, statistics, sparsity, corpus, split, windows) and to the
digest of the masks. What is stored is the loss of each window, so that a search that stopped early
and one that did not can use each other's work. SQLite's write-ahead log lets several processes
write and survives a kill at any instant.
"""

from __future__ import annotations

import array
import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from pruner_zero.errors import UserError

VERSION = 2
_MAGIC = b"SQLite format 3\0"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS contexts (
    id TEXT PRIMARY KEY, description TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS evaluations (
    context TEXT NOT NULL REFERENCES contexts(id),
    digest TEXT NOT NULL,
    windows INTEGER NOT NULL,
    losses BLOB NOT NULL,
    expression TEXT NOT NULL,
    scope TEXT NOT NULL,
    seconds REAL NOT NULL,
    created REAL NOT NULL,
    PRIMARY KEY (context, digest)
);
CREATE TABLE IF NOT EXISTS identities (
    context TEXT NOT NULL REFERENCES contexts(id),
    expression TEXT NOT NULL,
    scope TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (context, expression, scope)
);
"""
_KEEP_MORE = """
INSERT INTO evaluations VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (context, digest) DO UPDATE
SET windows = excluded.windows, losses = excluded.losses, seconds = seconds + excluded.seconds
WHERE excluded.windows > windows
"""
Announce = Callable[[str], None]
Losses = tuple[float, ...]


class LossStore(Protocol):
    """What an evaluation needs of a ledger; `LedgerContext` is one."""

    def digest(self, expression: str, scope: str) -> str | None:
        """The digest that this expression's masks are known to have, None when they are not."""

    def losses(self, digest: str) -> Losses:
        """Losses of the first windows, in nats; empty when the digest is unknown."""

    def record(
        self, expression: str, scope: str, digest: str, losses: Losses, seconds: float
    ) -> None:
        """Keep an expression's digest and its losses, unless more windows are known already."""

    def snapshot(self) -> tuple[dict[tuple[str, str], str], dict[str, Losses]]:
        """All digests by expression and scope, and all losses by digest."""


class Ledger:
    """One ledger file, open for reading and writing.

    A ledger that is damaged or of another version is moved aside, and said so once; the ledger then
    starts empty. What is no ledger is left alone.

    Args:
        path: the database file; made when missing.
        announce: gets a sentence when a file was moved aside.
    """

    def __init__(self, path: Path, announce: Announce | None = None) -> None:
        """Open or make the database."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Jobs of a sweep open a new ledger together: SQLite does not wait while a file becomes
            # a write-ahead log, and only one may move a damaged file aside.
            with FileLock(path.with_name(f"{path.name}.lock")):
                self._database = self._opened(path, announce)
        except OSError as error:
            raise UserError(f"cannot open the ledger {path}: {error}: set ledger=") from error

    def _opened(self, path: Path, announce: Announce | None) -> sqlite3.Connection:
        if _is_stranger(path):
            raise UserError(f"{path} is no ledger: name another file with ledger=, or ledger=off")
        try:
            return _open(path)
        except (sqlite3.DatabaseError, _OtherVersion) as error:
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                raise UserError(f"cannot open the ledger {path}: {error}") from error
            aside = _move_aside(path)
            if announce:
                announce(
                    f"the ledger {path} is {_why(error)}: moved to {aside.name}, starting anew"
                )
            return _open(path)

    def context(self, description: Mapping[str, Any]) -> LedgerContext:
        """The part of the ledger that belongs to one set-up.

        Args:
            description: everything that a loss depends on beside the masks, as plain JSON values.
        """
        text = json.dumps(dict(description), sort_keys=True)
        name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        with _written(self):
            self._database.execute("INSERT OR IGNORE INTO contexts VALUES (?, ?)", (name, text))
        return LedgerContext(self, name)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield every evaluation with its context, in the order in which they were made.

        Raises:
            UserError: the file was damaged since it was opened.
        """
        query = (
            "SELECT c.id, c.description, e.digest, e.windows, e.losses, e.expression, e.scope, "
            "e.seconds, e.created FROM evaluations e JOIN contexts c ON c.id = e.context "
            "ORDER BY c.id, e.created, e.digest"
        )
        for row in self._read(query):
            name, description, digest, windows, losses, expression, scope, seconds, made = row
            yield {
                "context": name,
                **json.loads(description),
                "digest": digest,
                "windows_done": windows,
                "losses": list(_floats(losses)),
                "expression": expression,
                "scope": scope,
                "seconds": seconds,
                "created": made,
            }

    def _read(self, query: str, values: Sequence[str] = ()) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._database.execute(query, values)
        except sqlite3.DatabaseError as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> UserError:
        if isinstance(error, sqlite3.OperationalError):
            return UserError(
                f"cannot use the ledger {self.path} ({error}): make room or set ledger=off"
            )
        return UserError(
            f"the ledger {self.path} is damaged ({error}): the same command again moves it aside"
        )

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class LedgerContext:
    """One context of a ledger; made by `Ledger.context`."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self.ledger = ledger
        self.name = name

    def digest(self, expression: str, scope: str) -> str | None:
        """The digest that this expression's masks are known to have, None when they are not."""
        rows = self.ledger._read(
            "SELECT digest FROM identities WHERE context = ? AND expression = ? AND scope = ?",
            (self.name, expression, scope),
        )
        return next((str(digest) for (digest,) in rows), None)

    def losses(self, digest: str) -> tuple[float, ...]:
        """Losses of the first windows, in nats; empty when the digest is unknown."""
        rows = self.ledger._read(
            "SELECT losses FROM evaluations WHERE context = ? AND digest = ?", (self.name, digest)
        )
        return next((_floats(losses) for (losses,) in rows), ())

    def snapshot(self) -> tuple[dict[tuple[str, str], str], dict[str, Losses]]:
        """All digests by expression and scope, and all losses by digest."""
        read = self.ledger._read
        identities = read(
            "SELECT expression, scope, digest FROM identities WHERE context = ?", (self.name,)
        )
        digests = {(expression, scope): digest for expression, scope, digest in identities}
        evaluations = read("SELECT digest, losses FROM evaluations WHERE context = ?", (self.name,))
        return digests, {digest: _floats(losses) for digest, losses in evaluations}

    def record(
        self,
        expression: str,
        scope: str,
        digest: str,
        losses: Losses,
        seconds: float,
    ) -> None:
        """Keep an expression's digest and its losses, unless more windows are known already.

        Raises:
            UserError: the disk is full or the file cannot be written.
        """
        blob = array.array("d", losses).tobytes()
        with _written(self.ledger):
            execute = self.ledger._database.execute
            execute(
                "INSERT OR REPLACE INTO identities VALUES (?, ?, ?, ?)",
                (self.name, expression, scope, digest),
            )
            execute(
                _KEEP_MORE,
                (self.name, digest, len(losses), blob, expression, scope, seconds, time.time()),
            )


class _OtherVersion(Exception):
    pass


class _written:
    """One transaction; a disk that is full becomes a UserError."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __enter__(self) -> None:
        try:
            self._ledger._database.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self._ledger._failed(error) from error

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        database = self._ledger._database
        if error is None:
            try:
                database.execute("COMMIT")
                return
            except sqlite3.Error as failure:
                error = failure
        if database.in_transaction:
            database.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise self._ledger._failed(error) from error


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=60.0, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        # Damage inside would come up in the middle of a search, when it is too late to start anew.
        (state,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise sqlite3.DatabaseError(" ".join(state.split()))
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise _OtherVersion(version)
        database.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
    except BaseException:
        database.close()
        raise
    return database


def _is_stranger(path: Path) -> bool:
    """Whether a file is somebody's who does not expect it to be replaced or written into."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return path.suffix != ".sqlite"  # a ledger's usual name: its head may be damaged
    database = sqlite3.connect(path)
    try:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        return bool(tables) and "evaluations" not in tables
    except sqlite3.DatabaseError:
        return False  # it cannot be told, and a damaged ledger is moved aside
    finally:
        database.close()


def _why(error: Exception) -> str:
    if isinstance(error, _OtherVersion):
        return f"of version {error}, this program writes version {VERSION}"
    return f"damaged ({error})"


def _move_aside(path: Path) -> Path:
    """Rename a database and its companions out of the way, over nothing."""
    number = 1
    while (aside := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    for suffix in ("", "-wal", "-shm"):
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(aside.with_name(aside.name + suffix))
    return aside


def _floats(blob: bytes) -> tuple[float, ...]:
    values = array.array("d")
    values.frombytes(blob)
    return tuple(values)
