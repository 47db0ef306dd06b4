"""Tasks from a dataset repository of the Hugging Face hub at one commit.

Only files of data are fetched, Parquet or JSON lines, and `datasets` reads them; code of the
repository never runs. A row is a task in one of the `shapes`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import huggingface_hub

from arcmix import files, parsing
from arcmix.config import origins
from arcmix.sources import archive, pins, shapes, transfer

FORMATS = {".parquet": "parquet", ".jsonl": "json"}
"""End of the name of a file -> the reader of `datasets`."""


def load(name: str, source: origins.HubSource, cache: Path) -> pins.Loaded:
    """Return the tasks of a repository's files, which are fetched if they are not cached.

    Args:
        name: Name of the source.
        source: Its repository, commit, patterns and columns, and its pins.
        cache: Folder of the cached files.

    Raises:
        OSError: If a file is not cached and cannot be fetched.
        ValueError: If no file matches, a file cannot be read, a column is missing, or the tasks
            differ from the pins.
    """
    folder = cache / f"hub-{source.repository.replace('/', '-')}-{source.revision}"
    with files.locked(folder):
        found = _fetched(name, source, folder)
    origin = f"{source.repository} at {source.revision}"
    return pins.verified(name, _values(name, source, found), source, origin)


def _fetched(
    name: str, source: origins.HubSource, folder: Path
) -> list[tuple[PurePosixPath, Path]]:
    """Return the files that match the patterns of a source, and where they are."""
    repository, revision = source.repository, source.revision
    listed = folder / ".files.json"
    try:
        if not listed.is_file():
            api = huggingface_hub.HfApi()
            known = api.list_repo_files(repository, revision=revision, repo_type="dataset")
            files.write_json(listed, known)
        paths = map(PurePosixPath, sorted(files.read_json(listed)))
        found = [
            (
                path,
                Path(
                    huggingface_hub.hf_hub_download(
                        repository,
                        str(path),
                        revision=revision,
                        repo_type="dataset",
                        local_dir=folder,
                    )
                ),
            )
            for path in paths
            if path.suffix in FORMATS and archive.named(path, source.files)
        ]
    except (OSError, huggingface_hub.errors.HfHubHTTPError) as error:
        reason = str(error).strip().splitlines()[0]
        raise OSError(
            f"cannot download the dataset {repository} at {revision}: {reason}; check"
            f" repository and revision of sources.{name}. If it is private or gated, set HF_TOKEN."
            " Where the hub cannot be reached, set HF_ENDPOINT to a mirror, or download the files"
            " elsewhere as JSON lines and use a source of kind folder"
        ) from error
    if not found:
        raise ValueError(
            f"no file of {repository} at {revision} matches the patterns of"
            f" sources.{name}.files and ends with {' or '.join(FORMATS)}; it has"
            f" {files.read_json(listed)[:20]}"
        )
    return found


def _values(
    name: str, source: origins.HubSource, found: list[tuple[PurePosixPath, Path]]
) -> Iterator[parsing.Value]:
    for path, file in found:
        split, group = archive.named(path, source.files) or ("", None)
        try:
            for number, row in enumerate(_rows(file)):
                record = _record(row, source.columns)
                id_ = shapes.record_id(record, f"{path.stem}-{number:06}")
                for own, value in shapes.read(record, id_, source.examples):
                    yield own, split, group, value
        except transfer.READ_ERRORS as error:
            raise ValueError(
                f"{path} of {source.repository}, in {file}: {transfer.explained(error)}; correct"
                f" sources.{name}, or delete the file to fetch it again"
            ) from error


def _rows(file: Path) -> Iterator[Mapping[str, Any]]:
    # It takes a second to import, which other sources need not pay.
    import datasets  # noqa: PLC0415

    reader = FORMATS[file.suffix]
    # A stream leaves no copy in the cache of `datasets`.
    yield from datasets.load_dataset(reader, data_files=str(file), split="train", streaming=True)


def _record(row: Mapping[str, Any], columns: Mapping[str, str] | None) -> dict[str, Any]:
    """Return a row with the names of the `shapes`, and with text in JSON parsed."""
    names = columns or {name: name for name in row}
    if lacking := {*names.values()} - {*row}:
        raise ValueError(f"has no column {min(lacking)!r}, only {sorted(row)}; correct columns")
    record = {name: row[column] for name, column in names.items()}
    for name in ("train", "test", "examples"):
        if isinstance(text := record.get(name), str):
            try:
                record[name] = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{name} is text that is no JSON: {error}") from error
    return record
