"""What random commands cannot compare (differential.py): commands about connections and the server, whose replies hold
ids, addresses and times. Each script runs on both servers; what must differ is masked, all else must be the same."""

import re

import pytest
import resp

MASKS = (
    (rb"127\.0\.0\.1:\d+", b"ADDRESS"),
    (rb"\d+\.\d{6} \[", b"TIME ["),
    (rb"\bid=\d+", b"id=N"),
)


def masked(value):
    if isinstance(value, list):
        return [masked(item) for item in value]
    if isinstance(value, (bytes, str)):
        data = value if isinstance(value, bytes) else value.encode("latin-1")
        for pattern, replacement in MASKS:
            data = re.sub(pattern, replacement, data)
        return data
    return value


@pytest.fixture
def both(shared_servers):
    """run(script): script(connect) on both servers; returns the pair of masked results."""

    def run(script):
        results = []
        for kind in ("redis", "cohort"):
            server = shared_servers(kind)
            made = []

            def connect(protocol=2, port=server.port, made=made):
                made.append(resp.Connection(port, protocol=protocol))
                return made[-1]

            try:
                connect().call("FLUSHALL")
                results.append(masked(script(connect)))
            finally:
                for connection in made:
                    connection.close()
        expected, got = results
        assert got == expected
        return got

    return run


@pytest.mark.parametrize("protocol", [2, 3])
def test_monitor(both, protocol):
    def script(connect):
        monitor, client = connect(protocol), connect()
        out = [monitor.call("MONITOR")]
        for words in (
            ["SET", "key", b'binary \x00\xff\r\n\t\a\b"quoted"\\'], ["get", "key"], ["GET"], ["nosuch", "x"], ["PING"],
            ["HSET", "h", "f", "v" * 200], ["MULTI"], ["INCR", "n"], ["GET", "n"], ["EXEC"], ["CONFIG", "GET", "timeout"],
            ["OBJECT", "ENCODING", "n"], ["MULTI"], ["SET", "a", "1"], ["DISCARD"], ["SELECT", "0"],
        ):  # fmt: skip
            client.call(*words)
        client.call("ECHO", "the end")
        while True:
            out.append(monitor.read())
            if "the end" in out[-1]:
                return out

    lines = both(script)
    assert b'TIME [0 ADDRESS] "SET" "key" "binary \\x00\\xff\\r\\n\\t\\a\\b\\"quoted\\"\\\\"' in lines


def test_slowlog(both):
    def script(connect):
        client = connect()
        client.call("CONFIG", "SET", "slowlog-log-slower-than", 0, "slowlog-max-len", 10)
        client.call("CLIENT", "SETNAME", "me")
        client.call("SLOWLOG", "RESET")
        client.call("SET", "key", "v" * 500)
        client.call("MGET", *(f"k{i}" for i in range(100)))
        client.call("GET", b"\x00\xff")
        entries = client.call("SLOWLOG", "GET", -1)
        client.call("CONFIG", "SET", "slowlog-log-slower-than", -1)
        out = [entry[3:] for entry in entries] + [len(entries[0])]
        ids = [entry[0] for entry in entries]
        assert ids == sorted(ids, reverse=True)
        out += [len(client.call("SLOWLOG", "GET", count)) for count in (0, 1, 3)]
        out += [client.call("SLOWLOG", "GET", count) for count in (-2, "x", "1.5")]
        client.call("SLOWLOG", "RESET")
        return out + [client.call("SLOWLOG", "LEN"), client.call("SLOWLOG", "GET")]

    both(script)


