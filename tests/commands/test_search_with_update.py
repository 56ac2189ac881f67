"""``fitness.update=obs`` from outside: refusals, a whole search, the ledger, resuming."""

from __future__ import annotations

import json

import pytest

from pruner_zero.__main__ import main
from pruner_zero.metric import Metric
from pruner_zero.search.ledger import Ledger


def run(*arguments: str) -> int:
    return main(["search", *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fitness.update=obz"], "did you mean 'obs'"),
        (["fitness.update=adaptive", "workers=ray"], "workers=local"),
        (["fitness.update=adaptive", "search.scopes=[row,model]"], "use scope row or layer"),
        (["fitness.update=adaptive", "search.seeds=['mul(W,G)@block']"], "error: search.seeds: "),
        (["fitness.update=adaptive", "test.baselines=[pz-power-50]"], "error: test.baselines: "),
        (["fitness.update=adaptive", "memory=blockwise"], "memory=resident"),
        (["mode=sequentially"], "did you mean 'sequential'"),
        (["mode=sequential", "scope=model"], "scope: scope 'model' compares all blocks"),
        (["fitness.update=obs", "memory=blockwise"], "memory=resident"),
        (["fitness.update=obs", "workers=ray"], "workers=local"),
    ],
)
def test_refused_in_one_line_before_anything_loads(capsys, monkeypatch, arguments, message):
    def must_not_load(*_args, **_settings):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("pruner_zero.commands.setup.load_model", must_not_load)
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert message in printed.err


def test_a_search_whose_candidates_are_updated(tiny_arguments, tmp_path, capsys):
    quick = [*tiny_arguments, "sparsity=2:4", "search.generations=1"]
    assert run(*quick, "fitness.update=obs") == 0
    folder = tmp_path / "run"
    results = json.loads((folder / "results.json").read_text())
    names = [row["method"] for row in results["table"]]
    assert names == ["dense", "magnitude", "wanda", "pruner-zero", "sparsegpt", "magnitude+obs",
                     "wanda+obs", "pruner-zero+obs", "best of this search+obs"]  # fmt: skip
    values = {row["method"]: row["test_perplexity"]["files"] for row in results["table"]}
    assert values["wanda"] != values["wanda+obs"]
    assert results["best"]["update"] == "obs"
    printed = capsys.readouterr().out
    assert "to be used with update=obs" in printed
    assert "weight update" in (folder / "report.html").read_text()

    # The command prunes by the metric with the update, as the search judged it.
    text = next(one for one in tiny_arguments if one.startswith("corpus.files"))
    cache = next(one for one in tiny_arguments if one.startswith("cache="))
    settings = ["model=random-tiny", "corpus=files", text, cache, "device=cpu", "windows=4",
                "length=64", "calibration.sequences=4", "calibration.length=64"]  # fmt: skip
    told = next(one for one in printed.splitlines() if one.startswith("prune with"))
    pruned = tmp_path / "pruned"
    assert main(["prune", *told.split()[2:], *settings, f"output={pruned}"]) == 0
    found = json.loads((pruned / "pruning.json").read_text())["perplexity"]["pruned"]
    assert found == pytest.approx(values["best of this search+obs"], rel=1e-4)
    warning = "judged its metrics with another weight update: set update=obs"
    assert warning not in capsys.readouterr().out
    without = [f"metric={folder}", "sparsity=2:4", *settings, f"output={tmp_path / 'without'}"]
    assert main(["prune", *without]) == 0
    assert warning in capsys.readouterr().out
    assert main(["show", f"metric={folder}"]) == 0
    assert "update    obs: found with this weight update" in capsys.readouterr().out

    # Equal masks without the update have other losses: the ledger keeps them apart.
    other = [*quick[:-3], f"hydra.run.dir={tmp_path / 'plain'}", *quick[-2:]]
    assert run(*other) == 0
    counts = json.loads((tmp_path / "plain" / "results.json").read_text())["search"]
    assert counts["tokens_computed"] == counts["tokens"] > 0
    rows = list(Ledger(tmp_path / "cache" / "ledger.sqlite").rows())
    by_update = {"obs": {}, None: {}}
    for row in rows:
        by_update[row.get("update")][row["digest"]] = row["losses"]
    both = by_update["obs"].keys() & by_update[None].keys()
    assert both
    assert all(by_update["obs"][digest] != by_update[None][digest] for digest in both)
    capsys.readouterr()
    assert main(["ledger", cache]) == 0
    assert capsys.readouterr().out.count("update obs") == 1

    # A run is not continued with another update.
    assert run(*quick, f"resume={folder}") == 2
    assert "other values of fitness.update" in capsys.readouterr().err
    assert main(["show", f"metric={folder}"]) == 0
    assert str(Metric.from_json(folder / "best_metric.json")) in capsys.readouterr().out


