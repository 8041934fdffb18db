#!/usr/bin/python3
"""tools/generate_commands.py refuses command files that contradict themselves or what logs hold. Speaks TAP."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]


def generate(change):
    """The generator's error after `change` was applied to a copy of commands/, or "" when it took it."""
    with tempfile.TemporaryDirectory() as folder:
        commands = pathlib.Path(folder) / "commands"
        shutil.copytree(ROOT / "commands", commands)
        change(commands)
        done = subprocess.run(
            [sys.executable, ROOT / "tools" / "generate_commands.py", "--commands", commands, "--output", folder],
            capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode == 0) == (done.stderr == ""), done.stderr
        return done.stderr


def edit(file, **fields):
    def change(commands):
        path = commands / f"{file}.json"
        command = json.loads(path.read_text())
        command.update(fields)
        path.write_text(json.dumps({name: value for name, value in command.items() if value is not None}))

    return change


def append_id(line):
    return lambda commands: (commands / "ids.txt").open("a").write(line)


CASES = [
    ("the commands as they are", lambda commands: None, ""),
    ("an id that is another's", edit("get", id=77), "ids.txt"),
    ("an id that nobody gave", edit("get", id=60000), "ids.txt"),
    ("an id that is given twice", append_id("1 NEW\n"), "given twice"),
    ("a name with two ids", append_id("60000 GET\n"), "two ids"),
    ("an unknown field", edit("get", colour="red"), "unknown ['colour']"),
    ("a missing field", edit("get", summary=None), "missing ['summary']"),
    ("an unknown flag", edit("get", flags=["quick"]), "unknown flag"),
    ("an unknown category", edit("get", acl=["nosuch"]), "unknown category"),
    ("a machine command without handler", edit("get", handler=None), "needs a handler"),
    ("a server command with handler", edit("ping", handler="ping"), "needs a handler"),
    ("a command at the log that clients find", edit("cohort.origin", internal=None), "is internal"),
    ("internal subcommands", edit("object", internal=True), "not internal"),
    ("arity 0", edit("get", arity=0), "arity"),
    ("a key argument without its place", edit("get", keys=[]), "key specification"),
    ("a file that is not JSON", lambda commands: (commands / "get.json").write_text("{"), "get.json"),
    ("a file named after another command", edit("get", name="GOT"), "named after"),
]

print(f"1..{len(CASES)}")
for number, (title, change, expected) in enumerate(CASES, 1):
    error = generate(change)
    good = expected in error if expected else error == ""
    print(f"{'ok' if good else 'not ok'} {number} - {title}" + ("" if good else f": {error!r}"))
