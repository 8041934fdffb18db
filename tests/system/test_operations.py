"""What those who run a node see of it: metrics, log lines, who may come in, and clients that are slow or silent."""

import concurrent.futures
import contextlib
import ctypes
import fcntl
import http.client
import json
import os
import re
import signal
import socket
import struct
import time

import pytest
import resp
import servers

# ---- metrics ----

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)")


def parse_metrics(text):
    """{name with labels: value}, from text that holds to the exposition format 0.0.4: help and type of a family stand
    before its samples, which stand together, and no sample comes twice."""
    assert text.endswith("\n")
    samples, types, helped, family = {}, {}, set(), None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, told = line[7:].split(" ", 1)
            assert re.fullmatch(NAME, name) and told and name not in helped, line
            helped.add(name)
        elif line.startswith("# TYPE "):
            family, kind = line[7:].split(" ")
            assert family in helped and family not in types and kind in ("counter", "gauge"), line
            assert (kind == "counter") == family.endswith("_total"), line
            types[family] = kind
        else:
            name, labels, value = SAMPLE.fullmatch(line).groups()
            assert name == family, f"{line}: outside of its family"
            key = name if labels is None else f"{name}{{{labels}}}"
            assert key not in samples, line
            samples[key] = float(value)
    assert helped == set(types)
    return samples


@pytest.fixture
def measured(new_server):
    """A node, and ask(method, path) → (status, headers, text) of its metrics."""
    port = servers.free_port()
    server = new_server("cohort", "--metrics", f"127.0.0.1:{port}")

    def ask(method="GET", path="/metrics"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request(method, path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, answer.headers, text

    return server, ask


def test_metrics_are_prometheus_text(measured):
    server, ask = measured
    with resp.Connection(server.port) as connection:
        before = parse_metrics(ask()[2])
        for n in range(10):
            assert connection.call("SET", f"key{n}", "value", "PX", "1000000") == "OK"
        assert isinstance(connection.call("INCR", "key0"), resp.Error)
        status, headers, text = ask()
        after = parse_metrics(text)
    assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"

    def grown(name):
        return after[name] - before.get(name, 0)

    assert grown("cohort_keys") == grown("cohort_keys_with_expiry") == 10
    assert grown("cohort_commands_total") == 11 and grown("cohort_errors_total") == 1
    assert grown('cohort_command_calls_total{command="set"}') == 10
    assert grown("cohort_log_syncs_total") > 0 and grown("cohort_network_read_bytes_total") > 0
    assert after["cohort_clients"] == 1 and after["cohort_data_bytes"] > before["cohort_data_bytes"]
    assert all(after[name] >= value for name, value in before.items() if name.split("{")[0].endswith("_total"))


def test_metrics_answer_as_http_does(measured):
    _, ask = measured
    status, headers, text = ask("HEAD")
    assert (status, text) == (200, "") and int(headers["Content-Length"]) > 1000
    assert ask("GET", "/metrics?from=here")[0] == 200
    status, _, text = ask("GET", "/")
    assert status == 404 and "/metrics" in text
    status, headers, text = ask("POST")
    assert status == 405 and headers["Allow"] == "GET, HEAD" and text == "GET /metrics\n"


def test_silent_metrics_clients_harm_nobody(measured):
    server, ask = measured
    port = int(server.arguments[1].rsplit(":", 1)[1])
    with contextlib.ExitStack() as stack:
        for _ in range(100):  # more than it takes
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
        with resp.Connection(server.port) as connection:
            assert connection.call("SET", "key", "value") == "OK"
    assert ask()[0] == 200


@pytest.mark.parametrize("part", [b"", b"GET /metrics HTTP/1.1\r\nHost:"])
def test_half_requests_keep_nobody_from_the_metrics(measured, part):
    server, ask = measured
    port = int(server.arguments[1].rsplit(":", 1)[1])
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)).sendall(part)
        began = time.monotonic()
        for _ in range(10):
            assert ask()[0] == 200
        assert time.monotonic() - began < 5  # and not after the time limit of the others


# ---- signals ----


def with_hangup(server, disposition):
    """Starts it as a child of one that has set this for SIGHUP, whatever the test's own is."""
    server.in_child = lambda: (servers.end_with_parent(), signal.signal(signal.SIGHUP, disposition))
    return server.start()


@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_that_end_it_cleanly(new_server, with_signal):
    server = new_server("cohort")
    assert server.stop() == 0
    with_hangup(server, signal.SIG_DFL)
    with resp.Connection(server.port) as connection:
        assert connection.call("SET", "key", with_signal.name) == "OK"
    assert server.end(with_signal) == 0
    log = server.log(last=1000)
    assert f"{with_signal.name} received" in log and log.rstrip().endswith("stopped")


def test_under_nohup_it_stays(new_server):
    server = new_server("cohort")
    assert server.stop() == 0
    with_hangup(server, signal.SIG_IGN)
    with open(f"/proc/{server.pid}/status") as status:
        ignored = int(re.search(r"SigIgn:\s*([0-9a-f]+)", status.read())[1], 16)
    assert ignored >> (signal.SIGHUP - 1) & 1
    server.process.send_signal(signal.SIGHUP)
    with resp.Connection(server.port) as connection:
        assert connection.call("PING") == "PONG"
    assert server.stop() == 0
    assert "SIGHUP" not in server.log(last=1000)


# ---- log lines ----


