import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from arcmix.models import fetch, hub, pretrained

REVISION = "0123456789abcdef0123456789abcdef01234567"
TREE = f"/api/models/us/small/tree/{REVISION}"
FILES = f"/us/small/resolve/{REVISION}/"


class Hub:
    """A server with the part of the hub's protocol that a download needs."""

    def __init__(self, files):
        self.files = files
        self.requests = []
        self.refused = {}

    def downloaded(self):
        """Return the names of the files that were asked for."""
        return {path.removeprefix(FILES) for path in self.requests if path.startswith(FILES)}

    def answer(self, path):
        """Return the status, the error code and the content for a path."""
        self.requests.append(path)
        for start, (status, code) in self.refused.items():
            if path.startswith(start):
                return status, code, b""
        if path == TREE:
            return 200, None, json.dumps(self.tree()).encode()
        if path.startswith(f"{TREE}/"):
            return 200, None, json.dumps(self.tree(path.removeprefix(f"{TREE}/"))).encode()
        if path.startswith("/api/models/us/small/"):
            return 404, "RevisionNotFound", b""
        name = path.removeprefix(FILES)
        return (200, None, self.files[name]) if name in self.files else (401, "RepoNotFound", b"")

    def tree(self, folder=""):
        """Return the files of the repository, as the hub lists them."""
        return [
            {"type": "file", "path": name, "size": len(content), "oid": REVISION}
            for name, content in self.files.items()
            if name.startswith(folder)
        ]


def handler(served):
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send(body=False)

        def do_GET(self):
            self.send(body=True)

        def send(self, *, body):
            path = self.path.split("?")[0]
            status, code, content = served.answer(path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hash(path) & 0xFFFFFFFF:x}"')
            self.send_header("X-Repo-Commit", REVISION)
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, format, *args):  # noqa: A002
            pass

    return Handler


def reached(monkeypatch, endpoint):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )


@pytest.fixture
def served(base_model, monkeypatch):
    found = Hub({path.name: path.read_bytes() for path in base_model.iterdir()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(found))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    reached(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    yield found
    server.shutdown()
    server.server_close()


def weights(found):
    return torch.cat([weight.flatten() for weight in found.parameters()])


UNNEEDED = [
    "modeling_evil.py",
    "pytorch_model.bin",
    "consolidated.safetensors",
    "model.fp16.safetensors",
    "model.fp16.safetensors.index.json",
    "original/consolidated.00.pth",
    "original/params.json",
    "onnx/model.safetensors",
    "README.md",
]


def test_only_the_needed_files_are_downloaded_at_the_revision(tmp_path, served, base_model):
    own = {*served.files}
    served.files |= dict.fromkeys(UNNEEDED, b"?")
    fetch.from_hub("us/small", REVISION, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == own
    assert served.downloaded() == own
    assert torch.equal(
        weights(pretrained.load(tmp_path / "out", "float32")),
        weights(pretrained.load(base_model, "float32")),
    )


def test_the_parts_that_the_index_names_are_downloaded(tmp_path, served, base_model):
    parts = tmp_path / "parts"
    pretrained.load(base_model, "float32").save_pretrained(parts, max_shard_size="30KB")
    del served.files["model.safetensors"]
    served.files |= {path.name: path.read_bytes() for path in parts.iterdir()}
    own = {*served.files}
    served.files |= dict.fromkeys(UNNEEDED, b"?")
    fetch.from_hub("us/small", REVISION, tmp_path / "out")
    assert served.downloaded() == own
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1


@pytest.fixture
def impatient(monkeypatch):
    """Do not wait before the hub is asked again."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("path", "status", "code", "message"),
    [
        pytest.param(TREE, 401, "RepoNotFound", "no such repository, or a private", id="unknown"),
        pytest.param(TREE, 401, "GatedRepo", "it is gated; accept its cond.* at http", id="gated"),
        pytest.param(FILES, 403, "GatedRepo", ".*/us/small, then set HF_TOKEN", id="gated-files"),
        pytest.param(TREE, 404, "RevisionNotFound", "no such commit; .*git ls-remote", id="commit"),
        pytest.param(TREE, 500, None, "the hub answered 500; run the command again", id="broken"),
    ],
)
def test_each_refusal_of_the_hub_says_what_to_do(tmp_path, served, path, status, code, message):
    served.refused = {path: (status, code)}
    start = re.escape(f"cannot download model us/small at {REVISION}: ")
    with pytest.raises(OSError, match=f"^{start}.*{message}") as caught:
        hub.download("us/small", REVISION, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize("files", [["pytorch_model.bin"], ["consolidated.safetensors"], ["a.gguf"]])
def test_a_repository_without_safetensors_is_refused_before_its_download(tmp_path, served, files):
    del served.files["model.safetensors"]
    served.files |= dict.fromkeys(files, b"?")
    with pytest.raises(ValueError, match=re.escape(f"model.safetensors.index.json, but {files};")):
        hub.download("us/small", REVISION, tmp_path / "out")
    assert served.downloaded() == set()


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"weight_map": 1}'])
def test_a_damaged_index_is_refused(tmp_path, served, content):
    del served.files["model.safetensors"]
    served.files["model.safetensors.index.json"] = content
    with pytest.raises(ValueError, match=r"index\.json of the model names no files of weights"):
        hub.download("us/small", REVISION, tmp_path / "out")


@pytest.mark.usefixtures("impatient")
def test_a_hub_that_cannot_be_reached_is_reported_with_the_ways_around(tmp_path, monkeypatch):
    reached(monkeypatch, "http://127.0.0.1:9")
    command = f"hf download us/small --revision {REVISION} --local-dir FOLDER"
    message = rf"127\.0\.0\.1:9 cannot be reached \(.+\); .*HF_ENDPOINT .*kind folder: {command}"
    with pytest.raises(OSError, match=message):
        hub.download("us/small", REVISION, tmp_path / "out")


@pytest.mark.usefixtures("served")
def test_the_offline_mode_is_reported_with_its_variable(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"cannot be reached \(.*\); unset HF_HUB_OFFLINE"):
        hub.download("us/small", REVISION, tmp_path / "out")
