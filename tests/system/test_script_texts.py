"""EVALSHA finds what any node was told: at every worker at once, and at every node that can be reached."""

import hashlib
import itertools

import cluster
import pytest

WORKERS = 3
TEXT = "return {KEYS[1], ARGV[1], redis.call('incr', KEYS[1])}"
NOSCRIPT = "NOSCRIPT No matching script. Please use EVAL."
texts = (f"return {number}" for number in itertools.count())


def sha_of(text):
    return hashlib.sha1(text.encode()).hexdigest()


@pytest.fixture(scope="module", params=[1, WORKERS])
def nodes(request, tmp_path_factory):
    """Three nodes, 8 shards, which nobody kills."""
    folder = tmp_path_factory.mktemp(f"texts{request.param}")
    with cluster.Cluster(folder, shards=8, arguments=["--workers", str(request.param)]) as three:
        yield three


@pytest.fixture
def doors(nodes):
    """Connections to every worker of every node, the first node's first."""
    made = [node.connect(protocol=protocol) for node in nodes for protocol in (2, 3) * WORKERS]
    yield made
    for connection in made:
        connection.close()


def node_slowlog(node):
    with node.connect() as client:
        return client.call("SLOWLOG", "GET", -1)


def test_what_was_loaded_is_known_everywhere(doors):
    for door in doors:
        text = next(texts)
        assert door.call("SCRIPT", "LOAD", text) == sha_of(text).encode()
        for other in doors:
            assert other.call("EVALSHA", sha_of(text).upper(), 0) == int(text.split()[1])
            assert other.call("SCRIPT", "EXISTS", sha_of(text), "0" * 40) == [1, 0]


def test_what_was_evaluated_is_found_everywhere(doors):
    for door in doors:
        text = next(texts)
        door.call("EVAL", text, 0)
        for other in reversed(doors):
            assert other.call("EVALSHA_RO", sha_of(text), 0) == int(text.split()[1])


def test_slowlog_and_figures_show_the_name(doors, nodes):
    text = next(texts)
    doors[0].call("SCRIPT", "LOAD", text)
    shown = [b"EVALSHA", sha_of(text).encode(), b"1"]
    for door in doors:
        door.call("SLOWLOG", "RESET")
        door.call("CONFIG", "SET", "slowlog-log-slower-than", 0)
        door.call("CONFIG", "RESETSTAT")
    for key in range(16):  # of all shards
        doors[0].call("EVALSHA", sha_of(text), 1, key)
    listed = [entry[3] for node in nodes for entry in node_slowlog(node)]
    assert shown in [words[:3] for words in listed] and not any(words[0] == b"EVAL" for words in listed)
    with nodes[1].connect() as client:
        figures = client.call("INFO", "commandstats").decode()
    assert "cmdstat_evalsha:calls=16," in figures and "cmdstat_eval:" not in figures
    for door in doors:
        door.call("CONFIG", "SET", "slowlog-log-slower-than", 10000)


def test_exists_asks_for_all_names_at_once(doors):
    some = [next(texts) for _ in doors]
    for door, text in zip(doors, some):
        door.call("EVAL", text, 0)
    for door in doors:
        names = [name for text in some for name in (sha_of(text), sha_of(text)[::-1])]
        assert door.call("SCRIPT", "EXISTS", *names, "short") == [1, 0] * len(some) + [0]
    assert doors[0].call("SCRIPT", "EXISTS", *["0" * 40] * 1025).startswith("ERR SCRIPT EXISTS takes 1024 names at most")


def test_what_cannot_be_a_script_is_not_kept(doors):
    assert doors[0].call("SCRIPT", "LOAD", "return (").startswith("ERR Error compiling script")
    large = "return 1" + " " * (256 << 10)
    assert doors[0].call("SCRIPT", "LOAD", large).startswith("ERR")
    for door in doors:
        assert door.call("SCRIPT", "EXISTS", sha_of("return ("), sha_of(large)) == [0, 0]


def test_pipelines(doors):
    """What is asked for holds up what comes behind it on its connection, and nothing else."""
    text = "return redis.call('append', KEYS[1], ARGV[1])"
    doors[0].call("EVAL", text, 1, "other", "x")
    doors[0].call("DEL", "text")
    replies = doors[-1].calls([["APPEND", "text", "a"], ["EVALSHA", sha_of(text), 1, "text", "b"], ["APPEND", "text", "c"],
                               ["EVALSHA", sha_of("unknown"), 0], ["GET", "text"]])  # fmt: skip
    assert replies == [1, 2, 3, NOSCRIPT, b"abc"]
    text = next(texts)
    assert doors[2].calls([["SCRIPT", "LOAD", text], ["EVALSHA", sha_of(text), 0]])[1] == int(text.split()[1])


