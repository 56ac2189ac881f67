"""The pages as files: whole, self-contained, safe whatever a log holds."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pruner_zero.report import read_run, report_on
from tests.report.folders import LOG, record, results, write_run
from tests.report.test_sweep import sweep

RECORDED = Path(__file__).resolve().parents[2] / "experiments"


class Seen(HTMLParser):
    """Ids, addresses, figures and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.addresses: list[str] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self._in: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self._in.append(tag)
        if "id" in found:
            self.ids.add(found["id"])
        self.addresses += [found[k] for k in ("src", "href", "srcset", "action") if k in found]

    def handle_data(self, data):
        if self._in and self._in[-1] == "script":
            self.scripts.append(data)
        elif self._in and self._in[-1] != "style":
            self.words.append(data)

    def handle_endtag(self, tag):
        while self._in and self._in.pop() != tag:
            pass

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def seen(*runs) -> Seen:
    return Seen(report_on(list(runs)).html())


def data(page: Seen) -> list[dict]:
    return [json.loads(s) for s in page.scripts if s.startswith("{")]


SECTIONS = {"final", "best", "convergence", "expressions", "genealogy", "savings", "words",
            "settings"}  # fmt: skip


def test_page_of_a_run_has_every_part(tmp_path):
    page = seen(read_run(write_run(tmp_path / "run", ended=results())))
    assert page.ids >= SECTIONS and "gaps" not in page.ids
    # Nothing but places in the page itself and an empty icon.
    assert set(page.addresses) == {"data:,", *(f"#{name}" for name in SECTIONS)}
    for part in ("300.00", "66.00", "wikipedia: 4 windows of 64 tokens", "validation perplexity "
                 "41.50", "From 2 founders over 1 offspring", "1 candidates failed",
                 "8 further offspring became no candidates", "2.13.0",
                 "population_size"):  # fmt: skip
        assert part in page.text, part
    expressions = next(f for f in data(page) if "size" in f["layout"]["xaxis"]["title"]["text"])
    names = [trace["name"] for trace in expressions["data"]]
    assert names == ["stopped early (estimate) (1)", "known masks or formula (1)",
                     "evaluated in full (4)", "failed (1)", "Pareto front"]  # fmt: skip
    points = [card for trace in expressions["data"][:4] for card in trace["customdata"]]
    assert sorted(formula for formula, _ in points) == sorted(r["simplified"] for r in LOG)


def test_unfinished_run_shows_what_it_can(tmp_path):
    page = seen(read_run(write_run(tmp_path / "run")))
    assert page.ids >= SECTIONS - {"final"} | {"gaps"}
    assert "final" not in page.ids
    assert "Gaps in what was recorded" in page.text and "did not end" in page.text


def test_joint_fitness_names_all_models_and_sparsities(tmp_path):
    joint = {"fitness__sparsity": ["0.5", "2:4"], "fitness__models": ["other"]}
    page = seen(read_run(write_run(tmp_path / "run", **joint)))
    assert "model some-model and other" in page.text
    assert "sparsity 0.5 and 2:4" in page.text


def test_run_without_log_and_run_of_failures(tmp_path):
    folder = write_run(tmp_path / "a", ended=results())
    (folder / "evaluations.jsonl").unlink()
    page = seen(read_run(folder))
    assert {"final", "best", "gaps", "settings"} <= page.ids
    assert not {"convergence", "genealogy", "words"} & page.ids
    failed = read_run(write_run(tmp_path / "b", [record(1, "sub(X, X)", None)]))
    page = seen(failed)
    assert {"convergence", "expressions"} <= page.ids
    assert not {"best", "genealogy", "words"} & page.ids


def test_what_a_log_holds_cannot_break_the_page(tmp_path):
    evil = "</script><script>alert(1)</script>"
    log = [*LOG, record(8, evil, 10.0, operation=evil), record(9, "G", None, reason=evil)]
    folder = write_run(tmp_path / "run", log, results(), simplify=evil)
    page = seen(read_run(folder))
    assert not any("alert(1)" in script and not script.startswith("{") for script in page.scripts)
    assert page.text.count("alert(1)") >= 3  # shown, as text


@pytest.mark.parametrize("name", ["quickstart/first", "discovered/wide_50_seed0"])
def test_recorded_runs(name):
    page = seen(read_run(RECORDED / name))
    assert page.ids >= SECTIONS
    assert ("gaps" in page.ids) == (name == "quickstart/first")


def test_page_of_a_sweep(tmp_path):
    page = seen(*sweep(tmp_path))
    assert {"map", "strips", "runs", "curves", "fronts", "best", "final"} <= page.ids
    assert "varied: search.population_size (9, 10), simplify (oos, rank)" in page.text
    assert "seeds 0, 1" in page.text


def test_runs_link_to_their_own_pages_where_there_are_some(tmp_path):
    runs = sweep(tmp_path / "my sweep", sizes=(4,), modes=("rank",))
    report_on(runs[:1]).write(runs[0].path / "report.html")
    page = Seen(report_on(runs, place=tmp_path / "all.html").html())
    assert [a for a in page.addresses if "report" in a] == ["my%20sweep/4-rank-0/report.html"]


def test_odd_values_make_no_broken_figures(tmp_path):
    log = [*LOG, record(8, "exp(X)", 1e308), record(9, "G", 0.0), record(10, "W", 5.0, scope=7,
           reason={"new": 1}, known_by=["x"])]  # fmt: skip
    page = report_on([read_run(write_run(tmp_path / "run", log, results()))]).html()
    figures = [s for s in Seen(page).scripts if s.startswith("{")]
    assert len(figures) == 5
    for figure in figures:
        json.loads(figure, parse_constant=pytest.fail)  # no NaN, no Infinity


def test_page_of_two_unlike_runs(tmp_path):
    new = read_run(write_run(tmp_path / "new"))
    page = seen(read_run(RECORDED / "quickstart/first"), new)
    assert "map" not in page.ids and {"strips", "runs", "curves", "gaps"} <= page.ids
    assert "With operators also changed" not in page.text  # they are equal here
    assert "also changed" in page.text
    assert page.text.count("mul(sqr(W), X)") >= 1


def test_page_is_small_besides_plotly(tmp_path):
    from plotly.offline import get_plotlyjs

    html = report_on([read_run(RECORDED / "discovered/wide_50_seed0")]).html()
    assert html.count(get_plotlyjs()) == 1
    assert len(html) - len(get_plotlyjs()) < 300_000
