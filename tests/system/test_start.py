"""Starting where something is in the way: one line that says what to do, and nothing is served that is not all there."""

import re
import resource
import shutil
import socket
import subprocess
import time

import pytest
import resp
import servers

USAGE, DAMAGED, NOINPUT, IN_USE, OSERR, IOERR, CONFIG = 64, 65, 66, 69, 71, 74, 78


def refused(data, *arguments, **how):
    """Exit status and the one line of a node that does not start."""
    command = [str(servers.COHORT), "serve", "--data", str(data), "--listen", "127.0.0.1:0", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, **how)
    assert done.stderr.count("\n") == 1, done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "folder, said",
    [
        ("file", "something else has this name; move it away"),
        ("nowhere/data", "the folder it would be in is not there; make that"),
        ("n" * 256, "the name is too long"),
    ],
)
def test_a_data_folder_that_cannot_be(tmp_path, folder, said):
    (tmp_path / "file").write_text("mine")
    status, line = refused(tmp_path / folder)
    assert status in (IOERR, CONFIG) and said in line


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--listen", "192.0.2.1:0"], "this machine does not have this address"),
        (["--metrics", "here"], "an address of this machine is needed"),
    ],
)
def test_an_address_that_cannot_be(tmp_path, arguments, said):
    assert said in refused(tmp_path / "data", *arguments)[1]


@pytest.mark.parametrize(
    "arguments, status, said",
    [
        (["--peers", "1=127.0.0.1:7001"], USAGE, "--id N is needed with --peers"),
        (["--peers", "2=127.0.0.1:7001", "--id", "1"], USAGE, "--peers does not name it"),
        (["--peers", "1=127.0.0.1:60000", "--id", "1"], USAGE, "give that port too: HOST:PORT@PEERPORT"),
        (["--peers", "1=127.0.0.1:7001,1=127.0.0.1:7002", "--id", "1"], USAGE, "there are two nodes 1"),
        (["--peers", "1=192.0.2.1:7001", "--id", "1", "--listen", "127.0.0.1:7001"], CONFIG, "--protected-mode no"),
        (["--peers", "1=127.0.0.1:7001", "--id", "1"], USAGE, "the port must not be 0"),
        (["--peers", "1=127.0.0.1:7001", "--id", "1", "--shards", "1025"], USAGE, "not between 1 and 1024"),
        (["--peers", "1=127.0.0.1:7001", "--id", "1", "--replicas", "8"], USAGE, "not between 1 and 7"),
        (["--peers", "1=127.0.0.1:7001,2=127.0.0.1:7002", "--id", "1", "--listen", "127.0.0.1:7002"], USAGE, "--peers has node 2"),
        (
            ["--peers", "1=127.0.0.1:7001,2=127.0.0.1:7002", "--id", "1", "--listen", "127.0.0.1:7001"]
            + ["--peer-listen", "127.0.0.1:17002"],
            USAGE,
            "--peer-listen 127.0.0.1:17002: that is where --peers has node 2; correct it, or --id",
        ),
        (["--replicas", "3"], USAGE, "--replicas means nothing without --peers"),
        (["--reads", "quick"], USAGE, "majority or lease is needed"),
    ],
)
def test_a_cluster_that_cannot_be(tmp_path, arguments, status, said):
    found, line = refused(tmp_path / "data", *arguments)
    assert found == status and said in line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("file", ["/", "/dev/zero"])
def test_a_configuration_that_is_no_text(tmp_path, file):
    """It is not taken for an empty one: what was to stand in it may be the password."""
    status, line = refused(tmp_path / "data", "--config", file)
    assert status == NOINPUT and f"{file}: a text of at most 1 MB is needed; correct --config" in line
    assert not (tmp_path / "data").exists()


def test_a_configuration_from_a_pipe(tmp_path):
    """Not taken for an empty one either: its last line is read."""
    status, line = refused(tmp_path / "data", "--config", "/dev/stdin", input="# nothing\n" * 9999 + "no-such-setting = 1\n")
    assert status == CONFIG and "no-such-setting" in line


