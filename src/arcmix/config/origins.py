"""Where tasks and models come from: the entries of `sources` and `models`, typed."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from arcmix.config.schema import NaturalInt, PositiveInt, Probability, Section

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]


class Tasks(Section):
    """What a source must hold once parsed; a mismatch stops the download."""

    max_side: Annotated[int, Field(ge=1, le=255)]
    """Longest side of a grid; a task with a longer one is rejected and counted."""
    tasks: PositiveInt
    """Number of tasks."""
    tests: PositiveInt
    """Number of test pairs."""
    digest: Sha256
    """sha256 over the parsed tasks (`tasks.digest`), whatever file they came in."""


class PackageSource(Tasks):
    """Tasks in a data file of an installed Python package."""

    kind: Literal["package"]
    """How the tasks are had."""
    package: str
    """Name of the package."""
    file: str
    """Path of a JSON file inside the package: key of a split -> task id -> task."""
    splits: dict[str, str]
    """Split -> its key in the file."""


class ArchiveSource(Tasks):
    """Tasks in the archive of a GitHub repository at one commit, one JSON file each."""

    kind: Literal["archive"]
    """How the tasks are had."""
    repository: Annotated[str, Field(pattern="^[^/]+/[^/]+$")]
    """OWNER/REPO on GitHub."""
    commit: Commit
    """The pinned commit; quoted, since some hashes read as numbers."""
    files: dict[str, tuple[str, ...]]
    """Split -> glob patterns of its files inside the repository; a task's id is the stem, its group
    the folder that a wildcard matches."""


class GeneratorSource(Section):
    """RE-ARC: tasks drawn by the 400 generators that the reasoning-gym wheel carries."""

    kind: Literal["generator"]
    """How the tasks are had."""
    requirement: str
    """The wheel on the package index, `name==version`."""
    sha256: Sha256
    """Hash of the wheel."""
    seed: NaturalInt
    """Seed of the draws; each generator has a stream of its own."""
    variations: PositiveInt
    """Tasks drawn from each generator."""
    examples: Annotated[int, Field(ge=2)]
    """Pairs of each drawn task; the last is its test pair."""
    max_side: Annotated[int, Field(ge=1, le=255)]
    """Longest side of a grid; an example with a longer one is drawn again and counted."""
    tasks: PositiveInt
    """Number of generators."""


class CountingSource(Section):
    """Learn-to-count: grids of random objects, drawn here; each is a task of its own."""

    kind: Literal["counting"]
    """How the tasks are had."""
    seed: NaturalInt
    """Seed of the draws; grid i depends on it and on i."""
    max_side: Annotated[int, Field(ge=3, le=30)]
    """Longest side of a grid; the shortest is 3."""
    curriculum: PositiveInt
    """Draws of which each side is the smallest: 1 makes all sides as frequent, more of them
    make small grids more frequent."""
    objects: PositiveInt
    """Most objects of a grid; small grids have no place for many."""
    background: Probability
    """Chance that the background may be of any color; else it is 0."""
    tasks: PositiveInt
    """Number of grids."""


Source = Annotated[
    PackageSource | ArchiveSource | GeneratorSource | CountingSource, Field(discriminator="kind")
]


class WheelModel(Section):
    """A GGUF model inside a wheel of the package index."""

    kind: Literal["wheel"]
    """How the model is had."""
    requirement: str
    """The wheel, `name==version`."""
    sha256: Sha256
    """Hash of the wheel."""
    file: str
    """Path of the GGUF file inside the wheel."""


class HubModel(Section):
    """A repository of the Hugging Face hub at one revision."""

    kind: Literal["hub"]
    """How the model is had."""
    repository: Annotated[str, Field(pattern="^[^/]+/[^/]+$")]
    """OWNER/NAME on the hub."""
    revision: Commit
    """The pinned commit."""


class FolderModel(Section):
    """A local folder in Hugging Face format."""

    kind: Literal["folder"]
    """How the model is had."""
    path: str
    """The folder; `~` is expanded."""


class RandomModel(Section):
    """A Llama of random weights with a character tokenizer, for tests and rehearsals."""

    kind: Literal["random"]
    """How the model is had."""
    seed: NaturalInt
    """Seed of the weights."""
    hidden: PositiveInt
    """Width of the residual stream."""
    layers: PositiveInt
    """Number of decoder layers."""
    heads: PositiveInt
    """Attention heads; twice their number divides `hidden`."""
    positions: PositiveInt
    """Longest sequence in tokens."""

    @model_validator(mode="after")
    def _heads_have_even_widths(self) -> Self:
        # Rotary position embeddings turn pairs of features.
        if self.hidden % (2 * self.heads):
            raise ValueError(f"2 * heads divides hidden, got {self.heads} for {self.hidden}")
        return self


Model = Annotated[WheelModel | HubModel | FolderModel | RandomModel, Field(discriminator="kind")]
