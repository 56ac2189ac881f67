from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import torch
from safetensors import SafetensorError, safe_open

from pruner_zero.errors import UserError
from pruner_zero.model.statistics import measure_statistics
from pruner_zero.model.statistics_cache import cached_statistics, model_fingerprint

from .conftest import tiny_llama


@pytest.fixture
def counted(tiny, ids):
    calls: list[frozenset[str]] = []

    def measure(missing):
        calls.append(missing)
        return measure_statistics(tiny, ids, missing)

    return measure, calls


def test_the_second_read_comes_from_disk_and_is_equal(tmp_path, counted):
    measure, calls = counted
    first = cached_statistics(tmp_path / "deep" / "er", {"seed": 0, "n": 3}, "GX", measure)
    second = cached_statistics(tmp_path / "deep" / "er", {"n": 3, "seed": 0}, "GX", measure)
    assert len(calls) == 1
    assert first.G.keys() == second.G.keys()
    assert all(first.G[name].equal(second.G[name]) for name in first.G)
    assert all(first.X[name].equal(second.X[name]) for name in first.X)
    assert first.losses.equal(second.losses)
    assert first.provenance == second.provenance
    assert second.sequences == 3
    assert not list(tmp_path.rglob("*.part"))


def test_what_cannot_be_kept_is_used_all_the_same(tmp_path, counted, monkeypatch):
    def full(*_arguments, **_settings):
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr("pruner_zero.model.statistics_cache.save_file", full)
    said = []
    found = cached_statistics(tmp_path, {"seed": 0}, "GX", counted[0], said.append)
    assert found.terminals() >= {"G", "X"}
    assert "could not be kept" in said[0] and "No space left" in said[0] and len(said) == 1
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot make the cache folder .*set cache="):
        cached_statistics(tmp_path / "file" / "deep", {"seed": 0}, "GX", counted[0])


def test_a_file_that_lacks_terminals_is_completed(tmp_path, counted):
    measure, calls = counted
    first = cached_statistics(tmp_path, {"seed": 0}, "GX", measure)
    wide = cached_statistics(tmp_path, {"seed": 0}, "WDGRVH", measure)
    again = cached_statistics(tmp_path, {"seed": 0}, "XVHRD", measure)
    assert calls == [{"G", "X"}, {"R", "V", "H"}]
    assert wide.terminals() == again.terminals() == set("WDGXRVH")
    for name, layers in wide.values.items():
        assert all(value.equal(again.values[name][layer]) for layer, value in layers.items())
    assert all(first.G[layer].equal(again.G[layer]) for layer in first.G)
    assert again.losses.equal(first.losses)
    assert again.provenance == first.provenance
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


def test_files_of_the_first_release_are_still_hits(tmp_path, counted):
    """The key and the layout are those of files that hold G and X alone."""
    measure, _ = counted
    cached_statistics(tmp_path, {"seed": 0}, "GX", measure)
    (path,) = tmp_path.glob("*.safetensors")
    key = json.dumps({"format": "2", "seed": 0}, sort_keys=True)
    assert path.stem == hashlib.sha256(key.encode()).hexdigest()
    with safe_open(str(path), framework="pt") as stored:
        assert stored.metadata().keys() == {"key", "sequences", "provenance"}
        kinds = {name.partition("/")[0] for name in stored.keys()}  # noqa: SIM118
    assert kinds == {"G", "X", "losses"}


def test_other_settings_are_other_files(tmp_path, counted):
    measure, calls = counted
    cached_statistics(tmp_path, {"seed": 0}, "GX", measure)
    cached_statistics(tmp_path, {"seed": 1}, "GX", measure)
    assert len(calls) == 2


@pytest.mark.parametrize("damage", ["truncate", "garbage", "empty"])
def test_a_damaged_file_is_measured_again_and_said_once(tmp_path, counted, damage):
    measure, calls = counted
    cached_statistics(tmp_path, {"seed": 0}, "GX", measure)
    (path,) = tmp_path.glob("*.safetensors")
    content = path.read_bytes()
    path.write_bytes(
        {"truncate": content[: len(content) // 2], "garbage": b"x" * 99}.get(damage, b"")
    )
    said: list[str] = []
    cached_statistics(tmp_path, {"seed": 0}, "GX", measure, said.append)
    cached_statistics(tmp_path, {"seed": 0}, "GX", measure, said.append)
    assert len(calls) == 2
    assert len(said) == 1
    assert "damaged" in said[0]


def test_a_file_of_other_settings_under_this_name_is_not_believed(tmp_path, counted):
    measure, calls = counted
    cached_statistics(tmp_path, {"seed": 0}, "GX", measure)
    (path,) = tmp_path.glob("*.safetensors")
    cached_statistics(tmp_path, {"seed": 1}, "GX", measure)
    (other,) = set(tmp_path.glob("*.safetensors")) - {path}
    path.write_bytes(other.read_bytes())
    with pytest.warns(UserWarning, match="other settings"):
        cached_statistics(tmp_path, {"seed": 0}, "GX", measure)
    assert len(calls) == 3


def test_a_failed_measurement_leaves_nothing(tmp_path):
    def fail(missing):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_statistics(tmp_path, {}, "GX", fail)
    assert not list(tmp_path.glob("*.safetensors"))


def test_fingerprints_tell_models_apart():
    model = tiny_llama()
    first = model_fingerprint(model)
    assert first == model_fingerprint(tiny_llama())
    assert first != model_fingerprint(tiny_llama(seed=1))
    assert first != model_fingerprint(tiny_llama(rope_theta=5e5))
    assert first != model_fingerprint(tiny_llama().to(torch.bfloat16))
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[3, 5] = 0
    assert first != model_fingerprint(model)


def test_two_runs_that_start_together_measure_once(tmp_path, tiny, ids):
    calls, said = [], []
    measuring, waiting = Event(), Event()

    def measure(missing):
        calls.append(missing)
        measuring.set()
        assert waiting.wait(30), "the second run says that it waits"
        return measure_statistics(tiny, ids, missing)

    def announce(line):
        said.append(line)
        waiting.set()

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(cached_statistics, tmp_path, {"seed": 0}, "GX", measure)
        assert measuring.wait(30)
        two = pool.submit(cached_statistics, tmp_path, {"seed": 0}, "GX", measure, announce)
    assert calls == [{"G", "X"}]
    assert said == ["waiting for another run that measures the same statistics"]
    assert all(value.equal(two.result().G[layer]) for layer, value in one.result().G.items())
