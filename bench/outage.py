"""How long nobody can write after kill -9 of the leader, seen by a client at another node.

Every 5 ms a new connection is made to that node and sends one write, whether earlier ones were answered or not; each is
given up after a second. The time without service is the longest one without an acknowledged write, from the kill on."""

import asyncio
import base64
import json
import struct
import time

INTERVAL_S = 0.005
PATIENCE_S = 1
AFTERWARDS_S = 0.3  # so long it must go on well
GIVE_UP_S = 60


def resp_write(key):
    words = ["SET", key, "probe"]
    return f"*{len(words)}\r\n".encode() + b"".join(f"${len(word)}\r\n{word}\r\n".encode() for word in words)


async def resp_attempt(reader, writer, key):
    writer.write(resp_write(key))
    return await reader.readline() == b"+OK\r\n"


async def etcd_attempt(reader, writer, key):
    coded = {"key": base64.b64encode(key.encode()).decode(), "value": base64.b64encode(b"probe").decode()}
    body = json.dumps(coded).encode()
    writer.write(b"POST /v3/kv/put HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return (await reader.readline()).startswith(b"HTTP/1.1 200")


def zookeeper_frame(body):
    return struct.pack(">i", len(body)) + body


async def zookeeper_attempt(reader, writer, key):
    """A session, a write of a node that is there, the session's end."""
    path = f"/bench/key:{0:012d}".encode()
    session = struct.pack(">iqiqi16s?", 0, 0, 4000, 0, 16, b"", False)
    write = struct.pack(">iii", 1, 5, len(path)) + path + struct.pack(">i5si", 5, b"probe", -1)
    end = struct.pack(">ii", 2, -11)
    writer.write(b"".join(zookeeper_frame(body) for body in (session, write, end)))
    await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])
    reply = await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])
    return struct.unpack(">iqi", reply[:16])[2] == 0


ATTEMPTS = {"cohort": resp_attempt, "etcd": etcd_attempt, "zookeeper": zookeeper_attempt}


async def one_attempt(attempt, port, key, acknowledged):
    writer = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            if await attempt(reader, writer, key):
                acknowledged.append(time.monotonic())
    except (OSError, asyncio.IncompleteReadError, TimeoutError):
        pass
    finally:
        if writer is not None:
            writer.close()


async def watch(attempt, port, key, kill):
    """Probes, kills when ten probes went well, and goes on until service is back. The longest gap, in seconds."""
    acknowledged, tasks = [], set()
    killed = None
    began = time.monotonic()
    while True:
        task = asyncio.create_task(one_attempt(attempt, port, key, acknowledged))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await asyncio.sleep(INTERVAL_S)
        now = time.monotonic()
        if killed is None and len(acknowledged) >= 10:
            kill()
            killed = time.monotonic()
        # Service is back when writes were acknowledged for a while after a gap, or when there was no gap at all.
        since = [moment for moment in acknowledged if killed is not None and moment > killed]
        if since and now - next_start(since, killed) > AFTERWARDS_S:
            break
        if now - began > GIVE_UP_S:
            raise RuntimeError(f"no service {GIVE_UP_S} s after the leader was killed")
    for task in list(tasks):
        task.cancel()
    moments = [killed, *since]
    return max(later - earlier for earlier, later in zip(moments, moments[1:]))


def next_start(since, killed):
    """When the acknowledgements began again: after the longest gap so far."""
    moments = [killed, *since]
    return max(zip(moments, moments[1:]), key=lambda pair: pair[1] - pair[0])[1]


def outage_ms(system, key="probe"):
    """Kills the leader once; brings the node back and waits until all is well."""
    leader = system.leader()
    follower = system.follower()
    gap = asyncio.run(watch(ATTEMPTS[system.kind], follower.port, key, lambda: leader.process.kill()))
    leader.ended()
    system.start()
    return gap * 1000
