"""A Slurm cluster on this machine, of one controller and two nodes, in a directory of its own.

`python -m tests.slurm.cluster DIRECTORY` keeps one running until Ctrl-C or SIGTERM and prints the line that lets a shell use it.
Needs Debian's packages slurmctld, slurmd, slurm-client and munge, and nothing of theirs that runs already.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
NODES = ("node1", "node2")
CPUS, GPUS = 4, 2
"""Of each node. Slurm only counts them: the machine may have fewer."""

# `low` gives way to `high`: its jobs are requeued. No cgroups: the machine may be a container, or share them
CONF = """\
ClusterName=loopback
SlurmctldHost=localhost
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={directory}/munge.socket
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool-%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd-%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0,sched_min_interval=0,defer
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
KillWait=30
InactiveLimit=0
MinJobAge=600
SlurmctldTimeout=30
SlurmdTimeout=30
GresTypes=gpu
{nodes}
PartitionName=low Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=gpu Nodes=node1,node2 MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=high Nodes=node1,node2 MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing() -> list[str]:
    """Programs of Slurm that are not installed."""
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    return [program for program in PROGRAMS if shutil.which(program, path=path) is None]


@contextmanager
def cluster(directory: Path) -> Iterator[dict[str, str]]:
    """Runs one while the block lasts; gives the environment in which `sbatch` and its kin mean it."""
    directory.mkdir(parents=True, exist_ok=True)
    ports = _free_ports(1 + len(NODES))
    _write(directory, ports)
    environment = os.environ | {"SLURM_CONF": str(directory / "slurm.conf")}
    environment = {k: v for k, v in environment.items() if not k.startswith(("SLURM_JOB", "SLURM_STEP"))}
    environment["PATH"] += ":/usr/sbin"
    environment["MASTER_ADDR"] = "127.0.0.1"  # the nodes' names are known to Slurm alone
    munged = ["munged", "--foreground", "--force", f"--socket={directory}/munge.socket",
              f"--key-file={directory}/munge.key", f"--pid-file={directory}/munged.pid",
              f"--seed-file={directory}/munge.seed", f"--log-file={directory}/munged.log"]  # fmt: skip
    daemons = [munged, ["slurmctld", "-D"], *(["slurmd", "-D", "-N", node] for node in NODES)]
    running: list[subprocess.Popen] = []
    try:
        for command in daemons:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            running.append(subprocess.Popen(command, env=environment, start_new_session=True, **quiet))
            if command is munged:
                _wait_for(lambda: (directory / "munge.socket").exists(), directory)
        _wait_for(lambda: _idle_nodes(environment) == len(NODES), directory)
        yield environment
    finally:
        subprocess.run(["scancel", "--user", getpass.getuser()], env=environment, capture_output=True, check=False)
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


def _write(directory: Path, ports: list[int]) -> None:
    key = directory / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    (directory / "state").mkdir(exist_ok=True)
    for gpu in range(GPUS):
        (directory / f"gpu{gpu}").touch()  # stands for a device: only its number is used
    nodes = [
        f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} RealMemory=8000 "
        f"Gres=gpu:{GPUS} State=UNKNOWN"
        for node, port in zip(NODES, ports[1:], strict=True)
    ]
    text = CONF.format(ports=ports, user=getpass.getuser(), directory=directory, nodes="\n".join(nodes))
    (directory / "slurm.conf").write_text(text)
    (directory / "gres.conf").write_text(f"Name=gpu File={directory}/gpu[0-{GPUS - 1}]\n")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _idle_nodes(environment: dict[str, str]) -> int:
    found = subprocess.run(["sinfo", "-h", "-N", "-p", "low", "-t", "idle", "-o", "%N"], env=environment,
                           capture_output=True, text=True, check=False)  # fmt: skip
    return len(found.stdout.split())


def _wait_for(condition, directory: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            logs = "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in sorted(directory.glob("*.log")))
            raise RuntimeError(f"Slurm did not start:\n{logs}")
        time.sleep(0.2)


if __name__ == "__main__":
    place = Path(sys.argv[1]).resolve()
    with cluster(place):
        print(f"export SLURM_CONF={place}/slurm.conf MASTER_ADDR=127.0.0.1", flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs would ignore the first
            signal.signal(number, lambda *_: None)
        signal.pause()
