"""A resource that locks guard, in a process of its own, which is no part of the cluster: texts by name.

    guarded.py SOCKET [--blind]

Each request shows a token. The resource keeps the largest one that it has seen of each name and refuses smaller ones; blind,
it takes whatever comes. A line for each request: `get NAME TOKEN`, answered `= TEXT` or `refused`; `set NAME TOKEN TEXT`,
answered `done` or `refused`; `old`, answered with how many requests came with an older token than one that was seen before.

    with guarded.Resource(folder, blind=False) as resource:
        with guarded.Client(resource.path) as client:
            client.call("set", "stock", token, "17")"""

import os
import pathlib
import selectors
import socket
import subprocess
import sys
import time

import servers

START_TEXT = "0"  # of every name


class Store:
    def __init__(self, blind):
        self.blind, self.texts, self.newest, self.old = blind, {}, {}, 0

    def answer(self, line):
        word, *rest = line.split(" ")
        if word == "old":
            return str(self.old)
        name, token, *text = rest
        newest = self.newest.get(name, 0)
        self.newest[name] = max(newest, int(token))
        if int(token) < newest:
            self.old += 1
            if not self.blind:
                return "refused"
        if word == "get":
            return f"= {self.texts.get(name, START_TEXT)}"
        self.texts[name] = text[0]
        return "done"


def serve(path, blind):
    store, chooser, parts = Store(blind), selectors.DefaultSelector(), {}
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(256)
    chooser.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in chooser.select():
            if key.fileobj is listener:
                client, _ = listener.accept()
                parts[client] = b""
                chooser.register(client, selectors.EVENT_READ)
                continue
            data = key.fileobj.recv(65536)
            if not data:
                chooser.unregister(key.fileobj)
                parts.pop(key.fileobj)
                key.fileobj.close()
                continue
            *lines, parts[key.fileobj] = (parts[key.fileobj] + data).split(b"\n")
            for line in lines:
                key.fileobj.sendall(store.answer(line.decode()).encode() + b"\n")


class Resource:
    """The process; `path` is where it listens, from whichever network."""

    def __init__(self, folder, blind=False):
        self.path = str(pathlib.Path(folder) / "resource")
        words = [sys.executable, __file__, self.path, *(["--blind"] if blind else [])]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, preexec_fn=servers.end_with_parent)
        deadline = time.monotonic() + servers.START_SECONDS
        while not os.path.exists(self.path) or not self.listens():
            assert self.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)

    def listens(self):
        try:
            Client(self.path).close()
        except OSError:
            return False
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def old(self):
        """Requests with an older token than one that was seen before."""
        with Client(self.path) as client:
            return int(client.call("old"))


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def call(self, *words):
        self.socket.sendall((" ".join(map(str, words)) + "\n").encode())
        return self.file.readline().decode()[:-1]


if __name__ == "__main__":
    serve(sys.argv[1], "--blind" in sys.argv)
