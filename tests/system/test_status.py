"""cohort status: real nodes, and made-up ones that say whatever a test wants, or nothing."""

import fcntl
import json
import os
import pty
import socketserver
import struct
import subprocess
import termios
import threading
import time

import pytest
import redis
import servers
from test_cli import UNAVAILABLE, at, cohort

DEGRADED = 75
CLUSTER = "c" * 32


def resp3(value):
    """A value as RESP3; bytes are RESP already."""
    if isinstance(value, bytes):
        return value
    if value is None:
        return b"_\r\n"
    if isinstance(value, bool):
        return b"#t\r\n" if value else b"#f\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogateescape")
        return b"$%d\r\n%s\r\n" % (len(data), data)
    if isinstance(value, dict):
        return b"%%%d\r\n" % len(value) + b"".join(resp3(key) + resp3(item) for key, item in value.items())
    return b"*%d\r\n" % len(value) + b"".join(map(resp3, value))


class MadeUp(socketserver.ThreadingTCPServer):
    """A node that answers COHORT.STATUS with `said`; None: it takes connections and keeps silent."""

    daemon_threads = True

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                if line == b"HELLO\r\n":
                    self.wfile.write(resp3({"proto": 3}))
                elif line == b"COHORT.STATUS\r\n" and self.server.said is not None:
                    self.wfile.write(resp3(self.server.said))

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.port = self.server_address[1]
        self.said = None
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


def replica(shard, role, leader=1, term=3, commit=100, applied=100, voters=(1, 2, 3)):
    known = role != "none"
    return {"shard": shard, "role": role, "leader": leader, "term": term, "commit": commit if known else None,
            "applied": applied if known else None, "last": commit if known else None,
            "snapshot_index": 0 if known else None, "keys": 10 if known else None, "voters": list(voters)}  # fmt: skip


class MadeUpCluster:
    """Nodes 1 … count that say what real ones would. `said[id]` may be changed before asking."""

    def __init__(self, count, shards=2):
        self.servers = {id: MadeUp() for id in range(1, count + 1)}
        nodes = [{"node": id, "state": "active", "host": "127.0.0.1", "port": server.port, "peer_port": 1,
                  "incarnation": None, "up": True} for id, server in self.servers.items()]  # fmt: skip
        for id, server in self.servers.items():
            role = ["leader", "follower", "follower"][id - 1] if id <= 3 else "none"
            server.said = {
                "version": "0.1.0", "node": id, "incarnation": f"{id}" * 32, "uptime_s": 60, "clients": 1, "keys": 10,
                "memory_bytes": 1000, "log_bytes": 1000, "snapshot_time_s": 0, "cluster": CLUSTER, "replicas": 3,
                "meta": replica(0, role), "shards": [replica(n, role) for n in range(1, shards + 1)], "nodes": nodes,
            }  # fmt: skip
        self.url = f"127.0.0.1:{self.servers[1].port}"

    def __getitem__(self, id):
        return self.servers[id].said

    def silence(self, id):
        self.servers[id].said = None

    def close(self):
        for server in self.servers.values():
            server.shutdown()
            server.server_close()


