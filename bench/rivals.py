"""Three nodes of each of the compared systems, on free ports of 127.0.0.1, each in a folder of its own.

Every one is durable as its makers mean it for a write that must not be lost (an answered write was synced), and keeps its
default times, heaps and snapshots; what differs from the default is said where it is set. They end with this process,
however it ends."""

import http.client
import json
import pathlib
import shutil
import socket
import time

from common import ROOT, cpu_seconds, redis_version, servers  # first: it makes the modules of tests/system known

import cluster
import resp

JAVA = pathlib.Path("/usr/share/java")


class Node(servers.Server):
    """Of another system: started by its own command line, found ready by its own question."""

    def __init__(self, kind, folder, words, port, ready):
        super().__init__(kind, folder, [], port)
        self.words, self.ready = words, ready

    def command_line(self):
        return [str(word) for word in self.words]

    def wait_until_ready(self):
        return self.wait(lambda: self.ready(self), "did not become ready")


class System:
    """`name`, as the table has it; `nodes`. A system knows its leader, and how to be filled."""

    strong_at_follower = True  # a follower takes writes and strong reads
    fails_over = True  # by itself

    def start(self):
        for node in self.nodes:
            if not node.alive():
                node.launch()
        for node in self.nodes:
            node.wait_until_ready()
        return self

    def kill(self):
        for node in self.nodes:
            node.kill()

    def follower(self):
        leader = self.leader()
        return next(node for node in self.nodes if node is not leader and node.alive())

    def at(self, place):
        return self.leader() if place == "leader" else self.follower()

    def settle(self):
        """Called before reads, which come after writes of another load."""

    def pids(self):
        return [node.pid for node in self.nodes]

    def cpu_seconds(self):
        """Used by all its processes so far, all threads."""
        return cpu_seconds(self.pids())

    def resident_bytes(self):
        """Of one node, on average."""
        total = 0
        for pid in self.pids():
            total += int(pathlib.Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) * 1024
        return total / len(self.nodes)


class Cohort(System):
    """--shards 1: one leader, and a client can be at it. --shards 4: leaders are spread over the nodes, and a plain
    client, which knows one node, is at the leader for some of its keys."""

    def __init__(self, folder, shards):
        self.kind, self.shards = "cohort", shards
        self.name = f"cohort, {shards} shard{'s' if shards > 1 else ''}"
        self.cluster = cluster.Cluster(folder, nodes=3, shards=shards)
        self.nodes = self.cluster.nodes

    def start(self):
        self.cluster.start()
        return self

    def leader(self):
        return self.cluster.leader_of(1)

    def version(self):
        return None  # the machine's line has it


class Redis(System):
    """A primary and two replicas, all of which sync before they answer or acknowledge. The primary answers a write before
    a replica has it, a replica takes no writes and its reads may be behind, and nobody takes over for a lost primary
    (that takes Sentinel, another program), so these rows are empty."""

    strong_at_follower = False
    fails_over = False

    def __init__(self, folder):
        self.kind, self.name = "redis", "Redis"
        always = ["--appendonly", "yes", "--appendfsync", "always"]
        self.nodes = [servers.Server("redis", folder / "node1", always)]
        primary = self.nodes[0].port
        for number in (2, 3):
            replica = [*always, "--replicaof", "127.0.0.1", str(primary)]
            self.nodes.append(servers.Server("redis", folder / f"node{number}", replica))

    def start(self):
        for node in self.nodes:
            node.start()
        self.nodes[0].wait(self.replicated, "did not get its replicas")
        return self

    def replicated(self):
        with resp.Connection(self.nodes[0].port) as connection:
            return connection.call("INFO", "replication").count(b"state=online") == 2

    def leader(self):
        return self.nodes[0]

    def version(self):
        return f"Redis {redis_version(self.nodes[0].folder)}"


