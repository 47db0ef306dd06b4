"""The sources that a run uses, and the digests of those whose files are local.

DVC compares the digests (stage `local`), so an edit of a local file makes a run stale.
"""

from collections.abc import Iterable
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


def model_digest(model: origins.Model, root: Path) -> dict[str, str]:
    """Return the digest of the files of a model in a local folder, or an empty map.

    Args:
        model: The base model.
        root: The repository, where relative paths start.

    Raises:
        OSError: If the folder does not exist or a file cannot be read.
    """
    if not isinstance(model, origins.FolderModel):
        return {}
    place = local.place(model.path, root)
    if not place.is_dir():
        raise OSError(
            f"the model's folder {model.path} is {place}, which is no folder; give its path in"
            f" models, absolute or relative to {root.absolute()}"
        )
    return _digest((file.name, file) for file in place.iterdir() if file.is_file())


def _digest(files: Iterable[tuple[str, Path]]) -> dict[str, str]:
    return {"sha256": local.digest(files)}
