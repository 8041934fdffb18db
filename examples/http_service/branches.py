"""The server's side of Cohort's transactions over HTTP (docs/transactions.md, "Databases and services"): a service that
reserves at `try`, and does or undoes it at `confirm` or `cancel`. Python's standard library alone; copy it into a service.

    branches = Branches("hotel.db", reserve, book, release)
    status, text = branches.handle("POST", "try", headers, body)         # in whatever web server there is
    application = branches.application()                                 # or as WSGI

    reserve(db, branch, body) → text       in the database's own transaction; raise Refused to refuse
    book(db, branch), release(db, branch)  the same, and may not fail

What holds
1. Each branch goes tried → confirmed or tried → cancelled, once. Its state and what the functions do in `db` are one
   transaction of SQLite, synced before it is answered.
2. try, confirm and cancel may come any number of times: each is done once, and answered alike each time.
3. A cancel whose try has not come is remembered, and refuses that try when it comes: it was sent before, and overtaken.
4. Names of branches never come twice, so what has ended may be forgotten (`forget`), when no try can be on its way any
   more: after some days."""

import sqlite3
import threading
import time

TABLE = """CREATE TABLE IF NOT EXISTS cohort_branches (
    name TEXT PRIMARY KEY, state TEXT NOT NULL CHECK (state IN ('tried', 'confirmed', 'cancelled')),
    answer TEXT NOT NULL, changed REAL NOT NULL) WITHOUT ROWID"""
BODY_BYTES = 1 << 20
DAYS_KEPT = 7


class Refused(Exception):
    """The try cannot be done; the text is told."""


class Branches:
    def __init__(self, path, on_try, on_confirm, on_cancel):
        self.path, self.on_try, self.on_confirm, self.on_cancel = path, on_try, on_confirm, on_cancel
        self.local = threading.local()
        with self.transaction() as db:
            db.execute(TABLE)

    def transaction(self):
        return _Transaction(self.database())

    def database(self):
        """A connection for each thread; transactions are begun by hand."""
        if not hasattr(self.local, "db"):
            self.local.db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            self.local.db.execute("PRAGMA synchronous=FULL")
        return self.local.db

    # ---- the three steps: (HTTP status, text) ----

    def try_(self, name, body):
        try:
            with self.transaction() as db:
                state, answer = self.find(db, name)
                if state == "cancelled":
                    return 409, "the branch was cancelled"
                if state is None:
                    answer = self.on_try(db, name, body) or ""
                    self.note(db, name, "tried", answer)
                return 200, answer
        except Refused as refused:
            return 422, str(refused)

    def confirm(self, name):
        with self.transaction() as db:
            state, _ = self.find(db, name)
            if state in (None, "cancelled"):
                return 409, "the branch was cancelled" if state else "the branch was never tried"
            if state == "tried":
                self.on_confirm(db, name)
                self.note(db, name, "confirmed")
            return 200, ""

    def cancel(self, name):
        with self.transaction() as db:
            state, _ = self.find(db, name)
            if state == "confirmed":
                return 409, "the branch was confirmed"
            if state == "tried":
                self.on_cancel(db, name)
            if state != "cancelled":
                self.note(db, name, "cancelled")
            return 200, ""

    # ---- a look ----

    def prepared(self):
        """What is tried and no more: a line for each, its name and its age in ms."""
        rows = self.database().execute("SELECT name, changed FROM cohort_branches WHERE state = 'tried' ORDER BY changed")
        return 200, "".join(f"{name} {max(0, int((time.time() - changed) * 1000))}\n" for name, changed in rows)

    def forget(self, days=DAYS_KEPT):
        with self.transaction() as db:
            db.execute("DELETE FROM cohort_branches WHERE state <> 'tried' AND changed < ?", [time.time() - days * 86400])

    @staticmethod
    def find(db, name):
        row = db.execute("SELECT state, answer FROM cohort_branches WHERE name = ?", [name]).fetchone()
        return row or (None, "")

    @staticmethod
    def note(db, name, state, answer=""):
        db.execute("INSERT OR REPLACE INTO cohort_branches VALUES (?, ?, ?, ?)", [name, state, answer, time.time()])

    # ---- over HTTP ----

    def handle(self, method, verb, branch, body):
        """`verb` is the last part of the path, `branch` the header Cohort-Branch or None."""
        if (method, verb) == ("GET", "prepared"):
            return self.prepared()
        steps = {"try": lambda: self.try_(branch, body), "confirm": lambda: self.confirm(branch), "cancel": lambda: self.cancel(branch)}
        if verb not in steps:
            return 404, "there are try, confirm, cancel and prepared"
        if method != "POST":
            return 405, "this is to be POSTed"
        if not branch or not branch.startswith("cohort:"):
            return 400, "the header Cohort-Branch is missing"
        return steps[verb]()

    def application(self):
        """As WSGI (PEP 3333)."""

        def answer(environment, start_response):
            size = int(environment.get("CONTENT_LENGTH") or 0)
            if size > BODY_BYTES:
                status, text = 413, "the body is too long"
            else:
                verb = environment.get("PATH_INFO", "").rstrip("/").rsplit("/", 1)[-1]
                body = environment["wsgi.input"].read(size).decode(errors="replace")
                status, text = self.handle(environment["REQUEST_METHOD"], verb, environment.get("HTTP_COHORT_BRANCH"), body)
            start_response(f"{status} {'OK' if status == 200 else 'no'}", [("Content-Type", "text/plain; charset=utf-8")])
            return [text.encode()]

        return answer


class _Transaction:
    """BEGIN IMMEDIATE, so that two threads never find the same state; COMMIT, or ROLLBACK after an exception."""

    def __init__(self, db):
        self.db = db

    def __enter__(self):
        self.db.execute("BEGIN IMMEDIATE")
        return self.db

    def __exit__(self, kind, *_):
        self.db.execute("COMMIT" if kind is None else "ROLLBACK")
