"""The evaluate command: zero-shot tasks on a tiny model, with tasks of our own and no hub."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from pruner_zero.__main__ import main

HARNESS = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None,
    reason="lm-evaluation-harness is not installed: pip install 'pruner-zero[zeroshot]'",
)
QUESTIONS = 12


def write_task(folder: Path, name: str, metrics: list[str]) -> None:
    rows = [
        {"question": f"{n} plus {n}", "choices": [str(2 * n), f"{n} and a bit more", "none"],
         "label": int(n % 3 == 0)}
        for n in range(QUESTIONS)
    ]  # fmt: skip
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    listed = "\n".join(
        f"  - metric: {m}\n    aggregation: mean\n    higher_is_better: true" for m in metrics
    )
    (folder / f"{name}.yaml").write_text(
        f"""task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{train: {data}, test: {data}}}
output_type: multiple_choice
training_split: train
test_split: test
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: label
metric_list:
{listed}
metadata:
  version: 3.0
"""
    )


@pytest.fixture
def task_folder(tmp_path, monkeypatch):
    # The hub's clients read their settings at import: the same switch, thrown afterwards.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    folder = tmp_path / "tasks"
    folder.mkdir()
    write_task(folder, "sums", ["acc", "acc_norm"])
    write_task(folder, "sums_acc", ["acc"])
    return folder


@pytest.fixture
def arguments(text_file, tmp_path):
    return [
        "evaluate", "model=random-tiny", "corpus=files", f"corpus.files=[{text_file}]",
        "calibration.sequences=3", "calibration.length=32", f"cache={tmp_path / 'cache'}",
        f"output={tmp_path / 'run'}", "device=cpu",
    ]  # fmt: skip


def results(tmp_path: Path) -> dict:
    return json.loads((tmp_path / "run" / "results.json").read_text())


def expected(pruned: tuple[str, str] | None, normalised: bool) -> float:
    """The accuracy by hand: one forward pass per answer, no harness."""
    import torch

    from pruner_zero import load_model, prune

    model, tokenizer = load_model("random-tiny", device="cpu")
    if pruned:
        prune(model, *pruned)
    right = 0
    for n in range(QUESTIONS):
        scores = []
        for choice in (str(2 * n), f"{n} and a bit more", "none"):
            context = tokenizer(f"Question: {n} plus {n}\nAnswer:")["input_ids"]
            answer = tokenizer(f" {choice}")["input_ids"]
            with torch.no_grad():
                logits = model(torch.tensor([context + answer])).logits[0]
            logs = logits.log_softmax(-1)[len(context) - 1 : -1]
            value = sum(float(logs[i, token]) for i, token in enumerate(answer))
            scores.append(value / len(choice) if normalised else value)
        right += scores.index(max(scores)) == int(n % 3 == 0)
    return right / QUESTIONS


@HARNESS
def test_both_accuracies_by_name_as_computed_by_hand(arguments, task_folder, tmp_path, capsys):
    tasks = f"task_path={task_folder}", "tasks=[sums,sums_acc]"
    assert main([*arguments, *tasks]) == 0
    found = results(tmp_path)
    both, alone = found["tasks"]
    assert both["acc"]["value"] == pytest.approx(expected(None, normalised=False))
    assert both["acc_norm"]["value"] == pytest.approx(expected(None, normalised=True))
    assert both["acc"]["value"] != both["acc_norm"]["value"]
    assert both["acc"]["stderr"] > 0 and both["acc_norm"]["stderr"] > 0
    assert alone["acc"] == both["acc"] and alone["acc_norm"] is None
    assert (both["samples"], both["shots"], both["version"]) == (QUESTIONS, 0, "3.0")
    assert found["mean"] == {"acc": pytest.approx(both["acc"]["value"]), "acc_norm": None}
    assert found["pruning"] is None and found["lm_eval"] and found["provenance"]["torch"]
    table = (tmp_path / "run" / "results.md").read_text()
    assert "| task | acc | ± stderr | acc_norm | ± stderr | samples | shots |" in table
    (row,) = [line for line in table.splitlines() if line.startswith("| sums_acc |")]
    assert row.split(" | ")[3:5] == ["–", "–"]
    printed = capsys.readouterr()
    assert "acc_norm" in printed.out and printed.err == ""
    # A finished folder is not written over.
    assert main([*arguments, *tasks]) == 2
    assert "already holds results" in capsys.readouterr().err


@HARNESS
def test_pruned_model_is_the_one_scored(arguments, task_folder, tmp_path):
    tasks = f"tasks=[{task_folder / 'sums.yaml'}]"
    assert main([*arguments, tasks, "metric=magnitude", "sparsity=2:4"]) == 0
    found = results(tmp_path)
    assert found["pruning"]["measured_sparsity"] == 0.5
    (score,) = found["tasks"]
    assert score["acc"]["value"] == pytest.approx(expected(("magnitude", "2:4"), False))
    assert score["acc_norm"]["value"] == pytest.approx(expected(("magnitude", "2:4"), True))


@HARNESS
def test_folder_of_tasks_limit_shots_and_measured_metric(arguments, task_folder, tmp_path):
    from pruner_zero import Metric

    tree = tmp_path / "tree.json"
    Metric.named("pruner-zero").to_json(tree)
    extra = [f"tasks=[{task_folder}]", f"metric={tree}", "limit=5", "num_fewshot=2"]
    assert main([*arguments, *extra]) == 0
    found = results(tmp_path)
    assert [score["task"] for score in found["tasks"]] == ["sums", "sums_acc"]
    assert [(s["samples"], s["shots"]) for s in found["tasks"]] == [(5, 2), (5, 2)]
    assert found["pruning"]["calibration"]["sequences"] == 3
    table = (tmp_path / "run" / "results.md").read_text()
    assert table.startswith("Few-shot") and "not comparable" in table


def must_not_load(*_args, **_settings):
    raise AssertionError("a model was loaded")


def error_line(capsys, arguments: list[str]) -> str:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    return printed.err


@pytest.fixture
def nothing_loads(monkeypatch):
    monkeypatch.setattr("pruner_zero.commands.evaluate.load_model", must_not_load)
    monkeypatch.setattr("pruner_zero.commands.setup.load_model", must_not_load)


@HARNESS
def test_mistakes_in_tasks_are_found_before_the_model(
    arguments, task_folder, tmp_path, capsys, nothing_loads
):
    own = [*arguments, f"task_path={task_folder}"]
    write_task(task_folder, "odd", ["f1"])
    (task_folder / "gone.yaml").write_text("task: gone\ndataset_path: nowhere/at_all\n"
                                           "output_type: multiple_choice\n")  # fmt: skip
    assert "'sums_ac': did you mean 'sums_acc'" in error_line(capsys, [*own, "tasks=[sums_ac]"])
    assert "neither acc nor acc_norm but f1" in error_line(capsys, [*own, "tasks=[odd]"])
    line = error_line(capsys, [*own, "tasks=[sums,gone]"])
    assert "'gone' needs its data from the hub, which cannot be reached" in line
    line = error_line(capsys, [*own, "tasks=[sums]", f"num_fewshot={QUESTIONS}"])
    assert "task 'sums' has too few examples" in line
    assert "no file missing.yaml" in error_line(capsys, [*own, "tasks=[missing.yaml]"])
    (tmp_path / "empty").mkdir()
    assert "no task file" in error_line(capsys, [*own, f"tasks=[{tmp_path / 'empty'}]"])
    assert "not a folder" in error_line(capsys, [*arguments, "task_path=nowhere", "tasks=[x]"])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["tasks=[]"], "tasks: name at least one"),
        (["limit=0"], "limit must be at least 1"),
        (["num_fewshot=-1"], "num_fewshot must be at least 0"),
        (["metric=wnda"], "did you mean 'wanda'"),
        (["metric=wanda", "sparsity=1.5"], "strictly between 0 and 1"),
        (["metric=wanda", "mode=sequental"], "did you mean 'sequential'"),
        (["task=[boolq]"], "did you mean 'tasks'"),
    ],
)
def test_mistakes_in_settings(arguments, capsys, nothing_loads, extra, message):
    assert message in error_line(capsys, [*arguments, *extra])


def test_without_the_harness_one_line_says_how_to_install_it(
    arguments, capsys, monkeypatch, nothing_loads
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name == "lm_eval" else find(name, *a)
    )
    assert "pip install 'pruner-zero[zeroshot]'" in error_line(capsys, arguments)


def test_help_tells_the_two_accuracies_apart(capsys):
    assert main(["evaluate", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "acc_norm (most likely answer per byte)" in printed
