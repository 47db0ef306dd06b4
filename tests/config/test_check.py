import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from arcmix.config import check, schema

ROOT = Path(__file__).parents[2]


@pytest.fixture
def edited(tmp_path: Path):
    """Return a function that writes the project's params.yaml with one value changed."""

    def edit(place: str, value: Any) -> Path:
        yaml = YAML(typ="safe")
        values = yaml.load(ROOT / "params.yaml")
        node, *steps = values, *place.split("/")
        for step in steps[:-1]:
            node = node[int(step) if isinstance(node, list) else step]
        node[int(steps[-1]) if isinstance(node, list) else steps[-1]] = value
        path = tmp_path / "params.yaml"
        yaml.dump(values, path)
        return path

    return edit


def test_check_accepts_the_file_of_the_project() -> None:
    found = check.check_file(ROOT / "params.yaml")

    assert found.dataset in found.datasets
    assert "qwen2-0_5b-instruct" in found.models


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ("dataset", "arc-1d"),
        ("model", "qwen2-0_5b-instruct"),
        ("scale", "paper"),
    ],
)
def test_check_accepts_names_with_digits_hyphens_and_underscores(
    edited, choice: str, name: str
) -> None:
    assert getattr(check.check_file(edited(choice, name)), choice) == name


@pytest.mark.parametrize(
    ("choice", "typo", "meant"),
    [
        ("dataset", "combo2", "combo-v2"),
        ("model", "qwen2-0_5b-instrct", "qwen2-0_5b-instruct"),
        ("scale", "quik", "quick"),
    ],
)
def test_check_suggests_the_most_similar_name_for_a_typo(
    edited, choice: str, typo: str, meant: str
) -> None:
    message = (
        rf"params.yaml: {choice}: '{re.escape(typo)}' is not one of \[.*'{re.escape(meant)}'.*\];"
        rf" did you mean '{re.escape(meant)}'\?; choose with: dvc exp run -S {choice}=NAME$"
    )

    with pytest.raises(ValueError, match=message):
        check.check_file(edited(choice, typo))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        pytest.param("sed", 1, "params.yaml: sed: 'sed' is not one of ['ablation'", id="name"),
        pytest.param(
            "datasets/v2.1",
            {},
            "params.yaml: datasets: a name starts with a letter and contains only letters, digits,"
            " - and _, at most 64, so that dvc exp run -S can set its values, got 'v2.1';"
            " rename the entry",
            id="dot",
        ),
        pytest.param(
            "datasets/v7", {}, "datasets.v7: Dictionary should have at least 1 item", id="empty"
        ),
        pytest.param("scales/a b", {}, "scales: a name starts with a letter and ", id="space"),
        pytest.param("models", {7: {}}, "models: a name starts with a letter and ", id="number"),
        pytest.param(
            "models/tiny/heads",
            3,
            "models.tiny: hidden is not a multiple of 2 * heads: hidden is 32 and heads is 3",
            id="heads",
        ),
        pytest.param(
            "models/new",
            {"repository": "a/b"},
            "models.new: Unable to extract tag using discriminator 'kind'",
            id="kind",
        ),
        pytest.param(
            "datasets/1d-arc",
            {},
            "datasets: '1d-arc' is now called 'arc-1d'; rename the entry",
            id="renamed-entry",
        ),
        pytest.param(
            "dataset",
            "train+eval",
            "dataset: 'train+eval' is now called 'train-eval'",
            id="renamed",
        ),
        pytest.param(
            "measure/source", "1d-arc", "'1d-arc' is now called 'arc-1d'", id="renamed-source"
        ),
        pytest.param(
            "datasets/train/train/subst",
            3,
            "datasets.train.train.subst: 'subst' is not one of ['examples'",
            id="component",
        ),
        pytest.param(
            "component/subset",
            "10 %",
            "params.yaml: component.subset: ",
            id="defaults",
        ),
        pytest.param(
            "datasets/train/concept",
            {},
            "tasks of datasets.train.concept: 'concept' is not one of ['arc-1d', ",
            id="table",
        ),
        pytest.param(
            "partition/source",
            "re-arc",
            "partition.source: 're-arc' is not one of ['arc-agi-1', 'arc-agi-1-github', ",
            id="source",
        ),
        pytest.param(
            "measure/source",
            "re-arc",
            "measure.source: 're-arc' is not one of ['arc-1d', 'arc-agi-1', 'arc-agi-1-github',"
            " 'arc-agi-2', 'concept-arc', 'diva', 'mini-arc', 'tama']",
            id="measured-source",
        ),
        pytest.param(
            "measure/part",
            "training",
            "measure.part of arc-agi-1: 'training' is not one of ['evaluation', 'new-train',"
            " 'train', 'val-n-1', 'validation']",
            id="measured-part",
        ),
        pytest.param(
            "component/subset",
            0.1,
            "component.subset: a share has a percent sign: write 10%, got 0.1",
            id="share",
        ),
        pytest.param(
            "component/hardest",
            0.25,
            "component.hardest: a share has a percent sign: write 25%, got 0.25",
            id="hardest-share",
        ),
        pytest.param(
            "measure/part",
            "val-demonstrations",
            "'val-demonstrations' is not one of ['evaluation', ",
            id="without-tests",
        ),
        pytest.param(
            "measure",
            {"source": "concept-arc", "part": "validation"},
            "measure.part of concept-arc: 'validation' is not one of ['all', 'corpus', 'minimal'];"
            " to measure validation, set measure.source to arc-agi-1",
            id="measured-elsewhere",
        ),
        pytest.param(
            "partition/source",
            "arc-agi-1-github",
            "measure.part of arc-agi-1: 'validation' is not one of ['all', 'evaluation',"
            " 'training']; did you mean 'evaluation'?; to measure validation, set"
            " measure.source to arc-agi-1-github",
            id="measured-with-another-partition",
        ),
        pytest.param(
            "init",
            {"adapter": "re-arc/0-123", "checkpoint": "best", "optimizer": "state"},
            "init: the optimizer's state is saved only for the last step, got checkpoint best with"
            " optimizer state; set checkpoint to last, or optimizer to fresh",
            id="init",
        ),
        pytest.param(
            "selection",
            "votes",
            "selection: Input should be 'vote_count', 'vote_logprob', 'product' or 'best', got"
            " 'votes'",
            id="selection",
        ),
        *[
            pytest.param(place, 2**32, f"{dotted}: Input should be less than 4294967296", id=place)
            for place in (
                "seed",
                "init_seed",
                "partition/seed",
                "sources/re-arc/seed",
                "sources/count/seed",
                "models/tiny/seed",
            )
            for dotted in [place.replace("/", ".")]
        ],
        *[
            pytest.param(place, value, f"{place.replace('/', '.')}: Input should be ", id=id_)
            for id_, place, value in (
                ("negative-elsewhere", "scales/paper/samples", -100),
                ("samples", "scales/paper/samples", 10**12),
                ("views", "scales/paper/predict/views", 10**9),
                ("rank", "finetune/lora/rank", 10**6),
                ("tokens", "scales/tiny/validation/max_tokens", 10**12),
                ("rate", "scales/paper/finetune/learning_rate", 1e308),
                ("weight", "datasets/combo-v3/val-n-1/weight", 10**9),
                ("flag", "component/n_minus", False),
                ("encoder", "scales/paper/prompt/encoder/0", "minimall"),
                ("variations", "sources/re-arc/variations", 10**9),
                ("hidden", "models/tiny/hidden", 2**30),
            )
        ],
        pytest.param(
            "sources/mini-arc/repository", "../..", "repository: String should match", id="owner"
        ),
        pytest.param(
            "models/smollm2-135m-instruct/repository", "a/..", "should match", id="repository"
        ),
        *[
            pytest.param(
                "models/smollm2-135m/requirement",
                value,
                "requirement: String should match",
                id=value,
            )
            for value in ("--index-url=x==1", "-r x", "x @ file:///x", "x==1 -r y", "x", "x==../y")
        ],
        pytest.param("sources/arc-agi-1/package", "os.path", "should match pattern", id="module"),
        *[
            pytest.param(place, value, f"{place.replace('/', '.')}: a path is relative, ", id=place)
            for place, value in (
                ("sources/arc-agi-1/file", "../secret.json"),
                ("sources/mini-arc/files/training/0", "/etc/*.json"),
                ("models/smollm2-135m/file", "a/../../b"),
            )
        ],
        *[
            pytest.param(
                "mirror", value, "mirror: a mirror is github, a folder, or a URL", id=value
            )
            for value in ("file:///etc", "ext::sh -c x", "ftp://x", "x/https://y")
        ],
        pytest.param(
            "mirror",
            "https://user:word@example.org/x",
            "mirror: the mirror has credentials, 'https://***@example.org/x', and git and dvc.lock",
            id="password",
        ),
        *[
            pytest.param(
                "init/adapter", value, "init.adapter: none, a row of the ledger,", id=value
            )
            for value in ("--upload-pack=x", "x/../../y", "main..x", "a b", ":/text")
        ],
        *[
            pytest.param(place, value, f"{place.replace('/', '.')}: a name starts with", id=place)
            for place, value in (
                ("dataset", "../combo-v2"),
                ("scale", "x; touch pwned #"),
                ("partition/source", "../../x"),
                ("measure/source", "$(touch pwned)"),
                ("measure/part", "../part"),
                ("component/tasks", "../../x"),
            )
        ],
        pytest.param("measure/part", "nope", "measure.part of arc-agi-1: 'nope' is not", id="part"),
        pytest.param("launch", "python evil.py", "launch: launch is python, or ", id="launch"),
        pytest.param(
            "scales/quick/validation/tasks",
            101,
            "scales.quick.validation.tasks is 101, more than the 100 of partition.tasks",
            id="validation",
        ),
    ],
)
def test_check_rejects(edited, place: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check.check_file(edited(place, value))


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ("arc-agi-1", "train"),
        ("arc-agi-1", "val-n-1"),
        ("arc-agi-1-github", "training"),
        ("concept-arc", "corpus"),
        ("arc-1d", "all"),
    ],
)
def test_check_accepts_each_part_of_each_source_of_tasks(edited, source: str, part: str) -> None:
    found = check.check_file(edited("measure", {"source": source, "part": part}))

    assert (found.measure.source, found.measure.part) == (source, part)


