"""Download a model from the Hugging Face hub: only the files that are needed, with clear errors."""

import fnmatch
import glob
import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import huggingface_hub
from huggingface_hub import errors

TEXTS = ("*.json", "*.model", "*.jinja", "*.txt")
"""Files that describe a model and its tokenizer: no code and no pickles."""

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
"""The file with all weights, or else the file that names those with a part of them."""


def needed(names: Iterable[str], read: Callable[[str], bytes]) -> list[str]:
    """Return the files of a model that are needed, without a second copy of the weights.

    Repositories also have weights of other libraries (consolidated.safetensors), of other types
    (model.fp16.safetensors) and in folders (original, onnx).

    Args:
        names: The names of all files, as paths in the repository.
        read: Returns the content of a file.

    Raises:
        ValueError: If the index of the weights is damaged.
    """
    own = sorted(name for name in names if "/" not in name)
    found = [
        name
        for name in own
        if any(fnmatch.fnmatch(name, known) for known in TEXTS)
        and not (name.endswith(".index.json") and name != INDEX)
    ]
    if WEIGHTS in own:
        return [name for name in found if name != INDEX] + [WEIGHTS]
    if INDEX in own:
        try:
            parts = {str(name) for name in json.loads(read(INDEX))["weight_map"].values()}
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{INDEX} of the model names no files of weights: {error!r}; get the files again,"
                " or choose another model"
            ) from error
        # A part that is missing is reported when the weights are loaded.
        return found + sorted(parts & {*own})
    return found


def download(repository: str, revision: str, out: Path) -> None:
    """Download the files of a model at one commit.

    Args:
        repository: Its name, `owner/name`.
        revision: The commit.
        out: The folder to write.

    Raises:
        OSError: If the hub cannot be reached or refuses, or does not have the repository or the
            revision.
        ValueError: If the repository has no weights as safetensors.
    """
    api = huggingface_hub.HfApi()

    def read(name: str) -> bytes:
        path = api.hf_hub_download(repository, name, revision=revision, local_dir=out)
        return Path(path).read_bytes()

    try:
        # Without subfolders.
        listed = [one.path for one in api.list_repo_tree(repository, revision=revision)]
        chosen = needed(listed, read)
        _require_weights(repository, listed, chosen)
        patterns = [glob.escape(name) for name in chosen]
        api.snapshot_download(repository, revision=revision, local_dir=out, allow_patterns=patterns)
    except (OSError, errors.HTTPError, errors.OfflineModeIsEnabled) as error:  # pyright: ignore[reportPrivateImportUsage]
        reason = f"cannot download model {repository} at {revision}"
        raise OSError(f"{reason}: {_explained(error, repository, revision)}") from error
    shutil.rmtree(out / ".cache", ignore_errors=True)


def _require_weights(repository: str, listed: Iterable[str], chosen: Iterable[str]) -> None:
    if any(name.endswith(".safetensors") for name in chosen):
        return
    others = [name for name in listed if re.search(r"\.(bin|pt|pth|gguf|safetensors|h5)$", name)]
    raise ValueError(
        f"model {repository} has neither {WEIGHTS} nor {INDEX}, but {others[:3]}; pickles such as"
        " *.bin are not loaded, because they can run code: choose a repository with safetensors, or"
        " convert the model, save it as safetensors, and choose a model of kind folder"
    )


def _explained(error: Exception, repository: str, revision: str) -> str:
    """Return what is wrong and what to do next."""
    page = f"{huggingface_hub.constants.ENDPOINT}/{repository}"
    login = "set HF_TOKEN to a token of that account, or run: hf auth login"
    match error:
        case errors.GatedRepoError():
            return f"it is gated; accept its conditions at {page}, then {login}"
        case errors.RepositoryNotFoundError():
            return (
                "the hub has no such repository, or a private one; correct models.NAME.repository,"
                f" or, if your account may read it, {login}"
            )
        case errors.RevisionNotFoundError():
            return (
                "the repository has no such commit; take one of those that this command prints:"
                f" git ls-remote {page}"
            )
        case errors.HfHubHTTPError():
            return f"the hub answered {error.response.status_code}; run the command again later"
    elsewhere = f"hf download {repository} --revision {revision} --local-dir FOLDER"
    return (
        f"{huggingface_hub.constants.ENDPOINT} cannot be reached"
        f" ({[*str(error).splitlines(), type(error).__name__][0]}); unset HF_HUB_OFFLINE if it is"
        " set, set HF_ENDPOINT to a mirror, or run this elsewhere, and choose a model of kind"
        f" folder: {elsewhere}"
    )
