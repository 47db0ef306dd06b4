"""Lengths of the texts of task tables, in tokens of a model.

The program prints the table in `docs/data.md`, with a row for each split of a table and each style.
A text contains the demonstrations and one test of a task, without augmentation.
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
    """Return the cells of a Markdown row for each style."""
    rows = []
    for format_, names in STYLES:
        style = tokenization.style(tokenizer, format_, Encoder(names), "answer")
        texts = [
            prompt.render(style, task.train, test.input, test.output)
            for task in found
            for test in task.test
        ]
        examples = tokenization.tokenize(tokenizer, texts)
        whole = np.array([len(example.input_ids) for example in examples])
        answer = np.median([example.trained_tokens for example in examples])
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
    """Print the lengths of the task tables that the pipeline has written."""
    parser = argparse.ArgumentParser(description="Lengths of the texts of task tables.")
    parser.add_argument("--model", type=Path, default=Path("data/base-model"))
    parser.add_argument("--tables", type=Path, default=Path("data/tasks"), help="a folder")
    arguments = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    if not arguments.tables.is_dir() or not arguments.model.is_dir():
        print("lengths: there are no task tables or no model; run: make repro")
        return
    tokenizer = pretrained.load_tokenizer(arguments.model)
    print("| tasks | format, encoder | median | p90 | max | answer | % <= 512 | % <= 4096 |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for file in sorted(arguments.tables.glob("*.parquet")):
        found = tasks.read(file)
        for split in sorted({task.split for task in found}):
            for row in table(tokenizer, [task for task in found if task.split == split]):
                print(f"| {file.stem}, {split} | {row} |")


if __name__ == "__main__":
    main()
