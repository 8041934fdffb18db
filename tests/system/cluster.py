"""Clusters of real nodes: made, looked at, broken and mended.

    with cluster.Cluster(tmp_path, nodes=3, shards=4) as three:
        leader = three.leader_of(1)
        leader.kill(); three.wait_for_leaders(); leader.start(); three.wait_until_ready()"""

import binascii
import pathlib
import signal
import time

import relay
import servers

SLOTS = 16384
PEER_OFFSET = 10000  # where other nodes find a node, seen from its port for clients
READY_SECONDS = 60  # a sanitizer build on a busy machine is slow


def slot_of(key):
    """The hash slot of a key without a tag."""
    return binascii.crc_hqx(key.encode(), 0) % SLOTS


class Node(servers.Server):
    """One node; what a Server can, and pause and resume."""

    def __init__(self, cluster, number, port, network=None):
        super().__init__("cohort", cluster.folder / f"node{number}", cluster.arguments, port)
        self.cluster, self.number, self.network = cluster, number, network
        self.peer_port = self.port + PEER_OFFSET
        self.relay = None  # in front of the peer port (relay.py)
        self.paused = False
        if network is not None:
            self.host = network.address

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def peer(self):
        """As --peers has it."""
        return f"{self.number}={self.address}{f'@{self.relay.port}' if self.relay else ''}"

    def command_line(self):
        peers = ",".join(node.peer() for node in self.cluster.nodes)
        listen = ["--peer-listen", f"{self.host}:{self.peer_port}"] if self.relay else []
        return [str(servers.COHORT), "serve", "--id", str(self.number), "--data", str(self.data),
                "--listen", self.address, "--peers", peers, "--shards", str(self.cluster.shards),
                "--replicas", str(self.cluster.replicas), *listen, *servers.workers(self.arguments), *self.arguments]  # fmt: skip

    def start(self):
        """Starts it and waits until it serves everything."""
        self.launch()
        return self.wait(self.ready, "did not take part")

    def ready(self):
        """It knows a leader for every slot, as far as it says."""
        try:
            with self.connect(5) as connection:
                info = connection.call("CLUSTER", "INFO")
        except OSError:
            return False
        return isinstance(info, bytes) and b"cluster_state:ok" in info

    def pause(self):
        """SIGSTOP; returns when it has stopped."""
        self.paused = True
        self.process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 10
        while pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def end(self, with_signal):
        if self.paused and self.process is not None and with_signal != signal.SIGKILL:
            self.resume()
        self.paused = False
        return super().end(with_signal)


