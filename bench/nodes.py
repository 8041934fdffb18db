"""Three or more real nodes under load, and looked at: what growth.py and overload.py share."""

import dataclasses
import json
import pathlib
import resource
import subprocess

from common import ROOT, run, servers  # first: it makes the modules of tests/system known

import cluster  # noqa: F401 (for those who import this one)
import resp

OPEN_LOOP = ROOT / "build" / "bench" / "open_loop"
KEY_BYTES, VALUE_BYTES = 16, 64


@dataclasses.dataclass
class Load:
    """What bench/open_loop.c is told. `rate` in requests per second, or `window` under way in each connection."""

    connections: int = 64
    window: int = 16
    rate: int = 0
    seconds: int = 3
    keys: int = 100_000
    value_bytes: int = VALUE_BYTES
    reads_percent: int = 0

    def words(self, nodes):
        ports = ",".join(str(node.port) for node in nodes)
        how = self.rate or f"w{self.window}"
        return [str(word) for word in (OPEN_LOOP, ports, self.connections, how, self.seconds, self.keys,
                                       self.value_bytes, self.reads_percent)]  # fmt: skip

    def run(self, nodes):
        """The counts of the whole, with the rate of accepted requests."""
        told = json.loads(run(self.words(nodes)).splitlines()[-1])
        if told["other"] or told["unanswered"]:
            raise SystemExit(f"{told['other']} errors, {told['unanswered']} without an answer: {told['problem']}")
        return told | {"per_second": told["ok"] / told["seconds"]}

    def start(self, nodes):
        return subprocess.Popen(self.words(nodes), stdout=subprocess.PIPE, text=True,
                                preexec_fn=servers.end_with_parent)  # fmt: skip


def allow_descriptors(count):
    """For us, and for what we start from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise SystemExit(f"{count} open files are needed, {hard} allowed; see ulimit -n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


def fill(node, keys, value_bytes=VALUE_BYTES):
    run([servers.COHORT, "bench", "--url", f"cohort://127.0.0.1:{node.port}", "--prepare", "--keys", keys,
         "--value-size", value_bytes, "--clients", 16 if value_bytes <= 4096 else 4, "--requests", 16], timeout=1200)  # fmt: skip


def resident_bytes(node):
    status = pathlib.Path(f"/proc/{node.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def as_dict(pairs):
    return {name.decode(): value for name, value in zip(pairs[::2], pairs[1::2])}


def terms(node):
    """Of all shards, as the node knows them."""
    with resp.Connection(node.port, timeout=60) as connection:
        status = as_dict(connection.call("COHORT.STATUS"))
    return [as_dict(shard)["term"] for shard in status["shards"]]
