"""`cohort txn run` and `resolve` with a service that tries, confirms and cancels (examples/http_service), and one that
misbehaves."""

import contextlib
import http.client
import http.server
import sqlite3
import subprocess
import sys
import threading
import time

import cluster
import pytest
import resources
import servers

sys.path.insert(0, str(servers.ROOT / "examples" / "http_service"))
import branches  # noqa: E402

NAME = "cohort:" + 32 * "a" + ":0.1:x:hotel"


class Hotel:
    """The example, in a process of its own."""

    def __init__(self, folder, rooms=100):
        self.path, self.port, self.rooms, self.process = folder / "hotel.db", servers.free_port(), rooms, None
        self.start()

    def start(self):
        words = [sys.executable, servers.ROOT / "examples" / "http_service" / "hotel.py", self.path, str(self.port), str(self.rooms)]
        self.process = subprocess.Popen(words, preexec_fn=servers.end_with_parent)
        deadline = time.monotonic() + 60
        while self.ask("GET", "prepared") is None:
            assert self.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def url(self, port=None):
        return f"http://127.0.0.1:{port or self.port}"

    def ask(self, method, verb, body=None, name=NAME):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, f"/{verb}", body, {"Cohort-Branch": name})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except ConnectionError:
            return None
        finally:
            connection.close()

    def rooms_now(self):
        """Free, booked, reserved."""
        with sqlite3.connect(self.path) as db:
            return *db.execute("SELECT free, booked FROM rooms").fetchone(), db.execute("SELECT coalesce(sum(count), 0) FROM reserved").fetchone()[0]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with cluster.Cluster(tmp_path_factory.mktemp("home"), nodes=1, shards=3, replicas=1) as one:
        yield one


@pytest.fixture
def hotel(tmp_path):
    made = Hotel(tmp_path)
    yield made
    made.kill()


def run(home, key, url, rooms="2", *words, seconds=30):
    return resources.txn("run", "--url", resources.url_of(home), "--timeout", f"{seconds}s", "--do", f"SET {key} 1", "--on", f"hotel={url}", "--do", rooms, *words)


def has(home, key):
    with home[1].connect() as connection:
        return connection.call("GET", key) is not None


def test_booked_or_not(home, hotel):
    done = run(home, "booked", hotel.url())
    assert done.returncode == 0, done.stderr
    assert (has(home, "booked"), hotel.rooms_now()) == (True, (98, 2, 0))
    done = run(home, "full", hotel.url(), "99")
    assert done.returncode == 1 and "not so many rooms" in done.stderr
    assert (has(home, "full"), hotel.rooms_now()) == (False, (98, 2, 0))


def test_another_part_fails(home, hotel):
    """What was tried is cancelled."""
    done = run(home, "other", hotel.url(), "2", "--on", f"second={hotel.url()}", "--do", "words")
    assert done.returncode == 1 and "a number" in done.stderr
    assert (has(home, "other"), hotel.rooms_now()) == (False, (100, 0, 0))


def test_client_killed_between_messages(home, hotel):
    """Between all of them; what home has decided, the service does."""
    booked, count = 0, 0
    for fatal in (1, 2, 3, 4, 99):
        for delivered in (True, False):
            taps = resources.Taps(hotel.port)
            taps.arm(fatal, delivered)
            key, count = f"killed:{fatal}:{delivered}", count + 1
            taps.client = client = resources.begin("run", "--url", resources.url_of(home), "--timeout", "2s", "--do", f"SET {key} 1",
                                                   "--on", f"hotel={hotel.url(taps.relays[0].port)}", "--do", "1")  # fmt: skip
            client.communicate()
            taps.arm(None, True)  # who resolves is not killed
            resources.resolve_all(resources.url_of(home), ("hotel", hotel.url()), ("relayed", hotel.url(taps.relays[0].port)))
            taps.close()
            booked += has(home, key)
            assert hotel.rooms_now() == (100 - booked, booked, 0)
    assert 0 < booked < count


