"""``pruner-zero COMMAND …`` and ``python -m pruner_zero COMMAND …``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version

from pruner_zero.errors import suggest

COMMANDS = {
    "search": "evolve a pruning metric for a model",
    "compare": "one table of pruning methods against sparsities",
    "report": "one page of a run, of several runs, or of a sweep",
    "plan": "how far can a model be pruned within a tolerated loss",
    "prune": "write a pruned model that loads like any other",
    "evaluate": "zero-shot accuracy of a model, dense or pruned",
    "bench": "time one evaluation, stage by stage, beside the public flow",
    "show": "one metric as formula, tree, simplified forms, LaTeX and Python",
    "ledger": "list or export the evaluations of all searches",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        print("Pruner-Zero: evolve symbolic pruning metrics for large language models\n")
        print("usage: pruner-zero COMMAND [KEY=VALUE ...]\n\ncommands:")
        for name, meaning in COMMANDS.items():
            print(f"  {name:<10}{meaning}")
        print("\npruner-zero COMMAND --help explains a command's settings")
        return 0
    if given[0] == "--version":
        print(version("pruner-zero"))
        return 0
    name, rest = given[0], given[1:]
    if name not in COMMANDS:
        print(f"error: no command is called '{name}': {suggest(name, COMMANDS)}", file=sys.stderr)
        return 2
    try:
        return _run(name, rest)
    except KeyboardInterrupt:
        print("stopped; the same command starts again, with the statistics that are measured")
        return 130


def _run(name: str, arguments: Sequence[str]) -> int:
    # Commands are imported when asked for: importing torch takes seconds.
    from importlib import import_module

    module = import_module(f"pruner_zero.commands.{name}")
    if any(argument in ("-h", "--help") for argument in arguments):
        print(module.HELP)
        return 0
    from pruner_zero.commands.launch import launch

    positional, check = (getattr(module, own, None) for own in ("POSITIONAL", "check_settings"))
    return launch(name, getattr(module, name), list(arguments), positional, check)


if __name__ == "__main__":
    sys.exit(main())
