"""The nursery plans once before it forks: the children must be able to plan, and forking must stay safe."""

import os
import subprocess
import sys

PROGRAM = """
import os, threading
from agents.cem.planner.warm import warm
warm()
print(len(os.listdir("/proc/self/task")), flush=True)
pid = os.fork()
if pid == 0:
    thread = threading.Thread(target=warm)
    thread.start()
    thread.join()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_first_plan_leaves_no_thread_behind_and_forked_children_plan() -> None:
    alone = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=alone, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["1", "0"], done.stderr
