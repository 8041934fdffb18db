"""`cohort check`: verdicts, exit statuses, what it prints. What it finds is tested in tests/unit/sim."""

import json
import re
import resource
import subprocess

import pytest
import servers

HEADER = '{"history":1}\n'


def operation(**fields):
    return json.dumps({"process": 1, "op": "get", "key": "k", "outcome": "ok", **fields}) + "\n"


GOOD = HEADER + operation(op="set", value="a", start=1, end=2) + operation(start=3, end=4, result="a")
BAD = GOOD + operation(op="set", value="b", start=5, end=6) + operation(start=7, end=8, result="a")


def check(text, *options, file="-"):
    """What it tells is bytes when it is given those."""
    words = [str(servers.COHORT), "check", *options, file]
    return subprocess.run(words, input=text, capture_output=True, text=isinstance(text, str), timeout=60)


def test_linearizable(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text(GOOD)
    for done in (check(GOOD), check("", file=str(path))):
        assert done.returncode == 0 and done.stderr == ""
        assert done.stdout.splitlines()[-1] == "linearizable: 1 keys and fields, 2 operations ok, 0 failed, 0 unknown"


def test_not_linearizable():
    done = check(BAD)
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.startswith('"k": lost write\n')
    assert 'needs "a"' in done.stdout and "\nNOT linearizable: 1 keys" in done.stdout


def test_json():
    done = check(BAD, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    (key,) = found["keys"]
    assert found["verdict"] == key["verdict"] == "NOT linearizable" and key["ok"] == 4
    assert [one["start"] for one in key["explanation"]["last_ordered"]] == [1, 3, 5]
    assert [one["start"] for one in key["explanation"]["stuck"]] == [7]
    assert json.loads(check(GOOD, "--json").stdout)["verdict"] == "linearizable"


def test_gives_up_within_its_memory():
    many = "".join(
        operation(op="del", start=0, end=100, result=1) + operation(op="setnx", value=str(n), start=0, end=100, result=1)
        for n in range(30)
    )
    done = check(HEADER + many + operation(op="del", start=0, end=100, result=1), "--memory", "1mb")
    assert done.returncode == 75 and done.stdout.splitlines()[-1].startswith("undecided: ")


def numbers(start, end, **fields):
    """With times as they are written here."""
    return HEADER + operation(start="S", end="E", **fields).replace('"S"', start).replace('"E"', end)


HOLD = {"op": "hold", "start": 1, "end": 2, "until": 5}
ENDLESS = "a line of more than 16777216 bytes; a history has one operation or transaction a line"


MALFORMED = [
    ("", "line 1: the file is empty; a history begins with a line"),
    ("\n\n", "line 3: the file is empty; a history begins with a line"),
    ("nonsense\n", "line 1: not JSON"),
    (bytes(range(256)) * 1000, "line 1: not JSON"),
    (HEADER.encode() + b"\xff\x00\n", "line 2: not JSON: unable to decode byte 0xff"),
    (b"\0" * 100, "line 1: not JSON"),
    (GOOD.encode("utf-16"), "line 1: not JSON"),
    (GOOD[:-8], "line 3: not JSON: "),
    (operation(start=1, end=2, result=None), 'line 1: a history begins with a line {"history":1}'),
    ('{"history":9}\n', "line 1: format 9; this program knows up to 1"),
    ('{"history":null}\n', 'line 1: "history" must be a whole number'),
    (HEADER + "[1]\n", "line 2: not a JSON object, as every line must be"),
    (HEADER + "{}\n", 'line 2: "op" must be a string; there is none'),
    (HEADER + '{"op":"get","process":1}\n', 'line 2: "key" must be a string; there is none'),
    (HEADER + operation(op=["get"]), 'line 2: "op" must be a string'),
    (HEADER + operation(op="frobnicate"), 'line 2: no operation is called "frobnicate"; docs/history.md lists them'),
    (HEADER + operation(op="x" * 10**6), 'line 2: no operation is called "xxx'),
    (HEADER + operation(op="\x1b[2J\n"), 'line 2: no operation is called "\\x1b[2J\\x0a"'),
    (HEADER + operation(**{**HOLD, "op": "hold\0x"}), 'line 2: no operation is called "hold\\x00x"'),
    (HEADER + operation(outcome="maybe"), 'line 2: "outcome" must be "ok", "failed" or "unknown"'),
    (HEADER + operation(end=2, result="a"), 'line 2: "start" must be a whole number from 0 to 9223372036854775807; there'),
    (HEADER + operation(start=1, result="a"), 'line 2: "end" must be a whole number from 0 to 9223372036854775807; there'),
    (numbers("5", "2"), 'line 2: "end" (2) is before "start" (5)'),
    (numbers("-5", "2"), 'line 2: "start" must be a whole number from 0'),
    (numbers("1.5", "2"), 'line 2: "start" must be a whole number from 0'),
    (numbers("1", "NaN"), "line 2: not JSON: invalid token near 'NaN'"),
    (numbers("1", "Infinity"), "line 2: not JSON: invalid token"),
    (numbers("1", "9223372036854775808"), "line 2: not JSON: too big integer"),
    (numbers("1", "1e999"), "line 2: not JSON: real number overflow"),
    (numbers("1", "2", process=2**32), 'line 2: "process" must be a whole number from 0 to 4294967295'),
    (numbers("1", '2,"end":3'), "line 2: not JSON: duplicate object key"),
    (HEADER + operation(**HOLD, token=0), 'line 2: "token" must be a whole number from 1'),
    (HEADER + operation(**HOLD, mode="permits", permits=3, limit=2), 'line 2: "permits" must be a whole number from 1 to 2'),
    (HEADER + operation(op="txn", ops=[], start=1, end=2), 'line 2: "ops" must be a list of 1 to 65536 operations'),
    (HEADER + operation(op="txn", ops=[{"op": "hold", "key": "k"}], start=1, end=2), "line 2: no operation is called"),
    (HEADER + '{"x":' + "[" * 10**6 + "]" * 10**6 + "}\n", "line 2: not JSON: maximum parsing depth reached"),
    (HEADER + '{"x":[' + "{}," * 10**6 * 5 + "{}]}\n", "line 2: a line of more than 1048576 values"),
    (GOOD + operation(op="hget", field="f", start=1, end=2, result=None), "line 4: key 'k' is used as a string and as a"),
]


@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_malformed(number):
    """One line that names the line and says what should be there."""
    text, said = MALFORMED[number]
    done = check(text if isinstance(text, bytes) else text.encode())
    errors = done.stderr.decode()
    assert done.returncode == 65 and done.stdout == b""
    assert errors.startswith(f"cohort check: standard input: {said}")
    assert errors[-1] == "\n" and errors[:-1].isprintable() and len(errors) < 400


def test_lines_without_an_end():
    """They are not read to their end: neither a file nor what a program writes."""
    done = check("", file="/dev/zero")
    assert (done.returncode, done.stderr) == (65, f"cohort check: /dev/zero: line 1: {ENDLESS}\n")
    words = [str(servers.COHORT), "check", "-"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, bufsize=0, **pipes) as process:
        written = 0
        with pytest.raises(BrokenPipeError):
            process.stdin.write(HEADER.encode() + b'{"op":"')
            while written < 1 << 30:
                written += process.stdin.write(b"x" * (1 << 20))
        assert 16 << 20 <= written < 64 << 20
        assert process.stderr.read().decode() == f"cohort check: standard input: line 2: {ENDLESS}\n"
    assert process.returncode == 65


@pytest.mark.skipif(b"__asan_init" in servers.COHORT.read_bytes(), reason="the sanitizer takes all addresses there are")
def test_refused_memory_is_told(tmp_path):
    """Wherever it is: a good line is not told to be malformed."""
    path = tmp_path / "history.jsonl"
    with path.open("w") as file:
        file.write(HEADER)
        file.writelines(operation(op="set", value=f"{n}" * 20, start=n, end=n) for n in range(100_000))
    codes = set()
    for megabytes in (40, 50, 60, 70, 4096):
        limits = (megabytes << 20, megabytes << 20)
        done = subprocess.run([str(servers.COHORT), "check", str(path)], capture_output=True, text=True, timeout=60,
                              preexec_fn=lambda limits=limits: resource.setrlimit(resource.RLIMIT_AS, limits))  # fmt: skip
        codes.add(done.returncode)
        said = r"cohort: out of memory: \d+ bytes were refused; .*\n" if done.returncode == 71 else ""
        assert re.fullmatch(said, done.stderr)
    assert codes == {0, 71}


def test_very_many_holds_at_once():
    """As many as would take minutes if each were compared with each."""
    count = 200_000
    lines = (
        f'{{"process":{n},"op":"hold","key":"s","mode":"permits","permits":1,"limit":{count},"token":{n + 1},'
        f'"outcome":"ok","start":{n},"end":{n + 1},"until":{10 * count}}}\n'
        for n in range(count)
    )
    text = HEADER + "".join(lines)
    assert check(text).returncode == 0
    done = check(text + operation(op="hold", key="s", token=count + 1, start=count, end=count + 1, until=count + 2))
    assert done.returncode == 1 and done.stdout.startswith("lock s: two holders\n")


def test_files_that_cannot_be_read(tmp_path):
    assert check("", file=str(tmp_path / "none")).returncode == 66
    assert check("", file=str(tmp_path)).returncode == 74
    assert subprocess.run([str(servers.COHORT), "check"], capture_output=True).returncode == 64
