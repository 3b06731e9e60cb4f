"""Drives modelsim from a test: starts one, asks it, reads what it witnessed.

Happy path: sim = Sim(directory, "--latency", "50ms"); sim.say("hello"); sim.summary(); sim.stop().
What goes wrong: a modelsim that does not start fails the assertion in Sim; replies that are no
HTTP raise http.client's exceptions or fail an assertion.
The programs lie in $INFERQ_TOOLS, else in build/bin.
"""
import http.client
import json
import os
import pathlib
import re
import socket
import subprocess
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = os.environ.get("INFERQ_TOOLS") or str(ROOT / "build" / "bin")
CHAT = "/v1/chat/completions"


def chat(text, **more):
    """A chat request's body."""
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


class Sim:
    """One running modelsim."""

    def __init__(self, tmp_path, *arguments, script=None):
        name = uuid.uuid4().hex
        self.witness_file = tmp_path / f"{name}.jsonl"
        port_file = tmp_path / f"{name}.port"
        command = [f"{BIN}/modelsim", "--port", "0", "--port-file", str(port_file),
                   "--witness", str(self.witness_file), *arguments]
        if script is not None:
            (tmp_path / f"{name}.script").write_text(script)
            command += ["--script", str(tmp_path / f"{name}.script")]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("listening 127.0.0.1:"), line
        self.port = int(line.rsplit(":", 1)[1])
        assert int(port_file.read_text()) == self.port

    def stop(self):
        """SIGTERM must always end it cleanly."""
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(10)
        self.process.stdout.close()
        return status

    def connect(self):
        """A kept connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def socket(self):
        """A raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, body, path=CHAT, method="POST", headers=None, connection=None):
        """(status, headers in lower case, body bytes) of one request."""
        own = connection or self.connect()
        try:
            data = body if body is None or isinstance(body, bytes) else json.dumps(body)
            own.request(method, path, data, headers or {})
            reply = own.getresponse()
            return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
        finally:
            if connection is None:
                own.close()

    def say(self, text, sim="", headers=None, **more):
        """The parsed answer to one chat request that must succeed."""
        status, _, data = self.ask(chat(f"[[sim: {sim}]] {text}" if sim else text, **more),
                                   headers=headers)
        assert status == 200, data
        return json.loads(data)

    def sim(self, words, text="hello"):
        """Status, headers, body of a chat request under these words."""
        return self.ask(chat(text), headers={"x-sim": words})

    def summary(self):
        """GET /witness."""
        return json.loads(self.ask(None, "/witness", "GET")[2])

    def control(self, script, mode=""):
        """Replaces the script."""
        return self.ask(script.encode(), "/control" + mode)

    def change_limits(self, lines):
        """Puts limits in the place of those of their names; these keep what they have counted."""
        status, _, data = self.control(lines, "?mode=change")
        assert status == 200, data

    def lines(self, kind=None):
        """The witness lines of all that was answered until now. An `end` is written after the reply has
        left, in the stand-in's next turn: while it runs it is asked something, as it writes before it
        answers. What it is writing just now may be half there, and is no line yet."""
        if self.process.poll() is None:
            self.summary()
        whole, _, _ = self.witness_file.read_text().rpartition("\n")
        rows = [json.loads(line) for line in whole.splitlines()]
        return [r for r in rows if kind is None or r["kind"] == kind]


def content(answer):
    """The text of a chat answer."""
    return answer["choices"][0]["message"]["content"]


def job_headers(job=None, call=1):
    """What a worker sends along."""
    return {"x-inferq-job": str(job or uuid.uuid4()), "x-inferq-call": str(call)}


def wait_for(check, seconds=10):
    """Polls until check() is true."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)


def request_bytes(body, headers=None, path=CHAT):
    """One POST as bytes."""
    data = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: sim", f"Content-Length: {len(data)}"]
    lines += [f"{k}: {v}" for k, v in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def read_reply(sock):
    """One reply with a length from a raw socket, and not a byte more: (status, body)."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        assert byte, head
        head += byte
    size = int(re.search(rb"content-length: (\d+)", head).group(1))
    body = sock.recv(size, socket.MSG_WAITALL) if size else b""
    assert len(body) == size
    return int(head.split(b" ")[1]), body


def read_all(sock):
    """(bytes until the end, was the end a reset)."""
    data = b""
    while True:
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            return data, True
        if not piece:
            return data, False
        data += piece
