"""The README shows the table that the pipeline made."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def committed(name: str) -> str:
    """Return a file as it is committed: a user's own runs may have changed the table since."""
    command = ["git", "show", f"HEAD:{name}"]
    return subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8"
    ).stdout


def test_the_readme_shows_the_committed_table():
    [shown] = re.findall(r"<!-- table -->\n(.*)<!-- end -->", committed("README.md"), re.DOTALL)
    assert shown == committed("results/ablation.md"), "run: make readme"


def test_every_dataset_and_stage_that_the_readme_names_exists():
    text = (ROOT / "README.md").read_text()
    values = (ROOT / "params.yaml").read_text()
    named = re.findall(r"(?:dataset|scale)=([\w-]+)", text)
    assert {"new-train", "combo-v2", "paper"} <= set(named)
    assert all(re.search(rf"^  {name}:$", values, re.MULTILINE) for name in set(named) - {"my-mix"})
    chain = re.search(r"download → .*?ablation", text, re.DOTALL)
    assert chain is not None
    stages = re.findall(r"\w+", chain[0])
    assert all((ROOT / f"stages/{stage}.py").is_file() for stage in stages)
