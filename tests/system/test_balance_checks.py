"""cohort balance asks its backends how they are: by HTTP, by RESP, behind a PROXY header."""

import signal

import pytest
from balancing import Backend, Balancer, eventually

FAST = ("--check-interval=30ms", "--slow-start=0", "--workers=1")


def answering(state):
    """Answers the first thing that it is told with state["answer"], a byte at a time, and remembers what that was."""

    def serve(connection):
        state["heard"] = connection.recv(4096)
        for byte in state["answer"]:
            connection.sendall(bytes([byte]))

    return serve


def turns(balancer, backend, healthy):
    eventually(lambda: balancer.metrics()[("backend_healthy", backend.address)] == healthy)


@pytest.mark.parametrize(
    "kind, question, good, bad",
    [
        ("http:/up?x=1", b"GET /up?x=1 HTTP/1.0\r\nHost: ", b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 503 Busy\r\n\r\n"),
        ("resp", b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n", b"-LOADING dataset\r\n"),
        ("resp", b"*1\r\n$4\r\nPING\r\n", b"-NOAUTH Authentication required.\r\n", b""),
    ],
)
def test_what_a_backend_answers_decides(kind, question, good, bad):
    state = {"answer": bad}
    with Backend(answering(state)) as backend, Backend(answering({"answer": good})) as other:
        with Balancer(backend.option, other.option, f"--check={kind}", *FAST) as balancer:
            turns(balancer, backend, 0)
            assert state["heard"].startswith(question)
            state["answer"] = good
            turns(balancer, backend, 1)
            assert balancer.metrics()[("backend_healthy", other.address)] == 1


def test_silence_fails():
    with Backend(lambda connection: connection.recv(1) and connection.recv(4096) and connection.recv(4096)) as backend:
        with Balancer(backend.option, "--check=resp", "--connect-timeout=50ms", *FAST) as balancer:
            turns(balancer, backend, 0)


@pytest.mark.parametrize("version, header", [("v1", b"PROXY UNKNOWN\r\n"), ("v2", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")])
@pytest.mark.parametrize("kind", ["tcp", "resp"])
def test_backends_that_expect_a_header_get_one_that_names_nobody(version, header, kind):
    state = {"answer": b"+PONG\r\n", "heard": b""}
    with Backend(answering(state)) as backend:
        with Balancer(backend.option, f"--check={kind}", f"--send-proxy={version}", *FAST) as balancer:
            eventually(lambda: state["heard"])
            assert state["heard"] == header + (b"*1\r\n$4\r\nPING\r\n" if kind == "resp" else b"")
            turns(balancer, backend, 1)


def test_checks_go_on_while_the_balancer_was_stopped():
    """Deadlines that passed while it stood still count for nobody for ever."""
    with Backend(answering({"answer": b"+PONG\r\n"})) as backend:
        with Balancer(backend.option, "--check=resp", *FAST) as balancer:
            turns(balancer, backend, 1)
            balancer.process.send_signal(signal.SIGSTOP)
            balancer.process.send_signal(signal.SIGCONT)
            passed = backend.accepted
            eventually(lambda: backend.accepted > passed + 5)
            turns(balancer, backend, 1)