def test_a_scale_may_measure_more_tasks_of_a_larger_part_than_the_partition_draws(edited) -> None:
    path = edited("scales/quick/validation/tasks", 400)
    path.write_text(path.read_text().replace("part: validation", "part: train"))

    assert check.check_file(path).scales["quick"].validation.tasks == 400


def test_check_rejects_a_pool_without_swap(edited) -> None:
    path = edited("datasets/combo-v2/new-train/pool", value=True)
    check.check_file(path)
    path.write_text(path.read_text().replace("swap: true", "swap: false"))

    with pytest.raises(
        ValueError, match=r"datasets\.combo-v2\.new-train\.pool is true and augment\.swap is False"
    ):
        check.check_file(path)


def test_check_rejects_the_rule_product_without_scores(edited) -> None:
    path = edited("selection", "product")
    text = path.read_text()
    none, some = (re.sub(r"rescore: \d+", f"rescore: {count}", text) for count in (0, 2))
    path.write_text(some)
    check.check_file(path)

    path.write_text(none)
    with pytest.raises(
        ValueError,
        match=r"selection product ranks grids by their scores, but predict\.rescore of scale quick",
    ):
        check.check_file(path)


def test_check_rejects_a_source_with_the_name_of_a_partition_table(edited) -> None:
    generator = YAML(typ="safe").load(ROOT / "params.yaml")["sources"]["re-arc"]

    with pytest.raises(
        ValueError, match=r"sources: \['train'\] are also names of tables of the partition; "
    ):
        check.check_file(edited("sources/train", generator))


