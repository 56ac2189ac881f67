from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from pruner_zero.assets import cache_directory
from pruner_zero.errors import UserError
from pruner_zero.model import embedded, loading
from pruner_zero.model.loading import load_model, resolve_device, resolve_dtype
from pruner_zero.model.tiny import byte_tokenizer, random_tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model, tokenizer = random_tiny()
    model.save_pretrained(tmp_path / "llama")
    tokenizer.save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_random_tiny_is_one_fixed_model() -> None:
    state = torch.random.get_rng_state()
    model, tokenizer = load_model("random-tiny", device="cpu")
    again, _ = load_model("random-tiny", device="cpu")
    assert torch.equal(state, torch.random.get_rng_state())
    for (name, one), (_, two) in zip(
        model.named_parameters(), again.named_parameters(), strict=True
    ):
        assert torch.equal(one, two), name
        assert not one.requires_grad and one.dtype == torch.float32
    assert not model.training and model.config.use_cache is False
    ids = torch.tensor([tokenizer("Hello")["input_ids"]])
    assert model(ids).logits.shape == (1, 5, 259)


@pytest.mark.parametrize("text", ["plain", "naïve 猫\n\n\tx  y", " \x00<s>"])
def test_byte_tokenizer_has_one_token_per_byte(text: str) -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer(text.replace("<s>", ""))["input_ids"]
    assert len(ids) == len(text.replace("<s>", "").encode())
    assert tokenizer.decode(ids) == text.replace("<s>", "")
    assert tokenizer.vocab_size == 259


def test_folder_round_trip(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model, tokenizer = load_model(str(folder), device="cpu")
    original, _ = random_tiny()
    name = "model.layers.1.mlp.down_proj.weight"
    assert torch.equal(model.get_parameter(name), original.get_parameter(name))
    assert tokenizer("abc")["input_ids"] == byte_tokenizer()("abc")["input_ids"]
    assert capfd.readouterr() == ("", "")
    half, _ = load_model(folder, dtype="bfloat16", device="cpu")
    assert half.dtype == torch.bfloat16


def test_folders_that_are_no_decoder_fail_before_weights_are_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(loading, "from_checkpoint", unexpected)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"is not a model folder: it has no config\.json"):
        load_model(str(empty))
    configs = {
        "is a BertForMaskedLM, not a decoder": transformers.BertConfig(
            architectures=["BertForMaskedLM"]
        ),
        r"is an encoder-decoder \(t5\)": transformers.T5Config(),
        r"\(vit\) is not a decoder language model": transformers.ViTConfig(),
        "is a LlamaForSequenceClassification": transformers.LlamaConfig(
            architectures=["LlamaForSequenceClassification"]
        ),
    }
    for number, (message, config) in enumerate(configs.items()):
        config.save_pretrained(tmp_path / str(number))
        with pytest.raises(UserError, match=message):
            load_model(str(tmp_path / str(number)))
    edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(UserError, match="quantised weights, which are not supported"):
        load_model(str(folder))


def test_folder_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights"):
        load_model(str(folder))


def test_damaged_folders(folder: Path) -> None:
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"weights of .* cannot be read") as caught:
        load_model(str(folder))
    assert "\n" not in str(caught.value)
    weights.write_bytes(content)
    edit_config(folder, num_hidden_layers=3)
    with pytest.raises(UserError, match=r"lacks 9 weights, the first is model\.layers\.2\."):
        load_model(str(folder))
    (folder / "config.json").write_text("{ broken")
    with pytest.raises(UserError, match=r"the config of .* cannot be read"):
        load_model(str(folder))


def test_shapes_that_do_not_fit_the_config(folder: Path) -> None:
    edit_config(folder, intermediate_size=80)
    with pytest.raises(UserError) as caught:
        load_model(str(folder))
    assert str(caught.value) == (
        f"'{folder}' does not fit its config: "
        "model.layers.0.mlp.down_proj.weight is [32, 64], not [32, 80]"
    )


def test_missing_and_foreign_tokenizers(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UserError, match="has no usable tokenizer"):
        load_model(str(folder))
    config = transformers.LlamaConfig.from_pretrained(folder, vocab_size=100)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    with pytest.raises(UserError, match="has 259 entries but the model only 100: they do not"):
        load_model(str(folder))