@pytest.mark.parametrize("lost", ["worker-0", "worker-0/0000000000000001.log"])
def test_a_log_that_is_gone_is_not_an_empty_node(new_server, lost):
    server = new_server("cohort")
    with resp.Connection(server.port) as connection:
        assert connection.call("SET", "key", "value") == "OK"
    assert server.stop() == 0
    gone = server.data / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    status, line = refused(server.data)
    assert status == DAMAGED and "the files of the log are missing" in line


def test_a_log_whose_node_file_is_gone_is_not_a_new_node(new_server):
    server = new_server("cohort")
    with resp.Connection(server.port) as connection:
        assert connection.call("SET", "key", "value") == "OK"
    assert server.stop() == 0
    node_file = (server.data / "node").read_bytes()
    (server.data / "node").unlink()
    status, line = refused(server.data)
    assert status == DAMAGED and "node is missing" in line and "; restore the folder from a backup" in line
    assert not (server.data / "node").exists()
    (server.data / "node").write_bytes(node_file)
    server.start()
    with resp.Connection(server.port) as connection:
        assert connection.call("GET", "key") == b"value"
    assert server.stop() == 0
    assert starts(server.data) > int(re.search(rb"starts = (\d+)", node_file)[1])


def test_a_log_or_snapshot_of_another_node_is_refused(new_server):
    mine, other = (new_server("cohort", "--enable-debug-command", "local") for _ in range(2))
    for server in mine, other:
        with resp.Connection(server.port) as connection:
            assert connection.call("SET", "key", server.data.parent.name) == "OK"
            assert connection.call("DEBUG", "SNAPSHOT") == "OK"
        deadline = time.monotonic() + 10
        while not list((server.data / "worker-0").glob("snapshot-*.snap")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert server.stop() == 0
    own = mine.data / "worker-0"
    kept = own.rename(mine.data / "kept")
    shutil.copytree(other.data / "worker-0", own)
    status, line = refused(mine.data)
    assert status == CONFIG and "worker-0/start: it belongs to another data folder" in line
    shutil.copy(kept / "start", own)
    status, line = refused(mine.data)
    assert status == CONFIG and "0000000000000001.log: it belongs to another data folder" in line

    shutil.rmtree(own)
    shutil.copytree(kept, own)
    [snapshot] = (other.data / "worker-0").glob("snapshot-*.snap")
    shutil.copy(snapshot, own / "snapshot-1-1000.snap")
    status, line = refused(mine.data)
    assert status == CONFIG and "1000.snap: it belongs to another data folder" in line and "move away" in line

    (own / "snapshot-1-1000.snap").unlink()
    mine.start()
    with resp.Connection(mine.port) as connection:
        assert connection.call("GET", "key") == mine.data.parent.name.encode()


def starts(data):
    return int(re.search(r"^starts = (\d+)$", (data / "node").read_text(), re.MULTILINE)[1])


def test_a_node_file_that_is_no_node_file(new_server):
    server = new_server("cohort")
    assert server.stop() == 0
    (server.data / "node").write_bytes(b"x" * 10000)
    status, line = refused(server.data)
    assert status == DAMAGED and "is damaged; restore the folder from a backup, or start with an empty one" in line


NO_BACKUP = "; the others serve without this node; bring the folder back as the node left it last, but no backup: "


@pytest.mark.parametrize("damaged, at", [("node", 0), ("cluster", 100), ("log", 4096 + 50)])
def test_a_backup_is_no_way_out_for_one_of_several(new_cluster, damaged, at):
    three = new_cluster(shards=2)
    node = three[2]
    assert node.stop() == 0
    file = node.data / "worker-0" / "0000000000000001.log" if damaged == "log" else node.data / damaged
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    done = subprocess.run(node.command_line(), capture_output=True, text=True, timeout=60)
    said = done.stderr.splitlines()[-1]
    assert done.returncode == DAMAGED and NO_BACKUP in said, done.stderr
    assert str(file) in said and ("copy the file from another node" in said) == (damaged == "cluster")
    assert three.attempt(three[1], "SET", "served", "without it") == "OK"
    content[at] ^= 1
    file.write_bytes(content)
    node.start()
    three.wait_until_equal()


def limit(which, value):
    def before():
        servers.end_with_parent()
        resource.setrlimit(which, (value, value))

    return before


def test_too_few_descriptors(tmp_path):
    status, line = refused(tmp_path / "data", preexec_fn=limit(resource.RLIMIT_NOFILE, 30))
    assert status == OSERR and "the limit of open files (ulimit -n) is 30; at least 49 are needed" in line
    # Other nodes, and eight shards.
    peers = ",".join(f"{n}=127.0.0.1:{n}" for n in (1, 2, 3))
    few = limit(resource.RLIMIT_NOFILE, 50)
    status, line = refused(tmp_path / "data", "--peers", peers, "--id", 1, "--listen", "127.0.0.1:1", preexec_fn=few)
    assert status == OSERR and "at least 75 are needed" in line


def start_limited(data, which, value, *arguments):
    """A node under a limit, and its port."""
    process = subprocess.Popen(
        [str(servers.COHORT), "serve", "--data", str(data), "--listen", "127.0.0.1:0", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit(which, value),
    )
    lines = []
    for line in process.stderr:
        lines.append(line)
        ready = re.search(r"ready for clients on 127.0.0.1:(\d+)", line)
        if ready:
            return process, int(ready[1]), "".join(lines)
    raise AssertionError("".join(lines))


def end(process):
    process.terminate()
    process.stderr.read()
    assert process.wait(30) == 0


def test_clients_leave_descriptors_for_the_log(tmp_path):
    process, port, log = start_limited(tmp_path / "data", resource.RLIMIT_NOFILE, 68, "--log-segment-size", "64kb")
    assert "maxclients is 20 instead of 10000" in log
    with resp.Connection(port) as connection:
        clients = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(19)]
        for client in clients:
            client.sendall(b"PING\r\n")
            assert client.recv(100) == b"+PONG\r\n"
        with socket.create_connection(("127.0.0.1", port), 10) as one_more:
            assert one_more.recv(100) == b"-ERR max number of clients reached\r\n"
        refusal = connection.call("CONFIG", "SET", "maxclients", "21")
        assert refusal.endswith("not able to handle the specified number of clients, try with 20")
        for n in range(200):  # more files of the log than descriptors
            assert connection.call("SET", f"key{n}", b"x" * 30000) == "OK"
        assert len(list((tmp_path / "data" / "worker-0").glob("*.log"))) > 68
    for client in clients:
        client.close()
    end(process)
    process, port, _ = start_limited(tmp_path / "data", resource.RLIMIT_NOFILE, 50)
    with resp.Connection(port) as connection:
        assert connection.call("DBSIZE") == 200
    end(process)


@pytest.mark.skipif(b"__asan_init" in servers.COHORT.read_bytes(), reason="the sanitizer takes all addresses there are")
def test_no_more_memory_ends_the_node_with_one_line(tmp_path):
    # Each thread of the pool that allocates takes 64 MB of addresses more.
    process, port, _ = start_limited(tmp_path / "data", resource.RLIMIT_AS, 640 << 20)
    written = 0
    with resp.Connection(port) as connection, pytest.raises(OSError):
        while written < 400:
            assert connection.call("SET", f"key{written}", b"x" * (1 << 20)) == "OK"
            written += 1
    said = [line for line in process.stderr.read().splitlines() if line.startswith("cohort: ")]  # else the log's
    assert process.wait(30) == OSERR
    assert len(said) == 1
    assert re.fullmatch(r"cohort: out of memory: \d+ bytes were refused; give this process more memory, .*", said[0])
    process, port, _ = start_limited(tmp_path / "data", resource.RLIMIT_AS, 4 << 30)
    with resp.Connection(port) as connection:
        assert written > 20 and connection.call("STRLEN", f"key{written - 1}") == 1 << 20
        assert connection.call("DBSIZE") in (written, written + 1)
    end(process)


def test_a_limit_of_file_sizes_refuses_writes(tmp_path):
    process, port, _ = start_limited(tmp_path / "data", resource.RLIMIT_FSIZE, 1 << 20)
    with resp.Connection(port) as connection:
        for n in range(100):
            reply = connection.call("SET", f"key{n}", b"x" * 30000)
            if reply != "OK":
                break
        assert reply.startswith("MISCONF the disk is full"), reply
        assert connection.call("GET", "key0") == b"x" * 30000
    deadline = time.monotonic() + 10
    for line in process.stderr:
        if "writes are refused" in line:
            assert "disk full; free some space" in line
            break
        assert time.monotonic() < deadline
    end(process)
