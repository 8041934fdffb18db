"""libcohort against real nodes: the examples, and threads that count while leaders are killed."""

import os
import re
import shutil
import signal
import subprocess
import time

import pytest
import servers
from cluster import READY_SECONDS

INCLUDE = servers.ROOT / "include"
LIBRARY = servers.BUILD / "src" / "engine" / "libcohort.so"


def url(cluster):
    return "cohort://" + ",".join(node.address for node in cluster)


def example(name, *arguments):
    program = servers.BUILD / "examples" / f"example_{name}"
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "name, output",
    [
        ("get_set", "hello\n"),
        ("transaction", "at once: done\nif there: done\n"),
        ("script", "done: 1\ndone: 0\n"),
        ("poll_loop", "100 ended, 0 failed\n"),
    ],
)
def test_examples(three, name, output):
    done = example(name, url(three))
    assert (done.returncode, done.stdout, done.stderr) == (0, output, "")


def test_example_lock(three):
    done = example("lock", url(three))
    assert (done.returncode, done.stdout.count("token"), done.stderr) == (0, 3, "")


def test_example_session(three):
    done = example("session", url(three))
    if "unknown command 'SESSION.OPEN'" in done.stderr:
        pytest.skip("no sessions yet")
    assert (done.returncode, done.stdout.count("token"), done.stderr) == (0, 2, "")
    done = example("session", url(three))  # the end of the session has released them
    assert (done.returncode, done.stdout.count("token"), done.stderr) == (0, 2, "")


def test_transaction_example_moves_money(three):
    assert example("transaction", url(three)).returncode == 0
    with three[2].connect() as connection:
        assert connection.call("MGET", "account:1", "account:2") == [b"0", b"0"]


def test_nobody_there():
    done = example("get_set", f"cohort://127.0.0.1:{servers.free_port()}?timeout=300ms")
    assert done.returncode == 1 and "no node can be reached" in done.stderr


def test_a_node_by_its_name(cohort):
    assert example("get_set", f"localhost:{cohort.port}").stdout == "hello\n"


def test_password(new_server):
    server = new_server("cohort", "--requirepass", "secret")
    done = example("get_set", f"127.0.0.1:{server.port}")
    assert done.returncode == 1 and "NOAUTH" in done.stderr


