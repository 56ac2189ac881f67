"""What people get wrong when they start a search: one line that says what to do."""

from __future__ import annotations

import pytest
import torch

from pruner_zero.__main__ import main
from pruner_zero.model.tiny import random_tiny
from tests.commands.searching import error_line


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


def test_a_run_that_is_not_there_is_named_with_the_nearest(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "evaluations.jsonl").touch()
    assert main(["show", "metric=runs/frist"]) == 2
    assert "no run folder runs/frist: did you mean runs/first?" in capsys.readouterr().err


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
        (["fitness.racing.place=11"], "place=11 is beyond search.hall_of_fame=10"),
        (["model=random-tiny", "fitness.models=[random-tiny]"], "names random-tiny twice"),
        (["test.baselines=[wanda,wanda]"], "test.baselines names wanda twice"),
        (["search=nsga2", "search.objectives=parts"], "parts needs several: add fitness.sparsity"),
        (["ledger=false"], "ledger=False: off for none"),
        (["fitness.domains=[nws]"], "fitness.domains: 'nws': did you mean 'news'"),
        (["validation.domains=[news]", "validation.windows=1"], "too few for 2 texts"),
        (["test.domains=[files]"], "test.domains: 'files': choose from"),
        (["seed=1", "-m", "sed=2,3"], "unknown setting 'sed'"),
        (["sparsity=[0.5"], "cannot read the override sparsity=[0.5: quote a value"),
        (["model.path=/home/josé"], "for the shell and for Hydra: \"model.path='…'\""),
        (["seed=-1"], "seed -1: seeds are numbers from 0 up"),
        (["mode=oneshot"], "error: unknown mode 'oneshot': did you mean 'one_shot'"),
        (["scope=row", "search.scopes=[row,model]"], "drop it or scope"),
        (["search.scopes=[row,row]"], "search.scopes names row twice"),
        (["fitness.sparsity=[0.5,2:4]", "sparsity=0.6"], "sparsity=0.6 is not among"),
        (["model=hub"], "model=hub needs model.path=ORG/NAME"),
        (["search.variation.mutation_weights={subtre:0}"], "'subtre': did you mean 'subtree'"),
        (["resume=" + 300 * "x"], "cannot be read: File name too long"),
        (["corpus.files=[é.txt]"], "\"corpus.files=['…']\""),
        (["scope=row,"], "cannot read the override scope=row,"),
        (["corpus.files=text.txt"], "it takes a list: corpus.files=[text.txt]"),
        (["calibration=128"], "no calibration config is called '128': choose from: full, quick"),
        (["corpus=null"], "no corpus config is called 'null'"),
    ],
)
def test_mistakes_are_one_line_before_anything_loads(capsys, monkeypatch, arguments, message):
    def must_not_load(*_args, **_settings):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("pruner_zero.commands.setup.load_model", must_not_load)
    assert message in error_line(capsys, *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sparsity=3:7"], "not a multiple of 7"),
        (["test.windows=100000"], "test.length"),
        (["fitness.windows=100000"], "fitness.length"),
        (["calibration.length=100000"], "calibration.length"),
        (["resume=/nowhere/at/all"], "no run"),
        (["calibration.gradient_norm=l3"], "l1 or l2"),
        (["calibration.gradient_scale=0"], "gradient_scale=0.0 must be above 0"),
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
