"""The networks in which clusters are cut apart (networks.py): what they lose, and what they do not."""

import contextlib
import socket

import networks
import pytest


def test_cuts_and_mends():
    with networks.Networks(3) as nets, contextlib.ExitStack() as stack:
        with nets[1]:
            listener = stack.enter_context(socket.create_server((nets[1].address, 5000)))
        with nets[2]:
            two = stack.enter_context(socket.create_connection((nets[1].address, 5000), 10))
        one, (host, _) = listener.accept()
        stack.enter_context(one)
        assert host == nets[2].address
        nets.cut(2, 1)
        one.settimeout(0.3)
        two.sendall(b"lost")
        with pytest.raises(TimeoutError):
            one.recv(10)
        one.sendall(b"one way only")
        assert two.recv(20) == b"one way only"
        nets.isolate(1)
        with nets[3], pytest.raises(TimeoutError):
            socket.create_connection((nets[1].address, 5000), 0.3)
        with nets[3], pytest.raises(ConnectionRefusedError):
            socket.create_connection((nets[2].address, 5000), 10)
        nets.heal()
        one.settimeout(30)
        assert one.recv(10) == b"lost"  # sent again by TCP
        with nets[3]:
            stack.enter_context(socket.create_connection((nets[1].address, 5000), 10))
