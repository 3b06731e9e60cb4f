"""A door before the model: requests go in, and what is answered comes out once the door is open. So a
call lasts exactly as long as a test needs it, on any machine; the witness has seen it meanwhile.

Happy path: door = Door(world.sim.port); model("m", base_url=door.url); ...; door.open(). It ends with
the process. What goes wrong: where one side of a connection ends, so does the other.
"""
import contextlib
import socket
import threading

PIECE = 65536


class Door:
    def __init__(self, port):
        self._port = port
        self._opened = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    def open(self):
        self._opened.set()

    @staticmethod
    def _start(target, *arguments):
        threading.Thread(target=target, args=arguments, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(("127.0.0.1", self._port))
            self._start(self._pass_on, client, server)
            self._start(self._pass_on, server, client, self._opened.wait)

    @staticmethod
    def _pass_on(source, target, wait=None):
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                if wait:
                    wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
