"""How long the texts of task tables are, in tokens of a model.

A row for each table and style: the tests of a task with its demonstrations as they are,
no augmentation. Prints the lengths that `docs/data.md` shows.
"""

import argparse
import logging
from pathlib import Path

import numpy as np

from arcmix import tasks
from arcmix.models import pretrained
from arcmix.text import prompt, tokenization
from arcmix.text.encode import Encoder

STYLES = (
    ("bare", ("minimal",)),
    ("v0", ("minimal", "code_block")),
    ("v1", ("minimal", "row_number", "shape")),
    ("dialog", ("minimal",)),
)


def table(tokenizer: pretrained.PreTrainedTokenizerBase, found: list[tasks.Task]) -> list[str]:
    """Return a row of Markdown cells for each style."""
    rows = []
    for format_, names in STYLES:
        style = tokenization.style(tokenizer, format_, Encoder(names), "answer")
        texts = [
            prompt.render(style, task.train, test.input, test.output)
            for task in found
            for test in task.test
        ]
        made = tokenization.tokenize(tokenizer, texts)
        whole = np.array([len(example.input_ids) for example in made])
        answer = np.median([example.trained_tokens for example in made])
        numbers = [
            np.median(whole),
            np.percentile(whole, 90),
            whole.max(),
            answer,
            100 * (whole <= 512).mean(),
            100 * (whole <= 4096).mean(),
        ]
        cells = " | ".join(f"{number:.0f}" for number in numbers)
        rows.append(f"{format_}, {' '.join(names)} | {cells}")
    return rows


def main() -> None:
    """Print the table of the tables that the pipeline has made."""
    parser = argparse.ArgumentParser(description="Lengths of the texts of task tables.")
    parser.add_argument("--model", type=Path, default=Path("data/base-model"))
    parser.add_argument("--tables", type=Path, default=Path("data/tasks"), help="a folder")
    arguments = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    if not arguments.tables.is_dir() or not arguments.model.is_dir():
        print("lengths: needs task tables and a model; run: make repro")
        return
    tokenizer = pretrained.load_tokenizer(arguments.model)
    print("| tasks | format, encoder | median | p90 | max | answer | % <= 512 | % <= 4096 |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for file in sorted(arguments.tables.glob("*.parquet")):
        found = tasks.read(file)
        for split in sorted({task.split for task in found}):
            mine = [task for task in found if task.split == split]
            for row in table(tokenizer, mine):
                print(f"| {file.stem}, {split} | {row} |")


if __name__ == "__main__":
    main()
