"""A user's own operators: one Python file, read by explicit request, probed before it is used.

A file looks like this, and nothing else has to be changed::

    from pruner_zero import operator

    @operator(sign="as arguments", latex="{0}^3")
    def cube(x):
        "third power"
        return x * x * x
"""

from __future__ import annotations

import hashlib
import inspect
import re
import runpy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pruner_zero.errors import UserError
from pruner_zero.metric.operator_probes import probe
from pruner_zero.metric.operators import OPERATORS, register
from pruner_zero.metric.terminals import TERMINALS
from pruner_zero.metric.words import Operator, Reduction, Sign

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class OperatorFile:
    """A file of operators that was read.

    Attributes:
        path: where it was.
        sha256: of its text, so that a run can tell whether its operators are still the same.
        text: its text.
        operators: what it defines, in its order.
    """

    path: Path
    sha256: str
    text: str
    operators: tuple[Operator, ...]


# Reading a file twice in one process, as the jobs of a sweep do, must give the same operators.
_read: dict[str, OperatorFile] = {}


def operator(
    *,
    sign: Sign = "any",
    even: bool = False,
    commutative: bool = False,
    reduces: Reduction | None = None,
    latex: str | None = None,
) -> Callable[[Function], Operator]:
    r"""Make an operator of a function of one or two tensors; its name and first line describe it.

    What is said of it is what simplification may use, and it is probed: leave out what is not
    known.

    Args:
        sign: ``non-negative``, ``as arguments`` (not negative when no argument is) or ``any``.
        even: the value does not depend on the first argument's sign.
        commutative: both argument orders give the same bits.
        reduces: ``row``, ``column`` or ``layer`` when these become one number each; the reduced
            axes stay, with length 1.
        latex: a template with ``{0}`` and ``{1}``; braces of LaTeX itself are doubled.
    """

    def made(function: Function) -> Operator:
        name = function.__name__
        arity = len(inspect.signature(function).parameters)
        places = ", ".join(f"{{{index}}}" for index in range(arity))
        upright = name.replace("_", r"\_")
        return Operator(
            name,
            arity,
            function,
            latex or rf"\mathrm{{{{{upright}}}}}\left({places}\right)",
            sign,
            (inspect.getdoc(function) or name).splitlines()[0],
            even,
            commutative,
            reduces,
        )

    return made


def load_operators(files: str | Path | Iterable[str | Path]) -> tuple[OperatorFile, ...]:
    """Run Python files and add the operators that they define to the language.

    Args:
        files: one path or several. A file that was read before is not run again.

    Raises:
        UserError: a file that is absent, raises or defines no operator; an operator that fails a
            probe, which is named; a name that is taken.
    """
    paths = [files] if isinstance(files, str | Path) else list(files)
    return tuple(_load(Path(path).expanduser()) for path in paths)


def _load(path: Path) -> OperatorFile:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the operator file {path}: {error.strerror}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 not in _read:
        operators = _defined(path)
        for one in operators:
            _check_name(one, path)
            if failure := probe(one):
                raise UserError(f"{path}: operator '{one.name}' {failure}")
        register(operators)
        _read[sha256] = OperatorFile(path, sha256, content.decode("utf-8"), operators)
    return _read[sha256]


def _defined(path: Path) -> tuple[Operator, ...]:
    try:
        names = runpy.run_path(str(path))
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        # The file is the user's program: whatever it raises is theirs to mend.
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"the operator file {path} does not run: {reason}") from error
    found = {id(value): value for value in names.values() if isinstance(value, Operator)}
    own = tuple(one for one in found.values() if OPERATORS.get(one.name) is not one)
    if not own:
        raise UserError(
            f"{path} defines no operator: write @operator() of pruner_zero above a function"
        )
    return own


def _check_name(one: Operator, path: Path) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", one.name) or one.name in TERMINALS:
        raise UserError(
            f"{path}: '{one.name}' cannot name an operator: letters, digits and _ make one, "
            f"and {', '.join(TERMINALS)} are terminals"
        )
    if one.name in OPERATORS:
        raise UserError(f"{path}: an operator '{one.name}' exists already: choose another name")
