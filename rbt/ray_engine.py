"""The engine's `map` on a Ray cluster, behind `--engine ray`. docs/cluster.md is the user's page.

    tasks ──a window of them──> run_task on some node ──outcome, small──> results, in order of completion
                                   │ units, once a second
                                   ▼
                                Units, an actor beside the driver ──asked now and then──> the bar

Ray starts processes and tells when they die; what to do then is decided here. A task whose worker or node is lost goes
back into the queue (files are atomic, and a task without a receipt is done anew), at most RETRIES times. Before a
process works for a run, it checks that it has the driver's version of rbt and sees the driver's OUT.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import rbt
from rbt.cluster_task import Outcome, Place, Units, inspection, run_task, unfit
from rbt.engine import POLL_SECONDS, ResultT, TaskT
from rbt.errors import RbtError
from rbt.ray_head import RESUME, Health, answers, check_head, split_address, working_nodes
from rbt.storage import TEMPORARY, sweep, write_text

log = logging.getLogger(__name__)

RETRIES = 3  # of a task whose workers die
BACKLOG = 2  # tasks submitted a CPU where --workers sets no limit, so that no CPU waits for the driver
ANSWER_SECONDS = 120.0  # for a node to start a process and look at OUT
CANCEL_SECONDS = 10.0
LOST = (
    exceptions.NodeDiedError, exceptions.WorkerCrashedError, exceptions.OutOfMemoryError, exceptions.ObjectLostError,
    exceptions.LocalRayletDiedError, exceptions.RaySystemError,
)


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


class RayEngine:
    """Tasks on the nodes of a running cluster. `workers` = 0 takes every CPU; `out`: the folder all nodes must see."""

    def __init__(self, workers: int, address: str, out: Path) -> None:
        split_address(address)
        self.workers = workers
        self.address = address
        self.out = out
        self._units: Any = None  # the actor, once connected
        self._checked: set[str] = set()  # nodes that had this rbt and saw OUT

    def map(
        self, function: Callable[[TaskT], ResultT], tasks: Sequence[TaskT], on_advance: Callable[[int], object]
    ) -> Iterator[ResultT]:
        """See `Engine.map`. Raises RbtError where a node is unfit, a task is lost too often, or the cluster is gone."""
        if not tasks:
            return
        self._connect()
        with self._place() as place:
            self._check_nodes(place)
            run = _Run(self, function, tasks, place)
            try:
                yield from run.results(on_advance)
            finally:
                run.cancel()
                if run.lost:
                    sweep(self.out)  # what lost workers were writing

    def close(self) -> None:
        """Leave the cluster."""
        if self._units is not None:
            self._units = None
            ray.shutdown()

    def _connect(self) -> None:
        if self._units is not None:
            return
        check_head(self.address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address=self.address, log_to_driver=False, logging_level=logging.CRITICAL)
        ray._private.worker._worker_logs_enabled = False  # its thread prints of lost nodes, whatever log_to_driver says
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor: Any = ray.remote(Units)
        self._units = actor.options(num_cpus=0, max_restarts=-1, scheduling_strategy=here).remote()

    @contextmanager
    def _place(self) -> Iterator[Place]:
        folder = self.out.absolute()
        token = f"{os.getpid()}-{time.time_ns()}"
        probe = folder / f"{TEMPORARY}probe-{token}"
        write_text(probe, token)
        try:
            yield Place(rbt.__version__, str(Path.cwd()), str(probe), token)
        finally:
            for path in folder.glob(f"{probe.name}*"):
                path.unlink(missing_ok=True)

    def _check_nodes(self, place: Place) -> None:
        """Have each new node look at OUT and write there. Raises RbtError that names the first unfit one."""
        nodes = {node["NodeID"]: _name(node) for node in working_nodes() if node["NodeID"] not in self._checked}
        inspect: Any = ray.remote(inspection())
        asked = {}
        for node, name in nodes.items():
            where = NodeAffinitySchedulingStrategy(node, soft=False)
            options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": where}
            asked[inspect.options(**options).remote(vars(place), f"{place.probe}-{node}")] = (node, name)
        late = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS)[1] if asked else []
        for ref, (node, name) in asked.items():
            self._check_answer(place, node, name, None if ref in late else ref)

    def _check_answer(self, place: Place, node: str, name: str, ref: Any) -> None:
        if ref is None:
            raise RbtError("expected an answer of every node", found=f"none of {name}", cure="restart Ray there")
        try:
            problem = ray.get(ref)
        except (*LOST, exceptions.TaskUnschedulableError):
            return  # a node that died meanwhile: tasks go elsewhere
        except exceptions.RayError as error:
            problem = f"no rbt that can be used ({str(error).splitlines()[-1]})"
        answer = Path(f"{place.probe}-{node}")
        if not problem and not (answer.is_file() and answer.read_text(encoding="utf-8") == place.token):
            problem = "a node whose files are not seen from here"
        if problem:
            raise unfit(place, name, problem)
        self._checked.add(node)


@dataclass(frozen=True)
class _Attempt:
    """A task that was submitted: its place among the tasks, and how often it was lost before."""

    number: int
    task: int
    losses: int


class _Run:
    """One `map`: what waits, what runs, and what has been reported."""

    def __init__(
        self, engine: RayEngine, function: Callable[[Any], Any], tasks: Sequence[Any], place: Place
    ) -> None:
        self.engine, self.function, self.tasks, self.place = engine, function, tasks, place
        remote: Any = ray.remote(run_task)
        self.remote = remote.options(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD")
        self.waiting = deque((task, 0) for task in range(len(tasks)))  # with the number of losses
        self.running: dict[Any, _Attempt] = {}
        self.submitted = 0
        self.lost, self.cause = 0, ""  # how often a task was lost, and why the last time
        self.units = 0  # of finished tasks
        self.shown = 0  # on the bar, which never goes back
        self.question: Any = None  # to the actor, how far the running ones are
        self.health = Health(engine.address)

    def results(self, on_advance: Callable[[int], object]) -> Iterator[Any]:
        """Submit, wait, yield, until nothing is left."""
        spoken_of = 0
        while self.waiting or self.running:
            self.health.look()
            self._submit()
            refs = list(self.running)
            if ray.wait(refs, timeout=POLL_SECONDS)[0]:
                for ref in ray.wait(refs, num_returns=len(refs), timeout=0)[0]:
                    yield from self._take(ref, self.running.pop(ref))
            if self.lost > spoken_of:
                log.warning("tasks lost with their workers and run again: %d (%s)", self.lost - spoken_of, self.cause)
                spoken_of = self.lost
            on_advance(self._advanced())

    def cancel(self) -> None:
        """End what runs, and wait until it has ended: the next run may begin with the same files."""
        refs = list(self.running)
        self.running.clear()
        if refs and answers(self.engine.address):
            for ref in refs:
                ray.cancel(ref, force=True)
            ray.wait(refs, num_returns=len(refs), timeout=CANCEL_SECONDS)

    def _submit(self) -> None:
        window = self.engine.workers or max(1, BACKLOG * self.health.cpus)
        while self.waiting and len(self.running) < window:
            task, losses = self.waiting.popleft()
            self.submitted += 1
            ref = self.remote.remote(
                self.function, self.tasks[task], self.submitted, self.place, self.engine._units
            )
            self.running[ref] = _Attempt(self.submitted, task, losses)

    def _take(self, ref: Any, attempt: _Attempt) -> Iterator[Any]:
        try:
            outcome: Outcome = ray.get(ref)
        except LOST as error:
            self._put_back(attempt, error)
            return
        if outcome.error is not None:
            raise outcome.error
        self.units += outcome.units
        yield outcome.result

    def _put_back(self, attempt: _Attempt, error: Exception) -> None:
        words = str(error).strip().partition("\n")[0][:200]
        if attempt.losses == RETRIES:
            raise RbtError(
                f"expected {self.tasks[attempt.task]} to finish",
                found=f"{RETRIES + 1} workers lost while it ran, the last: {type(error).__name__}, {words}",
                cure=f"{RESUME}; use fewer --workers if memory is short",
            ) from error
        self.lost, self.cause = self.lost + 1, words
        self.waiting.append((attempt.task, attempt.losses + 1))

    def _advanced(self) -> int:
        """Units since the last call."""
        running = {attempt.number for attempt in self.running.values()}
        units = self.units
        if self.question is not None and ray.wait([self.question], timeout=0)[0]:
            with suppress(exceptions.RayActorError):  # being restarted: the bar waits for the tasks' ends
                answer: dict[int, int] = ray.get(self.question)
                units += sum(done for number, done in answer.items() if number in running)
            self.question = None
        if self.question is None and running:
            self.question = self.engine._units.of.remote(list(running))
        more = max(0, units - self.shown)
        self.shown += more
        return more
