"""`inferq top`: on a terminal of its own, and as text; what it says of a fleet at work, its keys, its
sizes, and that the terminal is as it was, however it ends."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from harness import BIN, away_from_midnight, model, wait_for

READ_S = 60
OLD_SCREEN = "\x1b[?1049l"  # what xterm is told when the alternate screen is left


class Terminal:
    """`inferq top` on a pseudo-terminal."""

    def __init__(self, world, *arguments, size=(40, 120), term="xterm", **env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(world.env, TERM=term, **env)
            os.execv(BIN / "inferq", ["inferq", "top", *arguments])
        self.seen = ""
        self.resize(*size)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        """What came meanwhile; False: it has ended."""
        if not select.select([self.fd], [], [], 0.2)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # the other end is closed
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)

    def until(self, *texts):
        """Reads until all of them stand in what came since the last call."""
        end = time.monotonic() + READ_S
        while not all(text in self.seen for text in texts):
            assert time.monotonic() < end, f"no {texts} in {self.seen!r}"
            assert self.read(), f"it ended: {self.seen!r}"
        self.seen = ""

    def keys(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        """Its exit status, and what it wrote at last."""
        end = time.monotonic() + READ_S
        while self.read():
            assert time.monotonic() < end, "it does not end"
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return status, self.seen


@pytest.fixture(scope="module", name="busy")
def busy_world(worlds):
    """A fleet at work that goes on as long as anybody looks."""
    world = worlds(models=[model("slow", max_in_flight=2), model("shut")], latency="1s")
    world.env["INFERQ_GROUP"] = world.name
    worker = world.start_worker()
    world.inferq("endpoint", "pause", "at-shut", "--reason", "their maintenance", "--actor", "ann")
    wait_for(lambda: worker.metric("inferq_endpoint_paused_seconds", endpoint="at-shut") > 0,
             what="its knowledge of the pause")
    world.ask(*[f"text {i}" for i in range(600)], model="slow", batch="long")  # for five minutes
    world.ask(*[f"text {i}" for i in range(3)], model="shut", batch="stuck")
    world.wait_ended(world.ask("[[sim: status=400]] no", "yes", batch="short"))
    wait_for(lambda: world.value("SELECT count(*) FROM parked") >= 3, what="parked jobs")
    return world


def test_one_look_says_what_goes_on(busy):
    def look():
        text = busy.inferq("top", "--once").stdout
        found = (re.search(r"at-slow +[12]/2 +[1-9]\.\d", text)
                 and re.search(r"^1 worker  [12] calls? in flight", text, re.MULTILINE))
        return found and text
    text = wait_for(look, what="calls in flight and a rate", every=0.5)
    assert re.search(r"^normal +\d+ +\d+\.\d +3 +0$", text, re.MULTILINE), text
    assert re.search(r"at-shut .* 3 +paused by ann", text), text
    assert re.search(r"pipe/long +[#.]{16} +\d+/600", text), text
    assert "pipe/stuck" in text and "pipe/short" not in text
    assert re.search(r"^CALLS .* ok \d", text, re.MULTILINE), text
    assert "\x1b" not in text


def test_keys_sizes_and_the_terminal_afterwards(busy):
    terminal = Terminal(busy, "--interval-ms", "300")
    terminal.until("inferq top", "ENDPOINT", "at-slow", "pipe/long")
    terminal.keys("p")
    terminal.until("HELD")
    terminal.resize(8, 30)
    terminal.until("inferq top", "high")  # drawn anew for the new size, without a look
    terminal.resize(40, 120)
    terminal.until("HELD", "pipe/long")
    terminal.keys("p")
    terminal.until("\x1b[1;")  # another time in the first line
    terminal.keys("q")
    status, last = terminal.end()
    assert status == 0 and OLD_SCREEN in last


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_restore_the_terminal(busy, number):
    terminal = Terminal(busy)
    terminal.until("inferq top")
    os.kill(terminal.pid, number)
    status, last = terminal.end()
    assert status == 0 and OLD_SCREEN in last


def test_no_color_and_small_terminals(busy):
    terminal = Terminal(busy, size=(3, 20), NO_COLOR="1")
    terminal.until("inferq top")
    terminal.keys("q")
    status, last = terminal.end()
    assert status == 0 and "\x1b[1m" not in last


def test_a_day_that_is_used_up_is_no_hang(worlds):
    """A real worker stops at it: what `inferq` says meanwhile, and of a job that waited, afterwards."""
    away_from_midnight(300)
    world = worlds(models=[model("daily", limits={"requests_per_minute": 1200, "tokens_per_day": 1000})])
    world.env["INFERQ_GROUP"] = world.name
    world.start_worker()
    batch = world.ask(*[f"text {i}" + " and more" * 20 for i in range(90)], model="daily")

    def shown():
        return {row["dimension"]: row for row in json.loads(world.inferq("limit", "show", "--json").stdout)}
    day = wait_for(lambda: 700 < shown()["tokens_per_day"]["used"] and shown()["tokens_per_day"],
                   what="a day's tokens used up")  # the next call may take 200 and more
    assert day["used"] + day["held"] == 1000 and day["wanted"] is None
    wait_for(lambda: world.value("SELECT count(*) FROM call WHERE done_at IS NULL") == 0, what="no call")
    for said in (world.inferq("top", "--once").stdout, world.inferq("endpoint", "show").stderr,
                 world.inferq("doctor", ok=(0, 1)).stdout):
        assert re.search(r"endpoint:at-daily@1 tokens_per_day 1000: all taken, more at 00:00 UTC \(.*\), "
                         r"up to \d+ jobs wait; inferq limit show$", said, re.MULTILINE), said
    world.inferq("limit", "set", "endpoint:at-daily", "tokens_per_day", "1M")
    assert world.wait_ended(batch)["succeeded"] == 90
    last, whole, by_limit = world.rows("SELECT custom_id, limit_us, limit_waits::json FROM result "
                                       "ORDER BY finished_at DESC LIMIT 1")[0]
    assert len(by_limit) == 2 and sum(by_limit.values()) == whole
    story = world.inferq("explain", str(batch), last).stdout
    for name in ("tokens_per_day", "requests_per_minute"):
        assert re.search(rf"[(,].* for {name} of endpoint at-daily@1", story), story


def test_without_a_terminal_it_says_what_to_do(busy):
    done = busy.inferq("top", ok=(2,), stdin="")
    assert "--once" in done.stderr and not done.stdout
    terminal = Terminal(busy, term="no-such-kind")
    status, last = terminal.end()
    assert status == 2 and "no-such-kind" in last


def test_a_database_that_is_not_there_is_said(busy):
    done = subprocess.run([BIN / "inferq", "top", "--once"], check=False, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          env={**os.environ, **busy.env, "PGPORT": "1"})
    assert done.returncode == 3 and done.stderr
