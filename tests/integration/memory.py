"""How much memory a process took at most.

rusage will not do: what a child's ru_maxrss says begins with the size of the process that forked it,
and pytest grows large. VmHWM belongs to the program alone; it only rises, so the last value seen
before the end is the peak but for the last moment.
"""
import re
import subprocess


def peak_kb(pid):
    """A process's peak so far in KiB; None once it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            found = re.search(r"VmHWM:\s+(\d+) kB", status.read())
    except FileNotFoundError:
        return None
    return int(found[1]) if found else None


def wait_with_peak_kb(process, peak=0):
    """Waits for a subprocess.Popen whose pipes need no reading; returns its peak in KiB. `peak`: what
    it was before. 0: it ended before anybody looked."""
    while True:
        peak = peak_kb(process.pid) or peak
        try:
            process.wait(0.005)
            return peak
        except subprocess.TimeoutExpired:
            pass
