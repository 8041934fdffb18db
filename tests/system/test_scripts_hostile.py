"""Scripts that mean harm, on three nodes: the same error wherever they are sent, nothing of them stays, the nodes' states are
equal, and others are served meanwhile, by the leaders that were there before."""

import collections
import re
import threading
import time

import pytest
import redis

ENDLESS = "while true do end"
HOSTILE = {
    "an endless loop": ENDLESS,
    "a loop that catches its end": "while true do pcall(function() while true do end end) end",
    "a huge text": "return string.rep('x', 2 ^ 31 - 1)",
    "a pattern without end": "return string.find(string.rep('a', 30000), '.-.-.-.-b')",
    "a set without end": "return (('a'):rep(100000):gsub('[' .. ('a'):rep(100000) .. ']', ''))",
    "recursion": "local function f() return pcall(f) end while true do f() end",
    "recursion in C": "local function f() return (('a'):gsub('a', f)) end while true do pcall(f) end",
    "a table of 100 MB": "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(100) .. i end",
    "old values of 300 MB": "local s = ('x'):rep(1048576) for i = 1, 300 do redis.call('hset', KEYS[2], 'f', s) end",
    "numbers as text": "while true do string.format('%99.99f', 1e300) end",
    "keys that collide": "local t, n = {}, 2 ^ 17 - 1 for i = 1, 2 ^ 16 + 1 do t[2 ^ 52 + i * n] = 1 end",
}


WRITES = "redis.call('set', KEYS[1], 2) for i = 1, 700 do redis.call('hset', KEYS[2], i, 'v') end "


@pytest.mark.parametrize("what", HOSTILE)
def test_stopped_alike_everywhere(three, what):
    clients = [redis.Redis(port=node.port) for node in three]
    clients[0].set("{t}a", 1)
    replies = []
    for client in clients:
        with pytest.raises(redis.ResponseError, match="nothing of it stays") as stopped:
            client.eval(WRITES + HOSTILE[what], 2, "{t}a", "{t}b")
        replies.append(str(stopped.value))
    assert len(set(replies)) == 1
    for client in clients:
        assert client.get("{t}a") == b"1" and client.exists("{t}b") == 0
    three.wait_until_equal()


def test_an_error_in_the_middle(three):
    """What was written before stays, as in Redis, and is the same on all nodes."""
    clients = [redis.Redis(port=node.port) for node in three]
    text = "redis.call('incr', KEYS[1]) redis.call('hset', KEYS[1], 'f', 'v') redis.call('incr', KEYS[1])"
    replies = []
    for client in clients:
        with pytest.raises(redis.ResponseError, match="WRONGTYPE") as failed:
            client.eval(text, 1, "n")
        replies.append(str(failed.value))
    assert len(set(replies)) == 1 and clients[1].get("n") == b"3"
    three.wait_until_equal()


def test_others_are_served(three):
    """One client sends nothing but such scripts; the others' commands are answered between them."""
    over = threading.Event()
    stopped, failures = [], []

    def harm():
        client = redis.Redis(port=three[0].port)
        try:
            while not over.is_set():
                for text in HOSTILE.values():
                    try:
                        client.eval(text, 2, "{h}a", "{h}b")
                    except redis.ResponseError as error:
                        stopped.append(str(error))
        except Exception as error:
            failures.append(error)

    harmful = threading.Thread(target=harm)
    harmful.start()
    try:
        clients = [redis.Redis(port=node.port) for node in three]
        served = 0
        while len(stopped) < 2 * len(HOSTILE) and not failures:
            for number, client in enumerate(clients):
                client.incr(f"key{number}")
                served += 1
    finally:
        over.set()
        harmful.join()
    assert not failures and served >= 3
    assert all("nothing of it stays" in text for text in stopped)
    three.wait_until_equal()


ANSWER_SECONDS = 10  # as command-timeout: a shard without a leader answers an error by then
SCRIPTS = 150
SERVED = 5  # at least, while they run: between the scripts, not behind all of them
ELECTIONS = 1  # of a shard, at most: where a machine gives nodes no processor for long, an idle cluster may have one, too


