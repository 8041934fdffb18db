"""file:// alone (src/engine/file.c): processes that are killed at any moment, files that are damaged, removed, foreign, or cannot
be written, another boot, many locks."""

import fcntl
import os
import pathlib
import signal
import struct
import subprocess
import sys
import threading
import time

import engines
import pytest
import resp
import servers
import xxhash

TTL_MS = 60_000
PLACE_BYTES = 1 << 20
BOOT_AT = 32  # in a place's header: magic, form, checksum, sequence
HEADER = struct.Struct("<8sIIQQ16sQII")

# Takes and gives back a lock as fast as it can, and writes each token.
BUSY = """
import sys
sys.path.insert(0, sys.argv[1])
import engines
engine = engines.Engine(sys.argv[2])
while True:
    granted = engine.call("LOCK.ACQUIRE", "busy", sys.argv[3], "PX", 300, "WAIT", 60000)
    print(granted[0], flush=True)
    engine.call("LOCK.RELEASE", "busy", sys.argv[3], granted[0])
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "locks"


@pytest.fixture
def engine(folder):
    with engines.Engine(f"file://{folder}") as opened:
        yield opened


def start(script, *words):
    return subprocess.Popen([sys.executable, "-c", script, os.path.dirname(__file__), *words], stdout=subprocess.PIPE,
                            text=True, preexec_fn=servers.end_with_parent)  # fmt: skip


def test_killed_at_any_moment(folder, engine):
    """However often a process is killed in the middle of it, tokens grow, and the next one has the lock within the lease."""
    last = 0
    for turn in range(25):
        busy = start(BUSY, f"file://{folder}", f"o{turn}")
        tokens = [int(busy.stdout.readline())]
        time.sleep(0.002 * (turn % 7))
        busy.kill()
        tokens += [int(line) for line in busy.stdout if line.endswith("\n")]
        busy.wait()
        assert tokens == sorted(set(tokens)) and tokens[0] > last
        last = tokens[-1]
    token, _ = engine.call("LOCK.ACQUIRE", "busy", "me", "PX", 1000, "WAIT", 60000)
    assert token > last


def places(path):
    """The headers of both places."""
    data = path.read_bytes()
    return [HEADER.unpack_from(data, at) if len(data) >= at + HEADER.size else None for at in (0, PLACE_BYTES)]


def test_a_torn_place_leaves_the_state_before(folder, engine):
    first, _ = engine.call("LOCK.ACQUIRE", "torn", "a", "PX", TTL_MS)
    engine.call("LOCK.RELEASE", "torn", "a", first)
    second, _ = engine.call("LOCK.ACQUIRE", "torn", "b", "PX", TTL_MS)
    path = folder / "torn.lock"
    newest = max((0, 1), key=lambda place: places(path)[place][4])
    with open(path, "r+b") as file:
        file.seek(newest * PLACE_BYTES + HEADER.size + 6)
        file.write(b"\xff\xff")
    assert resp.pairs(engine.call("LOCK.INFO", "torn"))[b"holders"] == []  # as it was after the release
    assert engine.call("LOCK.HISTORY", "torn")
    assert second > first


@pytest.mark.parametrize("content", [b"x", b"\0" * 5000, b"CohLock\n" + b"\xff" * 200])
def test_what_is_no_lock_is_left_alone(folder, engine, content):
    (folder / "odd.lock").write_bytes(content)
    for words in [("LOCK.ACQUIRE", "odd", "a", "PX", 1000), ("LOCK.RELEASE", "odd", "a", 1)]:
        reply = engine.call(*words)
        assert isinstance(reply, resp.Error) and "odd.lock" in reply and "remove it" in reply
    assert (folder / "odd.lock").read_bytes() == content
    assert engine.call("LOCK.LIST")[1] == []


def test_a_file_of_another_lock(folder, engine):
    token, _ = engine.call("LOCK.ACQUIRE", "one", "a", "PX", TTL_MS)
    os.rename(folder / "one.lock", folder / "two.lock")
    assert isinstance(engine.call("LOCK.ACQUIRE", "two", "b", "PX", TTL_MS), resp.Error)


def test_a_newer_form(folder, engine):
    engine.call("LOCK.ACQUIRE", "new", "a", "PX", TTL_MS)
    path = folder / "new.lock"
    data = bytearray(path.read_bytes())
    newest = max((0, 1), key=lambda place: (places(path)[place] or [0] * 9)[4])
    header = list(HEADER.unpack_from(data, newest * PLACE_BYTES))
    header[1] = 2
    HEADER.pack_into(data, newest * PLACE_BYTES, *header)
    body = bytes(data[newest * PLACE_BYTES + 24 : newest * PLACE_BYTES + HEADER.size + header[7] + header[8]])
    struct.pack_into("<Q", data, newest * PLACE_BYTES + 16, checksum(body))
    path.write_bytes(data)
    reply = engine.call("LOCK.ACQUIRE", "new", "b", "PX", TTL_MS)
    assert isinstance(reply, resp.Error) and "newer" in reply


def checksum(data):
    return xxhash.xxh3_64_intdigest(data)


def test_after_another_boot_nobody_holds(folder, engine):
    token, _ = engine.call("LOCK.ACQUIRE", "boot", "a", "PX", TTL_MS)
    path = folder / "boot.lock"
    data = bytearray(path.read_bytes())
    for place, header in enumerate(places(path)):
        if header is not None and header[0] == b"CohLock\n":
            at = place * PLACE_BYTES
            data[at + BOOT_AT : at + BOOT_AT + 16] = b"another boot's  "
            body = bytes(data[at + 24 : at + HEADER.size + header[7] + header[8]])
            struct.pack_into("<Q", data, at + 16, checksum(body))
    path.write_bytes(data)
    later, _ = engine.call("LOCK.ACQUIRE", "boot", "b", "PX", TTL_MS)
    assert later > token + 4096  # what was set aside is skipped
    assert engine.call("LOCK.RENEW", "boot", "a", token, "PX", TTL_MS).startswith("LOCKLOST")


def test_a_file_that_was_removed(folder, engine):
    """Its lock is free, which whoever removes it has to know; tokens grow all the same."""
    token, _ = engine.call("LOCK.ACQUIRE", "gone", "a", "PX", TTL_MS)
    time.sleep(1.1)  # a new file's tokens begin with the clock's second
    os.unlink(folder / "gone.lock")
    later, _ = engine.call("LOCK.ACQUIRE", "gone", "b", "PX", TTL_MS)
    assert later > token


def test_a_process_that_is_stopped_with_the_file_locked(folder, engine):
    """Others hear so by their deadline, and go on when it does."""
    token, _ = engine.call("LOCK.ACQUIRE", "stuck", "a", "PX", TTL_MS)
    with open(folder / "stuck.lock", "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        with engines.Engine(f"file://{folder}?timeout=300ms") as hurried:
            status, reply = hurried.ask("LOCK.RELEASE", "stuck", "a", token)
            assert status != engines.OK and isinstance(reply, resp.Error)
        fcntl.lockf(file, fcntl.LOCK_UN)
    assert engine.call("LOCK.RELEASE", "stuck", "a", token) == 1


def test_a_link_is_not_followed(folder, engine, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    os.symlink(victim, folder / "link.lock")
    assert isinstance(engine.call("LOCK.ACQUIRE", "link", "a", "PX", 1000), resp.Error)
    assert victim.read_bytes() == b"precious"


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    for place in [tmp_path / "file", tmp_path / "no" / "such", pathlib.Path("/proc/locks")]:
        with pytest.raises(engines.Refused) as refused:
            engines.Engine(f"file://{place}")
        assert refused.value.status == engines.INVALID and str(place) in refused.value.words


def test_options(tmp_path):
    engines.Engine(f"file://{tmp_path}/a?local=yes&timeout=1s").close()
    for option in ["local=no", "local", "remote=yes"]:
        with pytest.raises(engines.Refused) as refused:
            engines.Engine(f"file://{tmp_path}/b?{option}")
        assert "local=yes" in refused.value.words


def test_a_full_disk(tmp_path, small_disk):
    """A lock that cannot be written is refused in words; those that are there go on."""
    with engines.Engine(f"file://{small_disk}/locks") as engine:
        token, _ = engine.call("LOCK.ACQUIRE", "before", "a", "PX", TTL_MS)
        engine.call("LOCK.RENEW", "before", "a", token, "PX", TTL_MS)
        with open(f"{small_disk}/filler", "wb", buffering=0) as filler, pytest.raises(OSError):
            while True:
                filler.write(b"x" * 4096)
        reply = engine.call("LOCK.ACQUIRE", "after", "a", "PX", TTL_MS)
        assert isinstance(reply, resp.Error) and "No space" in reply and "nothing was changed" in reply
        assert engine.call("LOCK.RELEASE", "before", "a", token) == 1
        os.unlink(f"{small_disk}/filler")
        assert engine.call("LOCK.ACQUIRE", "after", "a", "PX", TTL_MS)


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", place], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no small disk: {done.stderr}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_who_waits_does_not_wake_who_waits(folder, engine):
    """Twenty who wait, and nothing happens: each keeps its place by a write now and then, and no write leads to others."""
    token, _ = engine.call("LOCK.ACQUIRE", "calm", "a", "PX", TTL_MS)
    others = [engines.Engine(f"file://{folder}") for _ in range(20)]
    threads = [threading.Thread(target=other.call, args=("LOCK.ACQUIRE", "calm", f"w{i}", "PX", TTL_MS, "WAIT", 4000))
               for i, other in enumerate(others)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in others:
        other.close()
    assert engine.call("LOCK.RELEASE", "calm", "a", token) == 1
    writes = max(header[4] for header in places(folder / "calm.lock"))
    assert writes <= 20 * (2 + 4000 // 500) + 4  # it comes and goes, and says every half second that it is there


def test_lock_run(folder):
    """As with a cohort: one runs, the other leaves with 75; killed, its command goes with it and the next one runs."""
    url, cohort = f"file://{folder}", servers.COHORT
    first = subprocess.Popen([cohort, "lock", "run", "--url", url, "--ttl", "3s", "nightly", "--", "sleep", "60"],
                             preexec_fn=servers.end_with_parent)  # fmt: skip
    deadline = time.monotonic() + 30
    while not (folder / "nightly.lock").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = [cohort, "lock", "run", "--url", url, "--ttl", "1s", "--wait", "0s", "nightly", "--", "true"]
    assert subprocess.run(second, capture_output=True).returncode == 75
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    third = [cohort, "lock", "run", "--url", url, "--wait", "30s", "nightly", "--", "sh", "-c", "echo $COHORT_TOKEN"]
    done = subprocess.run(third, capture_output=True, text=True)
    assert done.returncode == 0 and int(done.stdout) > 0
    shown = subprocess.run([cohort, "lock", "history", "--url", url, "nightly"], capture_output=True, text=True).stdout
    assert "expired" in shown and "released" in shown
