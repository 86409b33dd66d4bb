"""How a child process is watched."""

import os
from multiprocessing import Pipe

import pytest

from fer_bench.execution import children


class Child:
    """A process that lives for two looks at it."""

    def __init__(self, sentinel: int) -> None:
        self.sentinel, self.looks, self.was_killed = sentinel, 0, False

    def is_alive(self) -> bool:
        self.looks += 1
        return self.looks <= 2 and not self.was_killed

    def kill(self) -> None:
        self.was_killed = True

    def join(self) -> None:
        pass


@pytest.fixture
def child():
    ends = os.pipe()
    yield Child(ends[0])
    for end in ends:
        os.close(end)


@pytest.mark.parametrize(("speaks", "ended"), [(False, None), (True, "timeout")])
def test_waiting_for_another_runner_is_no_time_of_the_run(child, speaks, ended):
    receiver, sender = Pipe(duplex=False)
    if speaks:
        sender.send((0.0, "starting"))
    found = children._watch(child, receiver, 1e-9, lambda: False, lambda done, text: None)
    assert (found, child.was_killed) == (ended, speaks)
