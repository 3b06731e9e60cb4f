"""What the kernel says of processes and of this machine. All CPU times are microseconds."""
import contextlib
import os
import platform
import re
import subprocess

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")


class Problem(Exception):
    """What stands in the way of a figure."""


def _ticks(pid):
    """[user, system] time of a process, and that of the children that it has reaped."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return [int(v) for v in file.read().rpartition(")")[2].split()[11:15]]


def cpu_us(pid, reaped=False):
    """User + system time of a process; with that of the children that it has reaped."""
    return sum(_ticks(pid)[:4 if reaped else 2]) * TICK_US


def tree_cpu_us(pid):
    """A server that forks: itself, the children it has reaped, the children that live. One that it
    reaps meanwhile would be counted twice or not at all: then all are asked again."""
    reaped, again = None, _ticks(pid)[2:]
    while reaped != again:
        reaped, total = again, cpu_us(pid, reaped=True)
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            children = file.read().split()
        for child in children:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += cpu_us(child, reaped=True)
        again = _ticks(pid)[2:]
    return total


def cores_us():
    """(busy, idle, stolen by the host) time of all cores."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, idle, iowait, irq, softirq, steal = (
            int(v) * TICK_US for v in file.readline().split()[1:9])
    return user + nice + system + irq + softirq, idle + iowait, steal


def peak_rss_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return int(re.search(r"^VmHWM:\s+(\d+) kB", file.read(), re.MULTILINE).group(1))


def load():
    """The load averages and how many processes can run, as the kernel prints them."""
    with open("/proc/loadavg", encoding="ascii") as file:
        return " ".join(file.read().split()[:4])


def _first_line(*command):
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, check=True, text=True, stdin=subprocess.DEVNULL,
                              capture_output=True).stdout.strip().split("\n")[0]
    return "unknown"


def _found(path, pattern):
    with contextlib.suppress(OSError):
        with open(path, encoding="utf-8", errors="replace") as file:
            found = re.search(pattern, file.read(), re.MULTILINE)
            return found and found.group(1).strip()
    return None


def facts(root, worker):
    """What a reader needs to know of the machine and the versions before he compares."""
    return {
        "cores": os.cpu_count(),
        "processor": _found("/proc/cpuinfo", r"^model name\s*:\s*(.*)$") or platform.machine(),
        "memory_mib": int(_found("/proc/meminfo", r"^MemTotal:\s+(\d+)") or 0) // 1024,
        "kernel": platform.release(),
        "inferq": _first_line(worker, "--version"),
        "postgres": _first_line("psql", "-X", "-A", "-t", "-c", "SHOW server_version"),
        "kafka": _found(os.path.join(root, "deploy/local/kafka/pom.xml"),
                        r"<artifactId>kafka_[^<]*</artifactId>\s*<version>([^<]*)<"),
        "librdkafka": _first_line("pkg-config", "--modversion", "rdkafka"),
        "libcurl": _first_line("pkg-config", "--modversion", "libcurl"),
    }