def test_json_log_is_json_in_each_line(new_server):
    server = new_server("cohort", "--log-format", "json", "--loglevel", "debug", "--client-output-buffer-limit", "1mb")
    with resp.Connection(server.port) as connection:
        assert connection.call("CLIENT", "SETNAME", 'a"b\\c') == "OK"
        assert connection.call("SET", 'key "\\\n\x01', "x" * 100_000) == "OK"
        commands = [("MULTI",), *[("GET", 'key "\\\n\x01')] * 100, ("EXEC",)]
        connection.send(b"".join(resp.encode(*words) for words in commands))  # ends this client, which reads nothing
        server.wait(lambda: "more than client-output-buffer-limit" in server.log(last=1000), "did not end it")
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log(last=1000).splitlines()]
    for line in lines:
        assert set(line) == {"time", "level", "message"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert line["level"] in ("debug", "info", "warning", "error")
    messages = "\n".join(line["message"] for line in lines)
    assert "ready for clients on" in messages and "SIGTERM received" in messages
    assert "more than client-output-buffer-limit" in messages


# ---- who may come in ----

CLONE_NEWNET = 0x40000000
SIOCSIFADDR, SIOCSIFFLAGS, IFF_UP = 0x8916, 0x8914, 1
OUTSIDE = "192.0.2.1"  # of a block that is for examples (RFC 5737)


def enter_own_network():
    """Moves this thread, and the processes it starts, into a network of their own that has loopback and OUTSIDE."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        pytest.skip(f"a network of its own needs root: {os.strerror(ctypes.get_errno())}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        up = struct.pack("16sh14x", b"lo", IFF_UP)
        fcntl.ioctl(control, SIOCSIFFLAGS, up)
        address = struct.pack("16sHH4s16x", b"lo:0", socket.AF_INET, 0, socket.inet_aton(OUTSIDE))
        fcntl.ioctl(control, SIOCSIFADDR, address)


def first_words(address, port, request):
    """What a client says that comes from `address` to the same address."""
    with socket.create_connection((address, port), 10, (address, 0)) as connection:
        with contextlib.suppress(ConnectionError):  # it may be turned away before it has spoken
            connection.sendall(request)
        out = b""
        with contextlib.suppress(ConnectionError):
            while not out.endswith(b"\n") and (part := connection.recv(1000)):
                out += part
        return out


def test_strangers_are_refused_without_a_password(new_server):
    def check():
        enter_own_network()
        port = servers.free_port()
        server = new_server("cohort", "--listen", f"0.0.0.0:{port}", "--enable-debug-command", "local", port=port)
        assert first_words("127.0.0.1", port, b"PING\r\n") == b"+PONG\r\n"
        refused = first_words(OUTSIDE, port, b"PING\r\n")
        assert refused.startswith(b"-DENIED this node serves loopback only") and b"Set requirepass" in refused
        with resp.Connection(port) as connection:
            assert connection.call("CONFIG", "SET", "protected-mode", "no") == "OK"
            assert first_words(OUTSIDE, port, b"PING\r\n") == b"+PONG\r\n"
            assert first_words(OUTSIDE, port, b"DEBUG SLEEP 0\r\n").startswith(b"-ERR DEBUG command not allowed")
            assert connection.call("DEBUG", "SLEEP", "0") == "OK"
            assert connection.call("CONFIG", "SET", "protected-mode", "yes", "requirepass", "sesame") == "OK"
        assert first_words(OUTSIDE, port, b"PING\r\n").startswith(b"-NOAUTH ")
        assert first_words(OUTSIDE, port, b"AUTH sesame\r\n") == b"+OK\r\n"
        assert server.stop() == 0  # in this thread: the process ends with it

    with concurrent.futures.ThreadPoolExecutor(1) as own_thread:  # the others stay where they are
        own_thread.submit(check).result()


# ---- slow and silent clients ----


def test_idle_clients_are_closed_and_others_are_not(new_server):
    server = new_server("cohort", "--timeout", "1")
    with resp.Connection(server.port) as busy, resp.Connection(server.port) as monitor:
        assert monitor.call("MONITOR") == "OK"
        with socket.create_connection(("127.0.0.1", server.port), 30) as silent:
            silent.settimeout(0.2)
            deadline = time.monotonic() + 30
            while True:
                assert busy.call("PING") == "PONG" and monitor.read().endswith('"PING"')
                assert time.monotonic() < deadline
                with contextlib.suppress(TimeoutError):
                    assert silent.recv(10) == b""
                    break
        assert "clients_cut_idle:1\r\n" in busy.call("INFO", "stats").decode()


def test_a_slow_reader_gets_everything_in_order(new_server):
    server = new_server("cohort")
    count = 300
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", server.port))
        expected = b""
        request = b""
        for n in range(count):
            value = b"%d " % n * 2000
            request += resp.encode("SET", "key", value) + resp.encode("GET", "key")
            expected += b"+OK\r\n$%d\r\n%s\r\n" % (len(value), value)
        with concurrent.futures.ThreadPoolExecutor(1) as sender:
            sent = sender.submit(slow.sendall, request)
            out = bytearray()
            while len(out) < len(expected):
                part = slow.recv(10_000)
                assert part, "closed"
                out += part
                if len(out) < 100_000:
                    time.sleep(0.02)
                elif len(out) % 16 == 0:
                    with resp.Connection(server.port) as other:
                        assert other.call("PING") == "PONG"
            sent.result()
        assert out == expected