def terms(three, among=None):
    """Term by shard, as its leader says, less one for each time that it was handed to the node which should lead it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        seen = {}
        for node in among or three:
            with node.connect() as client:
                shards = dict(zip(*[iter(client.call("COHORT.STATUS"))] * 2))[b"shards"]
            for shard in (dict(zip(*[iter(shard)] * 2)) for shard in shards):
                if shard[b"role"] == b"leader":
                    seen[shard[b"shard"]] = shard[b"term"]
        moves = collections.Counter(int(shard) for shard in re.findall(r"shard (\d+) goes to node", three.log(100000)))
        if len(seen) == three.shards:
            return {shard: term - moves[shard] for shard, term in seen.items()}
        time.sleep(0.1)
    raise AssertionError(f"shards without leaders: {seen}\n{three.log()}")


def led_on(three, before, refused=()):
    """No more than such elections; without one nobody was refused."""
    now = terms(three)
    assert now != before or not refused, refused
    assert all(now[shard] - before[shard] <= ELECTIONS for shard in before), f"{before}, then {now}\n{three.log()}"


def serve_others(three, over):
    """One after the other through each node: how many there were until it was over, the longest wait, and what was refused."""
    clients = [node.connect(60) for node in three]
    served, longest, refused = 0, 0, []
    while not over():
        for number, client in enumerate(clients):
            began = time.monotonic()
            if not isinstance(reply := client.call("INCR", f"other{number}"), int):
                assert reply.startswith(("UNCERTAIN", "CLUSTERDOWN")), reply
                refused.append(reply)
            longest = max(longest, time.monotonic() - began)
            served += 1
    for client in clients:
        client.close()
    return served, longest, refused


@pytest.mark.parametrize("connections", [1, 50])
def test_many_at_once(three, connections):
    """In one pipeline, or of many clients: others are answered between them, and no shard loses its leader."""
    before = terms(three)
    with three[1].connect() as client:
        client.call("SET", "{h}a", 1)
    replies = []

    def harm(number):
        with three[1 + number % 3].connect(300) as client:
            replies.extend(client.calls([["EVAL", WRITES + ENDLESS, 2, "{h}a", "{h}b"]] * (SCRIPTS // connections)))

    harmful = [threading.Thread(target=harm, args=(number,)) for number in range(connections)]
    for thread in harmful:
        thread.start()
    try:
        served, longest, refused = serve_others(three, lambda: not any(thread.is_alive() for thread in harmful))
    finally:
        for thread in harmful:
            thread.join()
    assert len(replies) == SCRIPTS // connections * connections
    assert all(reply.startswith("ERR the script was stopped") for reply in replies), set(replies)
    assert served >= SERVED and longest < ANSWER_SECONDS
    led_on(three, before, refused)
    with three[2].connect() as client:
        assert client.call("GET", "{h}a") == b"1" and client.call("EXISTS", "{h}b") == 0
    three.wait_until_equal()


def test_many_reads_at_once(three):
    """Of those that only read, and so run where they are asked for; also of the node's own copy."""
    before = terms(three)
    replies = []

    def harm(node, first):
        with node.connect(300) as client:
            client.call(first)
            replies.extend(client.calls([["EVAL_RO", ENDLESS, 1, "{h}a"]] * (SCRIPTS // 3)))

    harmful = [threading.Thread(target=harm, args=(node, first)) for node, first in zip(three, ["READONLY", "PING", "READONLY"])]
    for thread in harmful:
        thread.start()
    try:
        served, longest, refused = serve_others(three, lambda: not any(thread.is_alive() for thread in harmful))
    finally:
        for thread in harmful:
            thread.join()
    assert len(replies) == SCRIPTS and all(reply.startswith("ERR the script was stopped") for reply in replies), set(replies)
    assert served >= SERVED and longest < ANSWER_SECONDS
    led_on(three, before, refused)


def test_a_node_starts_on_a_log_of_them(new_cluster):
    """It applies them all again, and the others' leaders hear it meanwhile."""
    three = new_cluster()
    with three[1].connect(300) as client:
        client.calls([["EVAL", WRITES + ENDLESS, 2, f"{{{number}}}a", f"{{{number}}}b"] for number in range(SCRIPTS)])
    three.wait_until_equal()
    three[3].kill()
    three.wait_for_leaders()
    before = terms(three, three.alive())
    three[3].launch()
    served, longest, refused = serve_others(three.alive()[:2], three[3].ready)
    three.wait_until_equal()
    assert longest < ANSWER_SECONDS
    led_on(three, before, refused)


def test_scripts_of_one_transaction_have_one_budget(three):
    with three[1].connect() as client:
        replies = client.calls([["MULTI"], ["SET", "{m}n", 1], ["EVAL", ENDLESS, 1, "{m}n"], ["EVAL", "return 7", 1, "{m}n"],
                                ["INCR", "{m}n"], ["EVAL_RO", "return 8", 1, "{m}n"], ["EXEC"]])[-1]  # fmt: skip
        assert replies[0] == "OK" and replies[1].startswith("ERR the script was stopped")
        assert replies[2].startswith("ERR the scripts before this one in its transaction have used up")
        assert replies[3:] == [2, 8]
        many = [["MULTI"], *[["EVAL", "return redis.call('incr', KEYS[1])", 1, "{m}n"]] * 5000, ["EXEC"]]
        assert client.calls(many)[-1] == list(range(3, 5003))
    three.wait_until_equal()


def test_a_text_is_checked_while_a_script_runs(three):
    client = redis.Redis(port=three[1].port)
    over = threading.Event()

    def run():
        other = redis.Redis(port=three[1].port)
        while not over.is_set():
            with pytest.raises(redis.ResponseError):
                other.eval(ENDLESS, 0)

    running = threading.Thread(target=run)
    running.start()
    try:
        for number in range(20):
            assert len(client.script_load(f"return {number}")) == 40
            with pytest.raises(redis.ResponseError, match="Error compiling script"):
                client.script_load("return (")
    finally:
        over.set()
        running.join()


def test_monitor_shows_what_was_sent(cohort):
    client = redis.Redis(port=cohort.port)
    sha = client.script_load("return 1")
    with redis.Redis(port=cohort.port).monitor() as monitor:
        client.evalsha(sha, 1, "k")
        client.eval("return 2", 0)
        client.execute_command("EVAL_RO", "return 3", 0)
        shown = [monitor.next_command()["command"] for _ in range(3)]
    assert shown == [f"EVALSHA {sha} 1 k", "EVAL return 2 0", "EVAL_RO return 3 0"]
