"""cohort balance, when its list of backends changes: SIGHUP reads it again, and no connection ends."""

import signal
import time

import pytest
from balancing import Backend, Balancer, echo, eventually, named, receive_all, receive_exactly
from servers import free_port

NO_CHECKS = "--check-interval=0"
FAST = ("--check-interval=50ms", "--slow-start=0")


def names(balancer, count=20):
    found = set()
    for _ in range(count):
        with balancer.connect() as client:
            found.add(receive_exactly(client, 1).decode())
    return found


def reload(balancer, path, *lines):
    """What the balancer says to it."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    balancer.process.send_signal(signal.SIGHUP)
    return balancer.process.stderr.readline()


def test_backends_come_and_go_and_connections_stay(tmp_path):
    path = tmp_path / "backends"
    with Backend(named("a")) as a, Backend(named("b")) as b, Backend(named("c")) as c:
        path.write_text(f"# two of three\n\n  {a.address},weight=2 # first\r\n{b.address}", encoding="utf-8")
        with Balancer(f"--backends={path}", "--policy=round-robin", "--workers=2", *FAST) as balancer:
            assert names(balancer) == {"a", "b"}
            with balancer.connect() as client:
                while receive_exactly(client, 1) != b"a":
                    client = balancer.connect()
                told = reload(balancer, path, b.address, c.address)
                assert told == "cohort balance: 2 backends, 1 of them new, 1 left\n"
                eventually(lambda: names(balancer) == {"b", "c"})
                client.sendall(b"still here")
                assert receive_exactly(client, 10) == b"still here"
                numbers = balancer.metrics()
                assert ("backend_up", a.address) not in numbers and numbers[("backend_up", c.address)] == 1
                told = reload(balancer, path, a.address, b.address + ",drain")
                assert told == "cohort balance: 2 backends, 1 of them new, 1 left\n"
                eventually(lambda: names(balancer) == {"a"})
                numbers = balancer.metrics()
                assert numbers[("backend_connections", a.address)] >= 1  # known again, with what it still had
                assert numbers[("backend_draining", b.address)] == 1 and numbers[("backend_up", b.address)] == 0
                client.sendall(b"and here")
                assert receive_exactly(client, 8) == b"and here"


def test_a_list_that_is_wrong_changes_nothing(tmp_path):
    path = tmp_path / "backends"
    with Backend(named("a")) as a:
        path.write_text(a.address, encoding="utf-8")
        with Balancer(f"--backends={path}", NO_CHECKS) as balancer:
            for lines, words in (
                ([a.address, "nonsense"], f"{path}:2: 'nonsense' is not HOST:PORT"),
                ([a.address + ",weight=0"], "weight=1 to weight=65535"),
                (["# nobody"], "names no backend"),
                ([a.address, "# again", a.address], f"{a.address}: two endpoints have the same id"),
                ([f"127.0.0.1:{i}" for i in range(1, 258)], f"{path}:257: more than 256 backends"),
                (["nowhere.invalid:1"], "no address is known"),
            ):
                told = reload(balancer, path, *lines)
                if "stays as it was" not in told:
                    told += balancer.process.stderr.readline()
                assert words in told and "the list of backends stays as it was" in told
                assert names(balancer, 3) == {"a"}
            path.unlink()
            balancer.process.send_signal(signal.SIGHUP)
            assert "No such file" in balancer.process.stderr.readline()
            assert names(balancer, 3) == {"a"}


def test_a_hang_up_without_a_file_ends_nothing():
    with Backend(named("a")) as a, Balancer(a.option, NO_CHECKS) as balancer:
        with balancer.connect() as client:
            assert receive_exactly(client, 1) == b"a"
            balancer.process.send_signal(signal.SIGHUP)
            assert balancer.process.stderr.readline() == "cohort balance: 1 backends, 0 of them new, 0 left\n"
            client.sendall(b"x")
            assert receive_exactly(client, 1) == b"x"


def test_lists_that_change_all_the_time(tmp_path):
    """Checks, retries and connections go on while endpoints come back to other handles."""
    path = tmp_path / "backends"
    dead = [f"127.0.0.1:{free_port()}" for _ in range(6)]
    with Backend(echo) as a, Backend(echo) as b:
        path.write_text(a.address, encoding="utf-8")
        options = ("--check-interval=5ms", "--retry-budget=100", "--retries=8", "--workers=2")
        with Balancer(f"--backends={path}", *options) as balancer:
            for turn in range(60):
                lists = [a.address, *dead[: turn % 7]] if turn % 2 else [*dead[turn % 6 :], b.address]
                assert " left" in reload(balancer, path, *lists)
                with balancer.connect() as client:
                    client.sendall(b"%03d" % turn)
                    assert receive_exactly(client, 3) == b"%03d" % turn
            assert balancer.stop() == 0


@pytest.mark.parametrize("who", ["slow", "silent"])
def test_who_does_not_read_is_cut_off_with_a_reset(who):
    """An idle connection ends; one that ends with bytes of which the reader has not been told must not look complete."""

    def pour(connection):
        if who == "slow":
            connection.sendall(bytes(64 << 20))
        connection.recv(1)

    with Backend(pour) as backend, Balancer(backend.option, NO_CHECKS, "--idle-timeout=300ms") as balancer:
        with balancer.connect() as client:
            eventually(lambda: balancer.metrics()["idle_timeouts_total"] == 1)
            if who == "silent":
                assert receive_all(client) == b""
            else:
                with pytest.raises(ConnectionResetError):
                    receive_all(client)


# ---- the rate of new connections ----


def test_beyond_the_rate_clients_wait():
    with Backend(named("a")) as a, Balancer(a.option, NO_CHECKS, "--workers=1", "--max-rate=50") as balancer:
        begun = time.monotonic()
        clients = [balancer.connect() for _ in range(30)]
        for client in clients:
            assert receive_exactly(client, 1) == b"a"
            client.close()
        assert time.monotonic() - begun > (30 - 6) / 50  # five at once, and some were there to begin with
        numbers = balancer.metrics()
        assert numbers["rate_rests_total"] > 0 and numbers["connections_total"] == 30


def test_clients_that_wait_at_a_stop_are_served():
    with Backend(named("a")) as a, Balancer(a.option, NO_CHECKS, "--workers=1", "--max-rate=1") as balancer:
        clients = [balancer.connect() for _ in range(100)]
        balancer.process.send_signal(signal.SIGTERM)
        for client in clients:
            assert receive_exactly(client, 1) == b"a"
            client.close()
        assert balancer.process.wait(60) == 0
