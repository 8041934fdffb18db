#!/usr/bin/python3
"""The completion for bash offers every command of `cohort --help` and every option of each command's --help, no other,
and what fits behind an option.

    tests/completion.py COHORT SCRIPT"""

import pathlib
import re
import subprocess
import sys
import tempfile


class Shell:
    def __init__(self, cohort, script, folder):
        self.cohort, self.script, self.folder = cohort, script, folder

    def offers(self, line):
        """What is offered at the end of the line, whose words are split as bash does: at = too."""
        words = re.findall(r"=|[^ =]+", line) + ([""] if line.endswith((" ", "=")) or not line else [])
        words = ["cohort", *words]
        if line.endswith("="):
            words.pop()  # bash completes the = itself
        program = (
            'source "$1"; program=$2; shift 2; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))\n'
            '_cohort "$program" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"\n'
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        command = ["bash", "--norc", "-c", program, "bash", self.script, self.cohort, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=self.folder)
        assert done.stderr == "", f"{line}: {done.stderr}"
        return set(done.stdout.split())


def help_of(cohort, *words):
    return subprocess.run([cohort, *words, "--help"], capture_output=True, text=True, check=True, timeout=60).stdout


def main(cohort, script):
    cohort, script = (str(pathlib.Path(path).resolve()) for path in (cohort, script))
    commands = set(re.findall(r"^  ([a-z]+) ", help_of(cohort), re.MULTILINE))
    expected = {
        "": commands | {"help", "--help", "--version"},
        "s": {command for command in commands if command.startswith("s")},
        "help ": commands,
        "help serve ": set(),
        "nonsense ": set(),
        "nonsense --": set(),
        "serve ": set(),
        "serve --peer": {"--peers", "--peer-listen"},
        "serve --log-format ": {"text", "json"},
        "serve --log-format=": {"text", "json"},
        "serve --log-format=t": {"text"},
        "serve --reads l": {"lease"},
        "serve --loglevel w": {"warning"},
        "serve --work": {"--workers"},
        "serve --id ": set(),
        "serve --workers ": set(),
        "dev -- --work": {"--workers"},
        "serve --data ": {"folder"},
        "serve --data=f": {"folder"},
        "serve --config ": {"folder", "history.jsonl"},
        "bench --mode ": {"set", "get", "mixed", "txn", "eval", "evalsha", "lock"},
        "bench --mode txn --form ": {"multi", "txn", "mset"},
        "bench --json --mo": {"--mode"},
        "check h": {"history.jsonl"},
        "dev -- --log-f": {"--log-format"},
        "dev --restart -- --log-format ": {"text", "json"},
        "status -- --": set(),
        "lock ": {"run", "info", "list", "history", "release"},
        "lock h": {"history"},
        "elect ": {"run", "leader"},
        "txn ": {"run", "list", "status", "resolve"},
        "lock nonsense --": set(),
        "lock run --gr": {"--grace"},
        "lock run --wait ": set(),
        "lock run name -- --": set(),
    }
    for command in commands:
        options = set(re.findall(r"^  (--[a-z-]+)", help_of(cohort, command), re.MULTILINE))
        assert "--help" in options
        expected[f"{command} --"] = options
    for words in [(command, action) for command in ("lock", "elect", "txn") for action in expected[f"{command} "]]:
        expected[f"{' '.join(words)} --"] = set(re.findall(r"^  (--[a-z-]+)", help_of(cohort, *words), re.MULTILINE))
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "folder").mkdir()
        (pathlib.Path(folder) / "history.jsonl").touch()
        shell = Shell(cohort, script, folder)
        found = {line: shell.offers(line) for line in expected}
    wrong = {line for line in expected if found[line] != expected[line]}
    for line in sorted(wrong):
        print(f"cohort {line}: offered {sorted(found[line])}, not {sorted(expected[line])}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
