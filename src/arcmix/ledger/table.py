"""The ablation table: means and standard deviations of the ledger's rows over seeds.

A line is the repeats of one experiment, that is, rows with the same fingerprint, which differ in
the seed alone. A block is the lines that can be compared: they have the same settings, were made by
the same code, and either all of them saw validation demonstrations or none did. Runs that vary the
two other seeds of an experiment (`ledger.noise`) have other settings; they are in a block after
that of the experiment, whose lines are not compared. The blocks of the present code are the first,
and the others name the commit of their code.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from arcmix.fingerprints import LENGTH
from arcmix.ledger import comparison, differences, form, noise, subsets, verdicts
from arcmix.ledger.differences import SHORT
from arcmix.ledger.records import Row, fingerprint
from arcmix.ledger.verdicts import Verdict
from arcmix.stats import shares

UNTRAINED = "untrained"
"""Stands for the dataset of a run that only measured (`Row.trained`)."""

USES = {
    False: "",
    True: ", with validation demonstrations",
    None: ", with unknown training data",
}
"""Whether lines saw validation demonstrations (`Line.uses_validation`) -> end of the title of their
block."""

OTHER_SEEDS = Verdict("not compared: other seeds")
"""The verdict on runs that vary `init_seed` or `partition.seed` of an experiment."""

SCORES = verdicts.SCORES
"""Scores that the table shows."""

COMPARED = ("_difference", "_difference_low", "_difference_high")
"""Ends of the columns that compare a score with that of the baseline."""

VERSIONED = "metrics_version"
"""The setting of a row that follows from its code alone."""

CSV_COLUMNS = (
    "dataset",
    "start",
    "label",
    "differs",
    "model",
    "scale",
    "fingerprint",
    "code",
    "commit",
    "tasks",
    "variations",
    "best_val_loss",
    "best_val_loss_sd",
    "best_val_loss_low",
    "best_val_loss_high",
    "best_val_step",
    "last_step",
    "last_val_loss",
    "last_val_loss_sd",
    "answering_val_loss",
    "answering_val_loss_sd",
    "answering_loss_per_cell",
    "answering_loss_per_cell_sd",
    "baseline_difference",
    "baseline_difference_low",
    "baseline_difference_high",
    "baseline_p_value",
    "verdict",
    "samples",
    "epochs",
    "answer_tokens",
    "tokens",
    *(f"{score}{end}" for score in SCORES for end in ("", "_sd", "_low", "_high", *COMPARED)),
    "clean_tasks",
    "clean_answering_loss_per_cell",
    *(f"clean_{score}" for score in SCORES),
    "seeds",
    "mixed",
    "uses_validation_demonstrations",
    "converged",
)
"""Columns of the table as CSV."""


@dataclass(frozen=True)
class Line:
    """The repeats of one experiment."""

    label: str
    """Name of the dataset, or `UNTRAINED`, and of the adapter that the run started from. Where
    several lines have one name, the values in which they differ follow. The only one of them that
    uses its tables in full (`subsets.whole`) keeps the plain name."""
    rows: tuple[Row, ...]
    """The runs, ordered by seed."""
    differs: str = ""
    """These values."""
    verdict: Verdict = verdicts.NONE
    """The comparison with the baseline of the block."""

    @property
    def key(self) -> str:
        """Name, model, scale, validation tasks, and a hash of all else but the seed and the code.

        It does not depend on other lines, and is that of the same experiment under other code.
        """
        first = self.rows[0]
        settings = {name: one for name, one in first.settings.items() if name != VERSIONED}
        digests = [one["digest"] for one in first.mix["components"]]
        hashed = fingerprint(settings, first.components, digests, first.start)[:SHORT]
        return f"{_name(first)}, {_title(first)} #{hashed}"

    @property
    def exposure(self) -> dict[str, float]:
        """Samples, epochs, answer tokens and all tokens that a run trained on, means over seeds."""
        last = [row.history[-1] for row in self.rows]
        names = ("samples", "epochs", "answer_tokens", "tokens")
        return {name: statistics.fmean(entry[name] for entry in last) for name in names}

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over the seeds."""
        return statistics.fmean(self.values(metric))

    def sd(self, metric: str) -> float | None:
        """Return the sample standard deviation of a metric; None for a single seed."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else None

    def values(self, metric: str) -> list[float]:
        """Return the value of a metric for each run, ordered by seed."""
        return [row.metrics[metric] for row in self.rows]

    def interval(self, score: str) -> tuple[float, float]:
        """Return the 95 % interval of a score, a share of the validation tasks, over tasks."""
        return shares.interval(self.mean(score), len(self.rows[0].tasks))

    def clean(self, metric: str) -> float | None:
        """Return the mean over the seeds of a metric on the clean tasks; None if a run has none."""
        values = [row.metrics.get(f"clean_{metric}") for row in self.rows]
        found = [value for value in values if value is not None]
        return statistics.fmean(found) if len(found) == len(values) else None

    @property
    def leaked(self) -> int:
        """Number of validation tasks that are not clean."""
        first = self.rows[0]
        return len(first.tasks) - int(first.metrics["clean_tasks"])

    @property
    def uses_validation(self) -> bool | None:
        """Whether training used validation demonstrations, in any stage or at test time.

        None if this is unknown (`Row.saw_validation`).
        """
        first = self.rows[0]
        return True if first.metrics.get("adapted_tasks") else first.saw_validation

    @property
    def mixed(self) -> list[str]:
        """What differs between the machines of the runs (`comparison.mixed`); empty if nothing."""
        return comparison.mixed(self.rows)

    @property
    def last_steps(self) -> list[int]:
        """Number of steps of each run."""
        return [row.history[-1]["step"] for row in self.rows]

    @property
    def converged(self) -> bool:
        """Whether the best step of every run is before its last step."""
        best = self.values("best_val_step")
        return all(one < last for one, last in zip(best, self.last_steps, strict=True))


@dataclass(frozen=True)
class Block:
    """Lines that can be compared."""

    title: str
    """`MODEL at SCALE on SOURCE PART`, where SOURCE PART is the validation tasks. Where this is
    ambiguous, the settings follow in which the block differs from the others of its title, except
    for the block with the most lines. Then follow what the lines saw of the validation tasks, or
    `other seeds`, and the commit of earlier code."""
    differs: str
    """These settings."""
    lines: tuple[Line, ...]
    """The lines, by ascending loss per cell."""
    present: bool
    """Whether the rows were made by the present code."""
    made: str
    """What names earlier code at the end of the title; empty for the present code."""
    commit: str | None
    """The commit of earlier code; None for the present code, and if it is unknown."""

    @property
    def baseline(self) -> Line | None:
        """The line with which the others are compared, if there is one."""
        return next((line for line in self.lines if line.verdict == verdicts.BASELINE), None)

    @property
    def other_seeds(self) -> bool:
        """Whether the lines vary `init_seed` or `partition.seed`, and are not compared."""
        return self.lines[0].verdict == OTHER_SEEDS


def blocks(
    rows: Iterable[Row],
    code: str,
    baselines: Sequence[str],
    commits: Mapping[str, str | None],
) -> list[Block]:
    """Return the blocks of the table: those of the present code, then those of earlier code.

    Args:
        rows: The rows of the ledger.
        code: Fingerprint of the present code.
        baselines: Names of datasets; the first one that a block has is its baseline.
        commits: Other code of a row -> its commit, in the order of the blocks (`commits.of_codes`).
    """
    by_code = defaultdict(list)
    for row in rows:
        by_code[row.code].append(row)
    found = []
    for one in (code, *commits):
        made = "" if one == code else f", {_made(one, commits[one])}"
        found += [
            Block(f"{title}{made}", differs, lines, one == code, made, commits.get(one))
            for title, differs, lines in _titled(by_code[one], baselines)
        ]
    return found


def _made(code: str, commit: str | None) -> str:
    """Return what names earlier code."""
    return f"code of commit {commit[:SHORT]}" if commit else f"other code, {code[:SHORT]}"


def _titled(
    rows: Iterable[Row], baselines: Sequence[str]
) -> Iterator[tuple[str, str, tuple[Line, ...]]]:
    """Yield title, `Block.differs` and lines of each block of rows that the same code made."""
    families = _families(rows)
    firsts = [members[0] for members, _ in families]
    apart = differences.apart(firsts, _title, differences.of_settings)
    sizes = defaultdict(list)
    for members, _ in families:
        sizes[_title(members[0])].append(_experiments(members))
    for (members, others), text in zip(families, apart, strict=True):
        title = _title(members[0])
        largest = max(sizes[title])
        plain = _experiments(members) == largest and sizes[title].count(largest) == 1
        told = "" if plain else text
        lines = _lines(members)
        varied = _varied(members[0], others)
        for uses, ending in USES.items():
            if own := [line for line in lines if line.uses_validation is uses]:
                yield f"{title}{told}{ending}", told.strip(" ()"), _judged(own, baselines)
        for uses, ending in USES.items():
            if own := [line for line in varied if line.uses_validation is uses]:
                yield f"{title}{told}{ending}, other seeds", told.strip(" ()"), tuple(own)


def _families(rows: Iterable[Row]) -> list[tuple[list[Row], list[list[Row]]]]:
    """Return the rows of each block, with those of its experiments that vary another seed.

    Rows with the same settings are a group. Of groups whose settings differ in the seeds alone, the
    one with the most experiments makes a block; among equals, the one whose adapters have the seed
    of the run, or else the one with the most rows. Any other with several experiments makes a block
    too. The rest is what `make noise` makes: runs of one experiment, which belong to the first.
    """
    groups = defaultdict(list)
    for row in rows:
        groups[row.model, row.scale, row.settings_fingerprint].append(row)
    alike = defaultdict(list)
    for model, scale, settings in sorted(groups):
        members = groups[model, scale, settings]
        alike[model, scale, fingerprint(noise.unseeded(members[0]))].append(members)
    found = []
    for (model, scale, _), family in alike.items():
        first, *rest = sorted(family, key=_preference)
        found.append((model, scale, first, [one for one in rest if _experiments(one) == 1]))
        found += [(model, scale, one, []) for one in rest if _experiments(one) > 1]
    found.sort(key=lambda one: (*one[:2], -_experiments(one[2])))
    return [(members, others) for *_, members, others in found]


def _preference(rows: Sequence[Row]) -> tuple[int, bool, int]:
    """Return how early a group comes among those that differ in the seeds alone."""
    return -_experiments(rows), rows[0].settings["init_seed"] != "seed", -len(rows)


def _experiments(rows: Iterable[Row]) -> int:
    """Return the number of experiments that rows are the repeats of."""
    return len({row.fingerprint for row in rows})


def _varied(first: Row, groups: Sequence[Sequence[Row]]) -> tuple[Line, ...]:
    """Return a line for each group of rows, which differ from `first` in `init_seed` and others."""
    _, *texts = differences.of_settings([first, *(members[0] for members in groups)])
    lines = []
    for members, text in zip(groups, texts, strict=True):
        ordered = tuple(sorted(members, key=lambda row: row.seed))
        lines.append(Line(f"{_name(ordered[0])} ({text})", ordered, text, OTHER_SEEDS))
    return _ordered(lines)


def _judged(lines: Sequence[Line], baselines: Sequence[str]) -> tuple[Line, ...]:
    """Return lines with their verdicts."""
    judged = verdicts.verdicts(
        [line.rows for line in lines], [_name(line.rows[0]) for line in lines], baselines
    )
    return tuple(replace(line, verdict=one) for line, one in zip(lines, judged, strict=True))


def _title(row: Row) -> str:
    measured = row.settings["measure"]
    return f"{row.model} at {row.scale} on {measured['source']} {measured['part']}"


def _lines(rows: Iterable[Row]) -> tuple[Line, ...]:
    repeats = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.seed):
        repeats[row.dataset, row.fingerprint].append(row)
    ordered = [repeats[key] for key in sorted(repeats)]
    firsts = [members[0] for members in ordered]
    apart = differences.apart(firsts, _full_name, differences.of_runs)
    alike = defaultdict(list)
    for row in firsts:
        alike[_name(row)].append(row)
    lines = []
    for members, text in zip(ordered, apart, strict=True):
        name = _name(members[0])
        told = "" if members[0] is subsets.whole(alike[name]) else text
        lines.append(Line(name + told, tuple(members), told.strip(" ()")))
    return _ordered(lines)


def _ordered(lines: Iterable[Line]) -> tuple[Line, ...]:
    return tuple(sorted(lines, key=lambda line: (line.mean(verdicts.LOSS), line.label)))


def _name(row: Row) -> str:
    """Return the name of the dataset, and of the adapter that the run started from."""
    dataset = row.dataset if row.trained else UNTRAINED
    match row.start["adapter"]:
        case "none":
            return dataset
        case str(folder) if folder.startswith(form.FOLDER):
            return f"{dataset} ← {folder}"
        case reference:
            return f"{dataset} ← {reference[: SHORT - LENGTH]}"


def _full_name(row: Row) -> str:
    return f"{_name(row)}, {_title(row)}"


def as_frame(blocks: Sequence[Block]) -> pd.DataFrame:
    """Return the table for CSV and `dvc plots`, with a row for each line.

    Scores are fractions. `low` and `high` are the mean minus and plus the standard deviation.
    `label` is unique. It is that of the experiment, so that `dvc plots diff` finds a line in both
    tables; the same experiment of earlier code has the commit too. `differs` has the values that
    tell blocks of one title and lines of one name apart.
    """
    records: dict[str, dict[str, str | float | None]] = {}
    for block in blocks:
        for line in block.lines:
            label = line.key if line.key not in records else f"{line.key}{block.made}"
            differs = ", ".join(filter(None, [block.differs, line.differs]))
            named = {"label": label, "differs": differs, "commit": block.commit}
            records[label] = _numbers(line) | named
    return pd.DataFrame([*records.values()], columns=CSV_COLUMNS)


def _numbers(line: Line) -> dict[str, str | float | None]:
    first = line.rows[0]
    best, sd = line.mean("best_val_loss"), line.sd("best_val_loss")
    return {
        "dataset": first.dataset,
        "start": first.start["adapter"],
        "model": first.model,
        "scale": first.scale,
        "fingerprint": first.fingerprint,
        "code": first.code,
        "tasks": drawn(first, "tasks"),
        "variations": drawn(first, "entries"),
        "best_val_loss": best,
        "best_val_loss_sd": sd,
        "best_val_loss_low": best - (sd or 0),
        "best_val_loss_high": best + (sd or 0),
        "best_val_step": line.mean("best_val_step"),
        "last_step": statistics.fmean(line.last_steps),
        "last_val_loss": line.mean("val_loss"),
        "last_val_loss_sd": line.sd("val_loss"),
        "answering_val_loss": line.mean("answering_val_loss"),
        "answering_val_loss_sd": line.sd("answering_val_loss"),
        "answering_loss_per_cell": line.mean("answering_loss_per_cell"),
        "answering_loss_per_cell_sd": line.sd("answering_loss_per_cell"),
        **_compared(line.verdict),
        **line.exposure,
        **{score: line.mean(score) for score in SCORES},
        **{f"{score}_sd": line.sd(score) for score in SCORES},
        **{
            f"{score}_{end}": value
            for score in SCORES
            for end, value in zip(("low", "high"), line.interval(score), strict=True)
        },
        "clean_tasks": first.metrics["clean_tasks"],
        **{f"clean_{name}": line.clean(name) for name in ("answering_loss_per_cell", *SCORES)},
        "seeds": len(line.rows),
        "mixed": " ".join(line.mixed) or "no",
        "uses_validation_demonstrations": {None: "unknown", True: 1, False: 0}[
            line.uses_validation
        ],
        "converged": int(line.converged),
    }


def _compared(verdict: Verdict) -> dict[str, str | float | None]:
    """Return the comparison of a line with its baseline; without one, empty cells."""
    values: dict[str, str | float | None] = {
        "verdict": verdict.text,
        "baseline_p_value": verdict.p_value,
    }
    if (found := verdict.difference) is not None:
        values |= {
            "baseline_difference": found.mean,
            "baseline_difference_low": found.mean - found.half_width(),
            "baseline_difference_high": found.mean + found.half_width(),
        }
    for score, numbers in verdict.scores.items():
        values |= {f"{score}{end}": one for end, one in zip(COMPARED, numbers, strict=True)}
    return values


def drawn(row: Row, what: str) -> int:
    """Return a count of the dataset that the run trained on."""
    return row.mix[what] if row.trained else 0
