"""Nodes of a cluster are killed, stopped and cut off under load. Whatever happens, what clients see is linearizable: no
acknowledged write is lost, none is applied twice, no strong read is stale. And service resumes; how soon is shown at the
end of the run, and judged by nobody, for that would judge the machine."""

import os
import random
import time

import cluster
import history
import networks
import pytest
import resp

RESUME_SECONDS = 60  # generous: 1.5 s is what is aimed at (docs/proof.md)
ROUNDS = int(os.environ.get("COHORT_CLUSTER_ROUNDS", 1))


def load_on(places, seed, **how):
    """Clients whose patience is short, so that they come to know other nodes while one is silent."""
    return history.Load(places, seed, **{"clients": 9, "keys": 4, "timeout": 2, "pause": 0.004, "pipeline": 6, **how})


def resumed(load, since_ns, counts):
    """Seconds until a write of such a key was acknowledged that began after that moment."""
    deadline = time.monotonic() + RESUME_SECONDS
    while (end_ns := load.first_write(since_ns, counts)) is None:
        assert time.monotonic() < deadline, "writes do not resume"
        time.sleep(0.02)
    return (end_ns - since_ns) / 1e9


def resumed_everywhere(load, since_ns, of, shards=None):
    """The slowest of these shards (all when absent)."""
    shards = shards or range(1, of.shards + 1)
    return max(resumed(load, since_ns, lambda key, shard=shard: of.shard_of(key) == shard) for shard in shards)


def seconds(times):
    return ", ".join(f"{time:.2f}" for time in times) + " s"


def judge(load, of, tmp_path):
    """After all faults: everything is there, at every node; the history has an order."""
    load.read_everything(of.nodes)
    counts = load.check(tmp_path / "history.jsonl")
    assert counts["ok"] > 1000
    if len(of.nodes) == of.replicas:
        of.wait_until_equal()
    for node in of:
        assert node.alive()
    return counts


def test_all_shards_are_loaded(new_cluster):
    """The proof of the tests below: their keys are in all shards."""
    three = new_cluster(start=False)
    keys = [f"{sort}{n}" for sort in ("register", "counter", "field", "tally") for n in range(4)]
    assert {three.shard_of(key) for key in keys} == {1, 2, 3, 4}


def test_leaders_killed_under_load(new_cluster, tmp_path, figure):
    three = new_cluster()
    times = []
    with load_on(three, seed=11) as load:
        load.wait_for(300)
        for shard in [1, 2, 3, 4] * ROUNDS:
            leader = three.leader_of(shard)
            leader.kill()
            since_ns = time.monotonic_ns()
            times.append(resumed(load, since_ns, lambda key, shard=shard: three.shard_of(key) == shard))
            load.wait_for(200)
            leader.start()
            load.wait_for(200)
    judge(load, three, tmp_path)
    figure("writes of a shard after kill -9 of its leader", seconds(times))


def test_leaders_stopped_and_continued_under_load(new_cluster, tmp_path, figure):
    three = new_cluster()
    times = []
    with load_on(three, seed=12) as load:
        load.wait_for(300)
        for shard in [1, 2] * ROUNDS:
            leader = three.leader_of(shard)
            leader.pause()
            since_ns = time.monotonic_ns()
            times.append(resumed(load, since_ns, lambda key, shard=shard: three.shard_of(key) == shard))
            time.sleep(2)
            leader.resume()
            load.wait_for(500)
    judge(load, three, tmp_path)
    figure("writes of a shard after SIGSTOP of its leader", seconds(times))


