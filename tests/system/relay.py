"""A relay for TCP connections that behaves badly on request: the network between nodes, where no tool of the system can be
asked for it.

    relay = Relay(target_port)           # listens at relay.port
    relay.delay_s = 0.05                 # every piece of bytes is so long on its way, however many are
    relay.held = True                    # nothing passes, and nobody is told; False: all of it passes
    relay.watch = lambda data, asks: …   # told of every piece before it is delivered; `asks`: from who connected. What
                                         # it gives is delivered; None: nothing, and the connection breaks
    relay.reset()                        # all connections break; some of what was under way has arrived, some not
    relay.close()"""

import contextlib
import queue
import socket
import struct
import threading
import time

PIECE_BYTES = 16 << 10


class Relay:
    def __init__(self, target_port):
        self.target_port = target_port
        self.delay_s, self.held, self.watch = 0.0, False, lambda data, asks: data
        self.lock = threading.Lock()
        self.open = set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                one = self.listener.accept()[0]
                try:
                    other = socket.create_connection(("127.0.0.1", self.target_port), 10)
                except OSError:
                    one.close()
                    continue
                for end in (one, other):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    end.settimeout(None)
                with self.lock:  # from now on it may be reset
                    self.open |= {one, other}
                for source, target in ((one, other), (other, one)):
                    threading.Thread(target=self.pump, args=(source, target, source is one), daemon=True).start()

    def pump(self, source, target, asks):
        under_way = queue.SimpleQueue()
        threading.Thread(target=self.deliver, args=(under_way, source, target, asks), daemon=True).start()
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                under_way.put((time.monotonic() + self.delay_s, data))
        under_way.put(None)

    def deliver(self, under_way, source, target, asks):
        with contextlib.suppress(OSError):
            while piece := under_way.get():
                due, data = piece
                time.sleep(max(0.0, due - time.monotonic()))
                while self.held:
                    time.sleep(0.01)
                if (data := self.watch(data, asks)) is None:
                    break
                target.sendall(data)
        self.end({source, target})

    def end(self, sockets):
        with self.lock:
            sockets &= self.open
            self.open -= sockets
        for one in sockets:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RD)  # wakes who reads from it
            one.close()

    def reset(self):
        self.end(set(self.open))

    def close(self):
        self.held = False
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.reset()
