"""What a machine offers."""

import os
import subprocess
import sys

import pytest

from fer_bench.execution.environment import cores

ON_ONE_CORE = """
import os
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
from fer_bench.execution.environment import cores
print(cores())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="keeps to some cores on Linux only")
def test_cores_are_those_that_the_process_may_use():
    done = subprocess.run([sys.executable, "-c", ON_ONE_CORE], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1
    assert cores() >= 1
