"""How each system is loaded: for `seconds`, by `clients` connections with `in_flight` requests each.

Result: requests per second, latencies in microseconds (p50, p99, p99.9; None where the program does not tell), and the CPU
seconds of the program that made the load."""

import csv
import dataclasses
import json
import math
import os
import resource
import tempfile
import urllib.request

from common import ROOT, Failed, run, servers

VALUE_BYTES = 64
TXN_KEYS = 10_000  # of one transaction when etcd is filled: about one megabyte, its limit being one and a half
WARM_UP_MS = 300  # h2load counts from its start on, before 512 connections stand; the others connect first
SCRIPTS = ("eval", "evalsha")  # between as many SETs, which make the keys that they delete
ETCD_OPERATIONS = {"set": "Put", "get": "Range"}


@dataclasses.dataclass
class Result:
    requests: int
    seconds: float
    latency: dict
    served: int = 0  # by the servers in all, those of a warm-up too; 0: the same as requests
    client_cpu_seconds: float = 0.0

    def __post_init__(self):
        self.served = self.served or self.requests

    @property
    def rate(self):
        return self.requests / self.seconds


def with_cpu(load):
    """The decorated load's programs were this process's children, and have ended."""

    def wrapped(*arguments, **options):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = load(*arguments, **options)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        result.client_cpu_seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return result

    return wrapped


# ---- the Redis protocol ----


@with_cpu
def resp_load(node, operation, clients, in_flight, seconds, keys):
    """`cohort bench`, for Redis as well: a client sends `in_flight` requests at once and waits for all of them."""
    words = [servers.COHORT, "bench", "--url", f"cohort://127.0.0.1:{node.port}", "--json", "--mode", operation,
             "--clients", clients, "--pipeline", in_flight, "--duration", f"{int(seconds * 1000)}ms",
             "--keys", keys, "--value-size", VALUE_BYTES]  # fmt: skip
    told = json.loads(run(words))
    latency = told["operations"]["eval" if operation in SCRIPTS else operation]["latency_us"]
    return Result(told["requests"], told["seconds"], {name: latency[name] for name in ("p50", "p99", "p99.9")})


def resp_fill(node, keys):
    run([servers.COHORT, "bench", "--url", f"cohort://127.0.0.1:{node.port}", "--prepare", "--keys", keys,
         "--value-size", VALUE_BYTES, "--clients", 16, "--requests", 16])  # fmt: skip


@with_cpu
def redis_benchmark(node, operation, clients, in_flight, requests, keys):
    words = ["redis-benchmark", "-p", node.port, "-t", operation, "-c", clients, "-P", in_flight, "-n", requests,
             "-r", keys, "-d", VALUE_BYTES, "--csv"]  # fmt: skip
    row = next(csv.DictReader(run(words).splitlines()))
    return Result(requests, requests / float(row["rps"]), {})


# ---- etcd: gRPC by h2load ----


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, data):
    """A length-delimited field of a protobuf message."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def put_request(key, value):
    return field(1, key) + field(2, value)


def range_request(key):
    """serializable is not set: a linearizable read."""
    return field(1, key)


def txn_request(keys, value):
    """success = RequestOp{request_put} each; no compare, so it succeeds."""
    return b"".join(field(2, field(2, put_request(key, value))) for key in keys)


def key_of(number):
    return b"key:%012d" % number


def grpc_file(folder, message):
    path = os.path.join(folder, "body")
    with open(path, "wb") as file:
        file.write(b"\0" + len(message).to_bytes(4, "big") + message)
    return path


def grpc_successes(node, method):
    """How many calls etcd answered with OK so far. HTTP says 200 for others as well."""
    with urllib.request.urlopen(f"http://127.0.0.1:{node.port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    begin = f'grpc_server_handled_total{{grpc_code="OK",grpc_method="{method}",'
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(begin))


def h2load(node, method, body_path, *words):
    """Requests that it counted, and requests that etcd served."""
    before = grpc_successes(node, method)
    told = run(["h2load", "-t", 1, "-d", body_path, "-H", "content-type: application/grpc", "-H", "te: trailers",
                *words, f"http://127.0.0.1:{node.port}/etcdserverpb.KV/{method}"])  # fmt: skip
    counts = next(line for line in told.splitlines() if line.startswith("requests:")).split()
    done, failed, errored = int(counts[5]), int(counts[9]), int(counts[11])
    if failed or errored or grpc_successes(node, method) - before < done:
        raise Failed(f"etcd failed requests:\n{told}")
    return done, int(grpc_successes(node, method) - before)


def percentiles_of(log_path):
    with open(log_path) as file:
        took = sorted(int(line.split()[2]) for line in file)
    return {name: took[min(len(took) - 1, math.ceil(len(took) * share) - 1)] if took else None
            for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))}  # fmt: skip


@with_cpu
def etcd_load(node, operation, clients, in_flight, seconds, keys, key=0):
    """h2load sends one body in every request, so one key in every request of a run."""
    with tempfile.TemporaryDirectory() as folder:
        message = put_request(key_of(key), b"x" * VALUE_BYTES) if operation == "set" else range_request(key_of(key))
        words = ["-c", clients, "-m", in_flight, "-D", f"{int(seconds * 1000)}ms", f"--warm-up-time={WARM_UP_MS}ms"]
        log = os.path.join(folder, "log")
        if clients * in_flight == 1:
            words.append(f"--log-file={log}")
        done, served = h2load(node, ETCD_OPERATIONS[operation], grpc_file(folder, message), *words)
        latency = percentiles_of(log) if clients * in_flight == 1 else {}
    return Result(done, seconds, latency, served)


def etcd_fill(node, keys):
    with tempfile.TemporaryDirectory() as folder:
        for first in range(0, keys, TXN_KEYS):
            some = [key_of(number) for number in range(first, min(keys, first + TXN_KEYS))]
            h2load(node, "Txn", grpc_file(folder, txn_request(some, b"x" * VALUE_BYTES)), "-n", 1, "-c", 1)


# ---- ZooKeeper: its C client ----


def zookeeper_words(node, mode, clients, in_flight, seconds, keys):
    return [ROOT / "build" / "bench" / "zookeeper_load", f"127.0.0.1:{node.port}", mode, clients, in_flight, seconds,
            keys, VALUE_BYTES]  # fmt: skip


@with_cpu
def zookeeper_load(node, operation, clients, in_flight, seconds, keys):
    mode = {"set": "set", "get": "strong", "plain get": "get"}[operation]
    told = json.loads(run(zookeeper_words(node, mode, clients, in_flight, seconds, keys)))
    return Result(told["requests"], told["seconds"], {name: told[name] for name in ("p50", "p99", "p99.9")})


def zookeeper_fill(node, keys):
    run(zookeeper_words(node, "fill", 1, 1, 0, keys))


LOADS = {"cohort": resp_load, "redis": resp_load, "etcd": etcd_load, "zookeeper": zookeeper_load}
FILLS = {"cohort": resp_fill, "redis": resp_fill, "etcd": etcd_fill, "zookeeper": zookeeper_fill}
