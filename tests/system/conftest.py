"""Fixtures: real servers, one of each kind per worker process, and private ones for tests that stop or break theirs."""

import concurrent.futures
import os
import subprocess

import cluster
import networks
import pytest
import redis
import resp
import servers


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the log of each server that it used."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for used in list(item.funcargs.values()):
            for one in getattr(used, "made", [used]):
                if isinstance(one, (servers.Server, cluster.Cluster)):
                    report.sections.append((f"log of {one.kind} in {one.folder}", one.log()))


def pytest_configure(config):
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):  # tests run in this process
        servers.forget_sanitizer()


def pytest_terminal_summary(terminalreporter):
    """Figures that tests measured and nobody judged (the fixture `figure`)."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")


def start_cohort_or_fail(folder, arguments=()):
    assert servers.COHORT.is_file(), f"{servers.COHORT} is not built"
    return servers.Server("cohort", folder, arguments).start()


def complain_of_sanitizers(server):
    """UBSan says its word in the log and goes on; leaks are told at the end."""
    log = server.log(last=100000)
    if "Sanitizer" in log or "runtime error:" in log:
        pytest.fail(f"a sanitizer spoke up:\n{log[-20000:]}")


@pytest.fixture(scope="session")
def shared_servers(tmp_path_factory):
    """Servers by kind, started when first asked for; they live as long as the worker."""
    running = {}

    def get(kind):
        if kind not in running:
            folder = tmp_path_factory.mktemp(kind)
            running[kind] = (
                start_cohort_or_fail(folder) if kind == "cohort" else servers.Server("redis", folder, []).start()
            )
        return running[kind]

    yield get
    for server in running.values():
        status = server.stop()
        complain_of_sanitizers(server)
        assert status == 0, f"{server.kind} ended with {status}:\n{server.log()}"


CLUSTERS = {
    "three": {"nodes": 3, "shards": 4},
    "one shard": {"nodes": 3, "shards": 1},
    "five": {"nodes": 5, "shards": 16},
}


@pytest.fixture(scope="session")
def shared_clusters(tmp_path_factory):
    """Clusters by name, as shared_servers. Tests leave them whole."""
    running = {}

    def get(name):
        if name not in running:
            running[name] = cluster.Cluster(tmp_path_factory.mktemp("cluster"), **CLUSTERS[name]).start()
        return running[name]

    yield get
    for one in running.values():
        statuses = one.stop()
        for node in one:
            complain_of_sanitizers(node)
        assert set(statuses) == {0}, f"{statuses}\n{one.log()}"


def emptied(server):
    redis.Redis("127.0.0.1", server.port).flushall()
    return server


@pytest.fixture(params=["redis", "cohort", "leader", "follower"])
def server(request, shared_servers, shared_clusters):
    """Each test that asks for it runs on redis-server and on cohort: the first run proves the test, the others the
    server, alone and as the leader or a follower of a shard with three voters. The keyspace is empty at the start."""
    if request.param in ("redis", "cohort"):
        return emptied(shared_servers(request.param))
    leader = shared_clusters("one shard").leader_of(1)
    return emptied(leader if request.param == "leader" else shared_clusters("one shard")[leader.number % 3 + 1])


@pytest.fixture(params=["three", "five"])
def any_cluster(request, shared_clusters):
    """Three nodes with four shards, and five with sixteen; empty."""
    made = shared_clusters(request.param)
    emptied(made[1])
    return made


@pytest.fixture
def anywhere(any_cluster):
    """A client at each of its nodes."""
    clients = [resp.Connection(node.port) for node in any_cluster]
    yield clients
    for client in clients:
        client.close()


@pytest.fixture
def pool():
    """Threads for those who wait."""
    with concurrent.futures.ThreadPoolExecutor(32) as executor:
        yield executor


@pytest.fixture
def three(shared_clusters):
    made = shared_clusters("three")
    emptied(made[1])
    return made


@pytest.fixture
def cohort(shared_servers):
    """The shared cohort, empty. For what redis-server does not have."""
    return emptied(shared_servers("cohort"))


@pytest.fixture
def redis_server(shared_servers):
    return emptied(shared_servers("redis"))


@pytest.fixture
def new_server(tmp_path):
    """new_server(kind, *arguments): a private server that the test may stop, kill, fill or break."""
    made = []

    def make(kind="cohort", *arguments, folder=None, port=None, start=True):
        folder = folder or tmp_path / f"{kind}{len(made)}"
        server = servers.Server(kind, folder, arguments, port)
        made.append(server)
        return server.start() if start else server

    make.made = made
    yield make
    for server in made:
        if server.alive():
            server.kill()
        complain_of_sanitizers(server)


@pytest.fixture
def new_cluster(tmp_path):
    """new_cluster(nodes=…, shards=…): a private cluster that the test may break."""
    made = []

    def make(*, start=True, **how):
        made.append(cluster.Cluster(tmp_path / f"cluster{len(made)}", **how))
        return made[-1].start() if start else made[-1]

    make.made = made
    yield make
    for one in made:
        one.close()
        for node in one:
            complain_of_sanitizers(node)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 12 MB; `mount -o remount,size=…` makes it larger."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "cohort-test", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def figure(record_property):
    """figure(name, value): shown at the end of the run."""
    return record_property


@pytest.fixture
def client(server):
    """redis-py, as most people use it."""
    with redis.Redis("127.0.0.1", server.port) as connection:
        yield connection


@pytest.fixture
def five_networks():
    """One for each of five nodes; skips where they cannot be made."""
    with networks.Networks(5) as nets:
        yield nets


@pytest.fixture
def some_networks():
    """One for each of three nodes; None where they cannot be made: then nothing is cut."""
    try:
        nets = networks.Networks(3)
    except pytest.skip.Exception:
        yield None
        return
    with nets:
        yield nets