@pytest.mark.parametrize("choice", ["datasets", "models", "sources", "partition"])
def test_check_rejects_a_value_in_place_of_a_map(edited, choice: str) -> None:
    with pytest.raises(ValueError, match=rf"params.yaml: {choice}: Input should be .*, got 'x'"):
        check.check_file(edited(choice, "x"))


@pytest.mark.parametrize("value", [5, None, [1]])
def test_check_names_the_default_that_took_the_place_of_a_map(edited, value: Any) -> None:
    message = r"finetune\.lora: must be a map of values, as scales\.\w+\.finetune\.lora is, got "
    with pytest.raises(ValueError, match=f"{message}{re.escape(str(value))}; state a map$"):
        check.check_file(edited("finetune/lora", value))


@pytest.mark.parametrize(
    ("typo", "meant"), [("test_tme", "test_time"), ("fientune", "finetune"), ("agment", "augment")]
)
def test_a_misspelt_section_is_named_and_not_the_values_that_it_leaves_missing(
    tmp_path: Path, typo: str, meant: str
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace(f"\n{meant}:", f"\n{typo}:"))
    with pytest.raises(ValueError, match=f"params.yaml: {typo}: .*did you mean '{meant}'") as info:
        check.check_file(path)
    assert str(info.value).endswith("; rename or remove what is not allowed")
    assert "Field required" not in str(info.value)


