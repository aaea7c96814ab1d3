"""Run one command and write what it cost: python -I -S launch.py REPORT COMMAND...

A process of its own because of ru_maxrss: a child started from a large process counts that process's
memory as its own until exec. This one stays below 10 MB.
"""

import os
import sys
import time

report, *command = sys.argv[1:]
started = time.perf_counter()
pid = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(pid, 0)
seconds = time.perf_counter() - started
with open(report, "w", encoding="ascii") as out:
    out.write(f"{seconds} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss * 1024}\n")
sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)
