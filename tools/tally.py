#!/usr/bin/python3
"""Adds up JUnit reports and prints one line: "N passed, N failed" (", N skipped" when any).

Exit status 1 when anything failed, when a report is missing, or when --broken says that a step failed which no report
shows (a test program that died before it reported, say)."""

import argparse
import sys
import xml.etree.ElementTree as ElementTree


def count(path):
    """(passed, failed, skipped) of one report; a report that cannot be read counts as one failure."""
    passed = failed = skipped = 0
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        print(f"tally: {path}: {error}", file=sys.stderr)
        return 0, 1, 0
    for suite in root.iter("testsuite"):
        failed_before = failed
        for case in suite.findall("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
            elif case.find("skipped") is not None:
                skipped += 1
            else:
                passed += 1
        # A program that crashed between its cases: the suite knows, no case does.
        if failed == failed_before and int(suite.get("errors", 0)) + int(suite.get("failures", 0)) > 0:
            failed += 1
    return passed, failed, skipped


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--broken", type=int, default=0, help="steps that ended with an error")
    parser.add_argument("reports", nargs="+")
    options = parser.parse_args()
    passed, failed, skipped = (sum(column) for column in zip(*map(count, options.reports)))
    failed = max(failed, options.broken)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
