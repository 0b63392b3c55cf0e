"""The machine: NVML, psutil, cgroup limits, GPU catalogue."""
