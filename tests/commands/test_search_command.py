"""The search command from outside: overrides, errors in one line, files, resume, sweeps."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from pruner_zero.__main__ import main
from pruner_zero.commands.launch import config_dir
from pruner_zero.commands.methods import resolve_method_argument
from pruner_zero.data.corpus import build_corpus
from pruner_zero.data.documents import Document
from pruner_zero.metric import Metric
from pruner_zero.model.tiny import random_tiny


def run(*arguments: str) -> int:
    return main(["search", *arguments])


def error_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.out + printed.err
    return printed.err


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("model={folder}", "write model=hub model.path={folder}"),
        ("model='{folder}'", "write model=hub model.path='{folder}'"),
        ("model=some-org/some-model", "write model=hub model.path=some-org/some-model"),
        ("model=nowhere", "choose from: hub, "),
        ("corpus={folder}", "write corpus=files corpus.files=[{folder}]"),
    ],
)
def test_a_path_where_a_config_is_named_says_how_to_write_it(tmp_path, capsys, given, hint):
    assert main(["search", given.format(folder=tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "config is called" in error and error.count("\n") == 1
    assert hint.format(folder=tmp_path) in error


def test_a_place_that_cannot_be_a_folder_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    for command in (
        ["search", f"hydra.run.dir={tmp_path / 'file'}"],
        ["search", "-m", "seed=1,2", f"hydra.sweep.dir={tmp_path / 'file'}"],
        ["prune", f"output={tmp_path / 'file' / 'below'}"],
        ["plan", f"output={tmp_path / 'file'}"],
    ):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert f"{tmp_path / 'file'} is a file" in error and error.count("\n") == 1


def test_a_folder_with_something_in_it_is_refused_before_anything_loads(
    tiny_arguments, tmp_path, capsys, monkeypatch
):
    def must_not_load(*_args, **_settings):
        raise AssertionError("a model was loaded")

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    monkeypatch.setattr("pruner_zero.commands.setup.load_model", must_not_load)
    assert "is not empty: choose another folder" in error_line(capsys, *tiny_arguments)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]
    (tmp_path / "run" / "thesis.txt").rename(tmp_path / "run" / "evaluations.jsonl")
    assert "already holds a run" in error_line(capsys, *tiny_arguments)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.yaml", "a: [", "config.yaml cannot be read (while parsing"),
        ("config.yaml", "- 1", "config.yaml cannot be read (it holds no settings)"),
        ("checkpoint.json", '{"version": 3}', "checkpoint.json holds no state of a search"),
        ("evaluations.jsonl", "garbage\n", "evaluations.jsonl is damaged (Expecting"),
    ],
)
def test_resuming_a_damaged_run_is_one_line(tiny_arguments, tmp_path, capsys, file, text, message):
    quick = [*tiny_arguments, "search.generations=0", "test.baselines=[]"]
    assert run(*quick) == 0
    (tmp_path / "run" / "results.json").unlink()
    (tmp_path / "run" / file).write_text(text)
    capsys.readouterr()
    assert run(*quick, f"resume={tmp_path / 'run'}") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_run_that_is_not_there_is_named_with_the_nearest(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "evaluations.jsonl").touch()
    assert main(["show", "metric=runs/frist"]) == 2
    assert "no run folder runs/frist: did you mean runs/first?" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search.popultion_size=3"], "did you mean 'search.population_size'"),
        (["sede=1"], "unknown setting 'sede': did you mean 'seed'"),
        (["search.population_size=many"], "search.population_size=many: Value 'many'"),
        (["model=smollm2"], "no model config is called 'smollm2': did you mean 'smollm2-135m'"),
        (["corpus=wikpedia"], "did you mean 'wikipedia'"),
        (["search=stedy_state"], "did you mean 'steady_state'"),
        (["search.scopes=[row,modle]"], "did you mean 'model'"),
        (["search.scopes=[row]", "sparsity=2:4"], "drop search.scopes"),
        (["search.seeds=[wanda@modle]"], "did you mean 'model'"),
        (["search.variation.mutation_weights.hois=1"], "mutation_weights.hoist'"),
        (["search.variation.mutation_probability=1"], "did you mean 'search.mutation_probability'"),
        (["search.mutation_probability=1.5"], "search.mutation_probability must lie in [0, 1]"),
        (["search=nsga2", "search.diversity=age"], "not for nsga2"),
        (["sparsity=1.5"], "must lie strictly between 0 and 1"),
        (["sparsity=0"], "must lie strictly between 0 and 1"),
        (["sparsity=4:2"], "4:2"),
        (["sparsity=half"], "half"),
        (["scope=rows"], "rows"),
        (["simplify=rnk"], "did you mean 'rank'"),
        (["operators=papr"], "did you mean 'paper'"),
        (["search.minutes=0"], "search.minutes must be above 0"),
        (["test.baselines=[wnda]"], "did you mean 'wanda'"),
        (["fitness.length=1"], "fitness.length must be at least 2"),
        (["corpus=files"], "corpus.files"),
        (["fitness.domains=[nws]"], "fitness.domains: 'nws': did you mean 'news'"),
        (["validation.domains=[news]", "validation.windows=1"], "too few for 2 texts"),
        (["test.domains=[files]"], "test.domains: 'files': choose from"),
        (["seed=1", "-m", "sed=2,3"], "unknown setting 'sed'"),
        (["sparsity=[0.5"], "cannot read the override"),
    ],
)
def test_mistakes_are_one_line_before_anything_loads(capsys, monkeypatch, arguments, message):
    def must_not_load(*_args, **_settings):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("pruner_zero.commands.setup.load_model", must_not_load)
    assert message in error_line(capsys, *arguments)


@pytest.mark.parametrize("algorithm", ["mu_plus_lambda", "nsga2", "random"])
def test_every_algorithm_runs_from_its_config(tiny_arguments, tmp_path, algorithm):
    settings = ["search.generations=1", "search.constants=[0.5]", "search.tune.share=0.3"]
    assert run(*tiny_arguments, f"search={algorithm}", *settings) == 0
    log = tmp_path / "run" / "evaluations.jsonl"
    assert len(log.read_text().splitlines()) == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sparsity=3:7"], "not a multiple of 7"),
        (["test.windows=100000"], "test.length"),
        (["fitness.windows=100000"], "fitness.length"),
        (["calibration.length=100000"], "calibration.length"),
        (["resume=/nowhere/at/all"], "no run"),
        (["calibration.gradient_norm=l3"], "l1 or l2"),
    ],
)
def test_mistakes_that_need_the_model_or_text(
    tiny_arguments, capsys, monkeypatch, arguments, message
):
    def must_not_measure(*_args, **_settings):
        raise AssertionError("statistics were measured")

    monkeypatch.setattr("pruner_zero.commands.setup.measure_statistics", must_not_measure)
    assert message in error_line(capsys, *tiny_arguments, *arguments)


def test_model_folder_that_is_no_decoder(tiny_arguments, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    line = error_line(capsys, *tiny_arguments, "model=hub", f"model.path={tmp_path / 'empty'}")
    assert "config.json" in line


def test_occupied_folder_and_changed_settings_are_refused(tiny_arguments, tmp_path, capsys):
    quick = [*tiny_arguments, "search.generations=0"]
    assert run(*quick) == 0
    capsys.readouterr()
    assert "already holds a run" in error_line(capsys, *quick)
    resumed = error_line(capsys, *quick, f"resume={tmp_path / 'run'}", "seed=5", "sparsity=0.6")
    assert "other values of seed, sparsity" in resumed


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
    assert "names a sparsity twice" in error_line(
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


def test_a_text_that_has_changed_is_not_gone_on_with(tiny_arguments, text_file, tmp_path, capsys):
    text = tmp_path / "own.txt"
    text.write_text(text_file.read_text())
    quick = [*tiny_arguments, f"corpus.files=[{text}]", "search.generations=0", "test.baselines=[]"]
    assert run(*quick) == 0
    (tmp_path / "run" / "results.json").unlink()
    text.write_text(text.read_text().replace("river", "brook"))
    capsys.readouterr()
    error = error_line(capsys, *quick, f"resume={tmp_path / 'run'}")
    assert "the text of corpus files has changed" in error


def test_a_run_that_is_older_than_a_setting_goes_on(tiny_arguments, tmp_path, capsys):
    quick = [*tiny_arguments, "search.generations=0", "test.baselines=[]"]
    assert run(*quick) == 0
    folder = tmp_path / "run"
    (folder / "results.json").unlink()
    settings = OmegaConf.load(folder / "config.yaml")
    del settings["workers"], settings["fitness"]["domains"]
    OmegaConf.save(settings, folder / "config.yaml")
    # Another program's settings lie beside it, and refer to what is not there.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("a: ${b.c}")
    assert run(*quick, "search.generations=1", "resume=auto") == 0
    assert "resumed after candidate 8" in capsys.readouterr().out


def test_a_model_that_gives_no_numbers_is_one_line(tiny_arguments, text_file, tmp_path, capsys):
    broken = tmp_path / "broken"
    model, tokenizer = random_tiny()
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    model.save_pretrained(broken)
    tokenizer.save_pretrained(broken)
    hub = ["model=hub", f"model.path={broken}", "corpus=files", f"corpus.files=[{text_file}]",
           f"cache={tmp_path / 'cache'}", "device=cpu"]  # fmt: skip
    capsys.readouterr()  # saving prints
    sizes = ["windows=2", "length=48"]
    for command in (
        ["search", *tiny_arguments, *hub[:2]],
        ["compare", *hub, *sizes, f"output={tmp_path / 'compare'}", "methods=[dense,magnitude]"],
        ["prune", *hub, *sizes, f"output={tmp_path / 'prune'}", "metric=magnitude"],
        ["plan", *hub, *sizes, f"output={tmp_path / 'plan'}", "metrics=[magnitude]"],
    ):
        assert main(command) == 2, command
        error = capsys.readouterr().err
        assert "perplexity is not finite" in error and error.count("\n") == 1


def test_kill_and_the_same_command_again(tiny_arguments, tmp_path):
    whole = tmp_path / "whole"
    settings = [*tiny_arguments[:-1], "search.generations=6"]
    assert run(*settings, f"hydra.run.dir={whole}") == 0
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "pruner_zero", "search", *settings, f"hydra.run.dir={folder}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ})
    log = folder / "evaluations.jsonl"
    while process.poll() is None:
        if log.exists() and log.read_bytes().count(b"\n") >= 5:
            process.send_signal(signal.SIGKILL)
            process.wait()
        time.sleep(0.005)
    assert process.returncode == -signal.SIGKILL
    # A finished run and one of other settings lie beside it: neither is taken for it.
    assert run(*settings, "resume=auto", f"hydra.run.dir={tmp_path / 'unused'}") == 0
    for name in ("hall_of_fame.json", "checkpoint.json"):
        assert (folder / name).read_text() == (whole / name).read_text()
    assert not (tmp_path / "unused").exists()


def test_interrupt_says_how_to_go_on(tiny_arguments, tmp_path):
    command = [sys.executable, "-m", "pruner_zero", "search", *tiny_arguments,
               "search.generations=5000"]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ}
    )
    log = tmp_path / "run" / "evaluations.jsonl"
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"resume={tmp_path / 'run'}" in printed
    assert "Traceback" not in printed


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


def test_interrupt_before_the_first_candidate_says_that_nothing_is_lost(
    tiny_arguments, monkeypatch, capsys
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pruner_zero.commands.search._dense", interrupted)
    assert main(["search", *tiny_arguments]) == 130
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last == "stopped before the first candidate: start the command again"


def test_interrupt_while_libraries_load_is_quiet(monkeypatch, capsys):
    def interrupted(_name):
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", interrupted)
    assert run("seed=1") == 130
    assert capsys.readouterr() == ("", "")
