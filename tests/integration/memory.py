"""How much memory a process took at most.

rusage will not do: what a child's ru_maxrss says begins with the size of the process that forked it,
and pytest grows large. VmHWM belongs to the program alone; it only rises, so the last value seen
before the end is the peak but for the last moment.
"""
import re
import subprocess


def wait_with_peak_kb(process):
    """Waits for a subprocess.Popen whose pipes need no reading; returns its peak in KiB."""
    peak = 0
    while True:
        try:
            with open(f"/proc/{process.pid}/status", encoding="ascii") as status:
                found = re.search(r"VmHWM:\s+(\d+) kB", status.read())
        except FileNotFoundError:
            found = None
        if found:
            peak = int(found[1])
        try:
            process.wait(0.005)
            assert peak, "it ended before it was looked at"
            return peak
        except subprocess.TimeoutExpired:
            pass
