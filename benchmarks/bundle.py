"""Build an offline kit: wheels, model, text and this checkout, in parts with their SHA-256.

    python benchmarks/bundle.py [--python 3.12] [--torch] [--output dist/kit]

The wheels are the versions of the environment that runs this, with all they need, for Linux on
x86-64 and the given Python. torch and its CUDA packages (about 3 GB) are left out unless --torch
is given: machines with a GPU mostly have them. The kit holds what is committed (HEAD).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pruner_zero.assets import ASSETS, fetch_asset
from pruner_zero.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PART_BYTES = 60 * 1024 * 1024
TEST_PACKAGES = ("pytest", "hypothesis")
TORCH_FAMILY = {"torch", "triton", "setuptools"}
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64",
             "manylinux2014_x86_64", "manylinux1_x86_64")  # fmt: skip

UNPACK = """\
#!/usr/bin/env bash
# Check every part, then unpack the kit into the folder given (default: kit).
set -euo pipefail
target=$(realpath --canonicalize-missing "${1:-kit}")
cd "$(dirname "$0")"
sha256sum --quiet --check SHA256SUMS
mkdir -p "$target"
cat kit.tar.part* | tar --extract --file - --directory "$target"
echo "unpacked into $target; now run: $target/source/benchmarks/gpu_session.sh"
"""


def requirements() -> list[str]:
    """What this checkout asks for; an installation may be older than the checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked: list[str] = project["dependencies"]
    return asked


def closure(names: tuple[str, ...], python: str) -> dict[str, str]:
    """Everything that packages need at run time, as installed here.

    Args:
        names: the packages, as requirements.
        python: the target's version, which some requirements depend on.

    Returns:
        Canonical name → version.

    Raises:
        UserError: something is needed that is not installed here.
    """
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    found: dict[str, str] = {}
    waiting = [Requirement(name) for name in names]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in TORCH_FAMILY:
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError as error:
            raise UserError(f"{name} is not installed here: run make setup first") from error
        known = name in found
        found[name] = package.version
        if known and not requirement.extras:
            continue
        for text in package.requires or ():
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if needed.marker is None or any(
                needed.marker.evaluate({**environment, "extra": extra}) for extra in extras
            ):
                waiting.append(needed)
    return found


def collect_wheels(folder: Path, python: str, with_torch: bool) -> None:
    """Fetch the wheels for the target and build this project's own.

    Raises:
        UserError: pip cannot fetch a wheel; its own words say why.
    """
    pins = closure((*requirements(), *TEST_PACKAGES), python)
    print(f"fetching {len(pins)} wheels for Python {python}, and building that of this project")
    target = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for platform in PLATFORMS:
        target += ["--platform", platform]
    fetch = ["download", "--quiet", "--dest", str(folder), *target]
    build = ["wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    pure = [name for name in pins if _is_pure(name)]
    compiled = [name for name in pins if name not in pure]
    # A package of pure Python may be published as source alone: pip makes a wheel of it.
    _pip([*build, str(ROOT), *(f"{name}=={pins[name]}" for name in pure)])
    _pip([*fetch, "--no-deps", *(f"{name}=={pins[name]}" for name in compiled)])
    if with_torch:
        # Three equal signs: the version as published, not a local build such as 2.13.0+cpu.
        version = distribution("torch").version.partition("+")[0]
        print(f"fetching torch {version} with its CUDA packages")
        _pip([*fetch, f"torch==={version}"])


def _is_pure(name: str) -> bool:
    """Whether the installed package runs on every Python and machine."""
    return "-none-any" in (distribution(name).read_text("WHEEL") or "")


def collect_assets(cache: Path) -> None:
    """Copy model and text into a cache folder that the project reads as its own."""
    (cache / "assets").mkdir(parents=True)
    for name in ASSETS:
        source = fetch_asset(name, announce=print)
        shutil.copy2(source, cache / "assets" / source.name)


def collect_source(folder: Path) -> None:
    """Unpack what is committed into a folder."""
    with tarfile.open(fileobj=io.BytesIO(_git("archive", "--format=tar", "HEAD"))) as archive:
        archive.extractall(folder, filter="data")


def write_parts(kit: Path, output: Path, part_bytes: int = PART_BYTES) -> list[Path]:
    """Cut a folder into parts of one tar file, with SHA256SUMS and a script that unpacks them.

    Args:
        kit: the folder.
        output: an existing folder.
        part_bytes: most bytes per part.

    Returns:
        The parts, in order.
    """
    with tempfile.TemporaryFile(dir=output) as whole:
        with tarfile.open(fileobj=whole, mode="w") as archive:
            for entry in sorted(kit.iterdir()):
                archive.add(entry, entry.name)
        whole.seek(0)
        parts = []
        for number, piece in enumerate(iter(lambda: whole.read(part_bytes), b"")):
            path = output / f"kit.tar.part{number:03}"
            path.write_bytes(piece)
            parts.append(path)
    (output / "unpack.sh").write_text(UNPACK)
    (output / "unpack.sh").chmod(0o755)
    lines = [f"{digest}  {path.name}\n" for path, digest in _digests(parts)]
    (output / "SHA256SUMS").write_text("".join(lines))
    return parts


def _digests(paths: list[Path]) -> Iterator[tuple[Path, str]]:
    for path in paths:
        yield path, hashlib.sha256(path.read_bytes()).hexdigest()


def _git(*arguments: str) -> bytes:
    made = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)
    if made.returncode:
        raise UserError(f"git {arguments[0]} failed: {made.stderr.decode().strip()}")
    return made.stdout


def _pip(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "pip", *arguments]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        words = (made.stderr or made.stdout).strip().splitlines() or ["no message"]
        raise UserError(f"pip {arguments[0]} failed: {words[-1]}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Build an offline kit for a machine with a GPU.")
    parser.add_argument("--python", default="3.12", help="the target's Python (default 3.12)")
    parser.add_argument("--torch", action="store_true", help="with torch and CUDA, about 3 GB more")
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "kit")
    chosen = parser.parse_args()
    if chosen.output.exists() and any(chosen.output.iterdir()):
        print(f"error: {chosen.output} is not empty: give another --output", file=sys.stderr)
        return 2
    chosen.output.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=chosen.output.parent) as scratch:
            kit = Path(scratch) / "kit"
            (kit / "wheels").mkdir(parents=True)
            collect_source(kit / "source")
            collect_assets(kit / "cache")
            collect_wheels(kit / "wheels", chosen.python, chosen.torch)
            (kit / "python-version").write_text(chosen.python + "\n")
            (kit / "commit").write_text(_git("rev-parse", "HEAD").decode())
            parts = write_parts(kit, chosen.output)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    size = sum(part.stat().st_size for part in parts)
    print(f"{len(parts)} parts, {size / 1e6:.0f} MB, in {chosen.output}; unpack with unpack.sh")
    return 0


if __name__ == "__main__":
    sys.exit(main())
