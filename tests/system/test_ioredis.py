"""ioredis from the npm registry, installed by `./dev test` into the build folder (node/ioredis_client.js)."""

import os
import pathlib
import shutil
import subprocess

import pytest
import servers

SCRIPT = pathlib.Path(__file__).parent / "node" / "ioredis_client.js"
MODULES = servers.ROOT / "build" / "node" / "node_modules"


def test_ioredis(server):
    if not (MODULES / "ioredis").is_dir():
        pytest.skip("ioredis is not installed: the npm registry could not be reached (build/node/npm.txt)")
    assert shutil.which("node"), "nodejs is missing; ./dev test installs it"
    done = subprocess.run(
        ["node", SCRIPT, str(server.port)],
        env={**os.environ, "NODE_PATH": str(MODULES)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
