import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from arcmix.models import fetch, pretrained
from tests.conftest import TINY


def weights(found):
    return torch.cat([weight.flatten() for weight in found.parameters()])


def test_a_random_model_is_its_seed(tmp_path, base_model):
    fetch.random(TINY, tmp_path / "again")
    fetch.random(TINY.model_copy(update={"seed": 1}), tmp_path / "other")
    again, other, first = (
        weights(pretrained.load(folder, "float32"))
        for folder in (tmp_path / "again", tmp_path / "other", base_model)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_character_tokenizer_has_one_token_a_character_and_gives_the_text_back():
    tokenizer = fetch.character_tokenizer()
    text = "Input\n0123\n```grid shape: 1x4\nñò<|im_end|>"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert len(ids) == len(text) - len("<|im_end|>") + 1
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert tokenizer.unk_token_id not in ids


def test_every_model_is_stored_with_a_padding_token_that_is_not_its_end(tmp_path, base_model):
    tokenizer = pretrained.load_tokenizer(base_model)
    tokenizer.pad_token = tokenizer.eos_token
    folder = tmp_path / "given"
    pretrained.load(base_model, "float32").save_pretrained(folder)
    tokenizer.save_pretrained(folder)

    fetch.from_folder(folder, tmp_path / "out")

    stored = pretrained.load_tokenizer(tmp_path / "out")
    assert stored.eos_token_id == tokenizer.eos_token_id
    assert stored.pad_token_id not in (None, stored.eos_token_id)


def test_from_folder_refuses_a_folder_without_a_model(tmp_path):
    with pytest.raises(ValueError, match=re.escape(f"no config.json in {tmp_path}")):
        fetch.from_folder(tmp_path, tmp_path / "out")


REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(base_model, monkeypatch):
    """A server that speaks as much of the hub's protocol as a download needs."""
    files = {path.name: path.read_bytes() for path in base_model.iterdir()}
    files["modeling_evil.py"] = b"raise SystemExit"
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, *, body):
            asked.append(self.path)
            path = self.path.split("?")[0]
            if path == f"/api/models/us/small/tree/{REVISION}":
                tree = [
                    {"type": "file", "path": name, "size": len(content), "oid": REVISION}
                    for name, content in files.items()
                ]
                content = json.dumps(tree).encode()
            elif path.startswith(f"/us/small/resolve/{REVISION}/"):
                content = files[path.rsplit("/", 1)[1]]
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hash(path) & 0xFFFFFFFF:x}"')
            self.send_header("X-Repo-Commit", REVISION)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, format, *args):  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    yield asked
    server.shutdown()
    server.server_close()


