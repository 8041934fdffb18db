"""redis-benchmark, unmodified: it runs to its end and finds the server's configuration."""

import csv
import io
import subprocess

import pytest

TESTS = ["SET", "GET", "INCR", "HSET", "MSET (10 keys)"]


@pytest.mark.parametrize(
    "options", [(), ("-P", "16"), ("-3",), ("-c", "200", "-r", "100000", "-d", "512")], ids=["plain", "P16", "resp3", "c200"]
)
def test_benchmark(server, options):
    done = subprocess.run(
        ["redis-benchmark", "-p", str(server.port), "-t", "set,get,incr,hset,mset", "-n", "3000", "--csv", *options],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0
    assert "WARNING" not in done.stderr and "rror" not in done.stdout + done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout[done.stdout.index('"test"') :])))
    assert [row["test"] for row in rows] == TESTS
    assert all(float(row["rps"]) > 0 for row in rows)