def test_in_multi(doors):
    """Asked for when it is queued; what nobody knows fails in its place, as in Redis."""
    doors[0].call("SCRIPT", "LOAD", TEXT)
    later = next(texts)
    for door in doors[::-1]:
        door.call("DEL", "{m}n")
        replies = door.calls([["MULTI"], ["SET", "{m}n", 4], ["EVALSHA", sha_of(TEXT), 1, "{m}n", "x"],
                              ["EVALSHA", sha_of("unknown"), 1, "{m}n"], ["SCRIPT", "LOAD", later],
                              ["EVALSHA", sha_of(later), 0], ["EXEC"]])  # fmt: skip
        assert replies[1:-1] == ["QUEUED"] * 5
        assert replies[-1] == ["OK", [b"{m}n", b"x", 5], NOSCRIPT, sha_of(later).encode(), int(later.split()[1])]


def test_flush_forgets_everywhere(doors):
    for door in doors:
        loaded, seen = next(texts), next(texts)
        doors[1].call("SCRIPT", "LOAD", loaded)
        doors[-1].call("EVAL", seen, 0)
        assert doors[0].call("SCRIPT", "EXISTS", sha_of(loaded), sha_of(seen)) == [1, 1]
        assert door.call("SCRIPT", "FLUSH", "ASYNC") == "OK"
        for other in doors:
            assert other.call("SCRIPT", "EXISTS", sha_of(loaded), sha_of(seen)) == [0, 0]
            assert other.call("EVALSHA", sha_of(loaded), 0) == NOSCRIPT
        door.call("SCRIPT", "LOAD", loaded)
        assert [other.call("EVALSHA", sha_of(loaded), 0) for other in doors] == [int(loaded.split()[1])] * len(doors)
    assert doors[0].call("SCRIPT", "FLUSH", "NOW").startswith("ERR SCRIPT FLUSH only support")


def test_flush_in_multi(doors):
    """It waits for nobody there: others forget soon."""
    text = next(texts)
    doors[0].call("SCRIPT", "LOAD", text)
    assert doors[-1].calls([["MULTI"], ["SCRIPT", "FLUSH"], ["EXEC"]])[-1] == ["OK"]
    for door in doors:
        while door.call("SCRIPT", "EXISTS", sha_of(text)) != [0]:
            pass


def test_nodes_that_were_away(new_cluster):
    """The others know what a node was told that is killed now, and what one that comes back has lost."""
    three = new_cluster(shards=8)
    loaded, seen = next(texts), next(texts)
    with three[1].connect() as door:
        door.call("SCRIPT", "LOAD", loaded)
        door.call("EVAL", seen, 0)
    with three[2].connect() as door:
        assert door.call("SCRIPT", "EXISTS", sha_of(seen)) == [1]
    three[1].kill()
    with three[3].connect() as door:
        assert door.call("SCRIPT", "EXISTS", sha_of(loaded), sha_of(seen), sha_of("unknown")) == [1, 1, 0]
        assert door.call("EVALSHA", sha_of("unknown"), 0) == NOSCRIPT
    three[2].kill()
    for node in (three[1], three[2]):
        node.launch()
    three.start()
    for node in three:  # bounded by the test's own time limit: they reach each other soon
        with node.connect() as door:
            while door.call("SCRIPT", "EXISTS", sha_of(loaded), sha_of(seen)) != [1, 1]:
                pass
            assert door.call("EVALSHA", sha_of(seen), 0) == int(seen.split()[1])


def test_a_node_that_does_not_answer_is_not_waited_for(new_cluster):
    three = new_cluster(shards=1)
    text = next(texts)
    with three[1].connect() as first, three[2].connect() as second:
        three[3].pause()
        assert first.call("SCRIPT", "LOAD", text) == sha_of(text).encode()
        assert first.call("EVALSHA", sha_of("unknown"), 0) == NOSCRIPT
        assert second.call("SCRIPT", "EXISTS", sha_of(text)) == [1]
        assert first.call("SCRIPT", "FLUSH") == "OK"
        assert second.call("SCRIPT", "EXISTS", sha_of(text)) == [0]
        three[3].resume()
    with three[3].connect() as third:
        while third.call("SCRIPT", "EXISTS", sha_of(text)) != [0]:
            pass


def test_texts_are_forgotten_at_their_limit(nodes):
    """The one that was not asked for longest, when there are 1,024 of them; the newest are there."""
    some = [next(texts) for _ in range(1100)]
    with nodes[1].connect() as door:
        door.calls([["SCRIPT", "LOAD", text] for text in some])
        assert door.call("EVALSHA", sha_of(some[-1]), 0) == int(some[-1].split()[1])
    with nodes[2].connect() as door:
        assert door.call("SCRIPT", "EXISTS", *map(sha_of, some[-1000:])) == [1] * 1000
        assert door.call("EVALSHA", sha_of(some[0]), 0) == NOSCRIPT
