"""Debian's etcd for the tests of etcd://: one member or several, on free ports of 127.0.0.1, as servers.py has cohort's.

    with Etcd(folder) as etcd:
        engines.Engine(etcd.url)
        etcd.members[0].kill(); etcd.members[0].start()"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request

import servers

UNPACKED = servers.ROOT / "build" / "rivals" / "usr" / "bin"  # dev: unpack_etcd


def program(name):
    found = shutil.which(name) or UNPACKED / name
    assert os.path.exists(found), f"{name} is missing; ./dev test unpacks it"
    return str(found)


class Member:
    def __init__(self, name, folder, arguments, scheme):
        self.name, self.folder, self.arguments, self.scheme = name, folder, arguments, scheme
        self.port, self.peer_port = servers.free_port(), servers.free_port()
        self.process = None
        folder.mkdir(parents=True)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def launch(self, cluster, state):
        client, peer = f"{self.scheme}://{self.address}", f"http://127.0.0.1:{self.peer_port}"
        words = [program("etcd"), "--name", self.name, "--data-dir", self.folder / "data",
                 "--listen-client-urls", client, "--advertise-client-urls", client,
                 "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                 "--initial-cluster", cluster, "--initial-cluster-state", state, "--log-level", "error",
                 "--logger", "zap", *self.arguments]  # fmt: skip
        with open(self.folder / "log.txt", "ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=servers.end_with_parent)  # fmt: skip

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def ask(self, path, body, timeout=10):
        request = urllib.request.Request(f"http://{self.address}{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)


class Etcd:
    def __init__(self, folder, count=1, arguments=(), scheme="http"):
        self.members = [Member(f"m{i}", folder / f"m{i}", arguments, scheme) for i in range(count)]
        self.cluster = ",".join(f"{one.name}=http://127.0.0.1:{one.peer_port}" for one in self.members)
        self.scheme = scheme
        if count == 1:  # it has nobody to hear from; and leases may be as short as one second
            self.members[0].arguments = ["--heartbeat-interval=50", "--election-timeout=500", *arguments]
        for one in self.members:
            one.launch(self.cluster, "new")
        self.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def url(self):
        return "etcd://" + ",".join(one.address for one in self.members)

    def wait(self):
        """Until it can read and write."""
        deadline = time.monotonic() + servers.START_SECONDS
        while self.scheme == "http":
            try:
                if all(one.ask("/v3/kv/range", {"key": "AA=="}) for one in self.members if one.process.poll() is None):
                    return
            except OSError as error:
                if getattr(error, "code", None) == 400:
                    return  # it answers, and wants a user
                assert time.monotonic() < deadline, (self.members[0].folder / "log.txt").read_text()[-2000:]
            time.sleep(0.05)

    def restart(self, member):
        member.launch(self.cluster, "existing")
        self.wait()

    def leader(self):
        """The member that leads, and those that do not."""
        deadline = time.monotonic() + servers.START_SECONDS
        while True:
            for one in self.members:
                with contextlib.suppress(OSError):
                    status = one.ask("/v3/maintenance/status", {})
                    if status.get("leader") == status["header"]["member_id"]:
                        return one, [other for other in self.members if other is not one]
            assert time.monotonic() < deadline, "nobody leads"
            time.sleep(0.05)

    def ctl(self, *words, start=False, user=None):
        line = [program("etcdctl"), f"--endpoints={','.join(one.address for one in self.members)}",
                *([f"--user={user}"] if user else []), *words]  # fmt: skip
        environment = {**os.environ, "ETCDCTL_API": "3"}
        if start:
            return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
                                    preexec_fn=servers.end_with_parent)  # fmt: skip
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self):
        for one in self.members:
            if one.process.poll() is None:
                one.kill()
