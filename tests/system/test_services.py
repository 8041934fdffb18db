"""Services as clients see them: registered, listed and watched through any node, and while leaders are killed."""

import cluster
import pytest
import resp
from locks import LONG, figures, fresh, until
from watching import Watcher

SHORT = 300


def register(client, service, id, address, *how, ttl=LONG):
    return client.call("SERVICE.REGISTER", service, id, address, "PX", ttl, *how)


def listed(client, service):
    told = [resp.pairs(each) for each in client.call("SERVICE.LIST", service)]
    return {each[b"id"]: each for each in told}


def test_registered_at_one_node_listed_at_all(anywhere):
    service = fresh("web")
    since, ttl = register(anywhere[0], service, "a", "10.0.0.1:80", "WEIGHT", 7, "ZONE", "north", "META", "build", "12")
    assert since > 0 and ttl == LONG
    assert register(anywhere[1], service, "a", "10.0.0.1:80", "WEIGHT", 7, "ZONE", "north", "META", "build", "12")[0] == since
    assert register(anywhere[1], service, "b", "10.0.0.2:80")[0] > since
    for client in anywhere:
        told = listed(client, service)
        assert list(told) == [b"a", b"b"]
        a = told[b"a"]
        assert (a[b"address"], a[b"state"], a[b"weight"], a[b"zone"]) == (b"10.0.0.1:80", b"up", 7, b"north")
        assert resp.pairs(a[b"meta"]) == {b"build": b"12"} and a[b"since"] == since
        assert 0 < a[b"ttl_ms"] <= LONG
    assert anywhere[2].call("SERVICE.DRAIN", service, "a") == 1
    assert listed(anywhere[0], service)[b"a"][b"state"] == b"draining"
    assert anywhere[0].call("SERVICE.REMOVE", service, "a") == 1
    assert list(listed(anywhere[1], service)) == [b"b"]
    assert int(figures(anywhere[0], "services")["endpoints"]) >= 0


def test_leases_end_and_keys_are_apart(anywhere):
    service = fresh("short")
    register(anywhere[0], service, "a", "h:1", ttl=SHORT)
    register(anywhere[0], service, "b", "h:2")
    assert anywhere[0].call("EXISTS", service) == 0
    assert anywhere[0].call("DEL", service) == 0
    assert anywhere[0].call("FLUSHALL") == "OK"
    assert b"b" in listed(anywhere[1], service)
    until(lambda: list(listed(anywhere[1], service)) == [b"b"])
    assert anywhere[2].call("SERVICE.RENEW", service, "a", "PX", LONG).startswith("NOENDPOINT")
    assert anywhere[2].call("SERVICE.RENEW", service, "b", "PX", LONG) == LONG


def test_ends_with_a_session(anywhere):
    services = [fresh("tied") for _ in range(8)]
    session = anywhere[0].call("SESSION.OPEN", "PX", LONG)
    for number, service in enumerate(services):
        client = anywhere[number % len(anywhere)]
        assert 0 < client.call("SERVICE.REGISTER", service, "a", "h:1", "SESSION", session, "META", "SESSION", "x")[1] <= LONG
        assert listed(client, service)[b"a"][b"ttl_ms"] == -1
        assert client.call("SERVICE.RENEW", service, "a", "PX", 5).startswith("ERR this endpoint stays")
    assert anywhere[1].call("SESSION.CLOSE", session) == 1
    for service in services:
        until(lambda: not listed(anywhere[2], service))
    refused = anywhere[0].call("SERVICE.REGISTER", services[0], "a", "h:1", "SESSION", session)
    assert refused.startswith("NOSESSION")


