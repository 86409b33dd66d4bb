"""Runs a command and writes a last line of JSON: its seconds, and its CPU seconds with those of all its descendants.

    python benchmarks/clock.py COMMAND ...

CPU seconds are what a comparison can trust on a machine that has other work too. A fork server outlives its runner by a
moment, and the system would hand it to init; here it is handed to this process, which counts it too (Linux).
"""

import ctypes
import json
import os
import resource
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36


def main(command: list[str]) -> int:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    start = time.perf_counter()
    code = subprocess.run(command).returncode
    seconds = time.perf_counter() - start
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime}))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
