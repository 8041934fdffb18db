#!/usr/bin/python3
"""A hotel with some rooms, as a participant of Cohort's transactions: the body of a try is how many rooms are wanted.

    examples/http_service/hotel.py hotel.db 8080 [ROOMS]
    cohort txn run --on hotel=http://127.0.0.1:8080 --do 2 --on bank=postgresql://… --do 'UPDATE …'"""

import sys
import wsgiref.simple_server
from socketserver import ThreadingMixIn

import branches

TABLES = """CREATE TABLE IF NOT EXISTS rooms (free INTEGER NOT NULL CHECK (free >= 0), booked INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS reserved (branch TEXT PRIMARY KEY, count INTEGER NOT NULL);"""


def reserve(db, branch, body):
    if not body.isdigit():
        raise branches.Refused("say how many rooms: a number")
    if db.execute("UPDATE rooms SET free = free - ? WHERE free >= ?", [int(body), int(body)]).rowcount == 0:
        raise branches.Refused("there are not so many rooms")
    db.execute("INSERT INTO reserved VALUES (?, ?)", [branch, int(body)])
    return f"{body} reserved"


def take(db, branch):
    (count,) = db.execute("DELETE FROM reserved WHERE branch = ? RETURNING count", [branch]).fetchone()
    return count


def book(db, branch):
    db.execute("UPDATE rooms SET booked = booked + ?", [take(db, branch)])


def release(db, branch):
    db.execute("UPDATE rooms SET free = free + ?", [take(db, branch)])


class Server(ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class Handler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_):
        pass


def main(path, port, rooms="100"):
    hotel = branches.Branches(path, reserve, book, release)
    hotel.database().executescript(TABLES)
    with hotel.transaction() as db:
        if db.execute("SELECT 1 FROM rooms").fetchone() is None:
            db.execute("INSERT INTO rooms VALUES (?, 0)", [int(rooms)])
    with wsgiref.simple_server.make_server("127.0.0.1", int(port), hotel.application(), Server, Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
