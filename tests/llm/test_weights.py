"""Weights: what is wrong with a file is said, what is converted is whole."""

import json
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from llm.catalog import ensure_model
from llm.errors import CorruptModelError, ModelError, ModelNotFoundError, UnsupportedModelError
from llm.loading import load_model
from llm.progress import silent
from llm.weights.gguf_file import convert, is_converted, verify_conversion
from llm.weights.safetensors_folder import fingerprint, load_decoder
from tests.llm.tiny import save_tiny_llama
from tests.llm.tiny_gguf import write_tiny_gguf


def test_a_model_in_several_files_loads_like_one_in_one(tmp_path: Path) -> None:
    model = save_tiny_llama(tmp_path / "one")
    model.save_pretrained(tmp_path / "many", max_shard_size="100KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    ids = range(20)
    one, many = (load_decoder(tmp_path / name, torch.float32, "sdpa") for name in ("one", "many"))
    assert torch.equal(one.extend(ids, one.new_cache()), many.extend(ids, many.new_cache()))


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
    "change", [{"num_attention_heads": 0}, {"num_key_value_heads": 3}, {"head_dim": 15}, {"vocab_size": "x"}]
)
def test_a_config_of_impossible_sizes_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    save_tiny_llama(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(CorruptModelError, match=r"config\.json cannot be read"):
        load_decoder(tmp_path, torch.float32, "sdpa")


def test_training_any_one_tensor_gives_another_fingerprint(tmp_path: Path) -> None:
    save_tiny_llama(tmp_path)
    original = load_file(tmp_path / "model.safetensors")
    seen = {fingerprint(tmp_path)}
    for name, tensor in original.items():
        trained = original | {name: tensor + 0.01}
        save_file(trained, tmp_path / "model.safetensors", metadata={"format": "pt"})
        seen.add(fingerprint(tmp_path))
    assert len(seen) == len(original) + 1
    save_file(original, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert fingerprint(tmp_path) in seen


def test_the_number_format_is_part_of_a_loaded_models_fingerprint(tmp_path: Path) -> None:
    save_tiny_llama(tmp_path)
    exact = load_model(str(tmp_path), tmp_path, dtype="float32")
    rounded = load_model(str(tmp_path), tmp_path, dtype="bfloat16")
    assert exact.fingerprint != rounded.fingerprint
    assert (exact.decoder.dtype, rounded.decoder.dtype) == (torch.float32, torch.bfloat16)


def test_every_part_of_a_decoder_is_on_its_device(tmp_path: Path) -> None:
    """`meta` computes nothing, but refuses to mix with tensors that are elsewhere, as any device does."""
    save_tiny_llama(tmp_path)
    decoder = load_model(str(tmp_path), tmp_path, device="meta").decoder
    cache = decoder.new_cache()
    assert {parameter.device.type for parameter in decoder.parameters()} == {"meta"}
    for tokens in (300, 1):
        logits = decoder.extend([0] * tokens, cache)
        assert (logits.device.type, logits.shape) == ("meta", (1, 256))


def test_an_index_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    save_tiny_llama(tmp_path)
    for index in ("{", "{}", "[]", '{"weight_map": 3}'):
        (tmp_path / "model.safetensors.index.json").write_text(index)
        with pytest.raises(CorruptModelError, match=r"index\.json cannot be read"):
            load_decoder(tmp_path, torch.float32, "sdpa")


@pytest.mark.parametrize("kept", [0, 100, 1_000_000, 90_000_000])
def test_a_truncated_gguf_file_is_refused(model_folder: Path, tmp_path: Path, kept: int) -> None:
    [whole] = model_folder.parent.glob("*.gguf")
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention__head_count": None}, "the metadata of .* are not whole"),
        ({"attention__head_count": 0}, "the metadata of .* are not whole"),
        ({"attention__head_count": 3}, r"blk\.0\.attn_q\.weight of shape \[32, 32\] does not hold 3 heads"),
        ({"without": "token_embd"}, "the metadata of .* are not whole"),
        ({"without": "blk.1.ffn_up"}, r"lacks the tensor model\.layers\.1\.mlp\.up_proj\.weight"),
    ],
)
def test_a_gguf_that_lacks_something_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf", **changes)
    with pytest.raises(CorruptModelError, match=message):
        load_model(str(tmp_path / "tiny.gguf"), tmp_path / "models")
    assert not list(tmp_path.rglob("*.partial"))


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_tiny_gguf(path)
    return path.read_bytes()