def test_service_dies(home, hotel):
    """It is killed when it has tried, and does what was decided when it is back."""
    taps = resources.Taps(hotel.port)

    def watch(data, asks):
        if asks and b"/confirm" in data and hotel.process.poll() is None:
            hotel.kill()
        return data

    taps.relays[0].watch = watch
    done = run(home, "died", hotel.url(taps.relays[0].port), seconds=4)
    assert done.returncode == 75 and "is committed" in done.stderr
    taps.close()
    hotel.start()
    assert hotel.rooms_now() == (98, 0, 2)
    resources.resolve_all(resources.url_of(home), ("hotel", hotel.url()))
    assert (has(home, "died"), hotel.rooms_now()) == (True, (98, 2, 0))


def test_answer_to_try_is_lost(home, hotel):
    """Then nothing is known, and it is cancelled."""
    taps, lost = resources.Taps(hotel.port), []

    def watch(data, asks):
        if not asks and not lost:
            lost.append(data)
            return None
        return data

    taps.relays[0].watch = watch
    done = run(home, "lost", hotel.url(taps.relays[0].port))
    taps.close()
    assert done.returncode == 69 and "nothing was done" in done.stderr
    assert (has(home, "lost"), hotel.rooms_now()) == (False, (100, 0, 0))


class Moody(http.server.BaseHTTPRequestHandler):
    """Answers what it is told to, in turn; the last for ever."""

    answers, asked, listed = {}, [], None
    text = b""  # behind each answer

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        verb = self.path.rsplit("/", 1)[1].split("?")[0]
        self.asked.append((verb, time.monotonic(), self.headers["Cohort-Branch"], self.headers["Cohort-Transaction"], self.path))
        left = self.answers[verb]
        self.send_response(left.pop(0) if len(left) > 1 else left[0])
        self.send_header("Content-Length", str(len(self.text)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(self.text)

    def do_GET(self):
        if self.listed is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(self.listed)

    def log_message(self, *_):
        pass


@pytest.fixture
def moody():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Moody)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Moody.asked.clear()
    Moody.listed, Moody.text = None, b""
    server.url = f"http://127.0.0.1:{server.server_port}/api?key=1"
    yield server
    server.shutdown()
    server.server_close()


def test_confirm_is_said_until_it_is_heard(home, moody):
    """With pauses that grow; headers and path are as documented."""
    first_pauses = []
    while min(first_pauses, default=1) >= 1 and len(first_pauses) < 5:  # a busy machine may make one longer
        Moody.answers = {"try": [201], "confirm": [500, 503, 404, 429, 204]}
        Moody.asked.clear()
        done = run(home, "moody", moody.url, "{}", "--id", f"a b{len(first_pauses)}", "--json")
        assert done.returncode == 0, done.stderr
        verbs, times, names, ids, paths = zip(*Moody.asked, strict=True)
        assert verbs == ("try", *5 * ["confirm"]) and len(set(names)) == 1 and set(ids) == {f"a%20b{len(first_pauses)}"}
        assert paths[0] == "/api/try?key=1" and names[0].endswith(f":a%20b{len(first_pauses)}:hotel")
        assert times[-1] - times[1] > 0.15
        first_pauses.append(times[2] - times[1])
    assert first_pauses[-1] < 1


@pytest.mark.parametrize("answer,code,cancelled", [(400, 1, False), (303, 69, True), (500, 69, True), (503, 69, True)])
def test_try_is_refused(home, moody, answer, code, cancelled):
    """What surely reserved nothing is not cancelled, what may have is."""
    Moody.answers = {"try": [answer], "cancel": [500, 200]}
    done = run(home, f"refused{answer}", moody.url)
    assert done.returncode == code and str(answer) in done.stderr
    assert [verb for verb, *_ in Moody.asked] == ["try", *(2 * ["cancel"] if cancelled else [])]
    assert not has(home, f"refused{answer}")


def test_an_answer_is_its_status(home, moody):
    """Whatever stands behind it."""
    Moody.answers, Moody.text = {"try": [200], "confirm": [200]}, bytes(5 << 20)
    done = run(home, "wordy", moody.url)
    assert done.returncode == 0, done.stderr
    assert [verb for verb, *_ in Moody.asked] == ["try", "confirm"]


def test_lists_as_services_may_have_them(home, moody):
    """With the line ends of another system; and one that is too long is no list, so nothing is concluded from it."""
    Moody.answers = {"try": [200], "cancel": [200]}
    with home[1].connect() as connection:
        cluster_id = dict(zip(*2 * [iter(connection.call("COHORT.STATUS"))]))[b"cluster"].decode()
    name = f"cohort:{cluster_id}:0.1:nobody:hotel"
    Moody.listed = f"{name}\r\n".encode()
    (event,), done = resources.resolve(resources.url_of(home), ("hotel", moody.url))
    assert (done.returncode, event["branch"], event["end"]) == (0, name, "rolled back")
    Moody.listed = Moody.listed * (5 << 15)
    assert len(Moody.listed) > 4 << 20
    events, done = resources.resolve(resources.url_of(home), ("hotel", moody.url))
    assert (done.returncode, events) == (75, []) and "4 MiB" in done.stderr


def test_service_that_refuses_to_confirm(home, moody):
    Moody.answers = {"try": [200], "confirm": [409]}
    done = run(home, "stubborn", moody.url)
    assert done.returncode == 65 and "409" in done.stderr


def test_bad_input(home, hotel):
    for words, code, said in [
        (["--on", f"hotel={hotel.url()}", "--do", "1", "--do", "2"], 1, "one --do"),
        (["--on", "hotel=http://", "--do", "1"], 1, "host"),
        (["--on", f"hotel={hotel.url()}/#x", "--do", "1"], 1, "#"),
        (["--on", "hotel=http://127.0.0.1:1", "--do", "1"], 69, "does not answer"),
    ]:
        got, told = resources.refused(home, *words)
        assert (got, said in told) == (code, True), (words, got, told)


# ---- the server's side ----


@pytest.fixture
def made(tmp_path):
    done = []

    def note(word, refuse=False):
        def step(db, branch, *body):
            if body == ("bad",):
                raise branches.Refused("no")
            if body == ("breaks",):
                raise ZeroDivisionError
            done.append(word)
            return word

        return step

    one = branches.Branches(tmp_path / "service.db", note("try"), note("confirm"), note("cancel"))
    one.done = done
    return one


def test_each_step_is_done_once(made):
    assert [made.try_("a", "x") for _ in range(3)] == 3 * [(200, "try")]
    assert made.prepared()[1].startswith("a ")
    assert [made.confirm("a")[0] for _ in range(3)] == 3 * [200]
    assert made.done == ["try", "confirm"] and made.prepared() == (200, "")
    assert made.cancel("a")[0] == 409 and made.try_("a", "x")[0] == 200
    made.try_("b", "x")
    assert [made.cancel("b")[0] for _ in range(3)] == 3 * [200]
    assert made.confirm("b")[0] == 409 and made.try_("b", "x")[0] == 409
    assert made.done == ["try", "confirm", "try", "cancel"]


def test_cancel_comes_before_its_try(made):
    """Empty rollback, and a late try: it was overtaken, and may not reserve any more."""
    assert made.cancel("a")[0] == 200
    assert made.try_("a", "x")[0] == 409
    assert made.done == [] and made.confirm("a")[0] == 409
    made.forget(0)
    assert made.find(made.database(), "a") == (None, "")


def test_what_fails_leaves_nothing(made):
    assert made.try_("a", "bad") == (422, "no")
    with pytest.raises(ZeroDivisionError):
        made.try_("a", "breaks")
    assert made.prepared() == (200, "") and made.confirm("a")[0] == 409 and made.try_("a", "x")[0] == 200
    assert made.handle("POST", "try", None, "")[0] == 400
    assert made.handle("GET", "try", "cohort:a", "")[0] == 405
    assert made.handle("POST", "other", "cohort:a", "")[0] == 404


def test_many_at_once(hotel, pool):
    """The same branch tried, confirmed and cancelled by many: one order of them, and no room is lost."""
    for number in range(5):
        name = f"cohort:{32 * 'a'}:0.1:x{number}:hotel"
        verbs = [verb for verb in ("try", "confirm", "cancel") for _ in range(5)]
        list(pool.map(lambda verb, name=name: hotel.ask("POST", verb, "1", name), verbs))
        hotel.ask("POST", "cancel", "", name)
    free, booked, reserved = hotel.rooms_now()
    assert free + booked == 100 and reserved == 0
