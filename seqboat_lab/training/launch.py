"""Who started the processes of a run: Lightning itself, or a launcher whose number has to agree with the config."""

import importlib.util
import os
from typing import Any, NamedTuple

from lightning.fabric.plugins.environments import (
    KubeflowEnvironment,
    LightningEnvironment,
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from seqboat_lab.config import ConfigError
from seqboat_lab.config.experiment import TrainerConfig

RANKS = ("LOCAL_RANK", "RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
"""Where the launchers tell a process its number."""


class Launch(NamedTuple):
    """What a launcher says of the processes it started."""

    by: str
    """Its name."""
    processes: int
    """Over all nodes."""
    nodes: int
    environment: Any
    """Lightning's class for it."""
    option: str
    """How it is told the number of processes."""


class SrunEnvironment(SLURMEnvironment):
    """Lightning's, save that runs are requeued by who started them, and that `launched` has checked the numbers."""

    def __init__(self):
        launch = launched()
        assert launch is not None  # it is what chooses this environment
        processes, nodes = launch.processes, launch.nodes
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(processes // nodes))  # its __init__ insists on it
        super().__init__(auto_requeue=False)

    def world_size(self) -> int:
        launch = launched()
        assert launch is not None
        return launch.processes

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        pass


def launched() -> Launch | None:
    """The launcher of this process; None where it was started by hand, and starts the others itself.

    Shells inside a Slurm job (sbatch without srun, salloc, `srun --pty bash`) count as by hand. Raises `ConfigError`
    where its variables are no numbers.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        processes = _number("WORLD_SIZE", 1)
        nodes = max(1, processes // _number("LOCAL_WORLD_SIZE", processes))
        return Launch("torchrun", processes, nodes, TorchElasticEnvironment, "--nproc-per-node")
    if _is_srun_task():
        processes = _number("SLURM_STEP_NUM_TASKS", _number("SLURM_NTASKS", 1))
        nodes = _number("SLURM_STEP_NUM_NODES", _number("SLURM_NNODES", 1))
        return Launch("srun", processes, nodes, SrunEnvironment, "--ntasks")
    if LSFEnvironment.detect():
        return Launch("jsrun", _number("JSM_NAMESPACE_SIZE", 1), 1, LSFEnvironment, "--nrs")
    for variable in ("OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PMI_SIZE"):
        if variable in os.environ and "SLURM_JOB_ID" not in os.environ:
            return Launch("mpirun", _number(variable, 1), 1, MPIEnvironment, "-n")
    if "WORLD_SIZE" in os.environ and "LOCAL_RANK" in os.environ:  # by Lightning itself, or by hand as it would
        return Launch("whoever set WORLD_SIZE", _number("WORLD_SIZE", 1), 1, LightningEnvironment, "WORLD_SIZE")
    if "WORLD_SIZE" in os.environ and "RANK" in os.environ:
        processes = _number("WORLD_SIZE", 1)  # one a pod
        return Launch("Kubeflow", processes, processes, KubeflowEnvironment, "replicas")
    return None


def _is_srun_task() -> bool:
    if "SLURM_NTASKS" not in os.environ and "SLURM_STEP_NUM_TASKS" not in os.environ:
        return False
    if SLURMEnvironment.job_name() in ("bash", "sh", "zsh", "interactive"):
        return False
    # the shell of a batch script knows its job, but only what srun starts is a step of it
    return "SLURM_JOB_ID" not in os.environ or "SLURM_STEP_ID" in os.environ


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(variable, f"{text!r} is not possible here; expected how many processes or nodes there are")
    return int(text)


def placement(settings: TrainerConfig, devices: int | None = None) -> dict[str, Any]:
    """`devices`, `num_nodes`, `strategy` and `plugins` of Lightning's trainer.

    Raises `ConfigError` if a launcher started another number of processes than `trainer.devices` (or `devices`).
    """
    devices, launch = devices or settings.devices, launched()
    if launch is None:
        plugins = [LightningEnvironment()] if devices > 1 else []
        return {"devices": devices, "num_nodes": 1, "strategy": _strategy(devices), "plugins": plugins}
    if launch.processes != devices:
        started = f"{launch.by} started {launch.processes} process{'es' if launch.processes > 1 else ''}"
        how = f"set trainer.devices={launch.processes}, or {launch.option} to {devices}"
        raise ConfigError("trainer.devices", f"{devices} is not possible here; {started}, expected as many: {how}")
    if devices == 1:
        return {"devices": 1, "num_nodes": 1, "strategy": "auto", "plugins": [LightningEnvironment()]}
    if devices % launch.nodes:
        problem = f"{devices} is not possible on {launch.nodes} nodes; expected the same number of processes on each"
        raise ConfigError("trainer.devices", problem)
    if launch.environment is MPIEnvironment and importlib.util.find_spec("mpi4py") is None:
        problem = "mpirun starts processes that find each other by the package mpi4py only; install it, or use torchrun"
        raise ConfigError("trainer.devices", problem)
    return {
        "devices": devices // launch.nodes, "num_nodes": launch.nodes, "strategy": _strategy(devices),
        "plugins": [launch.environment()],
    }  # fmt: skip


def _strategy(devices: int) -> str:
    return "ddp" if devices > 1 else "auto"


def is_first_process() -> bool:
    """Of a run's processes, whoever started them; true before there are others."""
    return all(os.environ.get(rank, "0") == "0" for rank in RANKS)


def started_by_lightning() -> bool:
    """Whether this process is one that the first one of its run started."""
    launch = launched()
    return launch is not None and launch.environment is LightningEnvironment and not is_first_process()