def test_client_names_and_kill(both):
    def script(connect):
        client, other, third = connect(), connect(), connect(3)
        other.call("CLIENT", "SETNAME", "other")
        other_id, third_id = other.call("CLIENT", "ID"), third.call("CLIENT", "ID")
        address = re.search(rb" addr=(\S+)", other.call("CLIENT", "INFO")).group(1)
        out = [other_id < third_id, client.call("CLIENT", "GETNAME"), other.call("CLIENT", "GETNAME")]
        out.append(third.call("CLIENT", "GETNAME"))
        for words in (
            ["KILL", "ID", "999999"], ["KILL", "ID", "x"], ["KILL", "ID", "-1"], ["KILL", "nosuch"],
            ["KILL", "ID", other_id, "TYPE"], ["KILL", "TYPE", "nosuch"], ["KILL", "TYPE", "pubsub"],
            ["KILL", "TYPE", "replica"], ["KILL", "USER", "nobody"], ["KILL", "SKIPME", "x"], ["KILL", "1.2.3.4:5"],
            ["KILL", "ADDR", "1.2.3.4:5"], ["KILL", "FOO", "BAR"], ["KILL", "ID", other_id, "ADDR", "1.2.3.4:5"],
            ["KILL", "ADDR", address], ["KILL", "ID", third_id, "SKIPME", "yes"], ["UNBLOCK", "999999"],
            ["UNBLOCK", "x"], ["UNBLOCK", "1", "FOO"], ["NO-EVICT", "ON"], ["NO-EVICT", "x"], ["GETREDIR"],
            ["REPLY", "x"], ["LIST", "TYPE", "x"], ["LIST", "ID", "x"], ["LIST", "ID", "999999"], ["LIST", "FOO"],
            ["LIST", "TYPE", "pubsub"], ["LIST", "TYPE", "replica"], ["PAUSE", "x"], ["PAUSE", "-1"], ["PAUSE", "1", "x"],
            ["PAUSE", "0"], ["PAUSE", "0", "WRITE"], ["UNPAUSE"], ["SETNAME", "a b"], ["SETNAME", "a\nb"], ["SETNAME", ""],
            ["LIST", "ID"], ["INFO", "x"],
        ):  # fmt: skip
            out.append([str(words[0]), client.call("CLIENT", *words)])
        for connection in (other, third):
            with pytest.raises(ConnectionError):
                connection.call("PING")
        return out

    both(script)


def test_client_list_fields(both):
    """The fields that tools read are there, under Redis's names, and tell the same."""

    def script(connect):
        client, other = connect(), connect(3)
        other.call("CLIENT", "SETNAME", "other")
        other.call("MULTI")
        other.call("PING")
        identity = client.call("CLIENT", "ID")
        out = []
        for connection in (client, other):
            lines = client.call("CLIENT", "LIST", "ID", identity).decode().splitlines()
            fields = dict(field.split("=", 1) for field in lines[0].split(" "))
            names = ("name", "db", "sub", "psub", "multi", "flags", "cmd", "user", "redir", "resp", "laddr", "addr")
            out.append([f"{name}={fields.get(name)}" for name in names])
            identity += 1
        return out

    both(script)


def test_pause_holds_writes_back(both):
    def script(connect):
        client, writer, reader = connect(), connect(), connect()
        out = [client.call("CLIENT", "PAUSE", 60000, "WRITE"), reader.call("GET", "a")]
        writer.send(resp.encode("SET", "a", "1"))
        out.append(reader.call("GET", "a"))
        out.append(client.call("CLIENT", "UNPAUSE"))
        out.append(writer.read())
        return out + [reader.call("GET", "a")]

    both(script)


@pytest.mark.parametrize("protocol", [2, 3])
def test_info_and_config_shapes(both, protocol):
    """Tools split INFO at lines and colons; CONFIG GET of what both have."""

    def script(connect):
        client = connect(protocol)
        info = client.call("INFO", "server")
        out = [type(info).__name__, info.startswith(b"# Server\r\n"), info.endswith(b"\r\n")]
        out += [client.call("INFO", "nosuch"), type(client.call("INFO")).__name__]
        fields = dict(line.split(b":", 1) for line in client.call("INFO").split(b"\r\n") if b":" in line)
        for name in (b"redis_version", b"redis_mode", b"tcp_port", b"uptime_in_seconds", b"connected_clients",
                     b"used_memory", b"total_commands_processed", b"keyspace_hits", b"role", b"maxmemory"):
            out.append((name, name in fields))
        client.call("SET", "a", "1", "EX", 1000)
        client.call("SET", "b", "1")
        out.append(client.call("INFO", "keyspace").split(b",avg_ttl")[0])
        for name in ("maxmemory", "timeout", "appendonly", "databases", "nosuch"):
            out.append(len(client.call("CONFIG", "GET", name)))
        out.append(type(client.call("CONFIG", "GET", "timeout")).__name__)
        return [list(item) if isinstance(item, tuple) else item for item in out]

    both(script)


def test_shutdown_arguments(both):
    def script(connect):
        client = connect()
        wrong = (["x"], ["SAVE", "NOSAVE"], ["ABORT", "NOW"], ["NOSAVE", "x"], ["ABORT"])
        return [client.call("SHUTDOWN", *words) for words in wrong]

    both(script)


def test_debug_is_refused_by_default(both):
    both(lambda connect: [connect().call("DEBUG", "SLEEP", "0")[:32]])


