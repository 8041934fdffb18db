"""cohort balance and its backends: who gets what, and what clients notice of those that fail (nothing)."""

import contextlib
import socket
import threading

import pytest
from balancing import Backend, Balancer, echo, eventually, named, receive_all, receive_exactly, reset
from servers import free_port

NO_CHECKS = "--check-interval=0"
ONE = "--workers=1"


def name_of(balancer, **options):
    with balancer.connect(**options) as client:
        return receive_exactly(client, 1).decode()


@contextlib.contextmanager
def three(*options):
    with Backend(named("a")) as a, Backend(named("b")) as b, Backend(named("c")) as c:
        with Balancer(a.option + ",weight=5", b.option, c.option, NO_CHECKS, *options) as balancer:
            yield balancer


def test_policies():
    with three(ONE, "--policy=round-robin") as balancer:
        names = "".join(name_of(balancer) for _ in range(9))
        assert names in "abcabcabcabc"
    with three(ONE, "--policy=weighted") as balancer:
        assert "".join(name_of(balancer) for _ in range(14)) == "aabacaa" * 2
    for policy in ("ring", "maglev"):
        with three("--workers=2", f"--policy={policy}") as balancer:
            homes = {}
            for i in list(range(1, 30)) * 2:
                source = f"127.0.1.{i}"
                assert homes.setdefault(source, name_of(balancer, source=source)) == homes[source]
            assert set(homes.values()) >= {"a"} and len(set(homes.values())) > 1
    for policy in ("random", "two-choices", "peak-ewma"):
        with three(f"--policy={policy}") as balancer:
            assert {name_of(balancer) for _ in range(100)} <= set("abc")


def test_least_outstanding():
    with Backend(named("a")) as a, Backend(named("b")) as b:
        with Balancer(a.option, b.option, NO_CHECKS, ONE, "--policy=least") as balancer, contextlib.ExitStack() as stack:
            counts = {"a": 0, "b": 0}
            for _ in range(20):
                client = stack.enter_context(balancer.connect())
                counts[receive_exactly(client, 1).decode()] += 1
            assert counts == {"a": 10, "b": 10}


