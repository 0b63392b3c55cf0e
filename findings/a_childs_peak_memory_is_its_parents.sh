#!/usr/bin/env bash
# ru_maxrss of a worker that Python's subprocess started, on Linux. Date: 2026-11-30
#
# Guess: the peak of resident memory of the worker itself. It is a program of its own, not a fork that goes
# on, and getrusage(RUSAGE_SELF) in it, RUSAGE_CHILDREN and wait4 in its parent speak of that process.
#
# Behaviour seen: it is the larger of the worker's peak and its parent's, also of memory that the parent has
# given back by then. Linux keeps the mark over exec, and before exec the child lives in its parent's memory
# (vfork; after a plain fork in a copy of it). A worker of 10 MiB whose parent once held 512 MiB says 524 MiB,
# so settings that are measured by fresh processes of one parent all get the largest figure seen so far.
# psutil.memory_info() has no peak on Linux. Way out: VmHWM of /proc/self/status in the worker, which begins
# anew with exec.
#
# Output seen (exit status 0; figures of one interpreter without imports):
#   python 3.11.7, psutil 7.2.2
#   started by a small process: the worker's ru_maxrss 12 MiB, VmHWM 10 MiB
#   started by one that holds 512 MiB: the worker's ru_maxrss 524 MiB, VmHWM 10 MiB; its parent's
#   RUSAGE_CHILDREN 524 MiB; resident now by psutil 10 MiB
#   started after these were given back: the worker's ru_maxrss 524 MiB, VmHWM 10 MiB
#
# Needs Linux and a pip index; no GPU.
# Exits 0 only if the worker's ru_maxrss follows its parent and VmHWM does not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq "psutil==7.2.2"
cat >"$work/worker.py" <<'PYTHON'
import resource
from pathlib import Path

peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, int(peak.split()[1]) // 1024, flush=True)
input()
PYTHON
cat >"$work/check.py" <<'PYTHON'
import platform, resource, subprocess, sys
import psutil

def worker():
    with subprocess.Popen([sys.executable, f"{sys.argv[1]}/worker.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as started:
        own, mark = map(int, started.stdout.readline().split())
        now = psutil.Process(started.pid).memory_info().rss >> 20
        started.communicate("\n")
    return own, mark, now, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024

print(f"python {platform.python_version()}, psutil {psutil.__version__}")
small = worker()
print(f"started by a small process: the worker's ru_maxrss {small[0]} MiB, VmHWM {small[1]} MiB")
held = bytearray(512 << 20)
large = worker()
print(f"started by one that holds 512 MiB: the worker's ru_maxrss {large[0]} MiB, VmHWM {large[1]} MiB; its parent's\n"
      f"RUSAGE_CHILDREN {large[3]} MiB; resident now by psutil {large[2]} MiB")
del held
after = worker()
print(f"started after these were given back: the worker's ru_maxrss {after[0]} MiB, VmHWM {after[1]} MiB")
own, parents = (small[0], small[1], large[1], large[2], after[1]), (large[0], large[3], after[0])
sys.exit(not (max(own) < 100 and min(parents) > 512))
PYTHON
"$work/venv/bin/python" "$work/check.py" "$work"
