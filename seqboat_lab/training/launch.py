"""Who started the processes of a run: Lightning itself, or a launcher whose number has to agree with the config."""

import importlib.util
import os
import re
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
    tells_nodes: bool = False
    """Whether `nodes` is what it said; else it is a guess."""


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

    @property
    def main_address(self) -> str:
        """The step's first node, which process 0 is on; Lightning asks for the job's, which may be another."""
        step = os.environ.get("SLURM_STEP_NODELIST")
        if step is not None:
            os.environ.setdefault("MASTER_ADDR", self.resolve_root_node_address(step))
        return super().main_address


def launched() -> Launch | None:
    """The launcher of this process; None where it was started by hand, and starts the others itself.

    Shells inside a Slurm job (sbatch without srun, salloc, `srun --pty bash`) count as by hand. Raises `ConfigError`
    where its variables are no numbers.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        processes = _number("WORLD_SIZE", 1)
        nodes = max(1, processes // _number("LOCAL_WORLD_SIZE", processes))
        return Launch("torchrun", processes, nodes, TorchElasticEnvironment, "--nproc-per-node", tells_nodes=True)
    if _is_srun_task():
        processes = _number("SLURM_STEP_NUM_TASKS", _number("SLURM_NTASKS", 1))
        nodes = _number("SLURM_STEP_NUM_NODES", _number("SLURM_NNODES", 1))
        return Launch("srun", processes, nodes, SrunEnvironment, "--ntasks", tells_nodes=True)
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

    Raises `ConfigError` if a launcher started another number of processes than `trainer.devices` (or `devices`), or
    spread them otherwise than `trainer.num_nodes` says.
    """
    devices, launch, wanted = devices or settings.devices, launched(), settings.num_nodes
    if launch is None:
        if (wanted or 1) > 1:
            by_whom = "torchrun or srun to start the processes of all nodes (`seqboat submit fit` calls srun)"
            raise ConfigError("trainer.num_nodes", f"{wanted} is not possible here; expected {by_whom}")
        plugins = [LightningEnvironment()] if devices > 1 else []
        return {"devices": devices, "num_nodes": 1, "strategy": _strategy(devices), "plugins": plugins}
    if launch.processes != devices:
        started = f"{launch.by} started {launch.processes} process{'es' if launch.processes > 1 else ''}"
        how = f"set trainer.devices={launch.processes}, or {launch.option} to {devices}"
        raise ConfigError("trainer.devices", f"{devices} is not possible here; {started}, expected as many: {how}")
    if devices == 1:
        return {"devices": 1, "num_nodes": 1, "strategy": "auto", "plugins": [LightningEnvironment()]}
    nodes = launch.nodes if launch.tells_nodes else wanted or launch.nodes
    if wanted not in (None, nodes):
        problem = f"{wanted} is not possible here; {launch.by} started processes on {nodes}"
        raise ConfigError("trainer.num_nodes", problem)
    if devices % nodes or _is_uneven(launch):
        problem = f"{devices} is not possible on {nodes} nodes; expected the same number of processes on each"
        raise ConfigError("trainer.devices", f"{problem} (srun: --ntasks-per-node)" if launch.by == "srun" else problem)
    if launch.environment is MPIEnvironment and importlib.util.find_spec("mpi4py") is None:
        problem = "mpirun starts processes that find each other by the package mpi4py only; install it, or use torchrun"
        raise ConfigError("trainer.devices", problem)
    return {
        "devices": devices // nodes, "num_nodes": nodes, "strategy": _strategy(devices),
        "plugins": [launch.environment()],
    }  # fmt: skip


def _strategy(devices: int) -> str:
    return "ddp" if devices > 1 else "auto"


def _is_uneven(launch: Launch) -> bool:
    """`3,1` tasks on two nodes, as srun does where its nodes have three cores; `2(x2)` is even."""
    tasks = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")
    return launch.by == "srun" and len(set(re.sub(r"\(x\d+\)", "", tasks).split(","))) > 1


def job() -> str | None:
    """A name for the launcher's job, the same in all its processes and after it was restarted or requeued; None where
    there is none: torchrun was given no --rdzv-id, or srun is used outside of a job."""
    launch = launched()
    if launch is None:
        return None
    if launch.by == "torchrun":
        run_id = os.environ["TORCHELASTIC_RUN_ID"]
        return None if run_id == "none" else "torchrun-" + re.sub(r"[^\w.-]", "_", run_id)[:100]
    if launch.by == "srun" and "SLURM_JOB_ID" in os.environ:
        array, step = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_STEP_ID", "0")
        number = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
        return f"slurm-{number}" + ("" if step == "0" else f".{step}")
    return None


def is_restart() -> bool:
    """Whether the launcher has started this job before: torchrun with --max-restarts, Slurm with a requeued job."""
    counts = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
    return any(os.environ.get(name, "0") != "0" for name in counts)


def threads_per_process(settings: TrainerConfig) -> int:
    """CPU threads for each of a run's processes: `trainer.threads`, what srun gave each task, or a share of this node's
    cores."""
    launch = launched()
    if settings.threads is None and launch and launch.by == "srun" and "SLURM_CPUS_PER_TASK" in os.environ:
        return _number("SLURM_CPUS_PER_TASK", 1)
    return settings.threads or max(1, cores() // processes_here(settings))


def processes_here(settings: TrainerConfig) -> int:
    """Of the run's processes, those on this node."""
    launch = launched()
    told = launch.nodes if launch and launch.tells_nodes else settings.num_nodes
    return max(1, settings.devices // (told or 1))


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def leave_launcher() -> None:
    """From here on this process counts as started by hand: what started a sweep's worker started none of its runs."""
    for name in (*RANKS, "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS",
                 "SLURM_RESTART_COUNT", "JSM_NAMESPACE_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):  # fmt: skip
        os.environ.pop(name, None)


def is_first_process() -> bool:
    """Of a run's processes, whoever started them; true before there are others."""
    return all(os.environ.get(rank, "0") == "0" for rank in RANKS)


def started_by_lightning() -> bool:
    """Whether this process is one that the first one of its run started."""
    launch = launched()
    return launch is not None and launch.environment is LightningEnvironment and not is_first_process()