def etcd_call(port, path, body, timeout=5):
    """etcd's JSON door."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", path, json.dumps(body))
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


class Etcd(System):
    """Not the default: room for 8 GB instead of 2, and transactions of 10,000 operations (only for filling it)."""

    def __init__(self, folder):
        self.kind, self.name = "etcd", "etcd"
        self.program = shutil.which("etcd") or ROOT / "build" / "rivals" / "usr" / "bin" / "etcd"
        ports = [servers.free_port(1) for _ in range(3)]
        initial = ",".join(f"n{i}=http://127.0.0.1:{port + 1}" for i, port in enumerate(ports))
        self.nodes = []
        for i, port in enumerate(ports):
            client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"
            words = [self.program, "--name", f"n{i}", "--data-dir", folder / f"node{i + 1}" / "data",
                     "--listen-client-urls", client, "--advertise-client-urls", client,
                     "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                     "--initial-cluster", initial, "--initial-cluster-token", str(folder), "--log-level", "error",
                     "--quota-backend-bytes", 8 << 30, "--max-txn-ops", 10000]  # fmt: skip
            self.nodes.append(Node("etcd", folder / f"node{i + 1}", words, port, self.ready))

    def status(self, node):
        return etcd_call(node.port, "/v3/maintenance/status", {})

    def ready(self, node):
        try:
            return self.status(node).get("leader", "0") != "0"
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def leader(self):
        for node in self.nodes:
            if node.alive() and self.ready(node):
                status = self.status(node)
                if status["leader"] == status["header"]["member_id"]:
                    return node
        raise RuntimeError("etcd has no leader")

    def settle(self):
        """Each read of etcd 3.4 copies a buffer that is as large as the last burst of writes, until two commits of
        other things have passed: after a load of writes it reads 3 to 15 times slower, for as long as nobody writes.
        Two leases are such commits (every 100 ms there is one, if there is something); so this does not count."""
        for _ in range(2):
            etcd_call(self.leader().port, "/v3/lease/grant", {"TTL": "1"})
            time.sleep(0.25)

    def version(self):
        return f"etcd {self.status(self.nodes[0])['version']}"


class ZooKeeper(System):
    """Not the default: any number of connections from one address, a longer queue for those that connect, and the heap of 1 GB that its start script sets."""

    def __init__(self, folder):
        self.kind, self.name = "zookeeper", "ZooKeeper"
        ports = [servers.free_port(1, 2) for _ in range(3)]
        servers_lines = [f"server.{i}=127.0.0.1:{port + 1}:{port + 2}" for i, port in enumerate(ports, 1)]
        classes = ":".join(str(JAVA / f"{name}.jar") for name in ("zookeeper", "slf4j-simple"))
        self.nodes = []
        for i, port in enumerate(ports, 1):
            home = folder / f"node{i}"
            data = home / "data"
            data.mkdir(parents=True)
            (data / "myid").write_text(f"{i}\n")
            lines = ["tickTime=2000", "initLimit=10", "syncLimit=5", "maxClientCnxns=0", f"dataDir={data}",
                     f"clientPort={port}", "clientPortAddress=127.0.0.1", "admin.enableServer=false", "clientPortListenBacklog=1024",
                     "4lw.commands.whitelist=*", *servers_lines]  # fmt: skip
            (home / "zoo.cfg").write_text("\n".join(lines) + "\n")
            words = ["java", "-Xmx1000m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", classes,
                     "org.apache.zookeeper.server.quorum.QuorumPeerMain", home / "zoo.cfg"]  # fmt: skip
            self.nodes.append(Node("zookeeper", home, words, port, self.ready))

    def ask(self, node, word):
        """One of its words of four letters; "" when it does not answer."""
        try:
            with socket.create_connection(("127.0.0.1", node.port), 5) as connection:
                connection.sendall(word.encode())
                answer = b""
                while part := connection.recv(65536):
                    answer += part
                return answer.decode()
        except OSError:
            return ""

    def ready(self, node):
        return "\nMode: " in self.ask(node, "srvr")

    def leader(self):
        deadline = time.monotonic() + servers.START_SECONDS
        while time.monotonic() < deadline:
            for node in self.nodes:
                if node.alive() and "Mode: leader" in self.ask(node, "srvr"):
                    return node
            time.sleep(0.02)
        raise RuntimeError("ZooKeeper has no leader")

    def version(self):
        return f"ZooKeeper {self.ask(self.nodes[0], 'srvr').split(': ')[1].split('-')[0]}"
