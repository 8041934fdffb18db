"""`cohort check`: verdicts, exit statuses, what it prints. What it finds is tested in tests/unit/sim."""

import json
import subprocess

import pytest
import servers

HEADER = '{"history":1}\n'


def operation(**fields):
    return json.dumps({"process": 1, "op": "get", "key": "k", "outcome": "ok", **fields}) + "\n"


GOOD = HEADER + operation(op="set", value="a", start=1, end=2) + operation(start=3, end=4, result="a")
BAD = GOOD + operation(op="set", value="b", start=5, end=6) + operation(start=7, end=8, result="a")


def check(text, *options, file="-"):
    return subprocess.run(
        [str(servers.COHORT), "check", *options, file], input=text, capture_output=True, text=True, timeout=60
    )


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


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "standard input: line 1: the file is empty"),
        ("nonsense\n", "standard input: line 1: not JSON"),
        (HEADER + "{}\n", 'standard input: line 2: "op" must be a string'),
        ('{"history":9}\n', "standard input: line 1: format 9; this program knows up to 1"),
        (GOOD + operation(op="hget", field="f", start=1, end=2, result=None), "key 'k' is used as a string and as a hash"),
    ],
)
def test_malformed(text, said):
    done = check(text)
    assert done.returncode == 65 and done.stdout == ""
    assert said in done.stderr and done.stderr.startswith("cohort check: ")


def test_files_that_cannot_be_read(tmp_path):
    assert check("", file=str(tmp_path / "none")).returncode == 66
    assert check("", file=str(tmp_path)).returncode == 74
    assert subprocess.run([str(servers.COHORT), "check"], capture_output=True).returncode == 64
