"""The offline kit: complete, and in checked parts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks.bundle import closure, requirements, write_parts
from pruner_zero.errors import UserError


@pytest.fixture
def parts(tmp_path):
    kit, output = tmp_path / "kit", tmp_path / "out"
    (kit / "wheels").mkdir(parents=True)
    (kit / "wheels" / "a.whl").write_bytes(bytes(range(256)) * 200)
    (kit / "python-version").write_text("3.12\n")
    output.mkdir()
    return kit, output, write_parts(kit, output, part_bytes=20_000)


def unpack(output: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [str(output / "unpack.sh"), str(target)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_parts_are_small_and_unpack_to_the_kit(parts, tmp_path):
    kit, output, made = parts
    assert len(made) > 2
    assert all(part.stat().st_size <= 20_000 for part in made)
    assert unpack(output, tmp_path / "again").returncode == 0
    for path in ("wheels/a.whl", "python-version"):
        assert (tmp_path / "again" / path).read_bytes() == (kit / path).read_bytes()


def test_a_relative_target_is_in_the_current_folder(parts, tmp_path, monkeypatch):
    _, output, _ = parts
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    unpacked = unpack(output, Path("my kit"))
    assert (tmp_path / "elsewhere" / "my kit" / "python-version").exists()
    assert str(tmp_path / "elsewhere" / "my kit" / "source") in unpacked.stdout


def test_a_damaged_part_is_refused(parts, tmp_path):
    _, output, made = parts
    data = bytearray(made[1].read_bytes())
    data[100] ^= 1
    made[1].write_bytes(data)
    refused = unpack(output, tmp_path / "again")
    assert refused.returncode != 0 and made[1].name in refused.stdout + refused.stderr
    assert not (tmp_path / "again").exists()


def test_closure_has_what_is_needed_at_run_time_and_leaves_torch_out():
    found = closure(("transformers", "torch", "pytest"), "3.12")
    assert {"transformers", "tokenizers", "pytest", "pluggy"} <= set(found)
    assert not {"torch", "mypy", "ruff", "lm-eval"} & set(found)
    with pytest.raises(UserError, match="no-such-package is not installed"):
        closure(("no-such-package",), "3.12")


def test_the_kit_has_what_the_checkout_asks_for():
    asked = {Requirement(text).name for text in requirements()}
    assert {"torch", "transformers", "plotly", "jinja2"} <= asked
    assert asked - {"torch"} <= set(closure(tuple(requirements()), "3.12"))