def test_stated_values_are_those_that_the_scale_does_not_take_from_the_defaults() -> None:
    assert check.stated(ROOT / "params.yaml", "tiny") == {
        "finetune.budget": (6, None),
        "finetune.batch": (4, 2),
        "finetune.learning_rate": (0.01, 0.0005),
        "finetune.dtype": ("float32", "bfloat16"),
        "finetune.eval_every": (2, None),
        "finetune.lora.rank": (4, 32),
        "finetune.lora.alpha": (8, 64),
        "test_time.batch": (2, 1),
        "test_time.learning_rate": (0.003, 0.0001),
        "test_time.eval_every": (2, 10),
        "test_time.patience": (2, 3),
        "predict.batch_tokens": (4096, None),
        "predict.max_side": (5, None),
    }


def test_no_error_shows_a_password_of_the_mirror(edited) -> None:
    for mirror in ("https://user:word@example.org", "ftp://user:word@example.org", "::word"):
        with pytest.raises(ValueError, match="mirror: ") as caught:
            check.check_file(edited("mirror", mirror))
        assert "word@" not in str(caught.value)


def test_an_error_about_many_values_is_short(edited) -> None:
    path = edited("component", {})

    with pytest.raises(ValueError, match=r"subset: Field required; .*; and \d+ more$") as caught:
        check.check_file(path)

    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    "adapter",
    ["re-arc/0-85f495127d81", "HEAD~1", "main^", "@{1}", "v1.0", "/a b/c", "./mine", "../a/b"],
)
def test_check_accepts_each_way_to_name_a_run(edited, adapter: str) -> None:
    assert check.check_file(edited("init/adapter", adapter)).init.adapter == adapter


@pytest.mark.parametrize("mirror", ["github", "/mnt/mirror", "~/x", "http://x:80/y", "a@b"])
def test_check_accepts_each_kind_of_mirror(edited, mirror: str) -> None:
    assert check.check_file(edited("mirror", mirror)).mirror == mirror


def test_check_refuses_a_split_that_a_source_does_not_have(edited) -> None:
    check.check_file(edited("datasets/arc-agi-2/arc-agi-2/split", "evaluation"))
    with pytest.raises(ValueError, match=r"split of datasets.arc-agi-2.arc-agi-2: 'eval' is not"):
        check.check_file(edited("datasets/arc-agi-2/arc-agi-2/split", "eval"))


def test_check_accepts_the_evaluation_split_of_arc_agi_2_as_measured_part(edited) -> None:
    check.check_file(edited("measure", {"source": "arc-agi-2", "part": "evaluation"}))


def test_check_accepts_a_folder_of_tasks_in_one_line_as_data_and_as_measured_source(edited) -> None:
    path = edited("sources/my-tasks", {"kind": "folder", "path": "my/tasks"})
    values = schema.read(path)
    values["datasets"]["my-tasks"] = {"my-tasks": {}}
    for part in ("all", "training"):
        values |= {"dataset": "my-tasks", "measure": {"source": "my-tasks", "part": part}}
        path.write_text(json.dumps(values))
        assert check.check_file(path).sources["my-tasks"].kind == "folder"