@pytest.fixture
def made_up():
    made = []

    def make(*arguments, **options):
        made.append(MadeUpCluster(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def table_of(text):
    """Rows of the tables as lists of cells; columns are two spaces apart."""
    return [[cell for cell in line.split("  ") if cell.strip()] for line in text.splitlines() if line]


def stripped(rows):
    return [[cell.strip() for cell in row] for row in rows]


# ---- one real node ----


def test_a_node_alone(cohort_server):
    done = cohort("status", at(cohort_server))
    assert done.returncode == 0 and done.stderr == ""
    nodes, node, shards, shard = stripped(table_of(done.stdout))
    assert nodes == "NODE ADDRESS STATE VERSION UPTIME MEMORY LOG INCARNATION".split()
    assert node[:3] == ["1", f"127.0.0.1:{cohort_server.port}", "up"]
    assert shards == ["SHARD", "TERM", "COMMIT", "KEYS", "NODE 1"]
    assert shard[0] == "1" and shard[3:] == ["0", "leader"]


def test_a_node_alone_as_json(cohort_server):
    redis.Redis(port=cohort_server.port).mset({"a": 1, "b": 2})
    done = cohort("status", "--json", at(cohort_server))
    assert done.returncode == 0 and done.stderr == ""
    status = json.loads(done.stdout)
    (node,) = status["nodes"]
    assert node["up"] is True and node["address"] == f"127.0.0.1:{cohort_server.port}" and node["state"] == "active"
    assert node["keys"] == 2 and node["clients"] >= 1 and node["memory_bytes"] > 0 and node["uptime_seconds"] >= 0
    assert len(node["version"].split(".")) == 3 and len(node["incarnation"]) == 32
    (shard,) = status["shards"]
    assert shard["shard"] == 1 and shard["leader"] == 1 and shard["keys"] == 2
    (only,) = shard["replicas"]
    assert only["role"] == "leader" and only["lag"] == 0 and only["applied"] == shard["commit"] == only["last"]
    assert status["meta"] is None and len(status["cluster"]) == 32


@pytest.fixture
def cohort_server(cohort):
    """The shared node, empty."""
    return cohort


def test_a_url_with_a_node_that_is_away(cohort_server):
    away = servers.free_port()
    done = cohort("status", f"127.0.0.1:{away},127.0.0.1:{cohort_server.port}")
    assert done.returncode == 0 and done.stderr == ""
    assert str(away) not in done.stdout


def test_nobody_answers_as_json():
    away = servers.free_port()
    done = cohort("status", "--json", f"127.0.0.1:{away}")
    assert done.returncode == UNAVAILABLE
    (node,) = json.loads(done.stdout)["nodes"]
    assert node["up"] is False and "connection refused" in node["problem"] and node["node"] is None


def test_a_password(new_server, monkeypatch):
    server = new_server("cohort", "--requirepass", "open sesame")
    done = cohort("status", at(server))
    assert done.returncode == UNAVAILABLE and "refuses COHORT.STATUS: NOAUTH" in done.stderr
    monkeypatch.setenv("COHORT_PASSWORD", "wrong")
    done = cohort("status", at(server))
    assert done.returncode == UNAVAILABLE and "refuses AUTH: WRONGPASS" in done.stderr
    monkeypatch.setenv("COHORT_PASSWORD", "open sesame")
    assert cohort("status", at(server)).returncode == 0
    for mode in ("set", "lock", "evalsha"):
        done = cohort("bench", "--url", at(server), "--requests", "100", "--mode", mode)
        assert (done.returncode, done.stderr) == (0, "")


def test_another_server(redis_server):
    done = cohort("status", at(redis_server))
    assert done.returncode == UNAVAILABLE and "refuses COHORT.STATUS: ERR unknown command" in done.stderr


# ---- a real cluster ----


def status_of(node, *arguments):
    done = cohort("status", "--json", *arguments, f"127.0.0.1:{node.port}")
    return done.returncode, json.loads(done.stdout)


def wait_for(code, node, *arguments):
    deadline = time.monotonic() + 60
    while (found := status_of(node, *arguments))[0] != code:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found[1]


def test_a_node_that_hangs_and_comes_back(new_cluster):
    three = new_cluster(nodes=3, shards=2)
    wait_for(0, three[2])
    hung = three.leader_of(1)
    asked = next(node for node in three if node is not hung)
    hung.pause()
    status = wait_for(DEGRADED, asked, "--timeout", "300ms")  # 69 until the others have elected leaders
    assert [node["up"] for node in status["nodes"]] == [node is not hung for node in three]
    for shard in status["shards"]:
        roles = {one["node"]: one["role"] for one in shard["replicas"]}
        assert roles[hung.number] == "unknown" and shard["leader"] != hung.number
        assert sorted(roles.values()) == ["follower", "leader", "unknown"]
    hung.resume()
    three.wait_for_leaders()
    status = wait_for(0, hung)
    assert status["cluster"] and status["meta"]["leader"] in (1, 2, 3)
    assert sum(shard["keys"] for shard in status["shards"]) == 0


# ---- clusters, made up ----


def test_three_nodes(made_up):
    three = made_up(3)
    three[2]["shards"][1] = replica(2, "follower", applied=88)
    done = cohort("status", three.url)
    assert done.returncode == 0 and done.stderr == ""
    rows = stripped(table_of(done.stdout))
    assert [row[:3] for row in rows[1:4]] == [[str(n), f"127.0.0.1:{three.servers[n].port}", "up"] for n in (1, 2, 3)]
    assert [row[-1] for row in rows[1:4]] == ["11111111", "22222222", "33333333"]
    assert rows[4] == ["SHARD", "TERM", "COMMIT", "KEYS", "NODE 1", "NODE 2", "NODE 3"]
    assert rows[5:] == [
        ["1", "3", "100", "10", "leader", "follower", "follower"],
        ["2", "3", "100", "10", "leader", "12 behind", "follower"],
        ["meta", "3", "100", "-", "leader", "follower", "follower"],
    ]
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_any_node_tells_the_same(made_up):
    three = made_up(3)
    asked = [cohort("status", "--json", f"127.0.0.1:{server.port}").stdout for server in three.servers.values()]
    assert asked[0] == asked[1] == asked[2]
    shard = json.loads(asked[0])["shards"][0]
    assert [one["role"] for one in shard["replicas"]] == ["leader", "follower", "follower"]


def test_a_follower_that_does_not_answer(made_up):
    three = made_up(3)
    three.silence(3)
    done = cohort("status", "--timeout", "300ms", three.url)
    assert done.returncode == DEGRADED
    port = three.servers[3].port
    assert done.stderr == f"cohort status: node 3: no answer from 127.0.0.1:{port}: timed out\n"
    rows = stripped(table_of(done.stdout))
    assert rows[3] == ["3", f"127.0.0.1:{port}", "down"]
    assert rows[5][-3:] == ["leader", "follower", "?"]
    status = json.loads(cohort("status", "--timeout", "300ms", "--json", three.url).stdout)
    assert [node["up"] for node in status["nodes"]] == [True, True, False]
    assert status["shards"][0]["replicas"][2]["role"] == "unknown"


def test_all_are_asked_at_the_same_time(made_up):
    many = made_up(20)
    for id in range(2, 21):
        many.silence(id)
    done = cohort("status", "--timeout", "1s", many.url, timeout=15)
    assert done.returncode == DEGRADED and done.stderr.count("timed out") == 19


@pytest.mark.parametrize("leaderless, said", [([1], "shard 1 has no leader"), ([1, 2], "shard 1 and 1 more have no leader")])
def test_a_shard_without_a_leader(made_up, leaderless, said):
    three = made_up(3)
    for shard in leaderless:
        three[1]["shards"][shard - 1]["role"] = "follower"
    done = cohort("status", three.url)
    assert done.returncode == UNAVAILABLE and said in done.stderr and done.stderr.count("\n") == 1


def test_the_meta_group_without_a_leader(made_up):
    three = made_up(3)
    three[1]["meta"]["role"] = "follower"
    done = cohort("status", three.url)
    assert done.returncode == DEGRADED and "the meta group has no leader" in done.stderr


def test_two_leaders(made_up):
    three = made_up(3)
    three[2]["shards"][0] = replica(1, "leader", leader=2, term=4, commit=120, applied=120)
    done = cohort("status", three.url)
    assert done.returncode == 0
    assert stripped(table_of(done.stdout))[5] == ["1", "4", "120", "10", "old leader", "leader", "20 behind"]


def test_a_voter_to_come(made_up):
    three = made_up(3)
    three[3]["shards"][0] = replica(1, "none")
    assert stripped(table_of(cohort("status", three.url).stdout))[5][-1] == "to come"


def test_not_founded(made_up):
    three = made_up(3)
    for id in (1, 2, 3):
        three[id].update(cluster=None, shards=[], meta=None)
        for node in three[id]["nodes"]:
            node["state"] = "awaited"
    three.silence(3)
    done = cohort("status", "--timeout", "300ms", three.url)
    assert done.returncode == UNAVAILABLE
    assert "not founded yet: it waits until all its nodes have come up" in done.stderr
    assert [row[2] for row in stripped(table_of(done.stdout))[1:]] == ["up, awaited", "up, awaited", "down, awaited"]


def test_a_node_of_another_cluster_and_a_wrong_one(made_up):
    three = made_up(3)
    three[2]["cluster"] = "d" * 32
    three[3]["node"] = 7
    done = cohort("status", three.url)
    assert done.returncode == DEGRADED
    assert f"node 2: at 127.0.0.1:{three.servers[2].port} is a node of another cluster\n" in done.stderr
    assert f"node 3: at 127.0.0.1:{three.servers[3].port} answers node 7\n" in done.stderr


def test_many_nodes_and_shards(made_up):
    many = made_up(12, shards=1024)
    done = cohort("status", many.url)
    assert done.returncode == 0 and done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= 80
    rows = stripped(table_of(done.stdout))
    titles = [row for row in rows if row[0] == "SHARD"]
    assert [cell for row in titles for cell in row[4:]] == [f"NODE {id}" for id in range(1, 13)]
    assert len(rows) == 13 + len(titles) * 1026


# ---- terminals, and servers that mean harm ----


def on_terminal(*arguments, columns=80, environment=None):
    """What a terminal is sent."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [str(servers.COHORT), *arguments], stdout=child, stderr=child, env={**os.environ, **(environment or {})}
    )
    os.close(child)
    sent = b""
    try:
        while part := os.read(parent, 65536):
            sent += part
    except OSError:  # the other end is closed
        pass
    os.close(parent)
    return process.wait(60), sent


def test_colours_on_a_terminal_only(made_up):
    three = made_up(3)
    assert "\x1b" not in cohort("status", three.url).stdout
    code, sent = on_terminal("status", three.url, columns=200)
    assert code == 0 and b"\x1b[32mleader\x1b[0m" in sent
    assert b"\x1b" not in on_terminal("status", three.url, environment={"NO_COLOR": "1"})[1]


def test_a_wide_terminal_takes_more_columns(made_up):
    many = made_up(12)
    narrow, wide = (on_terminal("status", many.url, columns=columns)[1].count(b"SHARD") for columns in (80, 200))
    assert narrow > wide == 1


HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\n\x9b\u202e\udcff\x00"


@pytest.mark.parametrize("field", ["version", "incarnation", "cluster", "state", "role", "host", "error"])
def test_hostile_bytes_stay_out_of_the_terminal(made_up, field):
    one = made_up(1, shards=1)
    if field == "state":
        one[1]["nodes"][0]["state"] = HOSTILE
    elif field == "host":
        one[1]["nodes"][0]["host"] = HOSTILE
    elif field == "role":
        one[1]["shards"][0]["role"] = HOSTILE
    elif field == "error":
        one.servers[1].said = b"-ERR " + HOSTILE.replace("\r\n", "").encode("utf-8", "surrogateescape") + b"\r\n"
    else:
        one[1][field] = HOSTILE
    for arguments in (["status", one.url], ["status", "--json", one.url]):
        _, sent = on_terminal(*arguments, environment={"NO_COLOR": "1"})
        shown = sent.decode().replace("\r\n", "\n")  # the terminal makes CR LF of LF
        assert not [letter for letter in shown if letter != "\n" and not letter.isprintable()], shown
        assert "owned" in shown or field not in ("version", "state", "error")


@pytest.mark.parametrize(
    "said",
    [
        b"$-1\r\n",
        b"+OK\r\n",
        b"%1\r\n:1\r\n:2\r\n",
        b"*1\r\n" * 31 + b":1\r\n",
        b"|0\r\n" * 1000 + b":1\r\n",
        b"!3\r\nERR\r\n",
        b"nonsense\r\n",
        {},
        {"node": "x", "nodes": [1, {}, {"node": 1}], "shards": 3},
        {"node": 1, "shards": [1, {"shard": 7}, {"shard": 3, "voters": "x"}], "nodes": {"a": 1}, "cluster": CLUSTER},
        {"node": 1, "cluster": 5, "nodes": [{"node": 1, "state": "x", "host": "a,b", "port": 1}] * 100},
    ],
)
def test_nonsense(made_up, said):
    one = made_up(1)
    one.servers[1].said = said
    for arguments in (["status", one.url], ["status", "--json", one.url]):
        done = cohort(*arguments)
        assert done.returncode == UNAVAILABLE and done.stderr.startswith("cohort status: ")


def test_a_reply_that_is_too_long(made_up):
    one = made_up(1)
    one.servers[1].said = b"$%d\r\n%s\r\n" % (9 << 20, b"x" * (9 << 20))
    done = cohort("status", one.url)
    assert done.returncode == UNAVAILABLE and "over the limit" in done.stderr


def test_bench_shows_no_hostile_bytes():
    class Hostile(MadeUp):
        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                while data := self.request.recv(65536):
                    answer = b"+PONG\r\n" if b"PING" in data else b"-ERR \x1b]0;owned\x07\xff\r\n" * data.count(b"SET\r\n")
                    self.request.sendall(answer)

    server = Hostile()
    for arguments in ([], ["--json"]):
        done = cohort("bench", "--url", f"127.0.0.1:{server.port}", "--requests", "10", "--clients", "1", *arguments)
        assert done.returncode == UNAVAILABLE and "\x1b" not in done.stdout + done.stderr
        assert "ERR \\x1b]0;owned\\x07\\xff" in done.stdout.replace("\\\\", "\\")
    server.shutdown()
    server.server_close()
