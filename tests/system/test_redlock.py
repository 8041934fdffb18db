"""npm's redlock, both versions that people use, unmodified (node/redlock4.js, node/redlock5.js)."""

import os
import pathlib
import shutil
import subprocess

import pytest
import servers

SCRIPTS = pathlib.Path(__file__).parent / "node"
MODULES = servers.ROOT / "build" / "node" / "node_modules"


def run(version, ports):
    if not (MODULES / f"redlock{version}").is_dir():
        pytest.skip("redlock is not installed: the npm registry could not be reached (build/node/npm.txt)")
    assert shutil.which("node"), "nodejs is missing; ./dev test installs it"
    done = subprocess.run(
        ["node", SCRIPTS / f"redlock{version}.js", *map(str, ports)],
        env={**os.environ, "NODE_PATH": str(MODULES)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("version", [4, 5])
def test_one_server(server, version):
    run(version, [server.port])


@pytest.mark.parametrize("version", [4, 5])
def test_one_cluster(new_cluster, version):
    """A client at a node; the locks are in any of its shards."""
    run(version, [new_cluster(shards=8)[2].port])


@pytest.mark.parametrize("version", [4, 5])
def test_three_independent_servers(new_server, version):
    run(version, [new_server().port for _ in range(3)])
