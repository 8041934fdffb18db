#!/usr/bin/python3
"""Reads what many connections are told, and counts it: for bench/feeds.py.

usage: feed_reader.py PORT CONNECTIONS PER_CONNECTION WORDS_BEFORE MARK
  each connection says PER_CONNECTION commands of WORDS_BEFORE (words separated by ',', with %d for a number of its own),
  waits for their answers, and then counts how often MARK comes.
Says "ready"; at each line of its input it says how often so far."""

import os
import select
import socket
import sys


def main():
    port, connections, each, words, mark = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5].encode()
    poll = select.epoll()
    sockets = {}
    number = 0
    for _ in range(connections):
        one = socket.create_connection(("127.0.0.1", port))
        for _ in range(each):
            parts = [word.replace("%d", str(number)).encode() for word in words.split(",")]
            number += 1
            one.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
            # Answers are small, and nothing is pushed before there is load.
            one.recv(4096)
        one.setblocking(False)
        sockets[one.fileno()] = one
        poll.register(one.fileno(), select.EPOLLIN)
    poll.register(0, select.EPOLLIN)
    count = 0
    print("ready", flush=True)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == 0:
                if not os.read(0, 4096):
                    return
                print(count, flush=True)
                continue
            try:
                data = sockets[descriptor].recv(1 << 20)
            except BlockingIOError:
                continue
            if not data:
                raise SystemExit("a connection was closed")
            count += data.count(mark)


main()
