"""Draw HTML pages of the tasks of each source and of the training samples.

Reads the task tables, the training samples and the base model's tokenizer. Writes a page for each
source that has tasks, a page of samples with the tokens of their training texts, and an index.
"""

import functools
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq

from arcmix import files, program, randomness, tasks
from arcmix.config import scales
from arcmix.config.schema import At, Section, Seed
from arcmix.models import pretrained
from arcmix.pages import gallery
from arcmix.pages.gallery import Exhibit, IndexRow, Token
from arcmix.sampling import sample_table
from arcmix.text import fastpath, tokenization
from arcmix.text.encode import Encoder

log = logging.getLogger("arcmix.gallery")

ABOUT = "The tasks of the sources, and the samples that were drawn from them."

ABOUT_TASKS = "Drawn by the seed; make gallery SHOWN=100 adds to these."

ABOUT_SAMPLES = """\
The strip shows which color took the place of each. Symmetry s mirrors left and right if s is 4 \
or more, then turns s % 4 quarters against the clock. Under the grids is the text that \
params.yaml makes of them: tokens in two shades by turns, in yellow where they carry loss. The \
first {rows} samples were looked at: {fit} of them have at most {limit} tokens. These come first; \
training {treated} the others."""

LOOKED_AT = 10
"""Number of samples that are looked at for each one that is shown, because many are too long."""


class Params(Section):
    """The values that the pages depend on."""

    seed: Annotated[Seed, At("seed")]
    """The experiment's seed, which draws the tasks to show."""
    prompt: Annotated[scales.Prompt, At("scales.${scale}.prompt")]
    """The text format."""
    finetune: Annotated[scales.Finetune, At("scales.${scale}.finetune")]
    """The fine-tune: its limit on tokens, and the tokens that count in the loss."""


def run(
    *, config: Params, tables: Path, samples: Path, base_model: Path, shown: int, out: Path
) -> None:
    """Write pages of `shown` tasks of each table, and of `shown` samples, to the folder `out`."""
    if shown < 1:
        raise ValueError(
            f"a page shows at least 1 task, got {shown}; run: make gallery SHOWN=NUMBER"
        )
    missing = [str(path) for path in (tables, samples, base_model) if not path.exists()]
    if missing:
        raise FileNotFoundError(
            f"no {', '.join(missing)}; the gallery shows the tasks, samples and model of a run, so"
            " run: make repro"
        )
    rows, empty = [], []
    for table in sorted(tables.glob("*.parquet")):
        found = tasks.read(table)
        if not found:
            empty.append(table.stem)
            continue
        order = randomness.permutation(config.seed, f"gallery/{table.stem}", 0, len(found))
        kept = [found[place] for place in sorted(order[:shown].tolist())]
        rows.append(_write(out, table.stem, len(found), ABOUT_TASKS, map(gallery.task, kept)))
    about, drawn = _samples(config, samples, base_model, shown)
    total = pq.read_metadata(samples).num_rows
    rows.append(_write(out, samples.stem, total, about, drawn))
    unused = f" The dataset has no use for {', '.join(empty)}." if empty else ""
    files.write_text(out / "index.html", gallery.index(f"{ABOUT}{unused}", rows))
    log.info("%d pages; open %s", len(rows) + 1, out / "index.html")


def _samples(
    config: Params, samples: Path, base_model: Path, shown: int
) -> tuple[str, list[Exhibit]]:
    """Return a paragraph about the samples, and the exhibits of some of the first ones.

    The table is in random order. Samples that are short enough to be trained on come first.
    """
    pretrained.quiet()
    tokenizer = pretrained.load_tokenizer(base_model)
    encoder = Encoder(config.prompt.encoder)
    pretrained.extend(tokenizer, encoder.tokens)
    style = tokenization.style(tokenizer, config.prompt.format, encoder, config.finetune.loss)
    decode = functools.cache(
        lambda ids: str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))
    )
    special = {*tokenizer.all_special_ids}
    rows = sample_table.read_rows(samples, LOOKED_AT * shown)
    chunk = next(sample_table.read_chunks(samples, LOOKED_AT * shown))
    # The fast path gives the same tokens as tokenizing each text, or falls back to it.
    made = fastpath.as_texts(tokenizer, style, chunk)
    limit = config.finetune.max_tokens
    too_long = [len(example.input_ids) > limit for example in made]
    about = ABOUT_SAMPLES.format(
        rows=len(rows),
        fit=too_long.count(False),
        limit=limit,
        treated={"skip": "skips", "shorten": "shortens"}[config.finetune.too_long],
    )
    exhibits = []
    for place in sorted(range(len(rows)), key=too_long.__getitem__)[:shown]:
        row, example = rows[place], made[place]
        ids = example.input_ids.tolist()
        trained = (example.labels != tokenization.IGNORED).tolist()
        tokens = [
            Token(text, number in special, loss)
            for text, number, loss in zip(gallery.pieces(decode, ids), ids, trained, strict=True)
        ]
        exhibits.append(gallery.sample(row, tokens, limit))
    return about, exhibits


def _write(out: Path, name: str, total: int, lead: str, exhibits: Iterable[Exhibit]) -> IndexRow:
    """Write a page, and return its entry of the index."""
    drawn = [*exhibits]
    title = f"{name}: {len(drawn)} of {total}"
    page = gallery.page(title, lead, drawn)
    files.write_text(out / f"{name}.html", page)
    log.info("%s, %.1f MB", title, len(page.encode()) / 1e6)
    return IndexRow(name, len(drawn), total, gallery.thumbnails(drawn))


if __name__ == "__main__":
    program.main(run)