def test_code_in_a_checkpoint_is_never_run(folder: Path, tmp_path: Path) -> None:
    edit_config(folder, model_type="strange", auto_map={"AutoConfig": "evil.Config"})
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match="needs code of its own, which is never executed"):
        load_model(str(folder))
    assert not (tmp_path / "ran").exists()


def test_names_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "hub_reachable", lambda: False)
    with pytest.raises(UserError, match="did you mean 'smollm2-135m'"):
        load_model("smollm2-135")
    with pytest.raises(UserError, match="hub cannot be reached: give a folder with model=<path>"):
        load_model("nobody/nothing")
    with pytest.raises(UserError, match="does not exist"):
        load_model(str(tmp_path / "absent"))
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(UserError, match=r"neither a folder nor a \.gguf file"):
        load_model(str(tmp_path / "file.txt"))
    (tmp_path / "bad.gguf").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"bad\.gguf is not a GGUF file"):
        load_model(str(tmp_path / "bad.gguf"))
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    with pytest.raises(UserError, match=r"cut\.gguf' cannot be read"):
        load_model(str(tmp_path / "cut.gguf"))


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device(None) == torch.device("cpu") == resolve_device("auto")
    with pytest.raises(UserError, match="there is no CUDA: use device=cpu"):
        load_model("random-tiny", device="cuda")
    with pytest.raises(UserError, match="unknown device 'gpu'"):
        resolve_device("gpu")
    with pytest.raises(UserError, match="device=meta is not supported"):
        resolve_device("meta")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device(None) == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match="there are 2 CUDA devices"):
        resolve_device("cuda:2")


def test_dtypes() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert resolve_dtype(None, cpu) == torch.float32
    assert resolve_dtype(None, cuda) == torch.bfloat16
    assert resolve_dtype("bfloat16", cpu) == torch.bfloat16
    assert resolve_dtype(torch.float16, cuda) == torch.float16
    with pytest.raises(UserError, match="unknown dtype 'int8': choose from: float32"):
        resolve_dtype("int8", cpu)


def test_conversion_is_done_once_and_again_when_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []

    def convert(path: Path, dtype: torch.dtype) -> Any:
        calls.append(path)
        return random_tiny()

    monkeypatch.setattr(embedded, "fetch_asset", lambda *_: tmp_path / "fake.gguf")
    monkeypatch.setattr(embedded, "gguf_checkpoint", convert)
    said: list[str] = []
    model, _ = load_model(cache=tmp_path, device="cpu", announce=said.append)
    load_model(cache=tmp_path, device="cpu", announce=said.append)
    assert len(calls) == len(said) == 1 and "once" in said[0]
    assert model.config.num_hidden_layers == 2
    place = tmp_path / "models" / "smollm2-135m"
    with (place / "model.safetensors").open("r+b") as file:
        file.truncate(100)
    load_model(cache=tmp_path, device="cpu")
    assert len(calls) == 2
    (place / "converted.json").unlink()
    (place.parent / ".smollm2-135m-killed").mkdir()
    load_model(cache=tmp_path, device="cpu")
    assert len(calls) == 3
    assert {p.name for p in place.parent.iterdir()} - {".lock"} == {"smollm2-135m"}


@pytest.mark.model
def test_embedded_model() -> None:
    model, tokenizer = load_model(device="cpu")
    assert isinstance(model, transformers.LlamaForCausalLM)
    assert model.config.num_hidden_layers == 30 and model.config.vocab_size == 49152
    assert model.config.tie_word_embeddings and model.dtype == torch.float32
    assert tokenizer.decode(tokenizer("Hello world")["input_ids"]) == "Hello world"
    text = "The capital of France is the city of Paris. Water boils at one hundred degrees."
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.no_grad():
        assert float(model(ids, labels=ids).loss) < 4.0


@pytest.mark.model
def test_gguf_file_by_path_gives_the_embedded_weights(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, _ = load_model(device="cpu")
    [gguf] = (cache_directory() / "assets").glob("*.gguf")
    shutil.copy(gguf, tmp_path / "my.gguf")
    direct, _ = load_model(str(tmp_path / "my.gguf"), device="cpu")
    assert capfd.readouterr() == ("", "")
    name = "model.layers.7.mlp.down_proj.weight"
    assert torch.equal(direct.get_parameter(name), model.get_parameter(name))
