"""Trackers follow a search, written offline and read back; none of them can lose it."""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

from pruner_zero.__main__ import main
from pruner_zero.search.worker import FitnessWorker

SHORT = ["search.generations=1", "test.baselines=[wanda]", "fitness.windows=1", "seed=1"]


@pytest.fixture
def command(tiny_arguments):
    return ["search", *tiny_arguments, *SHORT]


def candidates(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "evaluations.jsonl").open()]


def test_tensorboard_holds_every_candidate_and_the_table(command, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main([*command, "tracker=tensorboard"]) == 0
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    best = events.Scalars("perplexity/best")
    assert [event.step for event in best] == list(range(1, 17))
    hall = json.loads((tmp_path / "run" / "hall_of_fame.json").read_text())
    assert best[-1].value == pytest.approx(hall[0]["search_perplexity"], rel=1e-6)
    # The lowest so far; and the median of the population is no better than its best.
    assert [e.value for e in best] == sorted((e.value for e in best), reverse=True)
    medians = events.Scalars("perplexity/median")
    assert all(m.value >= b.value for m, b in zip(medians, best, strict=True))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    row = next(row for row in results["table"] if row["method"] == "wanda")
    (shown,) = events.Scalars("test/files/wanda")
    assert shown.value == pytest.approx(row["test_perplexity"]["files"], rel=1e-6)
    (text,) = events.Tensors("results/text_summary")
    assert results["best"]["expression"].encode() in text.tensor_proto.string_val[0]
    (settings,) = events.Tensors("settings/text_summary")
    assert b"| search.generations | 1 |" in settings.tensor_proto.string_val[0]


def test_mlflow_local_store_over_an_interrupt_and_a_resume(command, tmp_path, monkeypatch, capsys):
    from mlflow import MlflowClient

    store = tmp_path / "store"
    follow = ["tracker=mlflow", f"tracker.place={store}"]
    evaluate = FitnessWorker.evaluate
    calls = []

    def interrupted(self, *arguments):
        calls.append(arguments)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return evaluate(self, *arguments)

    monkeypatch.setattr(FitnessWorker, "evaluate", interrupted)
    assert main([*command, *follow]) == 130
    client = MlflowClient(tracking_uri=store.as_uri())
    experiment = client.get_experiment_by_name("pruner-zero").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.status == "KILLED"
    assert len(client.get_metric_history(run.info.run_id, "perplexity/best")) == 5

    assert main([*command, *follow, f"resume={tmp_path / 'run'}"]) == 0
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED" and run.info.run_name == "run"
    history = client.get_metric_history(run.info.run_id, "perplexity/best")
    assert [metric.step for metric in history] == list(range(1, 17))
    assert run.data.params["search.population_size"] == "8"
    assert run.data.params["operators"] == "paper"
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    best = next(row for row in results["table"] if row["method"] == "best of this search")
    shown = run.data.metrics["test/files/best of this search"]
    assert shown == pytest.approx(best["test_perplexity"]["files"])
    names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {"config.yaml", "evaluations.jsonl", "results.md", "best_metric.json"} <= names
    assert "checkpoint.json" not in names
    assert "warning: tracker" not in capsys.readouterr().out


class FakeWandb(ModuleType):
    """What the project calls of wandb, noted."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None)
        self.notes: dict = {"log": [], "files": [], "summary": {}, "config": {}}
        notes = self.notes

        def init(**settings):
            notes["init"] = settings
            return SimpleNamespace(
                id="abc",
                config=SimpleNamespace(update=lambda values, **_: notes["config"].update(values)),
                log=lambda values, step: notes["log"].append((step, values)),
                summary=notes["summary"],
                log_artifact=lambda artifact: None,
                finish=lambda exit_code: notes.update(exit=exit_code),
            )

        self.init = init
        self.Artifact = lambda name, type: SimpleNamespace(add_file=notes["files"].append)


def test_wandb_offline_by_default(command, tmp_path, monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    assert main([*command, "tracker=wandb"]) == 0
    assert fake.notes["init"]["mode"] == "offline"
    assert fake.notes["init"]["dir"] == str(tmp_path / "run")
    assert fake.notes["config"]["search.generations"] == 1
    assert [step for step, _ in fake.notes["log"]] == [*range(1, 17), 16]
    assert "test/files/dense" in fake.notes["log"][-1][1]
    assert str(tmp_path / "run" / "results.json") in fake.notes["files"]
    assert "Best metric" in fake.notes["summary"]["results"]
    assert fake.notes["exit"] == 0
    assert json.loads((tmp_path / "run" / "tracker.json").read_text()) == {"wandb": "abc"}


def test_a_failing_tracker_loses_nothing_and_is_said_once(command, tmp_path, monkeypatch, capsys):
    fake = FakeWandb()
    original = fake.init

    def init(**settings):
        run = original(**settings)

        def log(values, step):
            if step == 3:
                raise ConnectionError("the server\nis gone")
            fake.notes["log"].append(step)

        run.log = log
        return run

    fake.init = init
    monkeypatch.setitem(sys.modules, "wandb", fake)
    assert main([*command, "tracker=wandb"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("tracker wandb failed (the server); the search goes on") == 1
    assert fake.notes["log"] == [1, 2]
    assert len(candidates(tmp_path / "run")) == 16
    assert (tmp_path / "run" / "results.md").exists()


def test_mistakes_are_one_line_before_anything_is_searched(command, tmp_path, capsys, monkeypatch):
    def error(*more: str) -> str:
        assert main([*command, *more]) == 2
        line = capsys.readouterr().err
        assert line.startswith("error: ") and line.count("\n") == 1
        return line

    assert "did you mean 'tensorboard'" in error("tracker=tensorbord")
    assert "did you mean 'offline'" in error("tracker=wandb", "tracker.mode=ofline")
    assert "did you mean 'mlflow'" in error("tracker=mlflow", "tracker.name=mlfow")
    (tmp_path / "file").write_text("x")
    for tracker in ("mlflow", "tensorboard"):
        line = error(f"tracker={tracker}", f"tracker.place={tmp_path / 'file'}",
                     f"hydra.run.dir={tmp_path / tracker}")  # fmt: skip
        assert f"tracker={tracker} cannot start" in line
        assert candidates(tmp_path / tracker) == []
    monkeypatch.setattr("pruner_zero.tracking.config.find_spec", lambda name: None)
    assert "pip install 'pruner-zero[wandb]'" in error("tracker=wandb")
