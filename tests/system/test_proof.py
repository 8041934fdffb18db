"""docs/proof.md names the tests that look for other systems' bugs. They are there."""

import re

import servers


def test_every_test_that_is_named_exists():
    text = (servers.ROOT / "docs" / "proof.md").read_text()
    names = set(re.findall(r"`([^` ]+)`", text[text.index("## What others shipped") :]))
    tests = "\n".join(path.read_text() for kind in ("py", "c") for path in (servers.ROOT / "tests").rglob(f"*.{kind}"))
    transcripts = servers.ROOT / "tests" / "unit" / "raft" / "transcripts"
    assert len(names) > 30
    for name in names:
        if name.startswith("test_"):
            assert re.search(rf"^(def|static void) {name}\(", tests, re.MULTILINE), name
        else:
            assert (transcripts / name).is_file() or (servers.ROOT / name).is_file(), name


def test_every_test_of_transactions_that_is_named_exists():
    text = (servers.ROOT / "docs" / "transactions.md").read_text()
    section = text[text.index("## What others got wrong"):text.index("## Limits")]
    names = re.findall(r"`([^` ]+)`", section)
    tests = "\n".join(path.read_text() for kind in ("py", "c") for path in (servers.ROOT / "tests").rglob(f"*.{kind}"))
    assert len(names) > 15
    for name in names:
        assert re.search(rf"^(def|static void) {name}\(", tests, re.MULTILINE), name