def test_a_stopped_leader_answers_no_stale_reads_when_it_wakes(new_cluster):
    """Requests that wait in its sockets while others lead, on old connections and new ones; the reads come from what it
    believes, unless it asks a majority first."""
    three = new_cluster()
    for shard in (1, 2):
        key, counter = three.key_of(shard), three.key_of(shard, "counter")
        leader = three.leader_of(shard)
        connections = [leader.connect() for _ in range(4)]
        assert connections[0].call("SET", key, "old") == "OK"
        leader.pause()
        others = [node for node in three if node is not leader]
        assert three.leader_of(shard, among=others) in others
        with others[0].connect() as other:
            assert other.call("SET", key, "new") == "OK"
        connections += [leader.connect() for _ in range(4)]
        for connection in connections:
            connection.send(resp.encode("GET", key) + resp.encode("INCR", counter) + resp.encode("GET", key))
        leader.resume()
        counted = []
        for connection in connections:
            for reply in [connection.read() for _ in range(3)]:
                if isinstance(reply, int):
                    counted.append(reply)
                elif isinstance(reply, resp.Error):
                    assert reply.split(" ")[0] in history.DEFINITE | history.INDEFINITE, reply
                else:
                    assert reply == b"new"
            connection.close()
        with others[0].connect() as other:
            assert len(counted) == len(set(counted)) and max(counted, default=0) <= int(other.call("GET", counter) or 0) <= len(connections)


def test_all_nodes_killed_at_once(new_cluster, tmp_path, figure):
    three = new_cluster(arguments=["--log-segment-size", "256kb", "--snapshot-log-size", "1mb"])
    times = []
    with load_on(three, seed=13) as load:
        for _ in range(2 * ROUNDS):
            load.wait_for(1000)
            three.kill()
            since_ns = time.monotonic_ns()
            three.start()
            times.append(resumed_everywhere(load, since_ns, three))
        load.wait_for(500)
    judge(load, three, tmp_path)
    figure("writes of all shards after kill -9 of all nodes, with their start", seconds(times))


def test_connections_between_nodes_break_and_are_slow(new_cluster, tmp_path):
    """The leaders stay, and yet what was forwarded to them may have arrived, or its reply may be lost: nobody executes it
    again, and nobody forgets it."""
    three = new_cluster(relays=True)
    chance = random.Random(16)
    with load_on(three, seed=16) as load:
        for _ in range(40 * ROUNDS):
            load.wait_for(40)
            chance.choice(three.nodes).relay.reset()
        for node in three:
            node.relay.delay_s = chance.choice([0.0, 0.01, 0.03])
        load.wait_for(500)
        for node in three:
            node.relay.delay_s = 0.0
        load.wait_for(200)
    counts = judge(load, three, tmp_path)
    assert counts["ok"] > 5 * counts["unknown"]  # a break of a moment is no reason to give up


class Guest:
    """A node for clients that are in another network than it."""

    def __init__(self, node, network):
        self.node, self.network = node, network

    def connect(self, timeout=30):
        return resp.Connection(self.node.port, timeout, host=self.node.host, network=self.network)


@pytest.fixture
def three_networks(tmp_path):
    with networks.Networks(3) as nets:
        yield nets


@pytest.mark.parametrize("way", ["both ways", "outgoing", "incoming"])
def test_the_leader_cut_off_with_clients_on_both_sides(new_cluster, three_networks, tmp_path, figure, way):
    """"incoming": nobody is heard by the leader, which must notice; "outgoing": it hears all, and is heard by none."""
    nets = three_networks
    three = new_cluster(networks=nets, arguments=["--protected-mode", "no"])
    guests = [Guest(three[n % 3 + 1], nets[n]) for n in (1, 2, 3)]
    times = []
    with load_on([*three, *guests], seed=14, clients=12) as load:
        load.wait_for(300)
        for shard in [1, 2] * ROUNDS:
            leader = three.leader_of(shard)
            for other in {1, 2, 3} - {leader.number}:
                if way != "incoming":
                    nets.cut(leader.number, other)
                if way != "outgoing":
                    nets.cut(other, leader.number)
            since_ns = time.monotonic_ns()
            times.append(resumed(load, since_ns, lambda key, shard=shard: three.shard_of(key) == shard))
            time.sleep(3)
            nets.heal()
            since_ns = time.monotonic_ns()
            resumed_everywhere(load, since_ns, three)
            load.wait_for(300)
    judge(load, three, tmp_path)
    figure(f"writes of a shard after its leader was cut off ({way})", seconds(times))


