"""The Triton kernels give the masks of torch; on the CPU in a process with Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from pruner_zero.model.selection import (
    nofm_mask,
    row_mask,
    torch_nofm_mask,
    torch_row_mask,
)
from pruner_zero.model.triton_selection import (
    WIDEST_ROW,
    kernels_agree,
    takes_groups,
    takes_rows,
    triton_nofm_mask,
    triton_row_mask,
)

WIDTHS = (8, 24)


def samples(width: int, device: str = "cpu"):
    generator = torch.Generator().manual_seed(width)
    ties = torch.randint(-2, 3, (3, width), generator=generator).float()
    yield ties.to(device)
    yield (ties * -0.0).to(device)
    yield torch.randn(3, width, generator=generator).to(device)
    extremes = torch.tensor([3e38, -3e38, 2.0**-140, -(2.0**-140), 0.0, -0.0, 1e-8, -1.0])
    yield extremes.repeat(2, width // 8).to(device)


def check(device: str) -> int:
    checked = 0
    for width in WIDTHS:
        for scores in samples(width, device):
            for k in (1, width // 3, width // 2, width - 1):
                assert triton_row_mask(scores, k).equal(torch_row_mask(scores, k)), (width, k)
                checked += 1
            for n, m in ((1, 2), (2, 4), (1, 4), (4, 8), (3, 8)):
                assert triton_nofm_mask(scores, n, m).equal(torch_nofm_mask(scores, n, m)), (n, m)
                checked += 1
    return checked


def test_under_the_interpreter():
    pytest.importorskip("triton", reason="needs Triton")
    program = (
        "from tests.model.test_triton_selection import check; import torch;"
        "from pruner_zero.model.triton_selection import kernels_agree;"
        "print(check('cpu'), kernels_agree(torch.device('cpu')))"
    )
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["72", "True"], ran.stderr


@pytest.fixture
def asked_anew():
    """The answer of `kernels_agree` is kept for the life of a process: not here."""
    kernels_agree.cache_clear()
    yield
    kernels_agree.cache_clear()


def replace_row_kernel(monkeypatch, kernel):
    monkeypatch.setattr("pruner_zero.model.triton_selection.triton_row_mask", kernel)


def failing(error):
    def kernel(*_arguments):
        raise error

    return kernel


def test_the_cpu_is_left_to_torch():
    scores = torch.randn(3, 8)
    assert not takes_rows(scores)
    assert not takes_groups(scores, 4)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("Failed to find C compiler.\nSet CC"), r"\(RuntimeError: Failed to find C "),
        (subprocess.CalledProcessError(1, ["gcc"]), "CalledProcessError: Command .*gcc"),
        (PermissionError(13, "Permission denied", "cache"), "PermissionError: .*Permission denied"),
        (OSError(), "OSError: no message"),
    ],
)
@pytest.mark.usefixtures("asked_anew")
def test_kernels_that_fail_are_not_used_and_the_reason_is_said_once(monkeypatch, error, reason):
    pytest.importorskip("triton", reason="needs Triton")
    replace_row_kernel(monkeypatch, failing(error))
    with pytest.warns(RuntimeWarning, match=f"torch selects on cpu.*{reason}") as said:
        assert not kernels_agree(torch.device("cpu"))
        assert not kernels_agree(torch.device("cpu"))
    assert len(said) == 1
    assert "\n" not in str(said[0].message)


@pytest.mark.usefixtures("asked_anew")
def test_tritons_own_errors_are_a_reason(monkeypatch):
    errors = pytest.importorskip("triton.runtime.errors", reason="needs Triton")
    replace_row_kernel(monkeypatch, failing(errors.OutOfResources(9, 8, "shared memory")))
    with pytest.warns(RuntimeWarning, match="OutOfResources: out of resource: shared memory"):
        assert not kernels_agree(torch.device("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.usefixtures("asked_anew")
def test_without_a_driver_triton_itself_says_so():
    pytest.importorskip("triton", reason="needs Triton")
    with pytest.warns(RuntimeWarning, match="RuntimeError: 0 active drivers"):
        assert not kernels_agree(torch.device("cpu"))


@pytest.mark.usefixtures("asked_anew")
def test_without_triton_torch_selects(monkeypatch):
    monkeypatch.setattr("pruner_zero.model.triton_selection.triton", None)
    with pytest.warns(RuntimeWarning, match="Triton is not installed"):
        assert not kernels_agree(torch.device("cpu"))


@pytest.mark.usefixtures("asked_anew")
def test_kernels_that_differ_are_not_used(monkeypatch):
    pytest.importorskip("triton", reason="needs Triton")

    def nothing(scores, *_arguments):
        return torch.zeros_like(scores, dtype=torch.bool)

    for kernel in ("triton_row_mask", "triton_nofm_mask"):
        monkeypatch.setattr(f"pruner_zero.model.triton_selection.{kernel}", nothing)
    with pytest.warns(RuntimeWarning, match="gave other masks than torch"):
        assert not kernels_agree(torch.device("cpu"))


@pytest.mark.parametrize(
    "error",
    [TypeError("a bug"), torch.OutOfMemoryError("full"), torch.AcceleratorError("lost")],
)
@pytest.mark.usefixtures("asked_anew")
def test_bugs_and_a_full_or_lost_device_are_not_hidden(monkeypatch, error):
    pytest.importorskip("triton", reason="needs Triton")
    replace_row_kernel(monkeypatch, failing(error))
    with pytest.raises(type(error), match=str(error)):
        kernels_agree(torch.device("cpu"))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_the_device():
    pytest.importorskip("triton", reason="needs Triton")
    assert kernels_agree(torch.device("cuda", torch.cuda.current_device()))
    assert check("cuda") == 72
    # Widths of real layers, and one that torch must take.
    for width in (576, 11008, WIDEST_ROW + 8):
        scores = torch.randn(64, width, device="cuda").round(decimals=1)
        assert row_mask(scores, width // 2).cpu().equal(row_mask(scores.cpu(), width // 2))
        assert nofm_mask(scores, 2, 4).cpu().equal(nofm_mask(scores.cpu(), 2, 4))
