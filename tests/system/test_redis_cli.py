"""redis-cli, unmodified, in RESP2 and with -3: one-shot, from standard input, --pipe, --scan, --stat, --bigkeys."""

import json
import subprocess
import time

import pytest
import resp


@pytest.fixture(params=[(), ("-3",)], ids=["resp2", "resp3"])
def cli(request, server):
    def run(*words, stdin=None, check=True):
        done = subprocess.run(
            ["redis-cli", "-p", str(server.port), *request.param, *map(str, words)],
            input=stdin,
            capture_output=True,
            timeout=60,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.decode()

    run.resp3 = bool(request.param)
    return run


def test_strings_and_errors(cli):
    assert cli("PING") == "PONG\n"
    assert cli("SET", "greeting", "hello") == "OK\n"
    assert cli("GET", "greeting") == "hello\n"
    assert cli("GET", "nothing") == "\n"
    assert cli("--no-raw", "GET", "nothing") == "(nil)\n"
    assert cli("--no-raw", "INCR", "counter") == "(integer) 1\n"
    assert cli("INCR", "greeting").startswith("ERR value is not an integer or out of range")
    assert cli("NOSUCH", "a", "b").startswith("ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b'")
    assert cli("GET").startswith("ERR wrong number of arguments for 'get' command")


def test_hashes(cli):
    assert cli("HSET", "user:1", "name", "Ada", "born", 1815) == "2\n"
    fields = cli("--no-raw", "HGETALL", "user:1")
    if cli.resp3:
        assert fields == '1# "name" => "Ada"\n2# "born" => "1815"\n'
    else:
        assert fields == '1) "name"\n2) "Ada"\n3) "born"\n4) "1815"\n'


def test_json_and_csv(cli):
    cli("HSET", "h", "f", "v")
    assert json.loads(cli("--json", "HGETALL", "h")) == {"f": "v"}
    assert cli("--csv", "MGET", "h", "none").strip() in ("NULL,NULL", "(nil),(nil)", "NIL,NIL")


def test_commands_from_standard_input(cli):
    script = b"MULTI\nSET a 1\nINCRBY a 41\nEXEC\nGET a\n"
    assert cli(stdin=script).split("\n")[:3] == ["OK", "QUEUED", "QUEUED"]
    assert cli("GET", "a") == "42\n"
    assert cli("-x", "SET", "file", stdin=bytes(range(1, 256))) == "OK\n"
    assert cli("STRLEN", "file") == "255\n"


def test_repeat_and_database(cli):
    assert cli("-r", 3, "INCR", "n") == "1\n2\n3\n"
    assert cli("-n", 0, "GET", "n") == "3\n"


def test_pipe(cli):
    """--pipe sends raw protocol and then ECHO with a random text, and counts replies."""
    count = 5000
    raw = b"".join(resp.encode("SET", f"pipe:{i}", "v" * (i % 300)) for i in range(count)) + resp.encode("INCR", "pipe:1")
    output = cli("--pipe", stdin=raw, check=False)
    assert f"errors: 1, replies: {count + 1}" in output
    assert cli("DBSIZE") == f"{count}\n"


def test_scan(cli):
    raw = b"".join(resp.encode("SET", f"{kind}:{i}", i) for kind in ("a", "b") for i in range(700))
    cli("--pipe", stdin=raw)
    assert sorted(cli("--scan", "--pattern", "a:*").split()) == sorted(f"a:{i}" for i in range(700))
    assert len(set(cli("--scan").split())) == 1400


def test_bigkeys(cli):
    cli("SET", "small", "x")
    cli("SET", "big", "x" * 5000)
    cli("HSET", "hash", *sum(([f"f{i}", i] for i in range(20)), []))
    output = cli("--bigkeys")
    assert 'Biggest string found \'"big"\' has 5000 bytes' in output
    assert 'Biggest   hash found \'"hash"\' has 20 fields' in output


def test_stat(server):
    """--stat runs until it is ended; it reads keys, memory, clients and counts from INFO."""
    resp.Connection(server.port).calls(("SET", f"k{i}", i) for i in range(123))
    process = subprocess.Popen(
        ["stdbuf", "-oL", "redis-cli", "-p", str(server.port), "--stat", "-i", "0.1"], stdout=subprocess.PIPE, text=True
    )
    try:
        lines = [process.stdout.readline() for _ in range(4)]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    keys, memory, clients = lines[3].split()[:3]
    assert keys == "123"
    assert memory[-1] in "BKMG" and float(memory[:-1]) > 0
    assert int(clients) >= 1


def test_latency(server):
    """Without a terminal, --latency measures PING for a second and prints the result once."""
    began = time.monotonic()
    done = subprocess.run(
        ["redis-cli", "-p", str(server.port), "-i", "0.2", "--raw", "--latency"], capture_output=True, text=True, timeout=60
    )
    low, high, average, samples = done.stdout.split()
    assert float(low) <= float(average) <= float(high) and int(samples) > 1
    assert time.monotonic() - began < 30