@contextlib.contextmanager
def hanging():
    """A listener that does not answer: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        while True:
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0.2)
            try:
                filler.connect(listener.getsockname())
            except TimeoutError:
                break
        yield f"--backend=127.0.0.1:{listener.getsockname()[1]}"


def test_clients_do_not_notice_backends_that_cannot_be_connected_to():
    """One refuses, one hangs, one resets before a byte; the fourth one serves everybody."""
    refusing = f"--backend=127.0.0.1:{free_port()}"
    with hanging() as hangs, Backend(reset) as resets, Backend(named("d")) as good:
        with Balancer(refusing, hangs, resets.option, good.option, NO_CHECKS, ONE, "--policy=round-robin",
                      "--connect-timeout=200ms", "--retries=3", "--retry-budget=100", "--eject-errors=0",
                      "--slow-start=0") as balancer:  # fmt: skip
            for _ in range(12):
                with balancer.connect() as client:
                    assert receive_exactly(client, 1) == b"d"
            numbers = balancer.metrics()
            assert numbers["no_backend_total"] == 0
            assert numbers["connect_errors_total"] + numbers["connect_timeouts_total"] == numbers["retries_total"] > 12
            assert numbers["connect_timeouts_total"] > 0


def test_what_was_sent_is_not_sent_twice():
    """A backend that dies after it got a byte: the client hears of it, nobody else gets the request."""

    def dies(connection):
        connection.recv(1)
        reset(connection)

    with Backend(dies) as first, Backend(dies) as second:
        with Balancer(first.option, second.option, NO_CHECKS) as balancer:
            with balancer.connect() as client, pytest.raises(ConnectionResetError):
                client.sendall(b"once")
                client.recv(1)
            assert first.accepted + second.accepted == 1
            assert balancer.metrics()["retries_total"] == 0


def test_nobody_to_connect_to():
    options = [f"--backend=127.0.0.1:{free_port()}" for _ in range(4)]
    with Balancer(*options, NO_CHECKS, ONE, "--retries=2") as balancer:
        for _ in range(10):
            with pytest.raises(ConnectionResetError), balancer.connect() as client:
                client.recv(1)
        numbers = balancer.metrics()
        assert numbers["no_backend_total"] == 10
        assert numbers["connect_errors_total"] == 30 and numbers["retries_total"] == 20


def test_the_budget_of_retries():
    """Bursts of a hundred, then no more than its part of new connections."""
    options = [f"--backend=127.0.0.1:{free_port()}" for _ in range(4)]
    with Balancer(*options, NO_CHECKS, ONE, "--retries=3", "--retry-budget=0", "--eject-errors=0") as balancer:
        for _ in range(60):
            with pytest.raises(ConnectionResetError), balancer.connect() as client:
                client.recv(1)
        assert balancer.metrics()["retries_total"] == 100


def test_errors_eject():
    def flaky(connection):
        connection.recv(1)
        reset(connection)

    with Backend(flaky) as bad, Backend(echo) as good:
        with Balancer(bad.option, good.option, NO_CHECKS, ONE, "--policy=round-robin", "--eject-errors=3") as balancer:
            failed = 0
            for _ in range(40):
                with balancer.connect() as client:
                    try:
                        client.sendall(b"1")
                        assert receive_exactly(client, 1) == b"1"
                    except ConnectionResetError:
                        failed += 1
            assert failed == 3
            numbers = balancer.metrics()
            assert numbers[("backend_ejected", bad.address)] == 1 and numbers[("backend_up", bad.address)] == 0
            assert numbers[("backend_ejections_total", bad.address)] == 1


@pytest.mark.parametrize("asks", [True, False])
def test_who_ends_without_a_word_is_ejected(asks):
    """As what accepts for a service that is not there does; with least in flight it would get everybody."""
    with Backend(lambda connection: asks and connection.recv(1)) as empty, Backend(echo) as good:
        with Balancer(empty.option, good.option, NO_CHECKS, ONE, "--policy=least", "--eject-errors=3") as balancer:
            answers = []
            for _ in range(40):
                with balancer.connect() as client:
                    if asks:
                        client.sendall(b"1")
                    answers.append(asks and client.recv(1))
                    if not asks:
                        client.settimeout(0.1)
                        with contextlib.suppress(TimeoutError):
                            answers[-1] = client.recv(1)
            assert answers.count(b"") == 3 and empty.accepted == 3
            assert balancer.metrics()[("backend_ejected", empty.address)] == 1


def test_checks():
    """A backend that stops: after some failed checks nobody is sent to it; it comes back by itself."""
    with Backend(named("a")) as a, Backend(named("b")) as b:
        with Balancer(a.option, b.option, "--check-interval=50ms", "--slow-start=0", "--retry-budget=100") as balancer:
            eventually(lambda: {name_of(balancer) for _ in range(10)} == {"a", "b"})
            b.stop()
            eventually(lambda: balancer.metrics()[("backend_healthy", b.address)] == 0)
            eventually(lambda: balancer.metrics()[("backend_up", b.address)] == 0)
            errors = balancer.metrics()["connect_errors_total"]
            assert {name_of(balancer) for _ in range(30)} == {"a"}
            assert balancer.metrics()["connect_errors_total"] == errors
            with Backend(named("b"), port=b.port):
                eventually(lambda: balancer.metrics()[("backend_up", b.address)] == 1)
                eventually(lambda: {name_of(balancer) for _ in range(10)} == {"a", "b"})


def test_a_backend_dies_under_load():
    """Those that talk to it hear of it at once; everybody else goes on, new ones too."""
    stop = threading.Event()
    failures = []
    resets = []

    def talk():
        while not stop.is_set():
            try:
                with balancer.connect() as client:
                    for _ in range(20):
                        client.sendall(b"x" * 100)
                        if receive_exactly(client, 100) != b"x" * 100:
                            failures.append("other bytes")
            except (ConnectionResetError, BrokenPipeError):
                resets.append(1)
            except Exception as problem:  # in a thread: told at the end
                failures.append(repr(problem))

    with Backend(echo) as doomed, Backend(echo) as other:
        with Balancer(doomed.option, other.option, NO_CHECKS, "--retry-budget=100") as balancer:
            threads = [threading.Thread(target=talk) for _ in range(8)]
            for thread in threads:
                thread.start()
            eventually(lambda: doomed.accepted > 20 and other.accepted > 20)
            doomed.stop()
            until = other.accepted + 200
            eventually(lambda: other.accepted > until)
            stop.set()
            for thread in threads:
                thread.join()
            assert failures == []
            assert len(resets) <= 8 + balancer.metrics()["no_backend_total"]
            assert balancer.metrics()["no_backend_total"] == 0


def test_the_own_zone():
    with Backend(named("a")) as a, Backend(named("b")) as b:
        with Balancer(a.option + ",zone=here", b.option + ",zone=there", NO_CHECKS, "--zone=here") as balancer:
            assert {name_of(balancer) for _ in range(30)} == {"a"}
            a.stop()
            with balancer.connect() as client:
                client.shutdown(socket.SHUT_WR)
                assert receive_all(client) == b"b"
