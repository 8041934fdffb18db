"""Recipes of scripts on three nodes with 8 shards, while those who lead are killed and come back: never two holders of a
lock, no rate above its limit, no item of work claimed twice or lost (recipes.py)."""

import os
import time

import pytest
import recipes
import redis

SECONDS = int(os.environ.get("COHORT_RECIPES_SECONDS", 6))


def kill_leaders(of, load, seconds):
    deadline, turn = time.monotonic() + seconds, 0
    while time.monotonic() < deadline or turn < 2:
        load.wait_for(40)
        leader = of.leader_of(turn % of.shards + 1)
        leader.kill()
        load.wait_for(40)
        leader.start()
        turn += 1
    return turn


@pytest.mark.parametrize("recipe", [recipes.Locks, recipes.Limits, recipes.Work])
def test_leaders_killed(new_cluster, figure, recipe):
    three = new_cluster(shards=8)
    with recipe(three, seed=31) as load:
        kills = kill_leaders(three, load, SECONDS)
        load.wait_for(200)
    figure(f"{recipe.__name__} while leaders are killed", f"{kills} kills, {load.steps} steps, {load.check()} checked")
    assert load.check() > 0
    three.wait_until_equal()


@pytest.mark.parametrize("recipe", [recipes.Locks, recipes.Limits, recipes.Work])
def test_without_faults(new_cluster, recipe):
    three = new_cluster(shards=8, arguments=["--workers", "2"])
    with recipe(three, seed=32) as load:
        load.wait_for(400)
    assert load.check() > 0


def test_a_server_that_forgets_is_found_out(new_server):
    server = new_server("redis")
    with pytest.raises(AssertionError, match="work:|lost|None"), recipes.Work([server], seed=33) as load:
        for _ in range(20):
            load.wait_for(20)
            server.kill()
            server.start()


def test_a_lock_of_redis_py(three):
    """What its documentation promises, at whichever node each call goes."""
    clients = [redis.Redis(node.host, node.port) for node in three]
    first = clients[0].lock("lock", timeout=30, thread_local=False)
    second = clients[1].lock("lock", timeout=30, blocking=False)
    assert first.acquire() and first.locked() and first.owned()
    assert not second.acquire() and second.locked() and not second.owned()
    with pytest.raises(redis.exceptions.LockError):
        second.release()
    second.local.token = b"a token of somebody else"
    with pytest.raises(redis.exceptions.LockNotOwnedError):
        second.release()
    second.local.token = b"a token of somebody else"
    with pytest.raises(redis.exceptions.LockNotOwnedError):
        second.extend(10)
    first.redis = clients[2]
    assert first.extend(60) and 80 < clients[1].ttl("lock") <= 90
    assert first.extend(20, replace_ttl=True) and clients[1].ttl("lock") <= 20
    assert first.reacquire() and 20 < clients[1].ttl("lock") <= 30
    first.release()
    assert not first.locked()
    with pytest.raises(redis.exceptions.LockError):
        first.release()
    with clients[1].lock("lock", timeout=30, blocking_timeout=5):
        assert not clients[2].lock("lock", blocking_timeout=0.05).acquire()
