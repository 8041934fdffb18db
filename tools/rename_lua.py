#!/usr/bin/python3
"""Debian's Lua with other functions below it: copies the static libraries of Lua, cjson and bit into one, in which some
calls go to src/script/stand_ins.c, which counts what they cost, and mathematics to SLEEF, which gives the same digits on
every processor (its functions without fused operations).

usage: rename_lua.py OUTPUT WORK_FOLDER LUA.a CJSON.a BIT.a"""

import pathlib
import shutil
import subprocess
import sys

MATHEMATICS = {
    name: f"Sleef_cinz_{name}d1_u10purec"
    for name in "acos asin atan atan2 cos cosh exp log log10 pow sin sinh tan tanh".split()
}
BLOCKS = {"malloc": "script_json_allocate", "realloc": "script_json_resize", "free": "script_json_free", "exit": "script_json_exit"}

# Object → its undefined symbol → what it gets instead.
RENAMES = {
    "lmathlib.o": MATHEMATICS,
    "lcode.o": {"pow": MATHEMATICS["pow"]},
    "lvm.o": {
        "pow": MATHEMATICS["pow"],
        "memcpy": "script_vm_copy",
        "strcoll": "script_vm_compare",
        "luaO_str2d": "script_vm_number",
        "__sprintf_chk": "script_vm_print",
    },
    "llex.o": {"luaO_str2d": "script_vm_number"},
    "lstring.o": {"memcmp": "script_string_compare", "memcpy": "script_string_copy"},
    "ltable.o": {"luaM_realloc_": "script_table_resize"},
    "ldo.o": {"luaM_realloc_": "script_stack_resize"},
    "lapi.o": {"luaH_next": "script_table_next"},
    "lbaselib.o": {"lua_resume": "script_resume"},
    "strbuf.o": BLOCKS,
    "fpconv.o": BLOCKS | {"strtod": "script_json_number"},
}

# Nothing of these may be linked, by whatever mistake.
LEFT_OUT = {"liolib.o", "loslib.o", "loadlib.o", "ldblib.o", "linit.o"}


def undefined(file):
    lines = subprocess.run(["nm", "-u", file], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in lines.splitlines()}


def main(output, work, *archives):
    work = pathlib.Path(work)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for archive in archives:
        subprocess.run(["ar", "x", pathlib.Path(archive).resolve()], check=True, cwd=work)
    for name in LEFT_OUT:
        (work / name).unlink(missing_ok=True)
    for name, renames in RENAMES.items():
        file = work / name
        have = undefined(file)
        arguments = []
        for old, new in renames.items():
            if old in have:
                arguments += ["--redefine-sym", f"{old}={new}"]
            elif old not in BLOCKS:
                sys.exit(f"rename_lua.py: {name} does not call {old}: another build of Lua 5.1 than this was made for")
        subprocess.run(["objcopy", *arguments, file], check=True)
    output = pathlib.Path(output).resolve()
    output.unlink(missing_ok=True)
    subprocess.run(["ar", "rcsD", output, *sorted(path.name for path in work.glob("*.o"))], check=True, cwd=work)


if __name__ == "__main__":
    main(*sys.argv[1:])