def study(**fields: Any) -> dict[str, Any]:
    """Return an entry of studies."""
    values = {"datasets": ["train", "combo-v2"], "seeds": [0, 1], "baseline": "train"}
    return values | {"scale": "tiny", "model": "tiny"} | fields


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"datasets": ["train", "trian"]}, "datasets: 'trian' is not one of [.*'train'?$"),
        ({"datasets": ["train", "train"]}, "datasets: each is named once, got 'train' twice"),
        ({"datasets": []}, "datasets: Tuple should have at least 1 item"),
        ({"seeds": [0, 0]}, "seeds: each is named once, got 0 twice"),
        ({"scale": "tny"}, "scale: 'tny' is not one of "),
        ({"model": "tny"}, "model: 'tny' is not one of "),
        ({"baseline": "eval"}, "baseline: 'eval' is not one of ['combo-v2', 'train']"),
        ({"grids": {}}, "grids: 'grids' is not one of "),
        ({"grid": {"seed": [1]}}, "grid.seed: a grid has the other values of a run"),
        ({"grid": {"selection": "best"}}, "grid.selection: a place of a grid has a list of values"),
        (
            {"grid": {"datasets": {"eval": {"evaluation": {"subset": [1]}}}}},
            "grid.datasets: the study does not use it: 'eval' is not one of ['combo-v2', 'train']",
        ),
        (
            {"grid": {"datasets": {"combo-v2": {"train": {"subset": [1, 2]}}}}},
            (
                "grid.datasets.combo-v2: the dataset has no such component: 'train' is not one of"
                " ['new-train', 'val-n-1']"
            ),
        ),
        (
            {"grid": {"scales": {"quick": {"samples": [1, 2]}}}},
            "grid.scales: the study does not use it: 'quick' is not one of ['tiny']",
        ),
        ({"grid": {"datasets": [1]}}, "grid.datasets: a grid varies values below an entry, got "),
        (
            {"grid": {"datasets": {"train": {"train": {"subset": ["10%", "10 %"]}}}}},
            "the cell train, train.subset=10 %, seed 0: datasets.train.train.subset.*got '10 %'",
        ),
        (
            {"grid": {"datasets": {"train": {"train": {"subst": [1]}}}}},
            "the cell train, train.subst=1, seed 0: datasets.train.train.subst: 'subst' is not",
        ),
        (
            {
                "grid": {
                    "augment": {"swap": [False]},
                    "datasets": {"train": {"train": {"pool": [True]}}},
                }
            },
            (
                "the cell train, augment.swap=False, train.pool=True, seed 0: datasets.train.train"
                ".pool is true and augment.swap is False"
            ),
        ),
        (
            {"grid": {"selection": ["best", "best"]}},
            (
                "the cells train, selection=best, seed 0 and train, selection=best, seed 0 have the"
                " same values"
            ),
        ),
        (
            # The scale tiny states its own learning rate.
            {"grid": {"finetune": {"learning_rate": [0.1, 0.2]}}},
            (
                "the cells train, finetune.learning_rate=0.1, seed 0 and"
                " train, finetune.learning_rate=0.2, seed 0 have the same values, because"
            ),
        ),
    ],
)
def test_check_refuses_a_study_that_cannot_run(
    edited, fields: dict[str, Any], message: str
) -> None:
    pattern = re.escape(message).replace(r"\.\*", ".*").replace(r"\$", "$")
    with pytest.raises(ValueError, match=rf"params.yaml: studies\.mine[.:] ?.*{pattern}"):
        check.check_file(edited("studies/mine", study(**fields)))


def test_check_accepts_a_study_with_a_grid(edited) -> None:
    grid = {"datasets": {"train": {"train": {"subset": ["10%", "all"], "examples": [1, "all"]}}}}
    found = check.check_file(edited("studies/mine", study(grid=grid)))
    assert found.studies["mine"].grid == grid
