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

TABLES = {
    "luaH_get": "script_table_get",
    "luaH_getstr": "script_table_get_text",
    "luaH_getnum": "script_table_get_number",
    "luaH_set": "script_table_set",
    "luaH_setstr": "script_table_set_text",
    "luaH_setnum": "script_table_set_number",
    "luaH_new": "script_table_new",
    "luaH_resizearray": "script_table_resize_array",
    "luaH_getn": "script_table_border",
}

# Where a function of Lua's is called from elsewhere than its own object.
EVERYWHERE = TABLES | {"luaS_newlstr": "script_text_new"}

# Debian's static libraries are made for programs: a shared object (src/embedded) cannot have their way to these.
STREAMS = {name: f"script_{name}" for name in ("stdin", "stdout", "stderr")}

# Object → its undefined symbol → what it gets instead.
RENAMES = {
    "lmathlib.o": MATHEMATICS | {"fmod": "script_fmod"},
    "lcode.o": {"pow": MATHEMATICS["pow"]},
    "lvm.o": {
        "pow": "script_vm_power",
        "memcpy": "script_vm_copy",
        "strcoll": "script_vm_compare",
        "luaO_str2d": "script_vm_number",
        "__sprintf_chk": "script_print",
        "luaD_precall": "script_vm_call",
        "luaD_poscall": "script_vm_return",
        "luaD_call": "script_call",
        "luaF_findupval": "script_find_upvalue",
        "luaG_typeerror": "script_type_error",
        "luaG_aritherror": "script_arithmetic_error",
    },
    "llex.o": {"luaO_str2d": "script_vm_number"},
    "lstring.o": {"memcmp": "script_string_compare", "memcpy": "script_string_copy"},
    "lstrlib.o": {"__sprintf_chk": "script_print"},
    "ltable.o": {"luaM_realloc_": "script_table_resize"},
    # An error leaves by the jump that ThreadSanitizer knows: it takes what another one left for still running.
    "ldo.o": {"luaG_typeerror": "script_type_error", "__longjmp_chk": "longjmp"},
    "lapi.o": {"luaH_next": "script_table_next", "luaD_call": "script_call"},
    "lauxlib.o": {"lua_getinfo": "script_get_info"},
    "lbaselib.o": {"lua_resume": "script_resume"},
    "lua_cjson.o": {
        "lua_tolstring": "script_json_text",
        "luaL_checklstring": "script_json_input",
        "__snprintf_chk": "script_json_print",
    },
    "strbuf.o": BLOCKS,
    "fpconv.o": BLOCKS | {"strtod": "script_json_number", "__snprintf_chk": "script_json_print"},
}

# Nothing of these may be linked, by whatever mistake.
LEFT_OUT = {"liolib.o", "loslib.o", "loadlib.o", "ldblib.o", "linit.o"}


def undefined(file):
    lines = subprocess.run(["nm", "-u", file], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in lines.splitlines()}


def rename(file):
    have = undefined(file)
    arguments = []
    for old, new in (EVERYWHERE | STREAMS | RENAMES.get(file.name, {})).items():
        if old in have:
            arguments += ["--redefine-sym", f"{old}={new}"]
        elif old not in BLOCKS and old not in EVERYWHERE and old not in STREAMS:
            sys.exit(f"rename_lua.py: {file.name} does not call {old}: another build of Lua 5.1 than this was made for")
    if arguments:
        subprocess.run(["objcopy", *arguments, file], check=True)


def main(output, work, *archives):
    work = pathlib.Path(work)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for archive in archives:
        subprocess.run(["ar", "x", pathlib.Path(archive).resolve()], check=True, cwd=work)
    for name in LEFT_OUT:
        (work / name).unlink(missing_ok=True)
    for name in RENAMES:
        if not (work / name).exists():
            sys.exit(f"rename_lua.py: there is no {name}: another build of Lua 5.1 than this was made for")
    for file in sorted(work.glob("*.o")):
        rename(file)
    output = pathlib.Path(output).resolve()
    output.unlink(missing_ok=True)
    subprocess.run(["ar", "rcsD", output, *sorted(path.name for path in work.glob("*.o"))], check=True, cwd=work)


if __name__ == "__main__":
    main(*sys.argv[1:])
