"""Copies of data folders: an older one in the place of the newer, and two processes on copies of one. Either has forgotten
what its node has promised, so it is refused and says what to do, and the others go on."""

import shutil
import subprocess

import cluster
import pytest
import servers

REFUSED_STATUSES = {69, 78}  # of sysexits: unavailable, configuration
SAID = "this data folder is an older copy of node {}'s, or another process runs on a copy of it"


def write(three, value):
    with three[2].connect() as connection:
        for shard in range(1, three.shards + 1):
            assert connection.call("SET", three.key_of(shard), value) == "OK"


def check_refused(three, number):
    node = three[number]
    node.launch()
    assert node.process.wait(60) in REFUSED_STATUSES, node.log()
    node.process = None
    assert SAID.format(number) in node.log(1000), node.log()


def put_in_place(node, folder):
    shutil.rmtree(node.data)
    shutil.copytree(folder, node.data)


@pytest.mark.parametrize("number", [1, 3], ids=["dials", "is dialed"])
def test_an_older_copy_is_refused(new_cluster, tmp_path, number):
    three = new_cluster(shards=2)
    node = three[number]
    assert node.stop() == 0
    shutil.copytree(node.data, tmp_path / "backup")
    node.start()
    three.wait_for_leaders()
    write(three, "new")
    node.kill()
    shutil.copytree(node.data, tmp_path / "newest")
    put_in_place(node, tmp_path / "backup")
    check_refused(three, number)
    check_refused(three, number)  # as a supervisor would
    write(three, "newer")
    put_in_place(node, tmp_path / "newest")
    node.start()
    three.wait_for_leaders()
    three.wait_until_equal()


def test_others_that_were_restarted_know_an_older_copy(new_cluster, tmp_path):
    three = new_cluster(shards=2)
    three[3].stop()
    shutil.copytree(three[3].data, tmp_path / "backup")
    three[3].start()
    three.wait_for_leaders()
    three[2].wait(lambda: joined(three[3]) == starts(three[3]), "node 3 did not join")
    three.stop()
    put_in_place(three[3], tmp_path / "backup")
    three[1].launch()
    three[2].launch()
    for number in (1, 2):
        three[number].wait(three[number].ready, "did not take part")
    check_refused(three, 3)


def field(node, name):
    lines = (node.data / "node").read_text().splitlines()
    return next(int(line.split(" = ")[1]) for line in lines if line.startswith(name))


def joined(node):
    return field(node, "joined")


def starts(node):
    return field(node, "starts")


@pytest.mark.parametrize("number", [1, 2])
def test_of_two_processes_on_copies_the_first_stays(new_cluster, tmp_path, number):
    three = new_cluster(shards=2)
    node = three[number]
    assert node.stop() == 0
    shutil.copytree(node.data, tmp_path / "copy")
    node.start()
    three.wait_for_leaders()
    port = servers.free_port(cluster.PEER_OFFSET)
    command = [*node.command_line(), "--data", str(tmp_path / "copy"), "--listen", f"127.0.0.1:{port}",
               "--peer-listen", f"127.0.0.1:{port + cluster.PEER_OFFSET}"]  # fmt: skip
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, preexec_fn=servers.end_with_parent)
        assert done.returncode in REFUSED_STATUSES, done.stderr
        assert SAID.format(number) in done.stdout + done.stderr, done.stderr
    assert node.alive(), node.log()
    write(three, "well")
    three.wait_until_equal()


@pytest.mark.parametrize("with_kill", [True, False], ids=["kill", "stop"])
def test_a_true_successor_is_welcome_at_once(new_cluster, with_kill):
    three = new_cluster(shards=2)
    for _ in range(6):
        for node in three:
            node.kill() if with_kill else node.stop()
            node.launch()
            node.wait(node.ready, "did not take part")
    write(three, "well")
    said = [line for line in three.log(1000).splitlines() if "copy" in line]
    assert not said, "\n".join([*said, three.log(1000)])
