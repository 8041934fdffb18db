"""What tests of locks, elections, sessions, barriers and latches have in common. conftest.py has their fixtures: `anywhere`,
a client at each node of a shared cluster, and `pool`, threads for those who wait."""

import time

import resp

LONG = 3600_000  # ms: nothing of a test ends by itself


def fresh(name, made=[0]):
    """A name that no other test has."""
    made[0] += 1
    return f"{name}:{made[0]}"


def until(condition, seconds=60):
    """What it is, once it is true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


def acquire(client, lock, owner, *how, ttl=LONG):
    return client.call("LOCK.ACQUIRE", lock, owner, "PX", ttl, *how)


def info(client, lock):
    told = resp.pairs(client.call("LOCK.INFO", lock))
    for part in (b"holders", b"waiters"):
        told[part] = [resp.pairs(each) for each in told[part]]
    return told


def waiting(client, lock, count):
    """So many wait for it."""
    until(lambda: len(info(client, lock)[b"waiters"]) == count)


def figures(client, *sections):
    """INFO's lines, by name."""
    lines = client.call("INFO", *sections).decode().split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)