def test_a_search_whose_candidates_choose_while_they_are_updated(
    tiny_arguments, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("pruner_zero.model.sparsegpt._COLUMNS", 16)  # several blocks per layer
    quick = [*tiny_arguments, "sparsity=2:4", "search.generations=1", "mode=sequential"]
    assert run(*quick, "fitness.update=adaptive", "test.baselines=[wanda,sparsegpt]") == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    values = {row["method"]: row["test_perplexity"]["files"] for row in results["table"]}
    assert list(values) == ["dense", "wanda", "sparsegpt", "wanda+adaptive",
                            "best of this search+adaptive"]  # fmt: skip
    assert results["best"]["update"] == "adaptive" and results["test"]["mode"] == "sequential"
    printed = capsys.readouterr().out
    told = next(one for one in printed.splitlines() if one.startswith("prune with"))
    assert "update=adaptive mode=sequential" in told

    # Other commands prune as the table did.
    text = next(one for one in tiny_arguments if one.startswith("corpus.files"))
    cache = next(one for one in tiny_arguments if one.startswith("cache="))
    settings = ["model=random-tiny", "corpus=files", text, cache, "device=cpu", "windows=4",
                "length=64", "calibration.sequences=4", "calibration.length=64"]  # fmt: skip
    pruned = tmp_path / "pruned"
    assert main(["prune", *told.split()[2:], *settings, f"output={pruned}"]) == 0
    found = json.loads((pruned / "pruning.json").read_text())["perplexity"]["pruned"]
    assert found == pytest.approx(values["best of this search+adaptive"], rel=1e-4)
    methods = "methods=[wanda+adaptive,sparsegpt]"
    cells = ["sparsity=[2:4]", "seeds=[0]", "mode=sequential", f"output={tmp_path / 'cells'}"]
    assert main(["compare", methods, *cells, *settings]) == 0
    for line in (tmp_path / "cells" / "cells.jsonl").read_text().splitlines():
        cell = json.loads(line)
        assert cell["perplexity"] == pytest.approx(values[cell["method"]], rel=1e-4)


def test_another_calibration_is_another_context(tiny_arguments, tmp_path):
    quick = [*tiny_arguments, "fitness.update=obs", "search.generations=1", "seed=3"]
    assert run(*quick) == 0
    more = [f"hydra.run.dir={tmp_path / 'more'}", "calibration.sequences=5"]
    assert run(*quick[:5], *more, *quick[6:]) == 0
    counts = json.loads((tmp_path / "more" / "results.json").read_text())["search"]
    assert counts["tokens_computed"] == counts["tokens"] > 0


def test_a_run_from_before_a_setting_goes_on_with_its_default(tiny_arguments, tmp_path):
    quick = [*tiny_arguments, "search.generations=1"]
    assert run(*quick) == 0
    config = tmp_path / "run" / "config.yaml"
    new = ("update:", "immigrants:")
    old = [one for one in config.read_text().splitlines() if not one.strip().startswith(new)]
    config.write_text("\n".join(old))
    assert run(*quick, f"resume={tmp_path / 'run'}", "search.generations=2") == 0