def test_server_commands_inside_a_transaction(both):
    def script(connect):
        client = connect()
        out = []
        for words in (
            ["CONFIG", "SET", "slowlog-log-slower-than", "-1"], ["SLOWLOG", "RESET"],
            ["MULTI"], ["PING"], ["PING", "hello"], ["ECHO", "x"], ["SET", "a", "1"], ["SELECT", "0"], ["GET", "a"],
            ["SELECT", "7777"], ["CLIENT", "GETNAME"], ["CLIENT", "SETNAME", "me"], ["CLIENT", "GETNAME"],
            ["CONFIG", "GET", "timeout"], ["COMMAND", "GETKEYS", "get", "x"], ["DBSIZE"], ["UNWATCH"], ["WAIT", "0", "0"],
            ["INCR", "a"], ["OBJECT", "ENCODING", "a"], ["CONFIG", "SET", "timeout", "x"], ["SLOWLOG", "LEN"], ["EXEC"],
            ["MULTI"], ["SET", "b", "1"], ["SHUTDOWN"], ["EXEC"], ["EXISTS", "b"], ["MULTI"], ["MONITOR"], ["EXEC"],
            ["PING"], ["CONFIG", "SET", "slowlog-log-slower-than", "10000"],
        ):  # fmt: skip
            out.append([words[0], client.call(*words)])
        return out

    both(script)


def test_watch_and_flushall(both):
    def script(connect):
        client, other = connect(), connect()
        out = []
        for change in (["FLUSHALL"], ["SET", "absent", "1"], ["DEL", "here"], ["EXPIRE", "here", "-1"],
                       ["RENAME", "here", "absent"], ["GET", "here"], ["APPEND", "here", ""], ["SETRANGE", "here", 0, ""],
                       ["EXPIRE", "here", 1000], ["PERSIST", "here"], ["SETNX", "here", "x"], ["DEL", "absent"],
                       ["COPY", "here", "absent"], ["INCR", "here"], ["FLUSHDB"]):  # fmt: skip
            other.call("FLUSHALL")
            other.call("SET", "here", "5")
            out.append(client.call("WATCH", "here", "absent"))
            other.call(*change)
            client.call("MULTI")
            client.call("PING")
            out.append([str(change[0]), client.call("EXEC")])
        return out

    both(script)


def test_what_follows_a_transaction_does_not_overtake_it(both):
    """Commands about the connection inside an EXEC see it as it was then, however much is sent behind."""

    def script(connect):
        return connect().calls([
            ["MULTI"], ["CLIENT", "GETNAME"], ["SET", "a", "1"], ["EXEC"], ["CLIENT", "SETNAME", "later"],
            ["CLIENT", "GETNAME"], ["MULTI"], ["CLIENT", "SETNAME", "inside"], ["GET", "a"], ["EXEC"],
            ["CLIENT", "GETNAME"], ["MULTI"], ["CLIENT", "GETNAME"], ["EXEC"], ["RESET"], ["CLIENT", "GETNAME"],
        ])  # fmt: skip

    both(script)


def test_silence_keeps_the_order_of_a_pipeline(both):
    def script(connect):
        client = connect()
        for words in (["SET", "a", "1"], ["CLIENT", "REPLY", "OFF"], ["SET", "a", "2"], ["PING"], ["CLIENT", "REPLY", "ON"],
                      ["INCR", "a"], ["CLIENT", "REPLY", "SKIP"], ["INCR", "a"], ["GET", "a"]):  # fmt: skip
            client.send(resp.encode(*words))
        return [client.read() for _ in range(4)]

    both(script)


def test_hello_inside_a_transaction(both):
    """The replies behind it are in its protocol; one that fails changes nothing."""

    def script(connect):
        client = connect()
        client.call("HSET", "h", "a", "1")
        replies = client.calls([
            ["MULTI"], ["HGETALL", "h"], ["HELLO", "3"], ["HGETALL", "h"], ["GET", "none"], ["CONFIG", "GET", "maxmemory-policy"],
            ["HELLO", "4"], ["HELLO", "2", "SETNAME"], ["HGETALL", "h"], ["EXEC"], ["HGETALL", "h"], ["MULTI"],
            ["HELLO", "2"], ["HGETALL", "h"], ["EXEC"], ["HGETALL", "h"],
        ])  # fmt: skip
        for reply in (replies[9], replies[14]):
            hello = reply[1 if reply is replies[9] else 0]
            assert b"proto" in (dict(hello) if isinstance(hello, resp.Map) else hello)
            hello.clear()
        return replies

    both(script)
