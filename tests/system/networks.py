"""Networks for tests of partitions: one for each node, and a wire between each two of them.

    with networks.Networks(3) as nets:
        nets[1].address                 # of the node that runs there, and of its clients: 10.83.0.1
        with nets[1]: …                 # sockets and processes that are made here are in that network
        nets.cut(1, 2)                  # what is sent from 1 to 2 is lost without a word
        nets.isolate(1); nets.heal()

A network is a namespace of the kernel, held by a descriptor, so nothing is left when the process ends. Wires are pairs of
virtual Ethernet devices. A cut gives the other end a hardware address that nobody has: packets leave and never arrive,
in that direction only, which is what a partition looks like; it needs no firewall, and no module but veth."""

import ctypes
import os
import shutil
import subprocess
import threading

import pytest

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
NOBODY = "02:00:00:00:00:99"


def set_namespace(descriptor):
    if LIBC.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def open_own():
    """A descriptor of the network in which this thread is."""
    return os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Network:
    """One of them. As a context, it moves the calling thread there and back; threads may do so at the same time."""

    def __init__(self, number):
        self.number = number
        self.address = f"10.83.0.{number}"
        self.before = threading.local()
        home = open_own()
        try:
            if LIBC.unshare(CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "unshare")
            self.descriptor = open_own()
            set_namespace(home)
        finally:
            os.close(home)

    def enter(self):
        set_namespace(self.descriptor)

    def __enter__(self):
        self.before.descriptor = open_own()
        self.enter()
        return self

    def __exit__(self, *_):
        set_namespace(self.before.descriptor)
        os.close(self.before.descriptor)

    def ip(self, *words):
        with self:
            subprocess.run(["ip", *map(str, words)], check=True, capture_output=True, text=True, timeout=30)

    def path(self):
        """For another process, as long as this one lives."""
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"


class Networks:
    """As many networks, numbered from 1, all connected. Skips the test where they cannot be made."""

    def __init__(self, count):
        if os.geteuid() != 0:
            pytest.skip("networks of their own need root")
        if shutil.which("ip") is None:
            pytest.skip("iproute2 is not installed")
        self.all = {}
        try:
            for number in range(1, count + 1):
                self.all[number] = Network(number)
                self.all[number].ip("link", "set", "lo", "up")
                self.all[number].ip("address", "add", f"{self.all[number].address}/32", "dev", "lo")
            for one in self.all:
                for other in range(1, one):
                    self.connect(self.all[one], self.all[other])
        except (OSError, subprocess.CalledProcessError) as problem:
            self.close()
            pytest.skip(f"networks of their own cannot be made here: {problem} {getattr(problem, 'stderr', '')}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __getitem__(self, number):
        return self.all[number]

    def __iter__(self):
        return iter(self.all.values())

    def close(self):
        for network in self.all.values():
            os.close(network.descriptor)
        self.all = {}

    def connect(self, one, other):
        one.ip("link", "add", f"to{other.number}", "address", hardware(one, other), "type", "veth",
               "peer", "name", f"to{one.number}", "address", hardware(other, one), "netns", other.path())  # fmt: skip
        for here, there in ((one, other), (other, one)):
            device = f"to{there.number}"
            here.ip("link", "set", device, "up")
            here.ip("route", "add", there.address, "dev", device, "src", here.address)
            self.point(here, there, hardware(there, here))

    def point(self, here, there, address):
        """Where packets from `here` to `there` are sent. Set by hand, so nobody ever asks for it."""
        here.ip("neighbour", "replace", there.address, "lladdr", address, "nud", "permanent", "dev", f"to{there.number}")

    def cut(self, source, target):
        """One way."""
        self.point(self.all[source], self.all[target], NOBODY)

    def mend(self, source, target):
        here, there = self.all[source], self.all[target]
        self.point(here, there, hardware(there, here))

    def isolate(self, number):
        for other in self.all:
            if other != number:
                self.cut(number, other)
                self.cut(other, number)

    def heal(self):
        for source in self.all:
            for target in self.all:
                if source != target:
                    self.mend(source, target)


def hardware(here, there):
    """The address of the end of a wire that is `here`."""
    return f"02:00:00:00:{here.number:02x}:{there.number:02x}"
