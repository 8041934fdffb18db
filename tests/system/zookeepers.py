"""ZooKeeper's servers, from Debian's packages libzookeeper-java and default-jre-headless, which start no service.

    with zookeepers.Servers(tmp_path) as servers:          # one; count=3: an ensemble
        servers.url()                                      # zookeeper://127.0.0.1:…"""

import pathlib
import signal
import socket
import subprocess
import time

import servers

JAVA = pathlib.Path("/usr/share/java")
START_SECONDS = 90  # a machine with much to do starts a JVM slowly
TICK_MS = 500


class Server:
    def __init__(self, home, port, lines):
        self.home, self.port, self.process = home, port, None
        (home / "zoo.cfg").write_text("\n".join(lines) + "\n")

    def start(self):
        classes = ":".join(str(JAVA / f"{name}.jar") for name in ("zookeeper", "slf4j-simple"))
        words = ["java", "-Xmx64m", "-Xss512k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
                 "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", classes,
                 "org.apache.zookeeper.server.quorum.QuorumPeerMain", self.home / "zoo.cfg"]  # fmt: skip
        with open(self.home / "log.txt", "ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                            cwd=self.home, preexec_fn=servers.end_with_parent)  # fmt: skip

    def send(self, which):
        self.process.send_signal(which)

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ask(self, word):
        """One of its words of four letters; "" when it does not answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                connection.sendall(word.encode())
                answer = b""
                while part := connection.recv(65536):
                    answer += part
                return answer.decode()
        except OSError:
            return ""

    def wait(self):
        deadline = time.monotonic() + START_SECONDS
        while "\nMode: " not in self.ask("srvr"):
            assert self.process.poll() is None and time.monotonic() < deadline, (self.home / "log.txt").read_text()[-3000:]
            time.sleep(0.05)
        return self


class Servers:
    def __init__(self, folder, count=1, tick_ms=TICK_MS, options=()):
        self.all = []
        ports = [servers.free_port(1, 2) for _ in range(count)]
        peers = [f"server.{i}=127.0.0.1:{port + 1}:{port + 2}" for i, port in enumerate(ports, 1)]
        for i, port in enumerate(ports, 1):
            home = pathlib.Path(folder) / f"zookeeper{i}"
            (home / "data").mkdir(parents=True)
            (home / "data" / "myid").write_text(f"{i}\n")
            lines = [f"tickTime={tick_ms}", "initLimit=40", "syncLimit=10", "maxClientCnxns=0", f"dataDir={home / 'data'}",
                     f"clientPort={port}", "clientPortAddress=127.0.0.1", "admin.enableServer=false", "maxSessionTimeout=600000",
                     "4lw.commands.whitelist=*", "forceSync=no", *options, *(peers if count > 1 else [])]  # fmt: skip
            self.all.append(Server(home, port, lines))
        for server in self.all:
            server.start()
        for server in self.all:
            server.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for server in self.all:
            if server.process is not None:
                server.send(signal.SIGCONT)
            server.kill()

    def hosts(self):
        return ",".join(f"127.0.0.1:{server.port}" for server in self.all)

    def url(self, folder="/locks", options=""):
        return f"zookeeper://{self.hosts()}{folder}{options}"

    def leader(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for server in self.all:
                if server.process is not None and "Mode: leader" in server.ask("srvr"):
                    return server
            time.sleep(0.05)
        raise AssertionError("there is no leader")