@pytest.mark.parametrize("protocol", [2, 3])
def test_watched(any_cluster, anywhere, protocol):
    service = fresh("watched")
    register(anywhere[0], service, "a", "h:1", "META", "k", "v")
    watchers = [Watcher([node], service, protocol) for node in any_cluster]
    for watcher in watchers:
        watcher.until(lambda: watcher.events == [("list",)])
        assert watcher.endpoints == {b"a": (b"up", b"h:1", 100, b"", [b"k", b"v"])}
    register(anywhere[1], service, "b", "h:2", "WEIGHT", 3)
    register(anywhere[1], service, "b", "h:2", "WEIGHT", 3)
    register(anywhere[1], service, "b", "h:3", "WEIGHT", 3)
    anywhere[2].call("SERVICE.DRAIN", service, "b")
    anywhere[2].call("SERVICE.REMOVE", service, "a")
    register(anywhere[1], service, "c", "h:4", ttl=SHORT)
    for watcher in watchers:
        watcher.until(lambda: watcher.events[-1] == ("expired", b"c"))
        told = [("registered", b"b"), ("changed", b"b"), ("draining", b"b"), ("removed", b"a"), ("registered", b"c")]
        assert watcher.events[1:-1] == told
        assert watcher.endpoints == {b"b": (b"draining", b"h:3", 3, b"", [])}
    first = watchers[0]
    first.connect()  # from where it was
    anywhere[0].call("SERVICE.REMOVE", service, "b")
    first.until(lambda: not first.endpoints)
    assert first.events.count(("list",)) == 1
    first.revision = 12345  # which never was
    first.connect()
    first.until(lambda: first.events[-1] == ("list",))
    if protocol == 2:
        assert "watches services over RESP2" in first.client.call("GET", "x")
    assert first.client.call("SERVICE.UNWATCH", fresh("other")) == 0
    assert first.client.call("SERVICE.UNWATCH", service) == 1
    for watcher in watchers:
        watcher.close()


def test_refused(anywhere):
    client = anywhere[0]
    for command in (
        ["SERVICE.REGISTER", "s", "a", "h:1", "PX", 5],
        ["SERVICE.LIST", "s"],
        ["SERVICE.WATCH", "s"],
    ):
        assert client.call("MULTI") == "OK"
        assert isinstance(client.call(*command), resp.Error)
        client.call("DISCARD")
    service = fresh("refused")
    assert client.call("SERVICE.WATCH", service, "FROM", "x").startswith("ERR FROM")
    assert client.call("SERVICE.WATCH", service, "FROM").startswith("ERR syntax")
    assert client.call("SERVICE.WATCH", "x" * 513).startswith("ERR the name")
    with resp.Connection(client.socket.getpeername()[1], protocol=3) as watching:
        for number in range(1024):
            watching.send(resp.encode("SERVICE.WATCH", f"{service}.{number}"))
        done = 0
        while done < 1024:
            done += watching.read() == "OK"
        watching.send(resp.encode("SERVICE.WATCH", service))
        while isinstance(reply := watching.read(), resp.Push):
            pass
        assert reply.startswith("ERR this connection has 1024 watches")


def test_leaders_are_killed(tmp_path):
    """Registrants renew through any node, a watcher follows: what it has is in the end what is listed."""
    with cluster.Cluster(tmp_path, shards=2) as whole:
        service = fresh("killed")
        shard = whole.shard_of(service)
        with resp.Connection(whole[0].port) as client:
            for number in range(4):
                register(client, service, f"e{number}", f"h:{number + 1}")
        watcher = Watcher(list(whole), service)
        watcher.until(lambda: len(watcher.endpoints) == 4)
        for turn in range(2):
            leader = whole.leader_of(shard)
            leader.kill()
            alive = next(node for node in whole if node is not leader)

            def drained():
                with resp.Connection(alive.port) as client:
                    return client.call("SERVICE.DRAIN", service, f"e{turn}") == 1

            until(drained)
            watcher.until(lambda: watcher.endpoints[b"e%d" % turn][0] == b"draining")
            leader.start()
            whole.wait_for_leaders()
        with resp.Connection(whole[1].port) as client:
            told = {id: (each[b"state"], each[b"address"]) for id, each in listed(client, service).items()}
        assert told == {id: says[:2] for id, says in watcher.endpoints.items()}
        watcher.close()