def counted(cluster, node, kind, number, part):
    """As it stands at the end: what a machine that stands still keeps in doubt for seconds ends -BUSY, and is asked again."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with cluster[node].connect(READY_SECONDS) as connection:
            reply = connection.call("GET", f"{kind}:{number}:{part}")
            if not str(reply).startswith(("BUSY", "CLUSTERDOWN")):
                return int(reply or 0)
            in_doubt = connection.call("TXN.LIST")
        print(f"shard {cluster.shard_of(f'{kind}:{number}:{part}')}: {reply}; of transactions: {in_doubt}")
        assert time.monotonic() < deadline, f"{reply}\n{cluster.log()}"
        time.sleep(0.1)


def test_counting_while_leaders_are_killed(new_cluster):
    """Nothing that was told to be done is lost, nothing is executed twice, and what is uncertain is few."""
    cluster = new_cluster(nodes=3, shards=4)
    threads, calls = 6, 1500 // servers.SMALLER
    program = servers.BUILD / "tests" / "system" / "libcohort_load"
    load = subprocess.Popen([program, url(cluster), str(threads), str(calls)], stdout=subprocess.PIPE, text=True,
                            preexec_fn=servers.end_with_parent)  # fmt: skip
    kills = 0
    while load.poll() is None and kills < 4:
        victim = cluster.leader_of(kills % 4 + 1)
        victim.kill()
        kills += 1
        time.sleep(0.3)
        victim.start()
    output, _ = load.communicate(timeout=300)
    assert load.returncode == 0 and kills > 0
    lines = [line.split() for line in output.splitlines()]
    assert len(lines) == 3 * threads
    for name, done, unsure in lines:
        kind, number = name.split(":")
        for part in range(1 if kind == "single" else 4):
            value = counted(cluster, 1, kind, number, part)
            if not int(done) <= value <= int(done) + int(unsure):
                again = []
                for node in (1, 2, 3, 1, 2, 3):
                    time.sleep(0.3)
                    again.append([counted(cluster, node, kind, number, p) for p in range(4)])
                assert int(done) <= value <= int(done) + int(unsure), (name, part, value, done, unsure, again)
    assert sum(int(done) for name, done, _ in lines if name.startswith("single")) > 0


def test_locks_while_leaders_are_killed(new_cluster):
    """Nobody believes to hold a lock while another does, the tokens grow from holder to holder, and turns go on."""
    cluster = new_cluster(nodes=3, shards=1)
    program = servers.BUILD / "tests" / "system" / "libcohort_locks"
    load = subprocess.Popen([program, url(cluster), "6", "12"], stdout=subprocess.PIPE, text=True,
                            preexec_fn=servers.end_with_parent)  # fmt: skip
    kills = 0
    while load.poll() is None and kills < 4:
        time.sleep(1)
        victim = cluster.leader_of(1)
        victim.kill()
        kills += 1
        cluster.leader_of(1)
        victim.start()
    output, _ = load.communicate(timeout=300)
    assert load.returncode == 0 and kills > 0
    turns = sorted((int(start), int(end), int(token)) for token, start, end, _ in map(str.split, output.splitlines()))
    assert len(turns) > 10
    for before, after in zip(turns, turns[1:], strict=False):
        assert before[1] < after[0] and before[2] < after[2], (before, after)


@pytest.mark.parametrize("way", ["loop", "thread"])
def test_a_program_that_was_stopped_is_told_once_that_its_lock_is_lost(three, way):
    """SIGSTOP until another holds the lock. What it believed was over before; the loss is told before anything else is."""
    program = servers.BUILD / "tests" / "system" / "libcohort_stopped"
    held = subprocess.Popen([program, url(three), f"stopped:{way}", "1500", way], stdout=subprocess.PIPE, text=True,
                            preexec_fn=servers.end_with_parent)  # fmt: skip
    first = held.stdout.readline().split()
    assert first[0] == "token" and first[2] == "until"
    held.send_signal(signal.SIGSTOP)
    with three[2].connect(120) as connection:
        token, _ = connection.call("LOCK.ACQUIRE", f"stopped:{way}", "next", "PX", 600_000, "WAIT", 100_000)
    granted_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    held.send_signal(signal.SIGCONT)
    output, _ = held.communicate(timeout=120)
    lines = [line.split() for line in [" ".join(first), *output.splitlines()]]
    before = [line for line in lines if line[0] == "token"]
    assert max(int(line[3]) for line in before) < granted_ns
    assert {line[1] for line in before} == {first[1]} and int(first[1]) < token
    lost, *after = lines[len(before) :]
    assert lost[0] == "lost" and lost[-2:] == ["until", "0"], lines
    assert [line[0] for line in after] == ["renew", "release", "until", "end"] and after[2] == ["until", "0"], lines
    assert held.returncode == 0
    with three[1].connect() as connection:
        assert connection.call("LOCK.RENEW", f"stopped:{way}", "next", token, "PX", 600_000) >= 600_000
        assert connection.call("LOCK.RELEASE", f"stopped:{way}", "next", token) == 1


# ---- what is installed ----


def test_only_cohort_is_exported():
    listed = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], capture_output=True, text=True, check=True).stdout
    names = [line.split()[-1].split("@")[0] for line in listed.splitlines()]
    assert len(names) > 40
    assert [name for name in names if not re.fullmatch(r"cohort_\w+|COHORT_0", name)] == []
    declared = " ".join(header.read_text() for header in (INCLUDE / "cohort").glob("*.h"))
    assert [name for name in names if name != "COHORT_0" and name not in declared] == []


def test_every_declared_function_is_there():
    listed = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], capture_output=True, text=True, check=True).stdout
    for header in (INCLUDE / "cohort").glob("*.h"):
        if header.name == "uv.h":
            continue
        for name in re.findall(r"COHORT_API[^;]*?\b(cohort_\w+)\(", header.read_text()):
            assert f" {name}@@COHORT_0" in listed, f"{header.name}: {name}"


def test_library_needs_nothing_but_libc():
    needed = subprocess.run(["readelf", "-d", LIBRARY], capture_output=True, text=True, check=True).stdout
    assert "Library soname: [libcohort.so.0]" in needed
    wanted = re.findall(r"NEEDED.*\[(.*)\]", needed)
    assert [name for name in wanted if not re.match(r"libc\.so|libasan|libubsan|libtsan|libm\.so|libgcc_s", name)] == []


@pytest.mark.parametrize("compiler, options", [("g++", ["-std=c++11"]), ("gcc", ["-std=c99"]), ("clang++", ["-std=c++20"])])
def test_headers_stand_alone(tmp_path, compiler, options):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    for header in sorted((INCLUDE / "cohort").glob("*.h")):
        if header.name == "uv.h" and options == ["-std=c99"]:
            continue  # libuv's own header is not strict C99
        source = tmp_path / ("one.cc" if "++" in compiler else "one.c")
        source.write_text(f"#include <cohort/{header.name}>\nint main(void) {{ return 0; }}\n")
        done = subprocess.run([compiler, *options, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", INCLUDE, "-c", source,
                               "-o", tmp_path / "one.o"], capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, f"{header.name}: {done.stderr}"


def test_installed(tmp_path, cohort):
    """Into an empty folder, with pkg-config as a program would find it; and everything goes again."""
    environment = dict(os.environ, DESTDIR=str(tmp_path / "root"))
    done = subprocess.run(["meson", "install", "-C", servers.BUILD, "--no-rebuild", "--quiet"], env=environment,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    root = tmp_path / "root"
    pc = next(root.rglob("cohort.pc"))
    variables = dict(os.environ, PKG_CONFIG_PATH=str(pc.parent), PKG_CONFIG_SYSROOT_DIR=str(root))
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "cohort"], env=variables, capture_output=True, text=True,
                           check=True).stdout.split()  # fmt: skip
    assert list(root.rglob("cohort_open.3")) or list(root.rglob("libcohort.3")), "no manual page"
    if "Sanitizer" in str(servers.BUILD) or servers.SMALLER > 1 or "sanitize" in servers.BUILD.name:
        return
    program = tmp_path / "program"
    subprocess.run(["gcc", servers.ROOT / "examples" / "get_set.c", *flags, "-o", program], check=True)
    library = next(root.rglob("libcohort.so.0")).parent
    done = subprocess.run([program, f"127.0.0.1:{cohort.port}"], env=dict(os.environ, LD_LIBRARY_PATH=str(library)),
                          capture_output=True, text=True, timeout=60)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "hello\n")
