"""The workflow that comments on pull requests has few rights and runs no stranger's text."""

import re
from pathlib import Path

from ruamel.yaml import YAML

FILE = Path(__file__).parents[1] / ".github/workflows/review.yml"
WORKFLOW = YAML(typ="safe").load(FILE)
JOBS = WORKFLOW["jobs"]


def test_the_event_has_no_rights_over_the_base_and_the_token_has_few():
    assert {*WORKFLOW["on"]} == {"pull_request"}
    assert WORKFLOW["permissions"] == {}
    assert {name: job["permissions"] for name, job in JOBS.items()} == {
        "review": {"contents": "read"},
        "comment": {"pull-requests": "write"},
    }


def test_the_job_that_may_write_runs_no_code_of_the_pull_request():
    used = [step.get("uses", "") for step in JOBS["comment"]["steps"]]
    assert not any(name.startswith("actions/checkout") for name in used)
    assert [step["run"] for step in JOBS["comment"]["steps"] if "run" in step] == [
        'gh pr comment "$NUMBER" --body-file review.md --edit-last --create-if-none'
    ]
    assert "head.repo.full_name == github.repository" in JOBS["comment"]["if"]


def test_no_expression_is_a_part_of_a_command():
    commands = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]
    assert 'make review BASE="$BASE_SHA"' in commands
    assert not any("${{" in command for command in commands)


def test_actions_are_pinned_by_commit_and_the_checkout_keeps_no_token():
    steps = [step for job in JOBS.values() for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"]) for step in steps)
    [checkout] = [step for step in steps if step["uses"].startswith("actions/checkout@")]
    assert checkout["with"] == {"fetch-depth": 0, "persist-credentials": False}
