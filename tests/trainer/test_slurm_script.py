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
while [[ $1 == --* ]]; do shift; done
nodes=
for number in $(seq "$SLURM_JOB_NUM_NODES"); do
    "$@" & nodes="$nodes $!"
    unset RBT_STOP_FILE
done
status=0
for node in $nodes; do wait $node || status=$?; done
exit $status
"""  # a process a node, all on this machine; the file is on the disk of the first. It dies of signals
TORCHRUN = """
while [ "$1" != -m ]; do
    case $1 in
        --nnodes | --nproc-per-node | --rdzv-backend | --rdzv-endpoint | --rdzv-id) shift 2 ;;
        *) echo "unrecognized arguments: $1"; exit 2 ;;
    esac
done
mkdir -p "${@: -1}"
until [ -e "$RBT_STOP_FILE" ] || [ -e end ]; do sleep 0.05; done
[ -e end ] && exit $(cat end)
sleep 0.5
touch saved
"""  # of torch 2.6: it knows these options; its ranks make a copy, and stop when they see the file


def script() -> str:
    """The script as the page has it."""
    page = (ROOT / "docs" / "cluster.md").read_text("utf-8")
    (found,) = (block for block in re.findall(r"^```bash\n(.*?)^```", page, re.M | re.S) if "torchrun" in block)
    return found


def test_the_scripts_of_the_page_are_bash() -> None:
    page = (ROOT / "docs" / "cluster.md").read_text("utf-8")
    for block in re.findall(r"^```bash\n(.*?)^```", page, re.M | re.S):
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


class Cluster:
    """A project, and a PATH of stand-ins for SLURM's commands: srun runs its command, scontrol writes down its own."""

    def __init__(self, folder: Path, packed: Path, steps: int, torchrun: str = "") -> None:
        self.folder, self.project = folder, folder / "project"
        self.project.mkdir()
        (self.project / "rbt.toml").write_text(RECIPE.format(steps=steps))
        (self.project / "packed").symlink_to(packed)
        commands = {
            "srun": SRUN, "scontrol": f'echo "$@" >> {folder}/scontrol', "hostname": "echo 127.0.0.1 10.0.0.1",
        }
        if torchrun:
            commands["torchrun"] = torchrun
        for name, body in commands.items():
            path = folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"#!/bin/bash\n{body}\n")
            path.chmod(0o755)
        (folder / "bin" / "activate").write_text(f'PATH={folder}/bin:{Path(sys.executable).parent}:$PATH\n')
        text = script().replace("/shared/roberta", str(self.project)).replace("/shared/venv/bin", str(folder / "bin"))
        (folder / "job.sh").write_text(text.replace("/tmp/roberta", str(folder / "roberta")))
        self.jobs: list[subprocess.Popen[bytes]] = []

    def submit(self, gpus: int, nodes: int = 1, restarts: int = 0) -> subprocess.Popen[bytes]:
        """Run the script as SLURM does; its output goes to a file."""
        environment = {
            **os.environ, "SLURM_JOB_ID": JOB, "SLURM_JOB_NUM_NODES": str(nodes), "SLURM_GPUS_ON_NODE": str(gpus),
            "OMP_NUM_THREADS": "1", "TMPDIR": str(self.folder),
        }
        if restarts:
            environment["SLURM_RESTART_COUNT"] = str(restarts)
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

    @property
    def copy(self) -> Path:
        """The folder on the nodes' own disks."""
        return self.folder / f"roberta-{JOB}" / "packed"

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
def cluster(packed: Path, tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters; what their jobs left running at the end is killed."""
    found: list[Cluster] = []

    def make(steps: int, torchrun: str = "") -> Cluster:
        found.append(Cluster(tmp_path, packed, steps, torchrun))
        return found[-1]

    yield make
    for job in [job for each in found for job in each.jobs if job.poll() is None]:
        os.killpg(job.pid, signal.SIGTERM)
        job.wait(60)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_an_old_torchrun_is_asked_nothing_new_and_sent_no_signal(
    cluster: Callable[..., Cluster], number: signal.Signals
) -> None:
    """A second signal changes nothing: the job is requeued when the checkpoint is there. The copy waits for it."""
    slurm = cluster(2, TORCHRUN)
    job = slurm.submit(8)
    slurm.wait(job, slurm.copy.is_dir)
    job.send_signal(number)
    slurm.wait(job, (slurm.copy.parent / "stop").is_file)
    job.send_signal(signal.SIGTERM)
    assert job.wait(20) == 0, slurm.log()
    assert slurm.requeued() == [f"requeue {JOB}"] and (slurm.project / "saved").is_file() and slurm.copy.is_dir()
    (slurm.project / "saved").unlink()
    job = slurm.submit(8, restarts=1)
    slurm.wait(job, lambda: not (slurm.copy.parent / "stop").exists())
    (slurm.project / "end").write_text("0")
    assert job.wait(20) == 0 and not slurm.copy.parent.exists()
    assert slurm.requeued() == [f"requeue {JOB}"] and not (slurm.project / "saved").exists()


def test_a_job_that_fails_says_so_and_leaves_no_copy(cluster: Callable[..., Cluster]) -> None:
    slurm = cluster(2, TORCHRUN)
    (slurm.project / "end").write_text("3")
    assert slurm.submit(8, nodes=2).wait(20) == 3, slurm.log()
    assert slurm.requeued() == [] and not slurm.copy.parent.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "nodes", "gpus"), [(signal.SIGUSR1, 2, 1), (signal.SIGTERM, 1, 2)])
def test_a_job_whose_time_is_up_is_requeued_and_goes_on_with_another_number_of_ranks(
    cluster: Callable[..., Cluster], number: signal.Signals, nodes: int, gpus: int
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
    assert (slurm.copy / "tokens" / "manifest.json").is_file()


@pytest.mark.slow
def test_a_job_that_ends_is_not_requeued(cluster: Callable[..., Cluster]) -> None:
    slurm = cluster(2)
    assert slurm.submit(2).wait(120) == 0, slurm.log()
    assert slurm.newest() == 2 and slurm.requeued() == [] and not slurm.copy.parent.exists()
    (slurm.project / "rbt.toml").write_text(RECIPE.format(steps=3))
    assert slurm.submit(1).wait(120) != 0  # a mistake: the run began with two
    assert "expected schedule.max_steps = 2" in slurm.log() and slurm.requeued() == []
