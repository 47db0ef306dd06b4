import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from arcmix.models import fetch, pretrained
from tests.conftest import TINY


def weights(found):
    return torch.cat([weight.flatten() for weight in found.parameters()])


def test_a_random_model_is_determined_by_its_seed(tmp_path, base_model):
    fetch.random(TINY, tmp_path / "again")
    fetch.random(TINY.model_copy(update={"seed": 1}), tmp_path / "other")
    again, other, first = (
        weights(pretrained.load(folder, "float32"))
        for folder in (tmp_path / "again", tmp_path / "other", base_model)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_character_tokenizer_has_one_token_per_character_and_restores_the_text():
    tokenizer = fetch.character_tokenizer()
    text = "Input\n0123\n```grid shape: 1x4\nñò<|im_end|>"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert len(ids) == len(text) - len("<|im_end|>") + 1
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert tokenizer.unk_token_id not in ids


def test_every_stored_model_has_a_padding_token_that_differs_from_its_end_token(
    tmp_path, base_model
):
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
    """A server with the part of the hub's protocol that a download needs; yields its requests."""
    files = {path.name: path.read_bytes() for path in base_model.iterdir()}
    files["modeling_evil.py"] = b"raise SystemExit"
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, *, body):
            requests.append(self.path)
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
    yield requests
    server.shutdown()
    server.server_close()


def test_a_hub_model_is_downloaded_at_its_revision_and_without_code(tmp_path, hub, base_model):
    fetch.from_hub("us/small", REVISION, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {path.name for path in base_model.iterdir()}
    assert all(f"/resolve/{REVISION}/" in path for path in hub if "/resolve/" in path)
    assert torch.equal(
        weights(pretrained.load(tmp_path / "out", "float32")),
        weights(pretrained.load(base_model, "float32")),
    )


@pytest.mark.usefixtures("hub")
def test_an_unknown_revision_is_reported_in_one_error(tmp_path):
    with pytest.raises(OSError, match=f"cannot download model us/small at {'f' * 40}.*HF_ENDPOINT"):
        fetch.from_hub("us/small", "f" * 40, tmp_path / "out")
