"""A pool of processes that outlives its workers: one that dies takes only its own task along, which is tried again.

``ProcessPoolExecutor`` gives up all of its tasks when one process dies, and does not say which task it had. Here a
thread attends to each process and knows. Processes are spawned, with one thread each for linear algebra: more threads
than cores slow all of them down, and change the last bits of sums.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Final

ONE_THREAD: Final = {
    f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
}  # torch goes by OMP_NUM_THREADS
TRIES: Final = 2


class WorkerDied(Exception):
    """The process died every time that it ran this: killed from outside, out of memory, or crashed in a library."""


@dataclass(frozen=True, slots=True)
class Busy:
    """What a worker is at, the first argument of its task, and since when by ``time.monotonic``."""

    task: Any
    since: float


@dataclass(frozen=True, slots=True)
class _Task:
    future: Future[Any]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class Pool(Executor):
    """``workers`` processes of one thread each; ``busy`` is what each is at, None while it waits."""

    def __init__(self, workers: int) -> None:
        os.environ.update(ONE_THREAD)  # the processes inherit it; in this one numpy may be loaded already
        self.busy: list[Busy | None] = [None] * workers
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._processes: list[_Process | None] = [None] * workers
        self._closed = self._stopped = False
        self._lock = threading.Lock()  # so that no worker begins after the last was killed
        self._threads = [
            threading.Thread(target=self._attend, args=(number,), daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a worker call ``fn(*args)``, after all that was submitted before."""
        if kwargs:
            raise TypeError("arguments by name are not passed on")
        if self._closed:
            raise RuntimeError("the pool is shut down")
        task = _Task(Future(), fn, args)
        self._tasks.put(task)
        return task.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes when all tasks are done; with ``cancel_futures`` at once, whatever they are at."""
        with self._lock:
            self._closed = True
            self._stopped = self._stopped or cancel_futures
            for process in self._processes if cancel_futures else ():
                if process is not None:
                    process.kill()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def __exit__(self, *raised: object) -> None:
        """Wait for all tasks; after an error or Ctrl-C end the processes at once, whatever they are at."""
        self.shutdown(cancel_futures=raised[0] is not None)

    def _attend(self, number: int) -> None:
        """Give one process a task after the other, and a successor when it dies."""
        while (task := self._tasks.get()) is not None:
            if self._stopped:
                task.future.cancel()
            elif task.future.set_running_or_notify_cancel():
                self._do(number, task)
        if (process := self._processes[number]) is not None:
            process.close()

    def _do(self, number: int, task: _Task) -> None:
        said = ""
        for _ in range(TRIES):
            try:
                process = self._living(number)
            except OSError as error:  # this machine has no room for another process, perhaps only now
                said = f"could not be begun ({error})"
                time.sleep(1.0)
                continue
            if process is None:
                break
            self.busy[number] = Busy(task.arguments[0] if task.arguments else None, time.monotonic())
            try:
                done, answer = process.call(task.function, task.arguments)
            except (EOFError, OSError):
                said = process.last_words()
                self._processes[number] = None
                continue
            finally:
                self.busy[number] = None
            if done:
                task.future.set_result(answer)
            else:
                task.future.set_exception(answer)
            return
        task.future.set_exception(WorkerDied(f"the worker {said} each of the {TRIES} times that it ran this"))

    def _living(self, number: int) -> _Process | None:
        """The worker of that number, a new one if it died; None if the pool was told to stop at once."""
        with self._lock:
            process = self._processes[number]
            if self._stopped:
                return None
            if process is None or not process.is_alive():
                process = self._processes[number] = _Process()
            return process


class _Process:
    """A worker, and the pipe to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # so that the pipe ends when the process does

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any]:
        """Whether the call returned, and what; or what it raised. Raises EOFError or OSError if the process died."""
        self._pipe.send((function, arguments))
        done, answer = self._pipe.recv()
        return done, answer

    def last_words(self) -> str:
        """How it died."""
        self._process.join()
        code = self._process.exitcode or 0
        return f"was killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection) -> None:
    """The life of a worker: it ends with the program that began it, even if that is killed, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = (True, function(*arguments))
        except Exception as error:
            answer = (False, error)
        pipe.send(answer)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
