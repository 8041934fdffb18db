#!/usr/bin/python3
"""The manual page names every command of `cohort --help` and every option of `cohort serve --help`, and no other. That of a
command with pages of its own names every option of it.

    tests/man_page.py COHORT PAGE [WORD …]      words of the command: lock run"""

import re
import subprocess
import sys


def help_of(cohort, *words):
    return subprocess.run([cohort, *words, "--help"], capture_output=True, text=True, check=True, timeout=60).stdout


def main(cohort, path, *words):
    with open(path, encoding="utf-8") as file:
        page = file.read()
    commands = set() if words else set(re.findall(r"^  ([a-z]+) ", help_of(cohort), re.MULTILINE))
    options = set(re.findall(r"^  --([a-z-]+)", help_of(cohort, *(words or ["serve"])), re.MULTILINE)) - {"help"}
    told_commands = set() if words else set(re.findall(r"^\.B ([a-z]+)$", page, re.MULTILINE))
    told_options = {name.replace("\\-", "-") for name in re.findall(r"^\.TP\n\.BI? \\-\\-(\S+)", page, re.MULTILINE)}
    wrong = [f"{path}: `{name}` is missing; describe it there" for name in sorted(commands - told_commands)]
    wrong += [f"{path}: --{name} is missing; describe it there" for name in sorted(options - told_options)]
    extra = (told_commands - commands) | (told_options - options)
    wrong += [f"{path}: {name} is not there any more; remove it" for name in sorted(extra)]
    version = subprocess.run([cohort, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if f'"{version}"' not in page:
        wrong.append(f"{path}: the first line says another version than {version}")
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong or not options or not (commands or words) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
