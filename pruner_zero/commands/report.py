"""``pruner-zero report``: a run, several runs or a sweep as one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from pruner_zero.commands.display import Display
from pruner_zero.commands.schema import ReportCommandConfig
from pruner_zero.errors import UserError
from pruner_zero.metric import load_operators
from pruner_zero.report import Run, default_place, find_runs, read_run, report_on

HELP = """\
pruner-zero report: one page of a run, of several runs side by side, or of a sweep

The page is a single HTML file that opens in any browser without a server or a network:
convergence, every evaluated expression, the best metrics as formulas and trees, genealogy, what
evaluation did not cost, words, final table, settings and versions; of a sweep a heat map over the
settings with seeds as spread.

usage: pruner-zero report RUN... [KEY=VALUE ...]

  RUN                   a run folder, a sweep's folder, or a folder of runs
  runs=[a,b]            the same as a setting
  output=page.html      where to write; default: report.html in the run or sweep folder, or in the
                        current folder for several
  operator_files=[mine.py]   operators of your own, for runs that used them: typeset, trees, sizes
  title='my runs'       what several runs are called together

Every search writes its own report.html when it ends, and so does every sweep.
"""

POSITIONAL = "runs"


def report(cfg: DictConfig, output: Path, display: Display | None = None) -> None:
    """Write a page on runs.

    Args:
        cfg: of the report command's schema.
        output: not used.
        display: where to print.

    Raises:
        UserError: no run was given, a folder holds none, or the page cannot be written.
    """
    del output
    config = cast(ReportCommandConfig, OmegaConf.to_object(cfg))
    display = display or Display()
    given = [Path(text) for text in config.runs]
    if not given:
        raise UserError("no run is given: pruner-zero report RUN_FOLDER (they lie in runs/)")
    load_operators(config.operator_files)
    folders = find_runs(given)
    target = Path(config.output) if config.output else default_place(given, folders)
    if target.is_dir():
        target = target / "report.html"
    elif target.suffix not in (".html", ".htm"):
        # Browsers show a file of another name as text.
        target = target.with_name(f"{target.name}.html")
    if not target.parent.is_dir():
        raise UserError(f"output={target}: there is no folder {target.parent}")
    runs = [read_run(folder) for folder in folders]
    for run in runs:
        _say_gaps(run, display)
    _write(runs, target, config.title or (_title(given[0]) if len(given) == 1 else None), display)


def leave_report(folder: Path, display: Display) -> None:
    """Write a run's page into its folder at the end of a search.

    Whatever goes wrong is said and no more: a page that can be made later never costs a run.
    """
    try:
        report_on([read_run(folder)]).write(folder / "report.html")
    except Exception as error:  # the run is complete without its page, so nothing may stop here
        display.say(
            f"warning: no report.html was made ({type(error).__name__}: {error}); "
            f"pruner-zero report {folder} tries again"
        )
    else:
        display.say(f"report        {folder / 'report.html'}")


def leave_sweep_report(sweep: Path, display: Display) -> None:
    """Write the page of a sweep into its folder at its end, as the report command does.

    Whatever goes wrong is said and no more, as in `leave_report`.
    """
    try:
        folders = find_runs([sweep])
        runs = [read_run(folder) for folder in folders]
        _write(runs, default_place([sweep], folders), _title(sweep), display)
    except Exception as error:  # the runs are complete, and each has its page
        display.say(
            f"warning: no report of the sweep was made ({type(error).__name__}: {error}); "
            f"pruner-zero report {sweep} tries again"
        )


def _write(runs: Sequence[Run], target: Path, title: str | None, display: Display) -> None:
    report_on(runs, title, target).write(target)
    counted = f"{len(runs)} runs" if len(runs) > 1 else "1 run"
    display.say(f"report of {counted}  {target}  (open it in a browser; it needs no network)")


def _title(folder: Path) -> str:
    return folder.resolve().name


def _say_gaps(run: Run, display: Display) -> None:
    for gap in run.gaps:
        display.say(f"{run.path}: {gap}")
