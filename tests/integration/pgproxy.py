"""A proxy before Postgres that knows where a transaction ends, so that it can lose exactly one answer.

    with Proxy(tally.fault) as proxy:
        world.start_worker(env=proxy.env)
        proxy.judge = lambda statements: LOSE_REPLY if "claim" in statements else PASS

Workers send a transaction as one pipeline that ends with Sync; the server ends its answer with
ReadyForQuery, and not before it has committed. The frontend's messages are kept back until their
Sync; then `judge` is asked, with the names of the prepared statements in them:

    PASS           on it goes
    LOSE_REPLY     the server commits, its answer is thrown away, and the connection closed
    LOSE_REQUEST   the connection is closed before the server has seen any of it
    HOLD           the server commits; its answer waits for release()

delay_s holds back each answer for so long. silence() swallows all bytes both ways, closes nothing,
and takes new connections without ever answering, until speak(): what was connected before stays
dead, as when a middlebox has forgotten it; what connects afterwards is served.

It speaks plain TCP: `env` switches TLS and GSS off for the programs behind it. One thread, one event
loop; judge is called there and must not block. A server that cannot be reached: what connects is
closed.
"""
import asyncio
import collections
import contextlib
import os
import struct
import threading

PASS, LOSE_REPLY, LOSE_REQUEST, HOLD = "pass", "lose reply", "lose request", "hold"
PIPELINED = b"PBDECF"  # kept back until the Sync
STARTUP = frozenset({"(startup)"})


def bound_statement(body):
    """The statement's name in a Bind message: the second string."""
    return body.split(b"\0", 2)[1].decode()


class Connection:
    """One client's, and the proxy's own to the server."""

    def __init__(self, proxy, client_in, client_out):
        self.proxy = proxy
        self.client_in, self.client_out = client_in, client_out
        self.server_in = self.server_out = None
        self.open = collections.deque([(STARTUP, PASS)])  # transactions without an answer yet
        self.dead = proxy.silent  # swallows what comes, for ever

    def close(self):
        self.client_out.close()
        if self.server_out is not None:
            self.server_out.transport.abort()

    async def serve(self):
        if self.dead:
            await self._swallow(self.client_in)
            return
        self.server_in, self.server_out = await asyncio.open_connection(*self.proxy.server)
        ways = [asyncio.create_task(self._requests()), asyncio.create_task(self._answers())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in await asyncio.gather(*ways, return_exceptions=True):
                if not isinstance(end, (OSError, EOFError, asyncio.CancelledError, type(None))):
                    self.proxy.problems.append(repr(end))

    @staticmethod
    async def _swallow(reader):
        while await reader.read(65536):
            pass

    @staticmethod
    async def _message(reader):
        """(type, body, all of it)"""
        head = await reader.readexactly(5)
        body = await reader.readexactly(struct.unpack(">I", head[1:])[0] - 4)
        return head[:1], body, head + body

    async def _requests(self):
        size = await self.client_in.readexactly(4)
        await self._to_server(size + await self.client_in.readexactly(struct.unpack(">I", size)[0] - 4))
        kept, names = [], set()
        while True:
            kind, body, whole = await self._message(self.client_in)
            kept.append(whole)
            if kind == b"B":
                names.add(bound_statement(body))
            if kind in PIPELINED:
                continue
            if kind in b"SQ":
                action = PASS if self.dead else self.proxy.judged(frozenset(names))
                if action == LOSE_REQUEST:
                    return
                self.open.append((frozenset(names), action))
                names = set()
            await self._to_server(b"".join(kept))
            kept = []

    async def _to_server(self, data):
        if not self.dead:
            self.server_out.write(data)
            await self.server_out.drain()

    async def _answers(self):
        """Answer by answer where it is to be held or lost, else message by message."""
        kept = []
        while True:
            kind, _, whole = await self._message(self.server_in)
            _, action = self.open[0] if self.open else (STARTUP, PASS)
            if action == PASS:
                await self._to_client(whole)
            else:
                kept.append(whole)
            if kind != b"Z":
                continue
            self.open.popleft()
            if action == LOSE_REPLY:
                self.proxy.lost.append(b"".join(kept))
                await self.proxy.slowly.join()  # what was answered before is on its way
                return
            if action == HOLD:
                self.proxy.holding += 1
                await self.proxy.released.wait()
                await self._to_client(b"".join(kept))
            kept = []

    async def _to_client(self, data):
        due = asyncio.get_running_loop().time() + self.proxy.delay_s
        await self.proxy.slowly.put((due, self, data))


class Proxy:
    """Listens on a free loopback port while it is entered."""

    def __init__(self, on_fault=lambda what: None):
        self.server = (os.environ["PGHOST"], int(os.environ.get("PGPORT", "5432")))
        self.on_fault = on_fault
        self.judge = lambda statements: PASS
        self.delay_s = 0.0
        self.silent = False
        self.lost = []  # the answers thrown away
        self.holding = 0  # answers that were held so far
        self.problems = []  # its own
        self.connections = set()

    @property
    def env(self):
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGSSLMODE": "disable",
                "PGGSSENCMODE": "disable"}

    def judged(self, statements):
        action = self.judge(statements)
        if action in (LOSE_REPLY, LOSE_REQUEST):
            self.on_fault(f"postgres {action.replace('lose', 'lost')}")
        return action

    def _call(self, function):
        """Runs it in the proxy's thread, and waits."""
        async def call():
            return function()
        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(30)

    def release(self):
        """What was held goes on its way; later HOLDs wait anew."""
        def release():
            self.released.set()
            self.released = asyncio.Event()
        self._call(release)

    def cut(self):
        """Closes every connection that stands."""
        self._call(lambda: [c.close() for c in self.connections])

    def silence(self):
        def silence():
            self.silent = True
            for connection in self.connections:
                connection.dead = True
        self.on_fault("postgres half-open")
        self._call(silence)

    def speak(self):
        self.silent = False

    # ---- the thread

    async def _accept(self, reader, writer):
        connection = Connection(self, reader, writer)
        self.connections.add(connection)
        try:
            with contextlib.suppress(OSError, EOFError):
                await connection.serve()
        finally:
            self.connections.discard(connection)
            connection.close()

    async def _deliver(self):
        """Answers in the order of their times; a delay that changes only holds back what is behind."""
        loop = asyncio.get_running_loop()
        while True:
            due, connection, data = await self.slowly.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if not connection.dead and not connection.client_out.is_closing():
                connection.client_out.write(data)
            self.slowly.task_done()

    async def _run(self, started):
        self.loop = asyncio.get_running_loop()
        self.slowly = asyncio.Queue()
        self.released = asyncio.Event()
        self.stopping = asyncio.Event()
        deliver = asyncio.create_task(self._deliver())
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 20)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self.stopping.wait()
        server.close()
        deliver.cancel()
        for connection in list(self.connections):
            connection.close()

    def __enter__(self):
        started = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run(started)), daemon=True)
        self.thread.start()
        assert started.wait(30), "the proxy does not start"
        return self

    def __exit__(self, *_):
        self._call(self.stopping.set)
        self.thread.join(30)
        assert not self.problems, self.problems[:5]
