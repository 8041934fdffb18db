#!/usr/bin/python3
"""Checks the arrows between the rooms of src/: who may include whom, which rooms are pure, that each has a README.

The graph is the one of ARCHITECTURE.md. An include of a room that is not below the includer's, an outside library in a
room that may not know it, or a clock, I/O or thread header in a pure room is a finding: file, line, reason.

usage: arrows.py [ROOT]        exit status 1 when there are findings"""

import pathlib
import re
import sys

# Room → the rooms directly below it; what those may include, it may include too.
BELOW = {
    "base": [],
    "env": ["base"],
    "raft": ["base"],
    "log": ["env"],
    "wire": ["base"],
    "script": ["wire"],
    "command": ["wire"],
    "machine": ["command", "script"],
    "shard": ["raft", "log", "machine", "env"],
    "cluster": ["shard", "wire", "env"],
    "server": ["cluster", "shard", "machine", "log", "raft", "command", "wire", "env", "base"],
    "env_uv": ["env"],
    "client": ["wire"],
    "client_uv": ["client"],
    "engine": ["client"],
    "embedded": ["server", "env_uv", "engine"],
    "resource": ["client"],
    "balance": ["base"],
    "proxy": ["balance", "client", "env"],
    "cli": ["server", "env_uv", "client", "client_uv", "engine", "resource", "proxy"],
}

# No clock, randomness, I/O, logging or threads of their own.
PURE = {"raft", "wire", "script", "command", "machine", "balance"}
IMPURE_HEADERS = re.compile(
    r"(time|pthread|threads|signal|unistd|fcntl|poll|dirent|syslog|netdb|semaphore"
    r"|sys/(socket|time|stat|mman|epoll|select|random|ioctl|types|uio|eventfd|timerfd|wait|resource)"
    r"|arpa/inet|netinet/.*)\.h$"
)

# <stdio.h> is there for snprintf; the rest of it, and what <stdlib.h> has of the world, is not.
IMPURE_CALLS = re.compile(
    r"(?<![\w.>])(v?f?printf|puts|putchar|perror|f(open|close|read|write|puts|flush|sync)|s?rand(om)?(_r)?|getenv|abort|exit)"
    r"\s*\("
)

# Outside libraries, and the only rooms that know them.
LIBRARIES = {
    "uv.h": {"env_uv", "client_uv"},
    "uv/": {"env_uv"},
    "isa-l": {"base"},
    "xxhash.h": {"base"},
    "microhttpd.h": {"server", "cli"},
    "ini.h": {"server", "cli"},
    "jansson.h": {"server", "cli", "engine"},
    "lua": {"script"},
    "lauxlib.h": {"script"},
    "openssl/": {"script"},
    "sqlite3.h": {"engine"},
    "libpq-fe.h": {"engine", "resource"},
    "hiredis/": {"engine"},
    "zookeeper/": {"engine"},
    "curl/": {"engine", "resource"},
    "mysql.h": {"resource"},
}

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')


def reachable(room):
    """The rooms that `room` may include, itself among them."""
    rooms, todo = set(), [room]
    while todo:
        at = todo.pop()
        if at not in rooms:
            rooms.add(at)
            todo.extend(BELOW[at])
    return rooms


def why_forbidden(room, kind, header):
    """The reason why a file of `room` must not include this header, or None."""
    for library, rooms in LIBRARIES.items():
        if header.startswith(library):
            return None if room in rooms else f"only {' and '.join(sorted(rooms))} may know {library}"
    if kind == "<":
        if room in PURE and IMPURE_HEADERS.match(header):
            return f"{room} is pure: no clock, I/O, logging or threads"
        return None
    if header.startswith("cohort/"):
        return None if room in reachable("cli") - reachable("server") else "the public API is above this room"
    if "/" not in header:
        return "name the room: headers are included from src/"
    target = header.split("/")[0]
    if target == "sim":
        return None if room == "cli" else "only the command line may run the simulator"
    if target not in BELOW:
        return f"there is no room '{target}'"
    if target not in reachable(room):
        return f"no arrow from {room} to {target}"
    return None


COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def lines(root, folder):
    """(file, line number, line) of all C below the folder, comments blanked out."""
    for file in sorted(folder.rglob("*.[ch]")):
        code = COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), file.read_text())
        for number, line in enumerate(code.splitlines(), 1):
            yield file.relative_to(root), number, line


def findings(root):
    root = pathlib.Path(root)
    for folder in sorted(path for path in (root / "src").iterdir() if path.is_dir()):
        room = folder.name
        if room not in BELOW:
            yield f"src/{room}: a room that the graph does not know"
            continue
        if any(folder.rglob("*.[ch]")) and not (folder / "README.md").is_file():
            yield f"src/{room}: no README.md"
        for file, number, line in lines(root, folder):
            match = INCLUDE.match(line)
            reason = match and why_forbidden(room, match[1], match[2])
            if reason:
                yield f"{file}:{number}: {match[2]}: {reason}"
            call = room in PURE and IMPURE_CALLS.search(line)
            if call:
                yield f"{file}:{number}: {call[1]}(): {room} is pure"
    for file, number, line in lines(root, root / "sim"):
        match = INCLUDE.match(line)
        if match and match[2].startswith(("env_uv/", "uv.h", "uv/")):
            yield f"{file}:{number}: {match[2]}: the simulator knows no real env"


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent
    found = list(findings(root))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
