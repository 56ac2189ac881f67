"""Operators of a user's own: one file, probed, with an error that names what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pruner_zero import Metric, UserError, load_operators
from pruner_zero.metric import OPERATOR_SETS, OPERATORS
from pruner_zero.metric.operator_probes import probe

HEAD = "import torch\nfrom pruner_zero import Operator, operator\n"
SIGNED_ROOT = (
    HEAD
    + '''
@operator()
def signed_root(x):
    """root of the absolute value, with the sign"""
    return torch.sign(x) * torch.sqrt(torch.abs(x))

@operator(sign="non-negative", commutative=True, latex="\\\\|{0}, {1}\\\\|")
def hypot(x, y):
    return torch.hypot(x, y)

@operator(sign="as arguments", reduces="row")
def rowmedian(x):
    return x.median(dim=-1, keepdim=True).values
'''
)


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_extends_the_language(tmp_path, own_words):
    (file,) = load_operators(write(tmp_path, SIGNED_ROOT))
    assert [one.name for one in file.operators] == ["signed_root", "hypot", "rowmedian"]
    assert OPERATORS["signed_root"].meaning == "root of the absolute value, with the sign"
    assert not any("signed_root" in names for names in OPERATOR_SETS.values())
    metric = Metric.parse("mul(signed_root(neg(W)), hypot(X, rowmedian(W)))")
    assert Metric.from_json(metric.to_json()) == metric
    weight = torch.tensor([[1.0, 4.0, 9.0], [16.0, 4.0, 0.0]])
    scores = metric.score(weight, X=torch.tensor([[3.0, 0.0, 0.0]]))
    assert torch.allclose(scores, -weight.sqrt() * torch.tensor([[5.0, 4, 4], [5, 4, 4]]))
    assert metric.latex().startswith(r"\mathrm{signed\_root}\left(-|W|\right) \cdot \|")
    # Simplification knows what was said of them and nothing else.
    assert str(Metric.parse("abs(hypot(W, G))").simplified("exact")) == "hypot(G, W)"
    assert str(Metric.parse("add(W, rowmedian(G))").simplified("rank", "row")) == "W"
    assert str(Metric.parse("signed_root(W)").simplified("rank")) == "signed_root(W)"
    # The same file again is no collision; its operators are the same objects.
    assert load_operators([tmp_path / "mine.py"])[0].operators == file.operators


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("@operator()\ndef cubed(x, y, z): return x", "takes 3 arguments"),
        ("own = Operator('two', 2, lambda x: x, '{0}', 'any', '')", "2 positional"),
        ("@operator()\ndef inverse(x): return 1 / x", "'inverse' is not finite on zeros"),
        ("@operator()\ndef root(x): return x.sqrt()", "'root' is not finite on negative numbers"),
        ("@operator()\ndef up(x): return x.exp()", "'up' is not finite on large numbers (1e6)"),
        ("@operator()\ndef over(x, y): return x / y", "not finite on zeros and zeros"),
        ("@operator()\ndef total(x): return x.sum()", "gives shape [] on a weight, not [4, 6]"),
        ("@operator(reduces='row')\ndef rows(x): return x.sum(0, keepdim=True)", "not [4, 1]"),
        (
            "@operator()\ndef half(x): return x.half().float().clamp(-9, 9)",
            "float32 of torch.float64",
        ),
        ("@operator()\ndef shift(x): return x.add_(1)", "changes its argument in place"),
        ("@operator()\ndef noise(x): return x + torch.rand_like(x)", "must not be random"),
        ("@operator(sign='non-negative')\ndef same(x): return x + 0", "is negative on negative"),
        ("@operator(sign='as arguments')\ndef minus(x): return -x", "though its sign is 'as arg"),
        ("@operator(even=True)\ndef odd(x): return x + 0", "first argument's sign"),
        (
            "@operator(even=True)\ndef off(x): return (x - x.mean()).abs()",  # bears -x, not |x|
            "first argument's sign",
        ),
        ("@operator(latex='{0}^{3}')\ndef cubed(x): return x**3", "LaTeX template"),
        ("@operator(latex='{x}')\ndef cubed(x): return x**3", "LaTeX template"),
        ("@operator(commutative=True)\ndef minus(x, y): return x - y", "order of its arguments"),
        ("@operator(reduces='row')\ndef twice(x): return 2 * x.sum(-1, True)", "as themselves"),
        ("@operator()\ndef words(x): return 'x'", "raises on tensors of 4 x 6: TypeError"),
        ("@operator()\ndef mul(x, y): return x * y", "'mul' exists already"),
        ("@operator()\ndef W(x): return x + 0", "'W' cannot name an operator"),
        ("def forgotten(x): return x", "defines no operator"),
        ("import nowhere_at_all", "does not run: ModuleNotFoundError"),
        ("raise SystemExit(3)", "does not run: SystemExit"),
        ("def broken(x) return x", "does not run: SyntaxError"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(tmp_path, own_words, body, message):
    before = dict(OPERATORS)
    with pytest.raises(UserError) as caught:
        load_operators(write(tmp_path, f"{HEAD}\n{body}\n"))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert "mine.py" in str(caught.value)
    assert dict(OPERATORS) == before


def test_a_taken_name_and_an_absent_file(tmp_path, own_words):
    load_operators(write(tmp_path, SIGNED_ROOT))
    other = SIGNED_ROOT.replace("torch.abs(x)", "x.abs()")
    with pytest.raises(UserError, match="'signed_root' exists already"):
        load_operators(write(tmp_path, other, "other.py"))
    with pytest.raises(UserError, match="cannot read the operator file"):
        load_operators(tmp_path / "absent.py")


def test_the_built_in_table_keeps_its_word():
    """Every declared fact holds; the public code's four partial operators are not total."""
    partial = {name for name, one in OPERATORS.items() if "not finite" in (probe(one) or "")}
    assert partial == {"div", "exp", "mms", "zsn"}
    assert [name for name, one in OPERATORS.items() if probe(one) and name not in partial] == []
    assert "order" in (probe(replace(OPERATORS["sub"], commutative=True)) or "")