def test_no_majority_no_service_and_an_honest_word(new_cluster, three_networks):
    """A node alone answers -CLUSTERDOWN or -UNCERTAIN in bounded time, never with data; after healing all is well."""
    nets = three_networks
    three = new_cluster(networks=nets, arguments=["--protected-mode", "no", "--command-timeout", "2000"])
    key = three.key_of(1)
    alone = three.leader_of(1)
    with alone.connect() as connection:
        assert connection.call("SET", key, "before") == "OK"
        nets.isolate(alone.number)
        others = [node for node in three if node is not alone]
        three.leader_of(1, among=others)
        with others[0].connect() as other:
            assert other.call("SET", key, "after") == "OK"
        for words in (["GET", key], ["SET", key, "lonely"], ["DBSIZE"]):
            reply = connection.call(*words)
            assert isinstance(reply, resp.Error) and reply.split(" ")[0] in ("CLUSTERDOWN", "UNCERTAIN"), (words, reply)
        nets.heal()
        deadline = time.monotonic() + RESUME_SECONDS
        while isinstance(reply := connection.call("GET", key), resp.Error):
            assert time.monotonic() < deadline, reply
            time.sleep(0.05)
        assert reply == b"after"


def test_five_nodes_lose_two_leaders_in_turn(new_cluster, tmp_path, figure):
    five = new_cluster(nodes=5, shards=16, replicas=3)
    times = []
    with load_on(five, seed=15, clients=10, keys=8) as load:
        load.wait_for(300)
        for shard in (1, 16):
            number = five.leader_of(shard).number
            led = [shard for shard, leader in five.leaders(five[number]).items() if leader == number]
            five[number].kill()
            since_ns = time.monotonic_ns()
            times.append(resumed_everywhere(load, since_ns, five, led))
            five[number].start()
            load.wait_for(300)
    judge(load, five, tmp_path)
    figure("writes of all shards that a killed node led (5 nodes, 16 shards)", seconds(times))


@pytest.mark.skipif("COHORT_CLUSTER_SECONDS" not in os.environ, reason="for ./dev soak and ./dev check --long")
def test_random_faults_for_long(new_cluster, three_networks, tmp_path, figure):
    """Everything of the above by chance, several at a time, but never a majority for long."""
    nets = three_networks
    chance = random.Random(int(os.environ.get("COHORT_SEED", time.time_ns())))
    three = new_cluster(
        networks=nets,
        arguments=["--protected-mode", "no", "--log-segment-size", "256kb", "--snapshot-log-size", "1mb"],
    )
    until = time.monotonic() + float(os.environ["COHORT_CLUSTER_SECONDS"])
    guests = [Guest(three[n % 3 + 1], nets[n]) for n in (1, 2, 3)]
    turns = 0
    while time.monotonic() < until:
        turns += 1
        with load_on([*three, *guests], seed=chance.random(), keys=6, prefix=f"{turns}.") as load:
            load.wait_for(200)
            for _ in range(6):
                fault(chance, three, nets)
                time.sleep(chance.uniform(0, 2))
            nets.heal()
            for node in three:
                node.resume() if node.paused else None
            three.start()
            resumed_everywhere(load, time.monotonic_ns(), three)
        judge(load, three, tmp_path)
    figure("turns of random faults", turns)


def fault(chance, three, nets):
    node = chance.choice(three.nodes)
    what = chance.choice(["kill", "kill", "pause", "pause", "isolate", "cut", "heal", "all", "start"])
    if what == "kill" and node.alive():
        node.kill()
    elif what == "pause" and node.alive():
        node.resume() if node.paused else node.pause()
    elif what == "isolate":
        nets.isolate(node.number)
    elif what == "cut":
        nets.cut(node.number, node.number % 3 + 1)
    elif what == "heal":
        nets.heal()
    elif what == "all":
        three.kill()
    for one in three:
        if not one.alive() and chance.random() < 0.7:
            one.launch()
