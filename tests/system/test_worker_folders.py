"""Folders of workers in each other's place: each has the votes and acknowledged writes of its own shards only, so a node that took
another one's, or an older copy, would have lost them. It is refused, changes nothing, and says what to do."""

import shutil
import subprocess
import time

import pytest
import resp
import servers
from test_start import CONFIG, DAMAGED

KEYS = 12
OPTIONS = ("--workers", "2", "--shards", "4")
BRING_BACK = "; move away what does not belong here, and bring back what does"


def refused(data, *options):
    """Exit status, and the line of a node that does not start, or stops when its shards are opened."""
    command = [str(servers.COHORT), "serve", "--data", str(data), "--listen", "127.0.0.1:0", *(options or OPTIONS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    lines = [line for line in done.stderr.splitlines() if str(data) in line and " info " not in line]
    assert len(lines) == 1, done.stderr
    return done.returncode, lines[0].split(": ", 1)[1]


def write(server, value):
    with resp.Connection(server.port) as connection:
        assert connection.calls(["SET", f"key:{i}", f"{value} {i}"] for i in range(KEYS)) == ["OK"] * KEYS


def check(server, value):
    with resp.Connection(server.port) as connection:
        assert connection.call("DBSIZE") == KEYS
        assert connection.calls(["GET", f"key:{i}"] for i in range(KEYS)) == [f"{value} {i}".encode() for i in range(KEYS)]


def snapshots(server):
    """One of each shard."""
    with resp.Connection(server.port) as connection:
        assert connection.call("DEBUG", "SNAPSHOT") == "OK"
    deadline = time.monotonic() + 10
    while len({name.name.split("-")[1] for name in server.data.glob("worker-*/snapshot-*.snap")} - {"0"}) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def stopped(new_server):
    """A node that has data in both folders."""
    server = new_server("cohort", *OPTIONS, "--enable-debug-command", "local")
    write(server, "mine")
    snapshots(server)
    assert server.stop() == 0
    shutil.copytree(server.data, server.data.parent / "kept")
    yield server
    shutil.rmtree(server.data)
    shutil.copytree(server.data.parent / "kept", server.data)
    server.start()
    check(server, "mine")
    assert server.stop() == 0


def exchange(data, one, other):
    (data / one).rename(data / "between")
    (data / other).rename(data / one)
    (data / "between").rename(data / other)


def test_exchanged(stopped):
    exchange(stopped.data, "worker-0", "worker-1")
    status, line = refused(stopped.data)
    said = "it belongs to worker 1 of this node, and this is the folder of worker 0"
    assert status == CONFIG and f"{stopped.data}/worker-0/" in line and said + BRING_BACK in line
    assert refused(stopped.data) == (status, line)  # as a supervisor would
    exchange(stopped.data, "worker-0", "worker-1")  # nothing was changed
    stopped.start()
    check(stopped, "mine")
    assert stopped.stop() == 0


@pytest.mark.parametrize("copied, over", [(0, 1), (1, 0)])
def test_one_copied_over_the_other(stopped, copied, over):
    shutil.rmtree(stopped.data / f"worker-{over}")
    shutil.copytree(stopped.data / f"worker-{copied}", stopped.data / f"worker-{over}")
    status, line = refused(stopped.data)
    said = f"it belongs to worker {copied} of this node, and this is the folder of worker {over}"
    assert status == CONFIG and f"{stopped.data}/worker-{over}/" in line and said + BRING_BACK in line


@pytest.mark.parametrize("worker", [0, 1])
def test_one_of_another_node(stopped, new_server, worker):
    other = new_server("cohort", *OPTIONS)
    write(other, "other")
    assert other.stop() == 0
    shutil.rmtree(stopped.data / f"worker-{worker}")
    shutil.copytree(other.data / f"worker-{worker}", stopped.data / f"worker-{worker}")
    status, line = refused(stopped.data)
    assert status == CONFIG and f"{stopped.data}/worker-{worker}/" in line
    assert "it belongs to another data folder (its incarnation is " in line and BRING_BACK in line


@pytest.mark.parametrize("worker", [0, 1])
def test_one_deleted(stopped, worker):
    shutil.rmtree(stopped.data / f"worker-{worker}")
    for _ in range(2):
        status, line = refused(stopped.data)
        assert status == DAMAGED
        assert f"{stopped.data}/worker-{worker}: the files of the log are missing" in line


@pytest.mark.parametrize("files", ["*.log", "snapshot-*.snap"])
def test_only_files(stopped, files):
    """Of a shard with the same number, as when a backup was put together by hand."""
    for file in (stopped.data / "worker-0").glob(files):
        file.unlink()
    for file in (stopped.data / "worker-1").glob(files):
        group = "0" if files == "*.log" else file.name.split("-")[1]
        name = file.name if files == "*.log" else file.name.replace(f"-{group}-", f"-{int(group) - 1}-", 1)
        shutil.copy(file, stopped.data / "worker-0" / name)
    status, line = refused(stopped.data)
    said = "it belongs to worker 1 of this node, and this is the folder of worker 0"
    assert status == CONFIG and f"{stopped.data}/worker-0/" in line and said + BRING_BACK in line


@pytest.mark.parametrize("workers", [1, 2])
def test_an_older_copy(new_server, workers):
    """As when a backup of one folder is put back; all of them together are an older node (test_cluster_copies.py)."""
    server = new_server("cohort", "--workers", str(workers), "--shards", "4")
    write(server, "old")
    assert server.stop() == 0
    shutil.copytree(server.data, server.data.parent / "backup")
    server.start()
    write(server, "new")
    assert server.stop() == 0
    for worker in range(workers):
        folder = server.data / f"worker-{worker}"
        shutil.move(folder, server.data.parent / "newest")
        shutil.copytree(server.data.parent / "backup" / folder.name, folder)
        for _ in range(2):  # as a supervisor would
            status, line = refused(server.data, "--workers", str(workers), "--shards", "4")
            assert status == CONFIG and f"{folder} is an older copy of this worker's folder" in line and "; bring back" in line
        shutil.rmtree(folder)
        shutil.move(server.data.parent / "newest", folder)
    server.start()
    check(server, "new")


def test_an_older_node_file(stopped):
    shutil.copy(stopped.data / "node", stopped.data.parent)
    for _ in range(2):
        stopped.start()
        assert stopped.stop() == 0
    shutil.copy(stopped.data.parent / "node", stopped.data / "node")
    status, line = refused(stopped.data)
    assert status == CONFIG and "the file `node` of the data folder is an older copy" in line


def test_a_folder_of_an_older_version(stopped):
    """Which did not have the starts in the workers' folders: taken once."""
    older_version(stopped.data)
    for _ in range(2):
        stopped.start()
        check(stopped, "mine")
        assert stopped.stop() == 0
    for worker in 0, 1:
        assert (stopped.data / f"worker-{worker}" / "start").exists()
    (stopped.data / "worker-1" / "start").unlink()
    status, line = refused(stopped.data)
    assert status == DAMAGED and f"{stopped.data}/worker-1/start is missing" in line


def older_version(data):
    lines = (data / "node").read_text().splitlines()
    lines[0] = "cohort-node 1"
    (data / "node").write_text("\n".join(line for line in lines if not line.startswith(("checksum", "opened"))) + "\n")
    for file in data.glob("worker-*/start"):
        file.unlink()
