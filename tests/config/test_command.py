import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix.config import command


@pytest.mark.parametrize(
    ("launch", "options"),
    [
        ("python", None),
        (" python  ", None),
        ("accelerate launch", {}),
        (
            "accelerate launch --config_file launch/ddp.yaml --num_processes 2",
            {"config_file": "launch/ddp.yaml", "num_processes": "2"},
        ),
        (
            "accelerate launch --num-processes=4 --multi-gpu",
            {"num_processes": "4", "multi_gpu": ""},
        ),
        (
            "accelerate launch --machine_rank 0 --main_process_ip 10.0.0.1 --gpu_ids 0,1",
            {
                "machine_rank": "0",
                "main_process_ip": "10.0.0.1",
                "gpu_ids": "0,1",
            },
        ),
    ],
)
def test_options_of_a_command_are_read(launch: str, options: dict[str, str] | None) -> None:
    assert command.options(launch) == options
    assert command.checked(launch) == launch


@pytest.mark.parametrize(
    ("launch", "problem"),
    [
        ("", "it is another command"),
        ("python -c 'import os'", "it is another command"),
        ("python evil.py", "it is another command"),
        ("python; touch pwned #", "it is another command"),
        ("/opt/python", "it is another command"),
        ("sh", "it is another command"),
        ("env python", "it is another command"),
        ("A=1 python", "it is another command"),
        ("accelerate test", "it is another command"),
        ("accelerate launch evil.py", "'evil.py' is no allowed option"),
        ("accelerate launch -m evil", "'-m' is no allowed option"),
        ("accelerate launch --module evil", "'--module' is no allowed option"),
        ("accelerate launch --no_python evil", "'--no_python' is no allowed option"),
        ("accelerate launch --main_training_function f", "is no allowed option"),
        ("accelerate launch --use_deepspeed", "'--use_deepspeed' is no allowed option"),
        ("accelerate launch --mpirun_hostfile x", "is no allowed option"),
        ("accelerate launch --log_dir /", "'--log_dir' is no allowed option"),
        ("accelerate launch --num_proc 2", "'--num_proc' is no allowed option"),
        ("accelerate launch -- evil.py", "'--' is no allowed option"),
        ("accelerate launch --cpu; touch pwned", "'--cpu;' is no allowed option"),
        ("accelerate launch --cpu=1", "--cpu has no value, got '1'"),
        ("accelerate launch --num_processes", "--num_processes has a value such as "),
        ("accelerate launch --num_processes 0", "got '0'"),
        ("accelerate launch --num_processes 2$(x)", "got '2$(x)'"),
        ("accelerate launch --main_process_ip --no_python", "got '--no_python'"),
        ("accelerate launch --mixed_precision bf16", "has a value such as no, got 'bf16'"),
        ("accelerate launch --config_file /tmp/evil.yaml", "got '/tmp/evil.yaml'"),
        ("accelerate launch --config_file launch/../../x.yaml", "got 'launch/../../x.yaml'"),
        ("accelerate launch --config_file evil.py", "got 'evil.py'"),
        ("accelerate launch '", "No closing quotation"),
    ],
)
def test_another_command_or_option_is_refused(launch: str, problem: str) -> None:
    with pytest.raises(
        ValueError, match=r"^launch is python, or accelerate launch with some "
    ) as at:
        command.options(launch)

    assert f"got {launch!r}: " in str(at.value)
    assert str(at.value).endswith("; correct it")
    assert problem in str(at.value)


@given(st.lists(st.sampled_from(["--cpu", "--num_processes", "2", "-m", "=", "x", "'", " "])))
def test_what_is_read_has_only_options_of_the_grammar(words: list[str]) -> None:
    try:
        found = command.options(" ".join(["accelerate launch", *words]))
    except ValueError:
        return

    assert found is not None
    assert found.keys() <= {"cpu", "num_processes"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "compute_environment is LOCAL_MACHINE, got None"),
        ({"compute_environment": "AMAZON_SAGEMAKER"}, "got 'AMAZON_SAGEMAKER'"),
        (
            {"compute_environment": "LOCAL_MACHINE", "mpirun_config": {"training_script": "evil"}},
            "mpirun_config is a text or a number, got {'training_script': 'evil'}; remove it",
        ),
    ],
)
def test_a_configuration_that_could_start_another_program_is_refused(values, message) -> None:
    with pytest.raises(ValueError, match="is ") as caught:
        command.check_configuration(values)

    assert message in str(caught.value)
