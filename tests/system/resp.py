"""A small RESP2 and RESP3 client: bytes out, typed replies back, nothing converted or hidden.

It is for tests that must see what is on the wire. Replies: str for a simple string, bytes for a bulk, int, float, bool,
None, list, and the types below, so that a map never compares equal to an array."""

import contextlib
import socket


class Error(str):
    """An error reply (or RESP3 blob error)."""


class Map(list):
    """Pairs, in the order of the wire."""


class Set(list):
    pass


class Push(list):
    pass


class Verbatim(bytes):
    pass


class BigNumber(int):
    pass


def pairs(reply):
    """A map as a dict, in whichever protocol it came."""
    return dict(reply) if isinstance(reply, Map) else dict(zip(reply[::2], reply[1::2], strict=True))


def encode(*words):
    """One command as an array of bulks; words are bytes, str or numbers."""
    out = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        out.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(out)


def connect(port, timeout=30, host="127.0.0.1", network=None):
    """A socket; `network` (networks.py) is where its client is, when that is not this machine's own."""
    with network or contextlib.nullcontext():
        return socket.create_connection((host, port), timeout)


class Connection:
    def __init__(self, port, timeout=30, protocol=2, host="127.0.0.1", network=None):
        self.socket = connect(port, timeout, host, network)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.hello = self.call("HELLO", 3) if protocol == 3 else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(OSError):  # the other end was faster
            self.socket.shutdown(socket.SHUT_RDWR)  # a thread that reads is done; it holds the file until then
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def call(self, *words):
        self.send(encode(*words))
        return self.read()

    def calls(self, commands):
        """All commands in one write (a pipeline); their replies in order."""
        commands = list(commands)
        self.send(b"".join(encode(*words) for words in commands))
        return [self.read() for _ in commands]

    def line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError(f"closed in the middle of a reply (after {line!r})")
        return line[:-2]

    def exactly(self, size):
        data = self.file.read(size + 2)
        if len(data) != size + 2 or data[-2:] != b"\r\n":
            raise ConnectionError("closed in the middle of a bulk, or a bulk without its end")
        return data[:-2]

    def read(self):
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode("latin-1")
        if kind == b"-":
            return Error(rest.decode("latin-1"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.exactly(int(rest))
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        if kind == b"%":
            return Map((self.read(), self.read()) for _ in range(int(rest)))
        if kind == b"~":
            return Set(self.read() for _ in range(int(rest)))
        if kind == b">":
            return Push(self.read() for _ in range(int(rest)))
        if kind == b"_":
            return None
        if kind == b"#":
            return {b"t": True, b"f": False}[rest]
        if kind == b",":
            return float(rest)
        if kind == b"(":
            return BigNumber(rest)
        if kind == b"=":
            return Verbatim(self.exactly(int(rest)))
        if kind == b"!":
            return Error(self.exactly(int(rest)).decode("latin-1"))
        if kind == b"|":  # attributes belong to the reply that follows
            for _ in range(2 * int(rest)):
                self.read()
            return self.read()
        raise ConnectionError(f"not a reply: {line!r}")
