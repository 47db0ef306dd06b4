"""The sources that a run uses, and the digests of the local files that it reads.

DVC compares the digests (stage `local`), so an edit of a local file makes a run stale.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from arcmix import local
from arcmix.config import origins, params
from arcmix.sources import archive, folder


def used(partition: str, measured: str, dataset: params.Dataset) -> set[str]:
    """Return the names of the sources that a run uses, among names of other tables.

    Args:
        partition: The source of the partition, which every run uses.
        measured: The source of the measured tasks.
        dataset: The components of the training dataset.
    """
    return {partition, measured, *(part.tasks for part in dataset.values())}


def contents(names: Iterable[str], sources: Mapping[str, origins.Source]) -> dict[str, str]:
    """Return source -> a hash that decides its content: its digest, or that of what draws it.

    Sources that are not pinned are left out: nothing in `params.yaml` decides their content.

    Args:
        names: Names of sources, among names of other tables (`used`).
        sources: All sources by name.
    """
    found = {}
    for name in sorted({*names} & sources.keys()):
        match sources[name]:
            case origins.Tasks(digest=str(pinned)) | origins.LooseTasks(digest=str(pinned)):
                found[name] = pinned
            case origins.Draws() | origins.Grids() as drawn:
                settings = json.dumps(
                    drawn.model_dump(mode="json", exclude={"pin"}), sort_keys=True
                )
                found[name] = hashlib.sha256(settings.encode()).hexdigest()
    return found


def digest(name: str, source: origins.Source, mirror: str, root: Path) -> dict[str, str]:
    """Return the digest of the local files of a source, as a map that is empty if it has none.

    Args:
        name: Name of the source, for errors.
        source: The source.
        mirror: The origin of archives.
        root: The repository, where relative paths start.

    Raises:
        OSError: If a local file does not exist or cannot be read.
    """
    match source:
        case origins.FolderSource(path=path):
            return _digest((str(inner), file) for inner, file in folder.listed(name, path, root))
        case origins.ArchiveSource():
            place = Path(archive.place(source, mirror, root))
            # An archive that the mirror lacks may be in the cache, whose content is pinned.
            return _digest([(place.name, place)]) if place.is_file() else {}
    return {}


def model_digest(path: str, root: Path) -> dict[str, str]:
    """Return the digest of the files of a model's folder, without those in folders below it.

    Args:
        path: Path of the folder.
        root: The repository, where a relative path starts.

    Raises:
        OSError: If the folder does not exist or a file cannot be read.
    """
    folder = local.place(path, root)
    if not folder.is_dir():
        raise OSError(
            f"path of the model: {path} is {folder}, which is no folder; give the path of a folder,"
            f" absolute or relative to {root.absolute()}"
        )
    return _digest((file.name, file) for file in folder.iterdir() if file.is_file())


def _digest(files: Iterable[tuple[str, Path]]) -> dict[str, str]:
    return {"sha256": local.digest(files)}