def test_a_hub_model_is_downloaded_at_its_revision_without_code(tmp_path, hub, base_model):
    fetch.from_hub("us/small", REVISION, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {path.name for path in base_model.iterdir()}
    assert all(f"/resolve/{REVISION}/" in path for path in hub if "/resolve/" in path)
    assert torch.equal(
        weights(pretrained.load(tmp_path / "out", "float32")),
        weights(pretrained.load(base_model, "float32")),
    )


@pytest.mark.usefixtures("hub")
def test_a_revision_that_the_hub_does_not_have_is_one_clear_error(tmp_path):
    with pytest.raises(OSError, match=f"cannot download model us/small at {'f' * 40}.*HF_ENDPOINT"):
        fetch.from_hub("us/small", "f" * 40, tmp_path / "out")


def test_an_added_token_begins_as_the_token_it_is_like(base_model):
    plain = pretrained.load(base_model, "float32")
    before = plain.get_parameter("model.embed_tokens.weight").detach().clone()
    tokenizer = pretrained.load_tokenizer(base_model)
    numbers = pretrained.add_tokens(plain, tokenizer, {"<a>": "7", "<b>": "3"})
    assert numbers == [len(before), len(before) + 1]
    assert tokenizer.encode("x<b><a>", add_special_tokens=False)[1:] == numbers[::-1]
    weights = plain.get_parameter("model.embed_tokens.weight")
    like = [pretrained.token_id(tokenizer, token) for token in ("7", "3")]
    torch.testing.assert_close(weights[: len(before)], before)
    torch.testing.assert_close(weights[numbers], before[like])
    assert plain.get_parameter("lm_head.weight") is weights


def test_no_token_is_added_to_a_model_that_could_not_learn_it(base_model):
    plain = pretrained.load(base_model, "float32")
    plain.config.tie_word_embeddings = False
    tokenizer = pretrained.load_tokenizer(base_model)
    with pytest.raises(ValueError, match="needs a model whose input and output embeddings are"):
        pretrained.add_tokens(plain, tokenizer, {"<a>": "7"})
    assert pretrained.add_tokens(plain, tokenizer, {}) == []


@pytest.mark.parametrize("tied", [True, False])
def test_a_cut_vocabulary_has_the_logits_of_the_whole_at_the_kept_tokens(base_model, tied):
    kept = np.array([3, 5, 40, 77, 90])
    whole = pretrained.load(base_model, "float32")
    cut = pretrained.load(base_model, "float32")
    if not tied:
        for one in (whole, cut):
            one.lm_head.weight = torch.nn.Parameter(one.lm_head.weight.detach().flip(0))
    pretrained.cut_vocabulary(cut, kept)
    logits = whole(input_ids=torch.tensor(kept[[[4, 0, 2]]])).logits
    found = cut(input_ids=torch.tensor([[4, 0, 2]])).logits
    torch.testing.assert_close(found, logits[..., kept])
    assert (cut.lm_head.weight is cut.get_input_embeddings().weight) == tied
    assert cut.config.vocab_size == len(kept)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that gives this machine a GPU, or takes it, and bitsandbytes likewise."""

    def becomes(*, gpu, library):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        # None in place of a module hides it.
        monkeypatch.setitem(sys.modules, "bitsandbytes", None)
        if library:
            monkeypatch.delitem(sys.modules, "bitsandbytes")
            (tmp_path / "bitsandbytes").mkdir()
            monkeypatch.syspath_prepend(tmp_path)

    return becomes


@pytest.mark.parametrize(
    ("values", "gpu", "library", "message"),
    [
        pytest.param(
            ["qlora", "adamw"],
            False,
            True,
            "method qlora needs a CUDA GPU and bitsandbytes, and here is no CUDA GPU;"
            " run it elsewhere or choose another method: lora, full",
            id="no-gpu",
        ),
        pytest.param(
            ["lora", "paged_adamw_8bit"],
            True,
            False,
            "optimizer paged_adamw_8bit needs a CUDA GPU and bitsandbytes, and here is no"
            " bitsandbytes (pip install 'arcmix[qlora]'); run it elsewhere or choose another"
            " optimizer: adamw",
            id="no-library",
        ),
        pytest.param(["qlora"], False, False, "no CUDA GPU and no bitsandbytes (pip", id="neither"),
    ],
)
def test_what_needs_a_gpu_and_bitsandbytes_is_refused_without(
    machine, values, gpu, library, message
):
    machine(gpu=gpu, library=library)
    with pytest.raises(ValueError, match=re.escape(message)):
        pretrained.require_gpu(*values)


def test_what_needs_no_gpu_runs_anywhere_and_what_does_with_one(machine):
    machine(gpu=False, library=False)
    pretrained.require_gpu("lora", "full", "adamw")
    machine(gpu=True, library=True)
    pretrained.require_gpu("qlora", "paged_adamw_8bit")


def test_no_weights_of_4_bits_are_loaded_without_a_gpu(machine, base_model):
    machine(gpu=False, library=False)
    with pytest.raises(ValueError, match="method qlora needs a CUDA GPU"):
        pretrained.load_base(base_model, "float32", "qlora")
    assert pretrained.load_base(base_model, "float16", "full").dtype == torch.float16
