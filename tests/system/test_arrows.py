"""The arrows test itself: it must find what it is there to find."""

import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def arrows(root):
    run = subprocess.run([ROOT / "tests" / "arrows.py", root], capture_output=True, text=True, timeout=60)
    return run.returncode, run.stdout


def test_the_tree_keeps_its_arrows():
    assert arrows(ROOT) == (0, "")


@pytest.mark.parametrize(
    "room, line, finding",
    [
        ("base", '#include "wire/resp_writer.h"', "no arrow from base to wire"),
        ("raft", '#include "env/env.h"', "no arrow from raft to env"),
        ("log", '#include "machine/machine.h"', "no arrow from log to machine"),
        ("machine", '#include "server/server.h"', "no arrow from machine to server"),
        ("machine", "#include <time.h>", "machine is pure"),
        ("wire", "#include <sys/socket.h>", "wire is pure"),
        ("raft", 'static void f(void) { printf("x"); }', "printf(): raft is pure"),
        ("log", "#include <uv.h>", "only client_uv and env_uv may know uv.h"),
        ("base", '#include "slice.h"', "name the room"),
        ("shard", '#include "sharp/shard.h"', "there is no room 'sharp'"),
    ],
)
def test_a_wrong_line_is_found(tmp_path, room, line, finding):
    folder = tmp_path / "src" / room
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("x")
    (folder / "good.c").write_text('#include "base/slice.h"\n#include <stdint.h>\n/* printf() in a comment\n */\n')
    assert arrows(tmp_path) == (0, "")
    (folder / "wrong.c").write_text(f"/* a comment of\n * two lines */\n{line}\n")
    status, output = arrows(tmp_path)
    assert status == 1
    assert output.startswith(f"src/{room}/wrong.c:3: ") and finding in output


def test_a_room_without_readme_is_found(tmp_path):
    shutil.copytree(ROOT / "src" / "base", tmp_path / "src" / "base")
    (tmp_path / "src" / "base" / "README.md").unlink(missing_ok=True)
    assert arrows(tmp_path) == (1, "src/base: no README.md\n")


def test_the_simulator_knows_no_real_env(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim" / "sim.c").write_text('#include "env_uv/env_uv.h"\n')
    assert arrows(tmp_path)[0] == 1
