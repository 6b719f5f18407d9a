"""Two agents of torchrun on loopback, as on two nodes: one is lost, and what was trained is as if it never had been."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from seqboat_lab.training import experiment
from seqboat_lab.training.results import write_config
from tests.training.same_run import assert_same_run

pytestmark = pytest.mark.slow
SETTINGS = ["trainer.devices=2", "trainer.max_steps=1500", "trainer.val_every=100", "model.dropout=0.2",
            "trainer.progress=false"]  # fmt: skip


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Nodes:
    """Two agents that find each other, each with one process of the run; their words go to a file each."""

    def __init__(self, place: Path, *options: str):
        endpoint = f"127.0.0.1:{free_port()}"
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
                    "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--rdzv-id", "cut", *options]  # fmt: skip
        command = [*torchrun, "-m", "seqboat_lab.cli", "fit", str(place / "config.yaml"), "trainer.num_nodes=2"]
        self.logs = [place / f"node-{n}-{time.monotonic_ns()}.log" for n in range(2)]
        environment = {k: v for k, v in os.environ.items() if k != "SEQBOAT_RUN_DIR"} | {"OMP_NUM_THREADS": "1"}
        environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # as docs/cluster.md says
        self.agents = []
        for log in self.logs:
            with log.open("w") as file:
                self.agents.append(subprocess.Popen(command, cwd=place, env=environment, stdout=file, stderr=file,
                                                    start_new_session=True))  # fmt: skip

    def workers(self, agent: int) -> list[int]:
        pid = self.agents[agent].pid
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def words(self) -> str:
        return "\n".join(log.read_text(errors="replace") for log in self.logs)

    def wait_for(self, condition, seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.words()
            time.sleep(0.1)

    def end(self) -> None:
        for agent in self.agents:
            agent.terminate()
        for agent in self.agents:
            agent.wait(60)


@pytest.fixture
def place(tiny, tmp_path):
    config = tiny(*SETTINGS)
    write_config(config, tmp_path)
    return tmp_path


def whole_run(place: Path) -> Path:
    run_dir = place / "whole"
    environment = {k: v for k, v in os.environ.items() if k != "SEQBOAT_RUN_DIR"}
    command = [sys.executable, "-m", "seqboat_lab.cli", "fit", str(place / "config.yaml"), "--run-dir", str(run_dir)]
    subprocess.run(command, check=True, timeout=600, env=environment)
    return run_dir


def test_a_lost_node_ends_the_other_and_the_same_command_goes_on(place):
    run = place / "runs" / "config" / "torchrun-cut"
    nodes = Nodes(place)
    nodes.wait_for((run / "checkpoints" / "last.ckpt").exists)
    workers = nodes.workers(0) + nodes.workers(1)
    nodes.agents[1].kill()
    begun = time.monotonic()
    nodes.wait_for(lambda: nodes.agents[0].poll() is not None, 60)
    assert nodes.agents[0].returncode != 0
    nodes.wait_for(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers), 60)
    assert time.monotonic() - begun < 60
    said = [line for line in nodes.words().splitlines() if line.startswith("seqboat: ")]
    assert said
    assert all("go on from the last checkpoint with: seqboat fit --resume" in line for line in said)
    assert not (run / "summary.json").exists()

    nodes = Nodes(place)
    nodes.wait_for(lambda: all(agent.poll() is not None for agent in nodes.agents))
    assert [agent.returncode for agent in nodes.agents] == [0, 0], nodes.words()
    assert_same_run(whole_run(place), run)


def test_torchrun_restarts_a_lost_process_which_goes_on_by_itself(place):
    run = place / "runs" / "config" / "torchrun-cut"
    nodes = Nodes(place, "--max-restarts", "2")
    nodes.wait_for((run / "checkpoints" / "last.ckpt").exists)
    (worker,) = nodes.workers(1)
    os.kill(worker, signal.SIGKILL)
    nodes.wait_for(lambda: all(agent.poll() is not None for agent in nodes.agents))
    assert [agent.returncode for agent in nodes.agents] == [0, 0], nodes.words()
    assert "another process of this run is gone" in nodes.words() or "ended by SIGTERM" in nodes.words()
    assert_same_run(whole_run(place), run)


def test_nodes_that_would_train_different_things_say_so(place, tiny):
    other = place / "other"
    write_config(tiny(*SETTINGS, "optim.lr=0.001"), other)
    port = str(free_port())
    processes = []
    for rank, config in enumerate((place, other)):
        environment = os.environ | {"WORLD_SIZE": "2", "RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
                                    "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}  # fmt: skip
        command = [sys.executable, "-m", "seqboat_lab.cli", "fit", str(config / "config.yaml"), "--run-dir"]
        processes.append(subprocess.Popen([*command, str(place / "run")], env=environment, stderr=subprocess.PIPE,
                                          text=True))  # fmt: skip
    for process in processes:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 2, errors
        assert "process 1 would train another experiment than process 0; expected the same command" in errors


def test_settings_that_may_differ_between_nodes_do_not_count(tiny):
    one, other = tiny("trainer.threads=1"), tiny("trainer.threads=2", "data.num_workers=1")
    assert experiment._what_it_trains(one) == experiment._what_it_trains(other)
    assert experiment._what_it_trains(one) != experiment._what_it_trains(tiny("optim.lr=0.001"))
