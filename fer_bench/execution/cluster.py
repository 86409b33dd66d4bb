"""A Dask cluster as a place for runs: each is a task whose worker starts the child process."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, wait
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from fer_bench import __version__
from fer_bench.errors import FerBenchError
from fer_bench.execution.children import BUSY, is_done, record_without_child
from fer_bench.execution.errand import (
    NO_DATA,
    RUN_FILES,
    UNSEEN,
    Answer,
    Errand,
    do,
    read_files,
    stop,
    unpack,
    write_files,
)
from fer_bench.execution.job import Job
from fer_bench.execution.outcome import WEIGHTS_FILE, base_id
from fer_bench.models.deep.pretrained import AUTO, IMAGENET, NONE, UNAVAILABLE
from fer_bench.models.registry import STRATEGIES
from fer_bench.progress import Progress
from fer_bench.records.store import ResultsFolder

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 5
STOP_SECONDS = 15
MOST_BYTES = 2 * 1024**3
_POLL_SECONDS = 0.5
_ATTEMPTS = 4
_KILLED = "killed"
_WHY_KILLED = "worker after worker was killed while it was at this run; it may want more memory than they have"


@contextmanager
def connect(address: str) -> Iterator[Cluster]:
    """The cluster whose scheduler is at `address`. Raises FerBenchError where none answers, or Dask is missing."""
    try:
        import dask
        from distributed import Client
    except ImportError:
        raise FerBenchError("--executor dask needs Dask: pip install 'fer_bench[dask]'") from None
    for name in [name for name in logging.root.manager.loggerDict if name.startswith(("distributed", "tornado"))]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is raised, and said in one message
    dask.config.set({"distributed.admin.large-graph-warning-threshold": MOST_BYTES})  # files of a run to start from
    try:
        asyncio.run(_greet(address))  # a client takes long to give up
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise FerBenchError(
            f"--scheduler {address}: no Dask scheduler answers there ({' '.join(str(error).split())}); "
            "start one with `dask scheduler` and give the address that it prints, e.g. tcp://192.0.2.1:8786"
        ) from None
    cluster = Cluster(client, address)
    try:
        yield cluster
    finally:
        cluster.close()


async def _greet(address: str) -> None:
    """Raise OSError or ValueError where no scheduler answers in time."""
    from distributed import Security
    from distributed.core import rpc

    async with rpc(address, connection_args=Security().get_connection_args("client")) as scheduler:
        try:
            await asyncio.wait_for(scheduler.identity(), CONNECT_SECONDS)
        except TimeoutError:
            raise OSError(f"nothing in {CONNECT_SECONDS} s") from None


class Cluster:
    """A `Place`: one run per worker, on as many cores as the worker has threads.

    Records are committed by workers that see the results folder. From the first worker on that does not see it, runs
    are brought home: this process holds their locks and commits them.
    """

    n_jobs = 1  # each worker puts its own number in

    def __init__(self, client: Client, address: str) -> None:
        self._client, self._address = client, address
        self._executor = client.get_executor(pure=False)
        self._suite = uuid.uuid4().hex
        self._families: tuple[str, ...] = ()
        self._token: Path | None = None
        self._brings_home = False
        self._progress: dict[str, Progress] = {}
        self._sending = threading.Lock()
        self._at_close = ExitStack()

    def make_ready(self, families: tuple[str, ...], results: ResultsFolder) -> None:
        """Leave the token in `results`, in a folder that is locked like that of a run, and listen to the workers."""
        self._families = families
        lock = results.lock(f"runner-{self._suite}")
        self._at_close.callback(Path(lock.lock_file).unlink, missing_ok=True)
        self._at_close.enter_context(lock)
        folder = results.work_folder(f"runner-{self._suite}").absolute()
        self._at_close.callback(shutil.rmtree, folder, ignore_errors=True)
        self._token = folder / "token"
        self._token.write_text(self._suite)
        self._client.subscribe_topic(self._suite, self._heard)

    def slots(self) -> int:
        """As many as there are workers now."""
        try:
            return len(self._client.nthreads())
        except OSError:
            raise self._gone() from None

    def launch(
        self, job: Job, timeout: float | None, stopped: Callable[[], bool], progress: Progress, patient: bool
    ) -> str:
        """Do `job` on a worker. Where the worker is killed, Dask gives the job to another, three times at most."""
        self._progress[job.spec.run_id] = progress
        errand = self._errand(job, timeout, patient)
        try:
            if not self._brings_home:
                status = self._answer(errand, stopped).status
                if status == _KILLED:
                    record_without_child(job, "failed", _WHY_KILLED)
                    return "failed"
                if status != UNSEEN:
                    return status
                self._brings_home = True
            return self._brought_home(replace(errand, token=None, base=_base_files(job)), stopped)
        finally:
            del self._progress[job.spec.run_id]

    def close(self) -> None:
        """Leave the cluster as it was."""
        self._at_close.close()
        self._client.close(timeout=CONNECT_SECONDS)

    def _heard(self, event: tuple[float, Any]) -> None:
        run_id, done, text = event[1]
        if progress := self._progress.get(run_id):  # it may have ended meanwhile
            progress(done, text)

    def _errand(self, job: Job, timeout: float | None, patient: bool) -> Errand:
        words = ("", AUTO, IMAGENET, NONE, UNAVAILABLE)
        job = replace(
            job,
            results=job.results.absolute(),
            dataset_folder=job.dataset_folder.absolute(),
            split_folder=job.split_folder.absolute(),
            plugins=tuple(file.resolve() for file in job.plugins),
        )
        return Errand(
            suite=self._suite,
            job=job,
            families=self._families,
            data=((job.dataset_folder / "about.json").read_bytes(), (job.split_folder / "about.json").read_bytes()),
            needed=(*job.plugins, *(() if job.weights in words else (Path(job.weights),))),
            timeout=timeout,
            patient=patient,
            token=self._token,
        )

    def _answer(self, errand: Errand, stopped: Callable[[], bool]) -> Answer:
        """A worker's answer, after its cache was given the data if it lacked them."""
        where: dict[str, Any] = {}
        for _ in range(_ATTEMPTS):
            answer = self._asked(errand, where, stopped)
            if answer.status != NO_DATA:
                return answer
            with self._sending:  # or at the start the data would be in memory once for every worker
                if not stopped():
                    self._send_data(errand.job, answer.worker)
            where = {"workers": [answer.worker], "allow_other_workers": True}
        raise FerBenchError(f"worker {answer.worker} cannot keep the data: is there room in its FER_BENCH_CACHE?")

    def _asked(self, errand: Errand, where: dict[str, Any], stopped: Callable[[], bool]) -> Answer:
        from distributed.scheduler import KilledWorker

        future = self._executor.submit(do, errand, **where)
        while wait([future], timeout=_POLL_SECONDS).not_done and not stopped():
            pass
        try:
            if stopped():
                self._client.run(stop, self._suite, on_error="ignore")
            return future.result(timeout=STOP_SECONDS)
        except FerBenchError:
            raise
        except KilledWorker:
            return Answer(_KILLED)
        except (CancelledError, TimeoutError, OSError):
            future.cancel()
            if stopped():
                return Answer("cancelled")
            raise self._gone() from None
        except Exception as error:
            raise FerBenchError(
                f"the workers of {self._address} cannot do runs ({type(error).__name__}: {error}): "
                f"is fer_bench {__version__} installed there?"
            ) from error

    def _send_data(self, job: Job, worker: str) -> None:
        folders = (job.dataset_folder, job.split_folder)
        size = sum(file.stat().st_size for folder in folders for file in folder.iterdir())
        if size > MOST_BYTES:
            raise FerBenchError(
                f"worker {worker} does not see the decoded data in {job.dataset_folder}, and {size / 1e9:.1f} GB are "
                "too many to send: let FER_BENCH_CACHE name a folder that runner and workers share"
            )
        packed = {folder: {file.name: file.read_bytes() for file in folder.iterdir()} for folder in folders}
        try:
            self._client.run(unpack, packed, workers=[worker], on_error="ignore")
        except OSError:
            raise self._gone() from None

    def _brought_home(self, errand: Errand, stopped: Callable[[], bool]) -> str:
        """Have the run done in a folder of the worker's own, and commit what comes back; its lock is held here."""
        job, run_id = errand.job, errand.job.spec.run_id
        results = ResultsFolder(job.results)
        try:
            with results.lock(run_id).acquire(blocking=errand.patient, cancel_check=stopped):
                if is_done(results, job):
                    return results.status(run_id) or "failed"
                return self._committed(results, job, self._answer(errand, stopped))
        except Timeout:
            return "cancelled" if stopped() else BUSY

    def _committed(self, results: ResultsFolder, job: Job, answer: Answer) -> str:
        """Commit the files of `answer`, after a look at their names and at whose record it is."""
        from fer_bench.records.schema import Record

        if answer.status == _KILLED:
            record = job.record("failed", reason=_WHY_KILLED)
        elif not answer.files:
            return answer.status
        else:
            record = Record.model_validate_json(answer.files["record.json"])
        if record.run_id != job.spec.run_id or not answer.files.keys() <= RUN_FILES:
            raise FerBenchError(f"worker {answer.worker} brought something else than the run {job.spec.run_id}")
        try:
            work = results.work_folder(record.run_id)
            write_files(work, answer.files)
            results.commit(record, work)
        except OSError as error:
            raise FerBenchError(f"{results.path}: {error.strerror or error}; what is finished is kept") from error
        return record.status

    def _gone(self) -> FerBenchError:
        return FerBenchError(
            f"the scheduler {self._address} is gone: what is finished is kept; "
            "start the cluster and give the same command again"
        )


def _base_files(job: Job) -> dict[str, dict[str, bytes]]:
    """What `job` needs of the run that it starts from, by that run's id; nothing where it starts from none."""
    starts_from = STRATEGIES[job.spec.strategy].starts_from
    if starts_from is None:
        return {}
    names = frozenset({"record.json", "predictions.npz"} | ({WEIGHTS_FILE} if starts_from == "weights" else set()))
    run_id = base_id(job)
    return {run_id: read_files(ResultsFolder(job.results).record_path(run_id).parent, names)}
