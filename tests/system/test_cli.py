"""The subcommands as a person or a script meets them: texts, exit codes, JSON, a server that is not there or goes away."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import time

import cluster
import pytest
import redis
import servers

USAGE, UNAVAILABLE = 64, 69
COMMANDS = ["serve", "dev", "status", "bench"]


def cohort(*arguments, timeout=60):
    return subprocess.run([str(servers.COHORT), *map(str, arguments)], capture_output=True, text=True, timeout=timeout)


def at(server):
    return f"cohort://127.0.0.1:{server.port}"


@pytest.fixture
def private_redis(tmp_path):
    server = servers.Server("redis", tmp_path / "redis", []).start()
    yield server
    server.stop()


def test_help_lists_the_commands():
    done = cohort("--help")
    assert done.returncode == 0 and done.stderr == ""
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_examples(name):
    done = cohort(name, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith(f"usage: cohort {name} ")
    assert f"examples:\n  cohort {name}" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 110
    assert cohort("help", name).stdout == done.stdout


def test_version():
    done = cohort("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("cohort ") and len(done.stdout.split(".")) == 3


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "usage: cohort COMMAND"),
        (["bnech"], "did you mean 'bench'?"),
        (["no-such-thing"], "unknown command"),
        (["--no-such-thing"], "unknown option"),
        (["bench", "--clinets", "3"], "did you mean --clients?"),
        (["bench", "-c", "3"], "options are long"),
        (["bench", "--clients"], "--clients needs a value"),
        (["bench", "--clients", "many"], "'many' is not a whole number"),
        (["bench", "--clients=0"], "not between 1 and"),
        (["bench", "--duration", "10"], "is not a duration like"),
        (["bench", "--value-size", "1tb"], "is not a size like"),
        (["bench", "--json=yes"], "takes no value"),
        (["bench", "--mode", "lcok"], "none of set, get, mixed"),
        (["bench", "--mode", "mixed", "--ratio", "1"], "is not SETS:GETS"),
        (["bench", "--requests", "1", "--duration", "1s"], "exclude each other"),
        (["bench", "--shards", "2"], "are of --mode txn"),
        (["bench", "--mode", "get", "--hot", "0"], "are of --mode txn"),
        (["bench", "--mode", "lock", "--form", "mset"], "none of lock, set"),
        (["bench", "--mode", "lock", "--clients", "4", "--pipeline", "8", "--keys", "31"], "would wait for itself"),
        (["bench", "--mode", "set", "--ttl", "1s"], "are of --mode lock"),
        (["bench", "--wait", "1s"], "are of --mode lock"),
        (["bench", "--mode", "txn", "--shards", "65"], "not between 1 and 64"),
        (["bench", "--mode", "txn", "--hot", "101"], "not between 0 and 100"),
        (["bench", "--mode", "txn", "--form", "exec"], "none of multi, txn, mset"),
        (["bench", "--mode", "txn", "--protocol", "3pc"], "is of --form txn"),
        (["bench", "--mode", "txn", "--form", "txn", "--protocol", "4pc"], "neither 2pc nor 3pc"),
        (["bench", "here"], "unexpected argument 'here'"),
        (["bench", "--url", "redis://localhost"], "the scheme must be cohort://"),
        (["status", "localhost:x"], "a port must be a number"),
    ],
)
def test_usage_errors(arguments, said):
    done = cohort(*arguments)
    assert done.returncode == USAGE
    assert said in done.stderr and done.stdout == ""


@pytest.mark.parametrize("command", [["status"], ["bench", "--url"]])
def test_nobody_listens(command):
    port = servers.free_port()
    done = cohort(*command, f"127.0.0.1:{port}")
    assert done.returncode == UNAVAILABLE
    assert done.stderr == (
        f"cohort {command[0]}: no answer from 127.0.0.1:{port}: connection refused; is `cohort serve` running there?\n"
    )


def test_a_node_that_keeps_silent():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        start = time.monotonic()
        done = cohort("status", f"127.0.0.1:{listener.getsockname()[1]}", "--timeout", "200ms")
        assert 0.2 <= time.monotonic() - start < 10
    assert done.returncode == UNAVAILABLE and "timed out" in done.stderr


@pytest.mark.parametrize("mode", ["set", "get", "mixed"])
def test_bench_json(server, mode):
    done = cohort("bench", "--url", at(server), "--mode", mode, "--requests", 5000, "--clients", 7, "--pipeline", 3,
                  "--threads", 2, "--keys", 500, "--prepare", "--ratio", "1:3", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["requests"] == 5000 and result["errors"] == 0 and result["misses"] == 0
    assert set(result["operations"]) == {"set": {"set"}, "get": {"get"}, "mixed": {"set", "get"}}[mode]
    assert sum(part["requests"] for part in result["operations"].values()) == 5000
    for part in result["operations"].values():
        latency = part["latency_us"]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99.9"] <= latency["p100"]
    if mode == "mixed":
        assert 1000 < result["operations"]["set"]["requests"] < 1500
    assert redis.Redis(port=server.port).dbsize() == 500


@pytest.mark.parametrize("form", [["multi"], ["mset"], ["txn"], ["txn", "--protocol", "2pc"], ["txn", "--protocol", "3PC"]])
def test_bench_transactions(three, form):
    """All keys of its shards are written: with as many as there are, each request writes a key in each of them."""
    done = cohort("bench", "--url", at(three[1]), "--mode", "txn", "--shards", 4, "--form", *form, "--requests", 50,
                  "--clients", 1, "--pipeline", 2, "--keys", 400, "--json")  # one client: nobody is in the way  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["mode"] == "txn" and result["requests"] == 50 and result["errors"] == 0
    assert result["operations"]["txn"]["requests"] == 50 and set(result["operations"]) == {"txn"}
    with redis.Redis(port=three[1].port) as connection:
        shards = {cluster.slot_of(key.decode()) * 4 // cluster.SLOTS for key in connection.keys()}
        assert shards == {0, 1, 2, 3} and 100 < connection.dbsize() <= 200


def test_bench_transactions_on_one_key(three):
    done = cohort("bench", "--url", at(three[1]), "--mode", "txn", "--hot", 100, "--requests", 20, "--clients", 1)
    assert done.returncode == 0 and "\ntxn " in done.stdout
    with redis.Redis(port=three[1].port) as connection:
        assert connection.exists("key:000000000000") and 2 <= connection.dbsize() <= 21


def test_bench_transactions_of_one_shard(server):
    """Redis has them, too."""
    done = cohort("bench", "--url", at(server), "--mode", "txn", "--shards", 1, "--requests", 100, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["operations"]["txn"]["requests"] == 100
    done = cohort("bench", "--url", at(server), "--mode", "txn", "--requests", 100)
    assert done.returncode == USAGE and "--shards: 2 are more than the server has (1)" in done.stderr


def test_bench_transactions_need_keys_in_their_shards(three):
    done = cohort("bench", "--url", at(three[1]), "--mode", "txn", "--keys", 1)
    assert done.returncode == USAGE and "--keys: 1 are in 1 shards only, not 2" in done.stderr


def test_bench_counts_a_failed_transaction_once(server):
    """Its SET is refused, and so is its EXEC."""
    with redis.Redis(port=server.port) as connection:
        connection.set("key", "value")
        connection.config_set("maxmemory", 1)
        try:
            done = cohort("bench", "--url", at(server), "--mode", "txn", "--shards", 1, "--requests", 10, "--json")
        finally:
            connection.config_set("maxmemory", 0)
    result = json.loads(done.stdout)
    assert done.returncode == UNAVAILABLE and result["requests"] == 0 and result["errors"] == 10
    (problem,) = result["error_texts"]
    assert problem["text"].startswith("OOM ") and problem["count"] == 10


@pytest.mark.parametrize("form", [["lock"], ["set"]])
def test_bench_locks(three, form):
    done = cohort("bench", "--url", at(three[1]), "--mode", "lock", "--form", *form, "--requests", 400, "--clients", 4, "--pipeline", 8,
                  "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    grants = told["grants"]
    assert told["operations"]["lock"]["requests"] == grants["count"] == told["requests"] == 400 and told["misses"] == 0
    assert grants["owners"] == 4 and 0 < grants["least"] <= 100 <= grants["most"] and 0.25 < grants["fairness"] <= 1
    assert grants["messages_per_grant"] == 4
    with three[1].connect() as connection:
        assert connection.call("LOCK.LIST", "MATCH", "lock:*", "COUNT", 1000)[1] == [] and connection.call("KEYS", "lock:*") == []


def test_bench_of_one_lock(three):
    done = cohort("bench", "--url", at(three[1]), "--mode", "lock", "--keys", 1, "--requests", 200, "--clients", 8, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["grants"]["count"] + told["misses"] == 200 and told["grants"]["count"] > 0
    done = cohort("bench", "--url", at(three[1]), "--mode", "lock", "--form", "set", "--keys", 1, "--duration", "500ms", "--clients", 8)
    assert done.returncode == 0 and "grants to 8 owners" in done.stdout, done.stderr


def test_bench_table_and_misses(server):
    done = cohort("bench", "--url", at(server), "--mode", "get", "--requests", 1000)
    assert done.returncode == 0 and done.stderr == ""
    assert "1000 requests in" in done.stdout and "1000 misses" in done.stdout and "p99.9 ms" in done.stdout


def test_bench_writes_values_of_the_size(server):
    assert cohort("bench", "--url", at(server), "--keys", 1, "--requests", 1, "--value-size", "1kb").returncode == 0
    assert redis.Redis(port=server.port).strlen("key:000000000000") == 1024


def test_bench_same_seed_same_keys(server):
    connection = redis.Redis(port=server.port)
    seen = []
    for seed in (5, 5, 6):
        connection.flushall()
        cohort("bench", "--url", at(server), "--requests", 50, "--clients", 1, "--keys", 1000000, "--seed", seed)
        seen.append(set(connection.keys()))
    assert seen[0] == seen[1] != seen[2]


def test_bench_counts_error_replies(server):
    connection = redis.Redis(port=server.port)
    connection.hset("key:000000000000", "field", "value")
    done = cohort("bench", "--url", at(server), "--mode", "get", "--keys", 1, "--requests", 100, "--json")
    assert done.returncode == UNAVAILABLE
    result = json.loads(done.stdout)
    assert result["errors"] == 100 and result["requests"] == 0
    (problem,) = result["error_texts"]
    assert problem["text"].startswith("WRONGTYPE ") and problem["count"] == 100


def test_bench_runs_for_a_duration(server):
    done = cohort("bench", "--url", at(server), "--duration", "500ms", "--clients", 4, "--json")
    assert done.returncode == 0
    assert 0.5 <= json.loads(done.stdout)["seconds"] < 10


def wait_until_loaded(port):
    """Until a bench that was started, and may be slow to begin, has written something to the empty server."""
    deadline = time.monotonic() + servers.START_SECONDS
    with redis.Redis(port=port) as connection:
        while connection.dbsize() == 0:
            assert time.monotonic() < deadline, "the bench writes nothing"
            time.sleep(0.02)


def test_bench_ends_when_the_server_dies(private_redis):
    url = at(private_redis) + "?timeout=200ms"
    running = subprocess.Popen(
        [str(servers.COHORT), "bench", "--url", url, "--duration", "60s", "--json"], stdout=subprocess.PIPE
    )
    wait_until_loaded(private_redis.port)
    private_redis.kill()
    output, _ = running.communicate(timeout=60)
    assert running.returncode == UNAVAILABLE
    assert json.loads(output)["errors"] > 0


def test_bench_goes_on_when_the_server_comes_back(private_redis):
    running = subprocess.Popen(
        [str(servers.COHORT), "bench", "--url", at(private_redis), "--duration", "6s", "--clients", "3", "--json"],
        stdout=subprocess.PIPE,
    )
    wait_until_loaded(private_redis.port)
    private_redis.kill()
    private_redis.start()
    assert redis.Redis(port=private_redis.port).dbsize() >= 0
    output, _ = running.communicate(timeout=60)
    result = json.loads(output)
    assert 0 < result["errors"] <= 10 and result["seconds"] >= 6
    assert redis.Redis(port=private_redis.port).dbsize() > 0  # it was empty when it came back


def test_bench_interrupted_shows_what_it_has(server):
    running = subprocess.Popen(
        [str(servers.COHORT), "bench", "--url", at(server), "--duration", "60s", "--json"], stdout=subprocess.PIPE,
        preexec_fn=servers.end_with_parent,
    )  # fmt: skip
    wait_until_loaded(server.port)
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 0 and json.loads(output)["requests"] > 0


def test_progress_only_on_a_terminal(server):
    parent, child = pty.openpty()
    subprocess.run(
        [str(servers.COHORT), "bench", "--url", at(server), "--duration", "700ms"],
        stdout=subprocess.DEVNULL, stderr=child, timeout=60,
    )  # fmt: skip
    shown = b""
    while select.select([parent], [], [], 5)[0]:  # before the other end is closed: what is on its way would be lost
        shown += os.read(parent, 65536)
        if shown.endswith(b"\r\x1b[K"):
            break
    os.close(child)
    os.close(parent)
    assert b"requests," in shown and shown.endswith(b"\r\x1b[K")


def test_a_full_disk_behind_stdout_is_an_error():
    with open("/dev/full", "w") as full:
        done = subprocess.run([str(servers.COHORT), "--help"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 74 and "standard output" in done.stderr
