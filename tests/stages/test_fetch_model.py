from arcmix import model, params
from stages import fetch_model as stage
from tests.conftest import TINY


def test_run_writes_a_random_model_with_its_tokenizer(tmp_path):
    stage.run(config=stage.Params(model=TINY), cache=tmp_path / "cache", out=tmp_path / "out")
    assert model.load(tmp_path / "out", "float32").config.hidden_size == TINY.hidden
    assert len(model.load_tokenizer(tmp_path / "out")) == len(model.character_tokenizer())
    assert not (tmp_path / "cache").exists()


def test_run_copies_a_local_folder(tmp_path, base_model):
    how = stage.Params(model=params.FolderModel(kind="folder", path=str(base_model)))
    stage.run(config=how, cache=tmp_path / "cache", out=tmp_path / "out")
    assert (tmp_path / "out/model.safetensors").read_bytes() == (
        base_model / "model.safetensors"
    ).read_bytes()
