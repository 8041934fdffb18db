"""Locks and offices that an administrator takes away: the holder is told, wherever it is, its token is refused from then on, and
the next has the lock at once. The times to live are an hour, so that nobody finds out by a renewal or by time."""

import subprocess

import pytest
import resp
import servers
from locks import LONG, acquire, fresh, info, until


def cohort(*words):
    return subprocess.run([servers.COHORT, *words], capture_output=True, text=True, timeout=120)


def url(server):
    return f"cohort://{server.host}:{server.port}"


def why(client, lock):
    return [resp.pairs(grant)[b"why"] for grant in client.call("LOCK.HISTORY", lock)]


def test_the_holder_is_told(any_cluster, anywhere, pool):
    """At whichever node it is, and whichever the administrator asks."""
    for number, node in enumerate(any_cluster):
        lock, key = (f"{{taken{number}}}{fresh(name)}" for name in ("lock", "key"))
        admin, other = anywhere[(number + 1) % len(anywhere)], anywhere[(number + 2) % len(anywhere)]
        with node.connect(60, protocol=3) as holder, node.connect(60) as next_one:
            token, _ = acquire(holder, lock, "a")
            waits = pool.submit(next_one.call, "LOCK.ACQUIRE", lock, "b", "PX", LONG, "WAIT", LONG)
            until(lambda: info(admin, lock)[b"waiters"])
            assert other.call("LOCK.GUARD", lock, token, "SET", key, "a") == "OK"
            assert other.call("FENCE.CHECK", lock, token) == 1
            assert admin.call("LOCK.RELEASE", lock, "a", token, "FORCE") == 1
            assert holder.read() == [b"lock-lost", lock.encode(), b"a", token]
            newer, _ = waits.result(60)
            assert newer > token
            assert other.call("LOCK.GUARD", lock, token, "SET", key, "a").startswith("FENCED")
            assert other.call("FENCE.CHECK", lock, token) == 0  # though nobody has shown the newer one yet
            assert other.call("FENCE.CHECK", lock, newer) == 1
            assert holder.call("LOCK.RENEW", lock, "a", token, "PX", LONG).startswith("LOCKLOST")
            assert admin.call("LOCK.RELEASE", lock, "a", token, "FORCE") == 0
            assert why(admin, lock) == [b"admin"]
            assert admin.call("LOCK.RELEASE", lock, "b", newer) == 1


def test_an_office(anywhere, any_cluster):
    election = fresh("office")
    with any_cluster[1].connect(60, protocol=3) as holder:
        token, _ = holder.call("ELECT.CAMPAIGN", election, "a", "PX", LONG)
        assert anywhere[1].call("ELECT.RESIGN", election, "a", token, "FORCE") == 1
        assert holder.read() == [b"office-lost", election.encode(), b"a", token]
        assert anywhere[2].call("ELECT.LEADER", election) is None


def test_locks_of_a_session(anywhere, any_cluster):
    """The session lives on, and so do its other locks."""
    locks = [fresh("bound") for _ in range(2)]
    with any_cluster[1].connect(60, protocol=3) as holder:
        session = holder.call("SESSION.OPEN", "PX", LONG)
        token, _ = [holder.call("LOCK.ACQUIRE", lock, "a", "SESSION", session)[0] for lock in locks]
        assert anywhere[1].call("LOCK.RELEASE", locks[0], "a", token, "FORCE") == 1
        assert holder.read() == [b"lock-lost", locks[0].encode(), b"a", token]
        assert holder.call("SESSION.KEEPALIVE", session) == LONG
        assert len(info(anywhere[2], locks[1])[b"holders"]) == 1
        assert holder.call("LOCK.ACQUIRE", locks[0], "a", "SESSION", session)[0] > token  # anew
        assert holder.call("SESSION.CLOSE", session) == 1


def test_libcohort_hears_of_it(any_cluster, anywhere):
    lock = fresh("kept")
    keeper = subprocess.Popen(
        [servers.BUILD / "tests" / "system" / "lock_keeper", url(any_cluster[1]), lock, str(LONG)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert keeper.stdout.readline().startswith("token ")
        done = cohort("lock", "release", "--url", url(any_cluster[2]), lock)
        assert done.returncode == 0 and done.stdout.startswith(f"{lock}: taken from "), done
        assert keeper.stdout.readline() == "lost: the lock is no longer held\n"
        assert info(anywhere[0], lock)[b"holders"] == []
    finally:
        keeper.kill()
        keeper.wait()


@pytest.mark.parametrize("waited", [False, True])
def test_a_command_is_ended(any_cluster, anywhere, waited):
    """It was granted at once, or after a wait on another connection."""
    lock = fresh("job")
    first, _ = acquire(anywhere[0], lock, "first") if waited else (None, None)
    words = [servers.COHORT, "lock", "run", "--url", url(any_cluster[1]), "--ttl", "1h", "--wait", "1h", lock, "--"]
    job = subprocess.Popen([*words, "sleep", "3600"], stderr=subprocess.PIPE, text=True)
    try:
        if waited:
            until(lambda: info(anywhere[0], lock)[b"waiters"])
            assert anywhere[0].call("LOCK.RELEASE", lock, "first", first) == 1
        until(lambda: info(anywhere[0], lock)[b"holders"])
        with open(f"/proc/{job.pid}/task/{job.pid}/children", encoding="ascii") as children:
            until(lambda: children.seek(0) == 0 and children.read())  # it runs
        assert cohort("lock", "release", "--url", url(any_cluster[2]), lock).returncode == 0
        said = job.communicate(timeout=120)[1]
        assert job.returncode == 76 and "was lost while the command ran" in said
    finally:
        job.kill()
        job.wait()


def test_from_a_shell(any_cluster, anywhere):
    lock, at = fresh("gpus"), ("--url", url(any_cluster[1]))
    nobody = cohort("lock", "release", *at, lock)
    assert nobody.returncode == 1 and nobody.stderr == f"cohort lock release: nobody holds '{lock}'\n"
    tokens = [acquire(anywhere[0], lock, owner, "PERMITS", 1, "LIMIT", 4)[0] for owner in ("a", "b\n")]
    several = cohort("lock", "release", *at, lock)
    assert several.returncode == 64 and "2 hold" in several.stderr and "--owner" in several.stderr
    unknown = cohort("lock", "release", *at, "--owner", "c", lock)
    assert unknown.returncode == 1 and "does not hold" in unknown.stderr
    done = cohort("lock", "release", *at, "--owner", "b\n", lock)
    assert (done.returncode, done.stdout) == (0, f"{lock}: taken from b\\x0a, token {tokens[1]}\n")
    done = cohort("lock", "release", *at, lock)
    assert (done.returncode, done.stdout) == (0, f"{lock}: taken from a, token {tokens[0]}\n")
    assert cohort("lock", "release", *at, lock).returncode == 1
    assert cohort("lock", "release", *at).returncode == 64
    assert "admin" in cohort("lock", "history", *at, lock).stdout
