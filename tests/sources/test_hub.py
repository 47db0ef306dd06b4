import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arcmix import parsing, tasks
from arcmix.config import origins
from arcmix.sources import hub, pins
from tests.archives import task

REVISION = "0123456789abcdef0123456789abcdef01234567"
PAIRS = [{"input": [[number, 0]], "output": [[0], [number]]} for number in range(4)]
LISTS = [[pair["input"], pair["output"]] for pair in PAIRS]


def bare(color: int) -> dict[str, Any]:
    """Return a task with the keys train, test, input and output only."""
    whole = task(color)
    return {
        role: [{side: pair[side] for side in ("input", "output")} for pair in whole[role]]
        for role in ("train", "test")
    }


def parquet(rows: list[dict[str, Any]]) -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue().to_pybytes()


def lines(rows: list[Any]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


FILES = {
    "arc.py": b"raise SystemExit",
    "README.md": b"# ARC",
    "data/train-0.parquet": parquet([bare(1) | {"id": "a"}, bare(2) | {"id": "b"}]),
    "data/eval-0.jsonl": lines([bare(3) | {"id": "a"}]),
    "text/train.parquet": parquet(
        [{"name": "a", "shown": json.dumps(bare(1)["train"]), "asked": json.dumps(bare(1)["test"])}]
    ),
    "barc/problems.jsonl": lines([{"examples": LISTS, "source": "def main(): pass"}]),
    "broken/x.parquet": b"PAR1 not",
}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A server with the part of the hub's protocol that a download needs; yields its requests."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            requests.append(self.path)
            path = self.path.split("?")[0]
            start = f"/datasets/us/arc/resolve/{REVISION}/"
            if path == f"/api/datasets/us/arc/tree/{REVISION}":
                tree = [
                    {"type": "file", "path": name, "size": len(content), "oid": REVISION}
                    for name, content in FILES.items()
                ]
                content = json.dumps(tree).encode()
            elif path.startswith(start):
                content = FILES[path.removeprefix(start)]
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

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002
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


def load(cache: Path, **settings: Any) -> pins.Loaded:
    given = {"kind": "hub", "repository": "us/arc", "revision": REVISION} | settings
    return hub.load("own", origins.HubSource.model_validate_json(json.dumps(given)), cache)


SPLITS = {"training": ["data/train-*.parquet"], "evaluation": ["data/eval-*.jsonl"]}


def test_rows_of_parquet_and_of_json_lines_are_tasks(tmp_path: Path, served: list[str]) -> None:
    values = [
        ("a", "training", None, bare(1)),
        ("b", "training", None, bare(2)),
        ("a", "evaluation", None, bare(3)),
    ]
    expected = tasks.digest(parsing.parse(values, "own", 30)[0])

    found = load(tmp_path, files=SPLITS, tasks=3, tests=3, digest=expected)

    assert tasks.digest(found.tasks) == expected
    asked = {path.rpartition("/")[2] for path in served if "/resolve/" in path}
    assert asked == {"train-0.parquet", "eval-0.jsonl"}  # no code, and no more than needed


def test_fetched_files_need_no_hub_again(tmp_path: Path, served: list[str]) -> None:
    first = load(tmp_path, files=SPLITS)
    del served[:]

    assert tasks.digest(load(tmp_path, files=SPLITS).tasks) == tasks.digest(first.tasks)
    assert served == []


@pytest.mark.usefixtures("served")
def test_the_entry_names_the_columns_and_text_is_parsed(tmp_path: Path) -> None:
    columns = {"id": "name", "train": "shown", "test": "asked"}

    [found] = load(tmp_path, files={"training": ["text/*.parquet"]}, columns=columns).tasks

    assert (found.id, len(found.train), len(found.test)) == ("a", 2, 1)


@pytest.mark.usefixtures("served")
def test_examples_are_tasks_as_in_barc(tmp_path: Path) -> None:
    files = {"training": ["barc/*.jsonl"]}

    [found] = load(tmp_path, files=files).tasks
    assert (found.id, len(found.train), len(found.test)) == ("problems-000000", 3, 1)
    assert [one.variation for one in load(tmp_path, files=files, examples=2).tasks] == [0, 1]


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"files": {"a": ["*.csv"]}},
            "no file of us/arc at .* matches the patterns of so",
        ),
        ({"files": {"a": ["broken/*"]}}, "broken/x.parquet of us/arc, in .*; correct sources.own"),
        (
            {"files": SPLITS, "columns": {"train": "nope"}},
            r"has no column 'nope', only \['id', 'test', 'train'\]; correct columns",
        ),
        ({"files": SPLITS, "tasks": 4}, "expected 4 tasks; found 3 tasks, 3 tests, digest "),
    ],
)
def test_what_does_not_fit_is_an_error(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load(tmp_path, **settings)


@pytest.mark.usefixtures("served")
def test_an_unknown_repository_is_one_error_that_says_what_to_do(tmp_path: Path) -> None:
    message = r"cannot download the dataset us/none at .*sources\.own.* HF_TOKEN.* HF_ENDPOINT to a"
    with pytest.raises(OSError, match=message):
        load(tmp_path, files=SPLITS, repository="us/none")
    assert not [*tmp_path.rglob("*.json")]
