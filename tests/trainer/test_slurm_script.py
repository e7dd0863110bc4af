"""The SLURM script of docs/cluster.md, run with stand-ins for SLURM's commands: stopped, requeued, resumed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rbt.formats.checkpoint import latest_checkpoint, read_checkpoint, step_of

ROOT = Path(__file__).resolve().parents[2]
RECIPE = """
[pack]
format = "doc-sentences"
[model]
layers = 1
hidden = 16
heads = 2
feed_forward = 24
[data]
global_batch = 8
[schedule]
warmup_steps = 1
max_steps = {steps}
[run]
device = "cpu"
log_every = 1
checkpoint_every = 1000000
validate_every = 0
"""
JOB = "4242"
SRUN = """
nodes=
trap 'kill -USR1 $nodes' USR1
for number in $(seq "$SLURM_JOB_NUM_NODES"); do "$@" & nodes="$nodes $!"; done
for node in $nodes; do
    wait $node; status=$?
    while kill -0 $node 2> /dev/null; do wait $node; status=$?; done
done
exit $status
"""  # a process a node, all on this machine; it passes SIGUSR1 on, and dies of SIGTERM


def script() -> str:
    """The script as the page has it."""
    page = (ROOT / "docs" / "cluster.md").read_text("utf-8")
    (found,) = (block for block in re.findall(r"^```bash\n(.*?)^```", page, re.M | re.S) if "srun torchrun" in block)
    return found


def test_the_scripts_of_the_page_are_bash() -> None:
    page = (ROOT / "docs" / "cluster.md").read_text("utf-8")
    for block in re.findall(r"^```bash\n(.*?)^```", page, re.M | re.S):
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


class Cluster:
    """A project, and a PATH of stand-ins for SLURM's commands: srun runs its command, scontrol writes down its own."""

    def __init__(self, folder: Path, packed: Path, steps: int) -> None:
        self.folder, self.project = folder, folder / "project"
        self.project.mkdir()
        (self.project / "rbt.toml").write_text(RECIPE.format(steps=steps))
        (self.project / "packed").symlink_to(packed)
        commands = {
            "srun": SRUN, "scontrol": f'echo "$@" >> {folder}/scontrol', "hostname": "echo 127.0.0.1 10.0.0.1",
        }
        for name, body in commands.items():
            path = folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"#!/bin/bash\n{body}\n")
            path.chmod(0o755)
        (folder / "bin" / "activate").write_text(f'PATH={folder}/bin:{Path(sys.executable).parent}:$PATH\n')
        text = script().replace("/shared/roberta", str(self.project)).replace("/shared/venv/bin", str(folder / "bin"))
        (folder / "job.sh").write_text(text.replace("/tmp/packed", str(folder / "packed")))
        self.jobs: list[subprocess.Popen[bytes]] = []

    def submit(self, gpus: int, nodes: int = 1, restarts: int = 0) -> subprocess.Popen[bytes]:
        """Run the script as SLURM does; its output goes to a file."""
        environment = {
            **os.environ, "SLURM_JOB_ID": JOB, "SLURM_JOB_NUM_NODES": str(nodes), "SLURM_GPUS_ON_NODE": str(gpus),
            "OMP_NUM_THREADS": "1", **({"SLURM_RESTART_COUNT": str(restarts)} if restarts else {}),
        }
        with (self.folder / "log").open("ab") as log:
            job = subprocess.Popen(
                ["bash", str(self.folder / "job.sh")], env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.jobs.append(job)
        return job

    def log(self) -> str:
        """What the jobs wrote."""
        return (self.folder / "log").read_text("utf-8")

    def requeued(self) -> list[str]:
        """What scontrol was called with."""
        path = self.folder / "scontrol"
        return path.read_text().splitlines() if path.exists() else []

    def steps(self) -> int:
        """Records of steps."""
        path = self.project / "run" / "metrics.jsonl"
        return path.read_text().count('"loss"') if path.exists() else 0

    def wait(self, job: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
        """Until a condition holds while the job runs."""
        end = time.monotonic() + 120
        while not condition():
            assert job.poll() is None and time.monotonic() < end, self.log()
            time.sleep(0.1)

    def newest(self) -> int:
        """The step of the newest checkpoint, which is whole."""
        folder = latest_checkpoint(self.project / "run")
        assert folder is not None, self.log()
        read_checkpoint(folder)
        return step_of(folder)


@pytest.fixture
def cluster(packed: Path, tmp_path: Path) -> Iterator[Callable[[int], Cluster]]:
    """Makes clusters; what their jobs left running at the end is killed."""
    found: list[Cluster] = []

    def make(steps: int) -> Cluster:
        found.append(Cluster(tmp_path, packed, steps))
        return found[-1]

    yield make
    for job in [job for each in found for job in each.jobs if job.poll() is None]:
        os.killpg(job.pid, signal.SIGTERM)
        job.wait(60)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "nodes", "gpus"), [(signal.SIGUSR1, 2, 1), (signal.SIGTERM, 1, 2)])
def test_a_job_whose_time_is_up_is_requeued_and_goes_on_with_another_number_of_ranks(
    cluster: Callable[[int], Cluster], number: signal.Signals, nodes: int, gpus: int
) -> None:
    slurm = cluster(1_000_000)
    job = slurm.submit(gpus, nodes)
    slurm.wait(job, lambda: slurm.steps() > 0)
    job.send_signal(number)
    assert job.wait(120) == 0, slurm.log()
    first = slurm.newest()
    assert slurm.requeued() == [f"requeue {JOB}"]
    job = slurm.submit(1, restarts=1)
    slurm.wait(job, lambda: slurm.steps() > first)
    job.send_signal(number)
    assert job.wait(120) == 0, slurm.log()
    assert f"going on after step {first}" in slurm.log() and slurm.newest() > first
    assert slurm.requeued() == [f"requeue {JOB}"] * 2
    assert (slurm.folder / f"packed-{JOB}" / "tokens" / "manifest.json").is_file()


@pytest.mark.slow
def test_a_job_that_ends_is_not_requeued(cluster: Callable[[int], Cluster]) -> None:
    slurm = cluster(2)
    assert slurm.submit(2).wait(120) == 0, slurm.log()
    assert slurm.newest() == 2 and slurm.requeued() == []
    (slurm.project / "rbt.toml").write_text(RECIPE.format(steps=3))
    assert slurm.submit(1).wait(120) != 0  # a mistake: the run began with two
    assert "expected schedule.max_steps = 2" in slurm.log() and slurm.requeued() == []
