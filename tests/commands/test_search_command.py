"""The search command from outside: files, tables, settings that change what is judged, sweeps."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from pruner_zero.__main__ import main
from pruner_zero.commands.launch import config_dir
from pruner_zero.commands.methods import resolve_method_argument
from pruner_zero.data.corpus import build_corpus
from pruner_zero.data.documents import Document
from pruner_zero.metric import Metric
from pruner_zero.model.tiny import random_tiny
from tests.commands.searching import error_line, run


def test_complete_run_leaves_complete_folder(tiny_arguments, tmp_path, capsys):
    assert run(*tiny_arguments, "seed=0") == 0
    folder = tmp_path / "run"
    records = [json.loads(line) for line in (folder / "evaluations.jsonl").open()]
    assert [record["evaluation"] for record in records] == list(range(1, 25))
    wanted = {"expression", "simplified", "parents", "operation", "perplexity", "tokens",
              "generation", "seconds", "reason", "digest", "known_by",
              "losses", "complete", "cost", "fingerprint", "scope"}  # fmt: skip
    assert all(wanted <= set(record) for record in records)
    results = json.loads((folder / "results.json").read_text())
    names = [row["method"] for row in results["table"]]
    assert names == ["dense", "magnitude", "wanda", "pruner-zero", "sparsegpt",
                     "best of this search"]  # fmt: skip
    assert results["provenance"]["torch"] and results["provenance"]["device"]
    best = Metric.from_json(folder / "best_metric.json")
    complete = [r for r in records if r["perplexity"] is not None and r["complete"]]
    lowest = min(complete, key=lambda r: r["perplexity"])
    hall = json.loads((folder / "hall_of_fame.json").read_text())
    assert hall[0]["expression"] == lowest["simplified"]
    # The validation split, not the search split, chooses.
    picks = results["validation"]
    assert {p["expression"] for p in picks} == {h["expression"] for h in hall[:5]}
    values = [p["validation_perplexity"] for p in picks]
    assert values == sorted(values)
    assert str(best) == picks[0]["expression"] == results["best"]["expression"]
    assert "sparsity: '0.5'" in (folder / "config.yaml").read_text()
    printed = capsys.readouterr().out
    assert str(best) in printed and str(folder / "best_metric.json") in printed

    # The same command again: same search, statistics from the cache, losses from the ledger.
    again = tmp_path / "again"
    assert run(*tiny_arguments[:-1], f"hydra.run.dir={again}", "seed=0") == 0
    assert "measuring gradient" not in capsys.readouterr().out

    def course(path: Path) -> list[dict]:
        lines = [json.loads(line) for line in path.open()]
        drop = ("seconds", "tokens", "known_by")
        return [{k: v for k, v in line.items() if k not in drop} for line in lines]

    assert course(again / "evaluations.jsonl") == course(folder / "evaluations.jsonl")
    counts = json.loads((again / "results.json").read_text())["search"]
    assert counts["tokens_computed"] == 0 < counts["tokens"] == results["search"]["tokens"]
    # And without a ledger: again the same.
    alone = tmp_path / "alone"
    assert run(*tiny_arguments[:-1], f"hydra.run.dir={alone}", "seed=0", "ledger=off") == 0
    assert course(alone / "evaluations.jsonl") == course(folder / "evaluations.jsonl")


@pytest.mark.parametrize("algorithm", ["mu_plus_lambda", "nsga2", "random"])
def test_every_algorithm_runs_from_its_config(tiny_arguments, tmp_path, algorithm):
    settings = ["search.generations=1", "search.constants=[0.5]", "search.tune.share=0.3"]
    assert run(*tiny_arguments, f"search={algorithm}", *settings) == 0
    log = tmp_path / "run" / "evaluations.jsonl"
    assert len(log.read_text().splitlines()) == 16


def test_look_alikes_that_are_evaluated_are_counted(tiny_arguments, tmp_path, capsys):
    settings = ["fitness.fingerprint=false", "search.generations=4", "test.baselines=[]"]
    assert run(*tiny_arguments, *settings) == 0
    log = (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()
    looks = [look for line in log if (look := json.loads(line)["fingerprint"])]
    alike = len(looks) - len(set(looks))
    assert alike > 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["search"]["alike"] == alike
    assert f", {alike} look-alikes evaluated" in capsys.readouterr().out.replace("\n", " ")


def test_the_front_is_an_answer(tiny_arguments, tmp_path, capsys):
    joint = ["search=nsga2", "fitness.sparsity=[0.5,2:4]", "search.objectives=parts"]
    assert run(*tiny_arguments, *joint, "search.generations=1", "test.baselines=[wanda]") == 0
    front = json.loads((tmp_path / "run" / "results.json").read_text())["front"]
    for member in front:
        assert member["search_perplexity"] == pytest.approx(math.prod(member["parts"]) ** 0.5)
        others = [other for other in front if other != member]
        assert not any(
            other["nodes"] <= member["nodes"]
            and all(a <= b for a, b in zip(other["parts"], member["parts"], strict=True))
            for other in others
        )
    printed = capsys.readouterr().out.partition("Pareto front on the search windows")[2]
    assert "random-tiny 0.5" in printed and "random-tiny 2:4" in printed
    written = (tmp_path / "run" / "results.md").read_text().partition("Pareto front")[2]
    for member in front:
        assert f"{member['search_perplexity']:.2f}" in printed
        assert f"| {member['search_perplexity']:.2f} |" in written


def test_joint_fitness_over_sparsities_and_models(tiny_arguments, tmp_path, capsys):
    other = tmp_path / "other"
    model, tokenizer = random_tiny(blocks=3)
    model.save_pretrained(other)
    tokenizer.save_pretrained(other)
    joint = ["fitness.sparsity=[0.5,2:4]", f"fitness.models=[{other}]", "search.generations=1",
             "test.baselines=[wanda]", "search.scopes=[row,layer]"]  # fmt: skip
    assert run(*tiny_arguments, *joint) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    rows = [(row["model"], row["sparsity"]) for row in results["table"] if row["method"] == "wanda"]
    assert rows == [(m, s) for m in ("random-tiny", str(other)) for s in ("0.5", "2:4")]
    record = json.loads((tmp_path / "run" / "evaluations.jsonl").open().readline())
    values = [part["perplexity"] for part in record["parts"]]
    assert record["perplexity"] == pytest.approx(math.prod(values) ** 0.25)
    capsys.readouterr()
    assert "fitness.sparsity names 0.5 twice" in error_line(
        capsys, *tiny_arguments, "fitness.sparsity=[0.5,0.50]"
    )


def test_domains_take_turns_in_fitness_and_validation(
    tiny_arguments, tmp_path, capsys, monkeypatch
):
    loaded = []

    def other(name, **_settings):
        loaded.append(name)
        words = f"Other words, of {name}, number"
        texts = [Document(str(n), f"{words} {n}. " * 40) for n in range(40)]
        return build_corpus(name, {"all": texts})

    monkeypatch.setattr("pruner_zero.commands.places.load_corpus", other)
    quick = [*tiny_arguments[:-1], "search.generations=0", "test.baselines=[]",
             "fitness.racing.enabled=false"]  # fmt: skip
    mixed = ["fitness.domains=[news]", "validation.domains=[news]"]
    losses = {}
    for name, more in {"alone": [], "mixed": mixed}.items():
        assert run(*quick, *more, f"hydra.run.dir={tmp_path / name}") == 0
        log = (tmp_path / name / "evaluations.jsonl").open()
        losses[name] = [json.loads(line)["losses"] for line in log]
    assert loaded == ["news"]  # once for both splits; the final table stays with its own text
    results = json.loads((tmp_path / "mixed" / "results.json").read_text())
    assert list(results["test"]["corpora"]) == ["files"]
    # Two windows, one of each text: the first is where a single text's windows begin as well.
    pairs = [(a, m) for a, m in zip(losses["alone"], losses["mixed"], strict=True) if a and m]
    assert pairs
    assert all(a[0] == m[0] and a[1] != m[1] for a, m in pairs)
    capsys.readouterr()
    assert main(["ledger", f"cache={tmp_path / 'cache'}"]) == 0
    printed = capsys.readouterr().out
    assert "files search 2 x 64" in printed and "files and news search 2 x 64" in printed
    # With three texts the order decides who has the last window: other windows, other losses.
    for names in ("news,ptb", "ptb,news"):
        more = [f"fitness.domains=[{names}]", "fitness.windows=5"]
        assert run(*quick, *more, f"hydra.run.dir={tmp_path / names[:3]}") == 0
    capsys.readouterr()
    assert main(["ledger", f"cache={tmp_path / 'cache'}"]) == 0
    printed = capsys.readouterr().out
    assert "files and news and ptb search 5 x 64" in printed
    assert "files and ptb and news search 5 x 64" in printed


def test_the_scope_of_a_whole_run_goes_with_its_metric(tiny_arguments, tmp_path, capsys):
    quick = ["search.generations=0", "test.baselines=[]", "scope=layer"]
    assert run(*tiny_arguments, *quick) == 0
    best = json.loads((tmp_path / "run" / "results.json").read_text())["best"]["expression"]
    assert f"best metric   {best}, scope layer" in capsys.readouterr().out
    method = resolve_method_argument(str(tmp_path / "run"))
    assert (method.scope, method.name) == ("layer", f"{best}@layer")


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_bfloat16_where_the_cpu_computes_in_it(
    tiny_arguments, tmp_path, monkeypatch, native, expected
):
    from pruner_zero.commands import setup

    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": native})
    loaded = []
    original = setup.load_model

    def noting(*arguments):
        model, tokenizer = original(*arguments)
        loaded.append(str(model.dtype).removeprefix("torch."))
        return model, tokenizer

    monkeypatch.setattr(setup, "load_model", noting)
    assert run(*tiny_arguments, "search.generations=0") == 0
    assert loaded == [expected]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert all(row["test_perplexity"] for row in results["table"])


def test_sweep_makes_one_folder_per_job(tiny_arguments, tmp_path, capsys):
    sweep = tmp_path / "sweep"
    settings = [*tiny_arguments[:-1], "search.generations=0", f"hydra.sweep.dir={sweep}"]
    assert run("-m", *settings, "seed=0,1") == 0
    logs = [(sweep / job / "evaluations.jsonl").read_text() for job in ("0", "1")]
    assert logs[0] != logs[1]


def test_config_is_printed_without_running(capsys):
    assert run("--cfg", "job", "search.population_size=40", "sparsity=2:4") == 0
    printed = capsys.readouterr().out
    assert "population_size: 40" in printed
    assert "sparsity: '2:4'" in printed or "sparsity: 2:4" in printed


def test_help_speaks_of_the_field(capsys):
    assert main(["--help"]) == 0
    assert run("--help") == 0
    printed = capsys.readouterr().out
    for word in ("mutation", "perplexity", "sparsity=", "resume=", "-m"):
        assert word in printed
    assert main(["serch"]) == 2
    assert "did you mean 'search'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "experiment", sorted(p.stem for p in (config_dir() / "experiment").glob("*.yaml"))
)
def test_every_experiment_composes(experiment, capsys):
    assert run(f"experiment={experiment}", "--cfg", "job") == 0
    assert "population_size" in capsys.readouterr().out
