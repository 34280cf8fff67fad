"""Weights: what is wrong with a file is said, what is converted is whole."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from llm.catalog import ensure_model
from llm.errors import CorruptModelError, ModelNotFoundError, UnsupportedModelError
from llm.loading import LoadedModel, load_model
from llm.weights.gguf_file import convert, is_converted
from llm.weights.safetensors_folder import fingerprint, load_decoder
from tests.llm.tiny import save_tiny_llama


def silent(_stage: str, _done: int, _total: int) -> None:
    pass


def test_a_model_in_several_files_loads_like_one_in_one(tmp_path: Path) -> None:
    model = save_tiny_llama(tmp_path / "one")
    model.save_pretrained(tmp_path / "many", max_shard_size="100KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    ids = torch.arange(20)
    one, many = (load_decoder(tmp_path / name, torch.float32, "sdpa") for name in ("one", "many"))
    assert torch.equal(one(ids, one.new_cache()), many(ids, many.new_cache()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("drop", "lacks the tensor model.layers.1.mlp.up_proj.weight"),
        ("add", "no part of the model takes: stranger"),
        ("reshape", r"model.norm.weight has the shape \[63\] instead of \[64\]"),
    ],
)
def test_a_wrong_set_of_tensors_is_refused_by_name(tmp_path: Path, change: str, message: str) -> None:
    save_tiny_llama(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    if change == "drop":
        del tensors["model.layers.1.mlp.up_proj.weight"]
    elif change == "add":
        tensors["stranger"] = torch.zeros(1)
    else:
        tensors["model.norm.weight"] = torch.zeros(63)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CorruptModelError, match=message):
        load_decoder(tmp_path, torch.float32, "sdpa")


@pytest.mark.parametrize("kept", [0, 4, 1000, 300_000])
def test_a_truncated_safetensors_file_is_refused(tmp_path: Path, kept: int) -> None:
    save_tiny_llama(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(CorruptModelError, match="not a whole safetensors file"):
        load_decoder(tmp_path, torch.float32, "sdpa")


def test_a_folder_without_config_or_with_a_broken_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no config\.json"):
        load_decoder(tmp_path, torch.float32, "sdpa")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CorruptModelError, match="cannot be read"):
        load_decoder(tmp_path, torch.float32, "sdpa")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, "architecture 'mamba' is not supported; supported are llama"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_type 'yarn'"),
    ],
)
def test_what_the_decoder_does_not_compute_is_refused_by_name(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    save_tiny_llama(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UnsupportedModelError, match=message):
        load_decoder(tmp_path, torch.float32, "sdpa")


def test_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    save_tiny_llama(tmp_path)
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.embed_tokens.weight"][0, 0] += 1
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert fingerprint(tmp_path) != before


@pytest.mark.parametrize("kept", [0, 100, 1_000_000, 90_000_000])
def test_a_truncated_gguf_file_is_refused(default_model: LoadedModel, tmp_path: Path, kept: int) -> None:
    [whole] = default_model.folder.parent.glob("*.gguf")
    cut = tmp_path / "cut.gguf"
    with whole.open("rb") as file:
        cut.write_bytes(file.read(kept))
    with pytest.raises(CorruptModelError, match=r"cut\.gguf is not a whole GGUF file"):
        load_model(str(cut), tmp_path / "models")
    assert not is_converted(cut, tmp_path / "models" / "converted" / "cut")


def test_a_gguf_of_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "other.gguf"
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UnsupportedModelError, match="'mamba' is not supported"):
        load_model(str(path), tmp_path / "models")


def test_a_conversion_that_is_killed_is_done_anew_and_whole(
    default_model: LoadedModel, tmp_path: Path
) -> None:
    [gguf_file] = default_model.folder.parent.glob("*.gguf")
    own = tmp_path / gguf_file.name
    shutil.copy(gguf_file, own)
    code = f"""
from pathlib import Path
from llm.weights.gguf_file import convert
def progress(stage, done, total):
    print(stage, done, flush=True)
convert(Path({str(own)!r}), Path({str(tmp_path / "out")!r}), progress)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("converting the tokeniser"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not is_converted(own, tmp_path / "out")
    convert(own, tmp_path / "out", silent)
    assert is_converted(own, tmp_path / "out")
    assert fingerprint(tmp_path / "out") == fingerprint(default_model.folder)
    time.sleep(0.01)
    own.touch()
    assert not is_converted(own, tmp_path / "out"), "a changed file is converted again"


def test_a_converted_model_is_loaded_without_the_gguf_reader(default_model: LoadedModel) -> None:
    code = f"""
import sys
from pathlib import Path
from llm.loading import load_model
load_model("smollm2-135m-instruct", Path({str(default_model.folder.parent.parent)!r}))
assert "gguf" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_names_and_paths_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="smollm2-135m-instruct"):
        ensure_model("no-such-model", tmp_path)
    (tmp_path / "model.bin").touch()
    with pytest.raises(ModelNotFoundError, match="neither a GGUF file nor a model folder"):
        ensure_model(str(tmp_path / "model.bin"), tmp_path)
