"""The ledger: shared, durable, never in the way."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from pruner_zero.errors import UserError
from pruner_zero.search.ledger import Ledger

KEY = {"model": "m", "sparsity": "0.5"}


def test_losses_come_back_bit_for_bit(tmp_path):
    context = Ledger(tmp_path / "ledger.sqlite").context(KEY)
    losses = (0.1 + 0.2, math.pi, math.inf)
    context.record("mul(W, G)", "row", "d1", losses, 1.0)
    again = Ledger(tmp_path / "ledger.sqlite").context(KEY)
    assert again.digest("mul(W, G)", "row") == "d1"
    assert again.losses("d1") == losses
    assert again.digest("mul(W, G)", "layer") is None
    assert again.losses("d2") == ()


def test_more_windows_replace_fewer_and_never_the_other_way(tmp_path):
    context = Ledger(tmp_path / "ledger.sqlite").context(KEY)
    context.record("W", "row", "d", (1.0, 2.0), 1.0)
    context.record("sqr(W)", "row", "d", (1.0,), 1.0)
    assert context.losses("d") == (1.0, 2.0)
    context.record("W", "row", "d", (1.0, 2.0, 3.0), 1.0)
    assert context.losses("d") == (1.0, 2.0, 3.0)
    assert context.digest("sqr(W)", "row") == "d"


def test_contexts_are_apart_and_independent_of_key_order(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.context(KEY).record("W", "row", "d", (1.0,), 1.0)
    assert ledger.context({**KEY, "sparsity": "2:4"}).losses("d") == ()
    assert ledger.context(dict(reversed(KEY.items()))).losses("d") == (1.0,)
    (row,) = ledger.rows()
    assert (row["model"], row["expression"], row["losses"]) == ("m", "W", [1.0])


@pytest.mark.parametrize("damage", ["text", "half", "middle", "end", "version"])
def test_unusable_files_are_moved_aside_and_said_once(tmp_path, damage):
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    for number in range(200):
        ledger.context(KEY).record("W", "row", f"d{number}", (1.0,) * 50, 1.0)
    ledger.close()
    if damage == "text":
        path.write_text("this is no database, but it is long enough to be looked at" * 40)
    elif damage == "half":
        whole = path.read_bytes()
        path.write_bytes(b"\0" * 100 + whole[100:])
    elif damage in ("middle", "end"):
        spoil(path, *{"middle": (0.3, 0.6), "end": (0.8, 1.0)}[damage])
    else:
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
    said = []
    fresh = Ledger(path, said.append)
    assert len(said) == 1 and "aside-1" in said[0]
    assert (tmp_path / "ledger.sqlite.aside-1").exists()
    assert fresh.context(KEY).losses("d1") == ()
    fresh.context(KEY).record("W", "row", "d", (1.0,), 1.0)
    Ledger(path, said.append)
    assert len(said) == 1


def test_damage_under_an_open_ledger_is_one_line(tmp_path):
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    context = ledger.context(KEY)
    for number in range(200):
        context.record("W", "row", f"d{number}", (1.0,) * 50, 1.0)
    ledger.close()
    opened = Ledger(path)
    context = opened.context(KEY)
    opened._database.execute("PRAGMA shrink_memory")  # so that it reads from the disk again
    spoil(path, 0.1, 1.0)
    for damaged in (context.snapshot, lambda: list(opened.rows())):
        with pytest.raises(UserError, match=r"is damaged .* the same command again"):
            damaged()


def spoil(path, first, last):
    """Overwrite a part of a file, given as shares of its size."""
    content = bytearray(path.read_bytes())
    start, end = int(first * len(content)), int(last * len(content))
    content[start:end] = b"\xa5" * (end - start)
    path.write_bytes(content)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(UserError, match="ledger"):
        Ledger(tmp_path)  # a folder
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot open the ledger .*set ledger="):
        Ledger(tmp_path / "file" / "ledger.sqlite")


def test_what_is_no_ledger_is_left_alone(tmp_path):
    text, database = tmp_path / "thesis.txt", tmp_path / "photos.sqlite"
    text.write_text("years of work")
    with sqlite3.connect(database) as photos:
        photos.execute("CREATE TABLE photos (name TEXT)")
        photos.execute("PRAGMA user_version = 7")
    photos.close()
    before = {path: path.read_bytes() for path in (text, database)}
    for path in before:
        with pytest.raises(UserError, match=r"is no ledger: name another file"):
            Ledger(path)
    assert {path: path.read_bytes() for path in before} == before
    assert not list(tmp_path.glob("*aside*"))


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    context = ledger.context(KEY)
    context.record("W", "row", "d", (1.0,), 1.0)
    pages = ledger._database.execute("PRAGMA page_count").fetchone()[0]
    ledger._database.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own "disk is full"
    with pytest.raises(UserError, match=r"full.*ledger=off"):
        for number in range(200):
            context.record("W", "row", f"e{number}", (1.0,) * 500, 1.0)
    assert context.losses("d") == (1.0,)


def test_many_writers_at_once(tmp_path):
    path = tmp_path / "ledger.sqlite"

    def write(worker):
        context = Ledger(path).context(KEY)
        for number in range(20):
            context.record("W", "row", f"{worker}-{number}", (float(number),), 0.0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert sum(1 for _ in Ledger(path).rows()) == 80


def test_a_new_ledger_opened_by_many_at_once(tmp_path):
    for number in range(10):

        def write(worker, path=tmp_path / f"{number}.sqlite"):
            Ledger(path).context(KEY).record("W", "row", f"{worker}", (1.0,), 0.0)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(8)))
        assert sum(1 for _ in Ledger(tmp_path / f"{number}.sqlite").rows()) == 8


def test_kill_while_writing_leaves_whole_rows(tmp_path):
    path = tmp_path / "ledger.sqlite"
    code = f"""
from pathlib import Path
from pruner_zero.search.ledger import Ledger
context = Ledger(Path({str(path)!r})).context({KEY!r})
for number in range(10**6):
    context.record("W", "row", str(number), (float(number),) * 8, 0.0)
    print(number, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ}, text=True
    )
    last = -1
    for line in process.stdout:
        last = int(line)
        if last >= 40:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    rows = list(Ledger(path).rows())
    assert len(rows) > last
    assert all(row["losses"] == [float(row["digest"])] * 8 for row in rows)
