"""Run folders of every kind: complete, unfinished, damaged, older, newer."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from pruner_zero.report import read_run
from pruner_zero.report.run_page import run_page
from tests.report.folders import FULL, LOG, record, results, write_run

RECORDED = Path(__file__).resolve().parents[2] / "experiments"


def test_complete_run_has_no_gaps(tmp_path):
    run = read_run(write_run(tmp_path / "run", ended=results()))
    assert run.gaps == ()
    assert run.format == 2
    assert run.full_tokens == FULL
    assert [e.number for e in run.evaluations] == [1, 2, 3, 4, 5, 6, 7]
    assert run.evaluations[2].perplexity == math.inf and not run.evaluations[2].usable
    assert run.outcome.corpora == ["wikipedia", "news"]
    (place,) = run.outcome.places
    assert (place.label, place.dense("news"), place.best("wikipedia")) == ("", 30.0, 45.0)
    assert run.outcome.rows[1].perplexity["news"] is None
    assert run.outcome.windows == {"wikipedia": (4, 64), "news": (4, 64)}
    assert run.versions == {"python": "3.11.0", "torch": "2.13.0"}
    # Validation first, the rest of the hall of fame after it, none twice.
    ranking = [(best.formula, best.validation) for best in run.ranking()]
    assert ranking[0] == ("mul(abs(W), sqrt(X))", 41.5)
    assert [formula for formula, _ in ranking].count("mul(abs(W), sqrt(X))") == 1
    assert run.evaluation_of(run.ranking()[0]).number == 7


def test_a_joint_outcome_keeps_sparsities_apart(tmp_path):
    ended = results()
    second = [{**row} for row in ended["table"]]
    for row in second[1:]:
        row["sparsity"] = "2:4"
    second[-1]["test_perplexity"] = {"wikipedia": 80.0, "news": None}
    run = read_run(write_run(tmp_path / "run", ended={**ended, "table": ended["table"] + second}))
    assert [place.label for place in run.outcome.places] == ["0.5", "2:4"]
    assert [place.best("wikipedia") for place in run.outcome.places] == [45.0, 80.0]
    assert run.outcome.best("wikipedia") == pytest.approx(60.0)
    assert run.outcome.best("news") is None  # not finite in one of them
    tiles = {label: (value, remark) for label, value, remark in run_page(run).facts["tiles"]}
    assert tiles["wikipedia test perplexity at 0.5"] == ("45.00", "dense 20.00")
    assert tiles["wikipedia test perplexity at 2:4"] == ("80.00", "dense 20.00")
    assert tiles["news test perplexity at 2:4"] == ("not finite", "dense 30.00")


def test_joint_fitness_costs_every_part(tmp_path):
    settings = {"fitness__sparsity": ["0.5", "2:4"], "fitness__models": ["other"]}
    assert read_run(write_run(tmp_path / "run", **settings)).full_tokens == 4 * FULL


def test_unfinished_run_says_what_is_missing(tmp_path):
    run = read_run(write_run(tmp_path / "run"))
    assert run.outcome is None
    assert any("did not end" in gap and "final table" in gap for gap in run.gaps)
    assert [best.search for best in run.ranking()] == [39.0, 40.0, 40.0, 50.0, 80.0]
    assert run.versions == {"torch": "2.12.0"}


def test_line_that_a_kill_cut_short_is_left_out(tmp_path):
    folder = write_run(tmp_path / "run", ended=results())
    with (folder / "evaluations.jsonl").open("a") as log:
        log.write('{"evaluation": 8, "expr')
    run = read_run(folder)
    assert len(run.evaluations) == len(LOG) and run.gaps == ()


@pytest.mark.parametrize(
    ("file", "content", "gap"),
    [
        ("config.yaml", None, "config.yaml is missing: settings cannot be shown"),
        ("config.yaml", "a: [", "config.yaml cannot be read"),
        ("config.yaml", "- 1\n", "config.yaml holds no settings"),
        ("evaluations.jsonl", None, "evaluations.jsonl is missing: convergence"),
        ("hall_of_fame.json", None, "hall_of_fame.json is missing: of the best metrics only"),
        ("evaluations.jsonl", "", "evaluations.jsonl is empty"),
        ("evaluations.jsonl", "{}\n", "1 of 1 lines cannot be read (the first is line 1)"),
        ("results.json", "{", "results.json is damaged"),
        ("hall_of_fame.json", "[[1]]", "hall_of_fame.json is of a kind"),
        ("run.json", '{"format": 9}', "format 9 of a newer version; this program reads"),
        ("run.json", '{"format": "x"}', "names no format but 'x'"),
    ],
)
def test_what_cannot_be_read_is_named_and_the_rest_is_there(tmp_path, file, content, gap):
    folder = write_run(tmp_path / "run", ended=results())
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    run = read_run(folder)
    assert any(gap in line for line in run.gaps), run.gaps
    assert run.evaluations or file == "evaluations.jsonl"
    assert (run.outcome and run.outcome.rows) or file == "results.json"
    assert run.ranking()


def test_results_of_an_unknown_shape_lose_only_their_unknown_parts(tmp_path):
    odd = results()
    odd["table"] = {"rows": []}
    odd["validation"] = [{"formula": "W"}]
    run = read_run(write_run(tmp_path / "run", ended=odd))
    assert any("the final table cannot be read" in gap for gap in run.gaps)
    assert any("the validation cannot be read" in gap for gap in run.gaps)
    assert run.outcome.counts["dense_perplexity"] == 19.5
    assert run.ranking()[0].formula == "mul(abs(W), sqrt(X))"  # of the hall of fame


def test_formulas_with_unknown_words_stay_as_points_without_size(tmp_path):
    run = read_run(write_run(tmp_path / "run", [*LOG, record(8, "fold(W)", 30.0)]))
    assert run.evaluations[-1].metric is None and run.evaluations[-1].size is None
    assert any("1 formula has words that this version does not know" in gap for gap in run.gaps)


def test_recorded_run_from_before_racing_and_the_ledger():
    run = read_run(RECORDED / "quickstart/first")
    assert run.format == 1 and len(run.evaluations) == 97
    assert [gap for gap in run.gaps if "predates" not in gap] == []
    assert len(run.gaps) == 2
    assert run.outcome.corpora == ["wikipedia"]
    assert run.outcome.windows == {"wikipedia": (8, 512)}
    assert run.ranking()[0].formula == "mul(sqr(W), X)"
    # Which its own results.json did not say, but the hall of fame does.
    assert run.ranking()[0].search == pytest.approx(39.38489468)
    counts = json.loads((RECORDED / "quickstart/first/results.json").read_text())["search"]
    assert sum(e.cost > 0 for e in run.evaluations) == counts["evaluations"]
    assert sum(e.known_by == "digest" for e in run.evaluations) == 37


def test_recorded_run_counts_as_its_search_did():
    run = read_run(RECORDED / "discovered" / "wide_50_seed0")
    assert run.gaps == ()
    counts = run.outcome.counts
    spent = sum(e.cost for e in run.evaluations)
    assert (spent, spent / run.full_tokens) == (
        counts["tokens"],
        pytest.approx(counts["full_evaluations"], abs=0.01),
    )
    assert sum(not e.usable for e in run.evaluations) == counts["failed"]
