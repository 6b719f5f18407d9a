"""The number of processes a launcher started and `trainer.devices` agree, or one line says how to make them."""

import os

import pytest

from seqboat_lab.cli import main
from seqboat_lab.config import ConfigError
from seqboat_lab.config.experiment import TrainerConfig
from seqboat_lab.training.launch import (
    RANKS,
    SrunEnvironment,
    is_first_process,
    job,
    launched,
    placement,
    processes_here,
    threads_per_process,
)

BATCH_SHELL = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NAME": "x",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}
TASK = BATCH_SHELL | {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}
LSF = {"LSB_JOBID": "1", "LSB_DJOB_RANKFILE": "x", "JSM_NAMESPACE_LOCAL_RANK": "0", "JSM_NAMESPACE_SIZE": "4"}


@pytest.fixture(autouse=True)
def started(monkeypatch):
    """Sets what a launcher would; nothing of this machine's own is left."""
    for variable in [v for v in os.environ if v.startswith(("SLURM_", "OMPI_", "PMI_", "JSM_")) or v in RANKS]:
        monkeypatch.delenv(variable)
    for variable in ("WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(variable, raising=False)
    return lambda variables: [monkeypatch.setenv(*item) for item in variables.items()]


@pytest.mark.parametrize(
    ("variables", "by", "processes", "nodes"),
    [
        (TORCHRUN, "torchrun", 4, 2),
        (TASK, "srun", 4, 2),
        ({"SLURM_NTASKS": "2"}, "srun", 2, 1),
        (LSF, "jsrun", 4, 1),
        ({"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "0"}, "mpirun", 3, 1),
        ({"PMI_SIZE": "3", "PMI_RANK": "2"}, "mpirun", 3, 1),
        ({"WORLD_SIZE": "3", "RANK": "2", "MASTER_ADDR": "pod"}, "Kubeflow", 3, 3),
        ({"WORLD_SIZE": "3", "LOCAL_RANK": "1"}, "whoever set WORLD_SIZE", 3, 1),
    ],
)
def test_another_number_is_refused_for_every_launcher(started, variables, by, processes, nodes):
    started(variables)
    assert launched()[:3] == (by, processes, nodes)
    for devices in (1, processes + 1):
        with pytest.raises(ConfigError) as caught:
            placement(TrainerConfig(devices=devices))
        assert str(caught.value).startswith(
            f"trainer.devices: {devices} is not possible here; {by} started {processes} processes, expected as many: "
            f"set trainer.devices={processes}, or"
        )


@pytest.mark.parametrize(
    "variables",
    [
        {},
        BATCH_SHELL,  # sbatch or salloc without srun: the run starts its own processes
        TASK | {"SLURM_JOB_NAME": "bash"},
        TASK | {"SLURM_JOB_NAME": "interactive"},
    ],
)
def test_without_a_launcher_the_run_starts_its_own_processes(started, variables):
    started(variables)
    assert launched() is None
    placed = placement(TrainerConfig(devices=2))
    assert placed["devices"] == 2
    (environment,) = placed["plugins"]
    assert not environment.creates_processes_externally
    assert environment.local_rank() == 0


@pytest.mark.parametrize(("variables", "rank"), [(TORCHRUN, 1), (TASK | {"SLURM_PROCID": "3", "SLURM_NODEID": "1"}, 3)])
def test_several_nodes_share_the_processes(started, variables, rank):
    started(variables)
    placed = placement(TrainerConfig(devices=4))
    assert (placed["devices"], placed["num_nodes"], placed["strategy"]) == (2, 2, "ddp")
    (environment,) = placed["plugins"]
    assert (environment.world_size(), environment.global_rank()) == (4, rank)
    environment.validate_settings(2, 2)
    assert not is_first_process()
    with pytest.raises(ConfigError, match="3 is not possible"):
        placement(TrainerConfig(devices=3))


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        (TORCHRUN, "torchrun-x"),
        (TORCHRUN | {"TORCHELASTIC_RUN_ID": "a/b c"}, "torchrun-a_b_c"),
        (TORCHRUN | {"TORCHELASTIC_RUN_ID": "none"}, None),
        (TASK, "slurm-7"),
        (TASK | {"SLURM_STEP_ID": "2"}, "slurm-7.2"),
        (TASK | {"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "3"}, "slurm-5_3"),
        ({"SLURM_NTASKS": "2"}, None),
        (BATCH_SHELL, None),
        (LSF, None),
        ({}, None),
    ],
)
def test_a_launchers_name_for_its_job(started, variables, name):
    started(variables)
    assert job() == name


@pytest.mark.parametrize(
    ("variables", "num_nodes", "problem"),
    [
        ({}, 2, "trainer.num_nodes: 2 is not possible here; expected torchrun or srun"),
        (TORCHRUN, 4, "trainer.num_nodes: 4 is not possible here; torchrun started processes on 2"),
        (
            TASK | {"SLURM_STEP_TASKS_PER_NODE": "3,1"},
            2,
            "trainer.devices: 4 is not possible on 2 nodes; .* the same number",
        ),
        (TASK | {"SLURM_STEP_TASKS_PER_NODE": "2(x2)"}, 2, None),
        (TORCHRUN, None, None),
    ],
)
def test_the_number_of_nodes_agrees(started, variables, num_nodes, problem):
    started(variables)
    settings = TrainerConfig(devices=4, num_nodes=num_nodes)
    if problem:
        with pytest.raises(ConfigError, match=problem):
            placement(settings)
    else:
        placed = placement(settings)
        assert (placed["devices"], placed["num_nodes"]) == (2, 2)


def test_processes_meet_at_the_first_node_of_their_step(started):
    started(TASK | {"SLURM_NODELIST": "gpu[01-08]", "SLURM_STEP_NODELIST": "gpu[05,07]", "SLURM_NODEID": "0"})
    started({"MASTER_ADDR": "taken back at the end"})
    del os.environ["MASTER_ADDR"]
    assert SrunEnvironment().main_address == "gpu05"


def test_cores_are_shared_among_the_processes_of_a_node_only(started, monkeypatch):
    monkeypatch.setattr("seqboat_lab.training.launch.cores", lambda: 8)
    assert threads_per_process(TrainerConfig(devices=4)) == 2
    started(TORCHRUN)
    assert threads_per_process(TrainerConfig(devices=4)) == 4
    assert threads_per_process(TrainerConfig(devices=4, threads=3)) == 3


def test_the_number_of_nodes_is_taken_from_the_config_where_the_launcher_does_not_tell_it(started):
    started(LSF)
    assert processes_here(TrainerConfig(devices=4)) == 4
    assert processes_here(TrainerConfig(devices=4, num_nodes=2)) == 2


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"SLURM_NTASKS": "1"}, "trainer.devices: 2 is not possible here; srun started 1 process, expected as many: "),
        ({"SLURM_NTASKS": "x"}, "SLURM_NTASKS: 'x' is not possible here"),
        (
            {"OMPI_COMM_WORLD_SIZE": "2"},
            "trainer.devices: mpirun starts processes that find each other by the package mpi4py",
        ),
    ],
)
def test_the_command_says_it_in_one_line_and_leaves_nothing(
    tiny, data_root, tmp_path, started, capsys, variables, message
):
    tiny()
    started(variables)
    run_dir = tmp_path / "run"
    overrides = [f"data.root={data_root}", "data.train_size=400", "data.max_length=40", "trainer.devices=2"]
    assert main(["fit", "lra/listops_short", *overrides, "--run-dir", str(run_dir)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"seqboat: {message}")
    assert not run_dir.exists()
