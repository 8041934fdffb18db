"""A relay that sees what passes: `request` and `reply` take pieces of bytes and give what goes on; Cut ends the connection.

    wire = Wire(port)
    wire.request = lambda data: data      # whatever a client sends
    wire.reply = lambda data: data        # whatever the server answers
    wire.close()"""

import contextlib
import select
import socket
import threading

PIECE_BYTES = 64 << 10


class Cut(Exception):
    """Both ends see the connection end."""


def same(data):
    return data


class Wire:
    def __init__(self, target_port):
        self.target_port, self.request, self.reply = target_port, same, same
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                threading.Thread(target=self.pass_on, args=(self.listener.accept()[0],), daemon=True).start()

    def pass_on(self, client):
        with contextlib.suppress(OSError, Cut), client:
            with socket.create_connection(("127.0.0.1", self.target_port), 10) as server:
                while True:
                    for one in select.select([client, server], [], [])[0]:
                        data = one.recv(PIECE_BYTES)
                        if not data:
                            return
                        if one is client:
                            server.sendall(self.request(data))
                        else:
                            client.sendall(self.reply(data))

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
