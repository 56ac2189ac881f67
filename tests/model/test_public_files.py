from __future__ import annotations

import pytest
import torch

from pruner_zero.errors import UserError
from pruner_zero.model.public_files import read_gradient_file, write_gradient_file
from pruner_zero.model.statistics import Statistics, measure_statistics

from .conftest import tiny_llama


def test_there_and_back(tmp_path, tiny, ids):
    measured = measure_statistics(tiny, ids)
    path = tmp_path / "gradients" / "tiny.pth"
    write_gradient_file(path, measured, tiny)
    table = torch.load(path, weights_only=True)
    assert list(table)[:2] == ["self_attn.q_proj_layer_0", "self_attn.k_proj_layer_0"]
    assert all(value.dtype == torch.float16 for value in table.values())
    read = read_gradient_file(path, tiny)
    for name, value in measured.G.items():
        assert read.G[name].equal(value.half().float())
    assert read.terminals() == {"W", "D", "G"}


def test_a_file_of_another_model_names_the_layer(tmp_path, tiny, ids):
    path = tmp_path / "g.pth"
    shallow = tiny_llama(num_hidden_layers=1)
    write_gradient_file(path, measure_statistics(shallow, ids), shallow)
    with pytest.raises(UserError, match=r"no gradient 'self_attn\.q_proj_layer_1'"):
        read_gradient_file(path, tiny)
    wide = tiny_llama(intermediate_size=32)
    write_gradient_file(path, measure_statistics(wide, ids), wide)
    with pytest.raises(UserError, match=r"mlp\.gate_proj has shape \[32, 16\].*\[24, 16\]"):
        read_gradient_file(path, tiny)


def test_broken_files(tmp_path, tiny):
    with pytest.raises(UserError, match="does not exist"):
        read_gradient_file(tmp_path / "nothing.pth", tiny)
    path = tmp_path / "g.pth"
    for content in (b"", b"not a pickle at all"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="not a gradient file"):
            read_gradient_file(path, tiny)
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="no table of tensors"):
        read_gradient_file(path, tiny)


class Harmful:
    def __reduce__(self):
        return (print, ("code in the file ran",))


def test_code_in_a_file_is_not_run(tmp_path, tiny, capsys):
    path = tmp_path / "g.pth"
    torch.save({"self_attn.q_proj_layer_0": Harmful()}, path)
    with pytest.raises(UserError, match="not a gradient file"):
        read_gradient_file(path, tiny)
    assert "ran" not in capsys.readouterr().out


def test_values_that_float16_cannot_hold(tmp_path, tiny, ids):
    measured = measure_statistics(tiny, ids, ["G"])
    huge = {name: value * 1e9 for name, value in measured.G.items()}
    with pytest.raises(UserError, match="smaller scale"):
        write_gradient_file(tmp_path / "g.pth", Statistics({"G": huge}), tiny)
    assert not (tmp_path / "g.pth").exists()
    write_gradient_file(tmp_path / "g.pth", measured, tiny)
    table = torch.load(tmp_path / "g.pth", weights_only=True)
    table["mlp.up_proj_layer_1"][0, 0] = float("inf")
    torch.save(table, tmp_path / "g.pth")
    with pytest.raises(UserError, match=r"mlp\.up_proj_layer_1.*not finite"):
        read_gradient_file(tmp_path / "g.pth", tiny)
