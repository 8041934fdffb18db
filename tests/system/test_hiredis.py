"""hiredis: a small C program (hiredis_client.c) that uses the blocking and the asynchronous API."""

import subprocess

import servers


def test_hiredis(server):
    program = servers.BUILD / "tests" / "system" / "hiredis_client"
    assert program.is_file(), "libhiredis-dev was missing when the build was configured"
    done = subprocess.run([program, str(server.port)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