class Cluster:
    """`nodes` by number from 1. It lives in `folder`; with `networks` (networks.py), each node in one of them; with
    `relays`, nodes reach each other through one in front of each (relay.py)."""

    kind = "cluster"

    def __init__(self, folder, nodes=3, shards=4, replicas=3, arguments=(), networks=None, relays=False):
        self.folder = pathlib.Path(folder)
        self.shards, self.replicas, self.arguments = shards, replicas, ["--enable-debug-command", "yes", *arguments]
        self.nodes = []
        for number in range(1, nodes + 1):
            self.nodes.append(Node(self, number, servers.free_port(PEER_OFFSET), networks[number] if networks else None))
            if relays:
                self.nodes[-1].relay = relay.Relay(self.nodes[-1].peer_port)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    def __getitem__(self, number):
        return self.nodes[number - 1]

    def __iter__(self):
        return iter(self.nodes)

    def start(self):
        """All nodes that are not running, and waits until they serve."""
        try:
            for node in self.nodes:
                if not node.alive():
                    node.launch()
            for node in self.nodes:
                node.wait(node.ready, "did not take part")
            self.wait_for_leaders()
        except BaseException:
            self.kill()
            raise
        return self

    def kill(self):
        """kill -9, all within a moment."""
        self.end(signal.SIGKILL)

    def stop(self):
        """Cleanly, all at once; exit statuses."""
        return self.end(signal.SIGTERM)

    def end(self, with_signal):
        running = [node for node in self.nodes if node.process is not None]
        for node in running:
            node.paused = False
            if node.alive():
                node.process.send_signal(with_signal)
        return [node.ended() for node in running]

    def close(self):
        self.kill()
        for node in self.nodes:
            if node.relay:
                node.relay.close()

    def alive(self):
        """Those that can answer."""
        return [node for node in self.nodes if node.alive() and not node.paused]

    def log(self, last=60):
        return "\n".join(f"--- node {node.number} on port {node.port}\n{node.log(last)}" for node in self.nodes)

    # ---- shards and leaders ----

    def shard_of(self, key):
        return slot_shard(slot_of(key), self.shards)

    def key_of(self, shard, prefix="key"):
        """A key of the shard."""
        return next(key for key in (f"{prefix}{n}" for n in range(100 * self.shards)) if self.shard_of(key) == shard)

    def leaders(self, node):
        """Number of the leading node by shard, as one node sees it."""
        with node.connect(5) as connection:
            ranges = connection.call("CLUSTER", "SLOTS")
        numbers = {(other.host, other.port): other.number for other in self.nodes}
        return {slot_shard(first, self.shards): numbers[(leader[0].decode(), leader[1])] for first, _, leader, *_ in ranges}

    def leader_of(self, shard, among=None):
        """The node that leads the shard: it says so itself, and so do most of those that answer."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            said = {}
            for node in among or self.alive():
                try:
                    said[node.number] = self.leaders(node)[shard]
                except (OSError, KeyError, TypeError):
                    pass
            for number in said:
                if said[number] == number and 2 * list(said.values()).count(number) > len(said):
                    return self[number]
            time.sleep(0.02)
        raise AssertionError(f"nobody leads shard {shard}: {said}\n{self.log()}")

    def followers_of(self, shard):
        leader = self.leader_of(shard)
        return [node for node in self.nodes if node is not leader]

    def wait_for_leaders(self):
        """Until each shard takes a write, through each node that can answer."""
        deadline = time.monotonic() + READY_SECONDS
        for node in self.alive():
            for shard in range(1, self.shards + 1):
                while (reply := self.attempt(node, "DEL", self.key_of(shard, "nobody"))) != 0:
                    assert time.monotonic() < deadline, f"shard {shard} through node {node.number}: {reply}\n{self.log()}"
                    time.sleep(0.02)

    def attempt(self, node, *words):
        try:
            with node.connect(10) as connection:
                return connection.call(*words)
        except OSError as problem:
            return problem

    def digests(self):
        """By node: what it says of each shard, {shard: (applied, digest)}, or the problem."""
        said = {node.number: self.attempt(node, "DEBUG", "DIGEST", "SHARDS") for node in self.nodes}
        return {
            number: {shard: (applied, digest) for shard, applied, digest in reply} if isinstance(reply, list) else reply
            for number, reply in said.items()
        }

    def wait_until_equal(self):
        """Until all nodes have the same state. All vote in every shard, and nobody writes. Who has applied as much of a
        shard as another has the same state, at every look."""
        assert len(self.nodes) == self.replicas
        deadline = time.monotonic() + READY_SECONDS
        known = {}  # digest by shard and applied index
        while True:
            said = self.digests()
            for number, shards in said.items():
                for shard, (applied, digest) in shards.items() if isinstance(shards, dict) else ():
                    words = f"shard {shard} at {applied} is not the same at node {number}: {said}\n{self.log()}"
                    assert known.setdefault((shard, applied), digest) == digest, words
            if isinstance(said[1], dict) and len(said[1]) == self.shards and all(one == said[1] for one in said.values()):
                return
            assert time.monotonic() < deadline, f"{said}\n{self.log()}"
            time.sleep(0.05)


def slot_shard(slot, shards):
    """The shard, from 1, that owns a slot: runs of slots whose sizes differ by at most one."""
    return ((slot + 1) * shards - 1) // SLOTS + 1
