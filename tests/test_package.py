"""The package as others get it: a wheel in a clean environment, and every module importable."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import pruner_zero

ROOT = Path(__file__).resolve().parents[1]


def test_every_module_imports():
    for module in pkgutil.walk_packages(pruner_zero.__path__, "pruner_zero."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_public_names_exist():
    for name in pruner_zero.__all__:
        assert getattr(pruner_zero, name) is not None
    with pytest.raises(AttributeError):
        _ = pruner_zero.nonsense


@pytest.mark.wheel
def test_wheel_runs_in_a_clean_environment(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(tmp_path)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    # The dependencies are this environment's; the package itself comes from the wheel alone.
    venv.create(tmp_path / "clean", with_pip=True)
    python = tmp_path / "clean" / "bin" / "python"
    (site,) = (tmp_path / "clean" / "lib").glob("python*/site-packages")
    ours = next(p for p in sys.path if p.endswith("site-packages"))
    dependencies = tmp_path / "dependencies"
    dependencies.mkdir()
    for entry in Path(ours).iterdir():
        if "pruner_zero" not in entry.name and not entry.name.endswith(".pth"):
            (dependencies / entry.name).symlink_to(entry)
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    install = [str(python), "-m", "pip", "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    shown = subprocess.run(
        [str(tmp_path / "clean" / "bin" / "pruner-zero"), "search", "--cfg", "job"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "population_size: 16" in shown
    # Templates travel inside the package, too.
    page, run = tmp_path / "page.html", ROOT / "experiments" / "quickstart"
    made = [str(tmp_path / "clean" / "bin" / "pruner-zero"), "report", str(run), f"output={page}"]
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    best = json.loads((run / "results.json").read_text())["best"]["expression"]
    assert best in page.read_text()
    where = subprocess.run(
        [str(python), "-c", "import pruner_zero; print(pruner_zero.__file__)"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert where.startswith(str(tmp_path))