def test_a_gguf_with_an_array_longer_than_the_file_is_refused_and_not_read_on_and_on(
    tiny_gguf: bytes, tmp_path: Path
) -> None:
    key = b"tokenizer.ggml.token_type"
    length_at = tiny_gguf.index(key) + len(key) + 8  # behind the types of the field and of its elements
    path = tmp_path / "long.gguf"
    path.write_bytes(tiny_gguf[:length_at] + (1_000_000).to_bytes(8, "little") + tiny_gguf[length_at + 8 :])
    with pytest.raises(CorruptModelError, match=r"long\.gguf is not a whole GGUF file: it ends within"):
        load_model(str(path), tmp_path / "models")


def test_a_gguf_without_heads_of_keys_is_refused(tiny_gguf: bytes, tmp_path: Path) -> None:
    key = b"attention.head_count_kv"
    heads_at = tiny_gguf.index(key) + len(key) + 4  # behind the field's type
    path = tmp_path / "headless.gguf"
    path.write_bytes(tiny_gguf[:heads_at] + bytes(4) + tiny_gguf[heads_at + 4 :])
    with pytest.raises(CorruptModelError, match="does not hold 0 heads"):
        load_model(str(path), tmp_path / "models")


@pytest.mark.parametrize("size", [2**58, 2**64])
def test_sizes_that_no_model_has_are_refused(tmp_path: Path, size: int) -> None:
    save_tiny_llama(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"intermediate_size": size}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CorruptModelError, match="sizes that no model has"):
        load_decoder(tmp_path, torch.float32, "sdpa")


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_gguf_with_changed_bytes_is_loaded_or_refused_by_an_error_of_ours(
    tiny_gguf: bytes, data: st.DataObject
) -> None:
    changed = bytearray(tiny_gguf)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, 9000))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "changed.gguf"
        path.write_bytes(changed)
        with suppress(ModelError):
            load_model(str(path), Path(folder) / "models")


@pytest.mark.parametrize("stage", ["converting the weights", "converting the tokeniser"])
@pytest.mark.parametrize("moment", ["begins", "ends"])
def test_a_conversion_that_is_killed_is_done_anew_and_whole(
    tiny_gguf: bytes, tmp_path: Path, stage: str, moment: str
) -> None:
    path, folder = tmp_path / "tiny.gguf", tmp_path / "converted"
    path.write_bytes(tiny_gguf)
    code = f"""
import time
from pathlib import Path
from llm.weights.gguf_file import convert
def progress(stage, done, total):
    if stage == {stage!r} and done == ({moment!r} == "ends") * total:
        print("now", flush=True)
        time.sleep(60)
convert(Path({str(path)!r}), Path({str(folder)!r}), progress)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not folder.exists()
    assert not is_converted(path, folder)
    convert(path, folder, silent)
    assert is_converted(path, folder)
    verify_conversion(folder)
    assert not list(tmp_path.rglob("*.partial")), "what the killed process left is gone"
    assert load_decoder(folder, torch.float32, "sdpa").config.layers == 2


def test_a_gguf_with_other_contents_is_converted_again(tiny_gguf: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_gguf)
    before = load_model(str(path), tmp_path / "models").fingerprint
    # The file ends with the padding that follows its last tensor; the tensor's last number is near.
    path.write_bytes(tiny_gguf[:-64] + bytes(64))
    assert load_model(str(path), tmp_path / "models").fingerprint != before


def test_a_converted_model_is_loaded_without_the_gguf_reader(model_folder: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from llm.loading import load_model
load_model("smollm2-135m-instruct", Path({str(model_folder.parent.parent)!r}))
assert "gguf" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_names_and_paths_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="smollm2-135m-instruct"):
        ensure_model("no-such-model", tmp_path)
    (tmp_path / "model.bin").touch()
    with pytest.raises(ModelNotFoundError, match="neither a GGUF file nor a model folder"):
        ensure_model(str(tmp_path / "model.bin"), tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    save_tiny_llama(tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"device 'cuda': torch .* finds no CUDA device"):
        load_model(str(tmp_path), tmp_path, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_decoder_on_cuda_computes_what_it_computes_on_the_cpu(tmp_path: Path) -> None:
    save_tiny_llama(tmp_path)
    on_cpu, on_gpu = (
        load_model(str(tmp_path), tmp_path, device=device).decoder for device in ("cpu", "cuda")
    )
    ids = list(range(50))
    torch.testing.assert_close(
        on_gpu.extend(ids, on_gpu.new_cache(), "all").cpu(),
        on_cpu.extend(ids, on_cpu.new_cache(), "all"),
        atol=1e-3,
        rtol=1e-3,
    )
