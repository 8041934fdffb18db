#!/usr/bin/python3
"""Makes C and documentation from commands/*.json, the only source of the command table.

    generate_commands.py --commands DIR --output DIR [--depfile FILE]   command_ids.h, command_table.c, command_docs.c,
                                                                        machine_handlers.h, machine_table.inc
    generate_commands.py --commands DIR --docs FILE [--check]           docs/commands.md, or: is it current?

commands/README.md describes the fields. Anything that is missing, unknown or contradictory is an error here.
"""
import argparse
import json
import pathlib
import sys

FLAGS = (
    "write readonly denyoom admin noscript loading stale fast no_auth may_replicate skip_monitor skip_slowlog blocking "
    "pubsub movablekeys no_multi no_async_loading allow_busy sentinel no_mandatory_keys"
).split()
# In the order in which COMMAND INFO lists them.
CATEGORIES = (
    "keyspace read write set sortedset list hash string bitmap hyperloglog geo stream pubsub admin fast slow blocking "
    "dangerous connection transaction scripting"
).split()
KEY_FLAGS = "RO RW OW RM access update insert delete not_key incomplete variable_flags".split()
TYPES = "string integer double key pattern unix-time pure-token oneof block".split()
GROUPS = {
    "connection": "Connection",
    "server": "Server",
    "generic": "Keys",
    "string": "Strings",
    "hash": "Hashes",
    "transactions": "Transactions",
    "locks": "Locks",
    "sessions": "Sessions",
    "elections": "Elections, barriers and latches",
    "services": "Services",
    "scripting": "Scripts",
    "feeds": "Feeds",
    "pubsub": "Messages",
    "cluster": "Cluster",
}
COMMAND_FIELDS = {
    "required": {"name", "id", "since", "summary", "complexity", "arity", "flags", "acl", "place"},
    "optional": {"group", "hints", "keys", "arguments", "reply", "handler", "subcommands", "deprecated", "replaced_by",
                 "system_command", "internal"},
}
ARGUMENT_FIELDS = {
    "required": {"name", "type"},
    "optional": {"key", "token", "since", "deprecated", "flags", "arguments"},
}
KEY_FIELDS = {"required": {"flags", "first", "last", "step"}, "optional": {"limit", "notes", "count"}}
NAME_BYTES = 24  # command_lookup compares this many


class Invalid(Exception):
    pass


def check(condition, where, what):
    if not condition:
        raise Invalid(f"{where}: {what}")


def check_fields(item, fields, where):
    check(fields["required"] <= item.keys(), where, f"missing {sorted(fields['required'] - item.keys())}")
    unknown = item.keys() - fields["required"] - fields["optional"]
    check(not unknown, where, f"unknown {sorted(unknown)}")


def check_argument(argument, key_count, where):
    where = f"{where}, argument {argument.get('name')}"
    check_fields(argument, ARGUMENT_FIELDS, where)
    check(argument["type"] in TYPES, where, f"unknown type {argument['type']}")
    check(set(argument.get("flags", [])) <= {"optional", "multiple", "multiple_token"}, where, "unknown flag")
    check(("arguments" in argument) == (argument["type"] in ("oneof", "block")), where, "arguments are for oneof, block")
    if argument["type"] == "key":
        check(0 <= argument.get("key", -1) < key_count, where, "its key specification is missing")
    for inner in argument.get("arguments", []):
        check_argument(inner, key_count, where)


def check_command(command, parent, where):
    check_fields(command, COMMAND_FIELDS, where)
    check(set(command["flags"]) <= set(FLAGS), where, "unknown flag")
    check(set(command["acl"]) <= set(CATEGORIES), where, "unknown category")
    check(command["place"] in ("server", "machine", "log"), where, "place is server, machine or log")
    check(command["place"] != "log" or command.get("internal"), where, "a command at the log is internal")
    check(not (command.get("internal") and (parent or "subcommands" in command)), where, "subcommands are not internal")
    check((command["place"] == "machine") == ("handler" in command), where, "a machine command needs a handler")
    check(command["arity"] != 0, where, "arity counts the name")
    check(0 < command["id"] < 0xFFFF, where, "id is out of range")
    check(len(command["name"]) <= NAME_BYTES, where, "the name is too long")
    check(command["name"] == command["name"].upper(), where, "names are upper case")
    check("subcommands" in command or "reply" in command or "system_command" in command, where, "missing reply")
    check(parent is None or "subcommands" not in command, where, "subcommands do not nest")
    for key in command.get("keys", []):
        check_fields(key, KEY_FIELDS, where)
        check(set(key["flags"]) <= set(KEY_FLAGS), where, "unknown key flag")
    for argument in command.get("arguments", []):
        check_argument(argument, len(command.get("keys", [])), where)


def key_count(command):
    """The argument that says how many keys follow; 0: where keys stand does not depend on arguments."""
    return max((key.get("count", 0) for key in command.get("keys", [])), default=0)


def shown_flags(command):
    """As COMMAND and the documentation tell them; Redis does not tell of this one either."""
    return [flag for flag in command["flags"] if flag != "may_replicate"]


def may_write(command):
    """It goes through the log, and what it does depends on its text: Redis does not call it a write."""
    return key_count(command) != 0 and "write" in command["flags"]


def categories(command):
    flags = command["flags"]
    found = set(command["acl"])
    if key_count(command) != 0:  # what it does with them depends on its text
        flags = [flag for flag in flags if flag not in ("write", "readonly")]
    for flag, implied in (("write", ["write"]), ("readonly", ["read"]), ("admin", ["admin", "dangerous"]),
                          ("pubsub", ["pubsub"]), ("blocking", ["blocking"])):
        if flag in flags:
            found.update(implied)
    found.add("fast" if "fast" in flags else "slow")
    return [category for category in CATEGORIES if category in found]


def legacy_keys(command):
    """First, last and step as old clients want them: one range over all key specifications."""
    keys = command.get("keys", [])
    if not keys:
        return 0, 0, 0
    lasts = [key["last"] if key["last"] < 0 else key["first"] + key["last"] for key in keys]
    last = min(lasts) if min(lasts) < 0 else max(lasts)
    return min(key["first"] for key in keys), last, keys[0]["step"]


def argument_syntax(argument):
    flags = argument.get("flags", [])
    inner = [argument_syntax(each) for each in argument.get("arguments", [])]
    if argument["type"] == "oneof":
        text = " | ".join(inner)
        if len(inner) > 1 and ("optional" not in flags or "token" in argument or "multiple" in flags):
            text = f"<{text}>"
    elif argument["type"] == "block":
        text = " ".join(inner)
    elif argument["type"] == "pure-token":
        text = argument["token"] or '""'
    else:
        text = argument["name"]
    if argument["type"] != "pure-token" and "token" in argument:
        text = f"{argument['token'] or chr(34) * 2} {text}"
    if "multiple" in flags:
        again = text if "multiple_token" in flags or "token" not in argument else text.split(" ", 1)[1]
        text = f"{text} [{again} ...]"
    return f"[{text}]" if "optional" in flags else text


def load_ids(path):
    """Which id is whose for ever: lines of `id NAME`."""
    promised = {}
    for line in path.read_text().splitlines():
        number, _, name = line.partition(" ")
        check(int(number) not in promised, path, f"id {number} is given twice")
        promised[int(number)] = name
    check(len(set(promised.values())) == len(promised), path, "a name has two ids")
    return promised


def load(folder):
    """Top-level commands in order of name, each with derived fields in upper case: WORDS, SYMBOL, ACL, …"""
    commands, ids, promised = [], {}, load_ids(folder / "ids.txt")
    for path in sorted(folder.glob("*.json")):
        try:
            top = json.loads(path.read_text())
        except ValueError as error:
            raise Invalid(f"{path}: {error}") from None
        check(path.stem == top.get("name", "").lower(), path, "the file is named after the command")
        for command in [top] + top.get("subcommands", []):
            parent = top if command is not top else None
            where = f"{path}: {command.get('name')}"
            check_command(command, parent, where)
            other = ids.setdefault(command["id"], where)
            check(other == where, where, f"id {command['id']} is taken by {other}")
            words = [parent["name"], command["name"]] if parent else [command["name"]]
            check(promised.get(command["id"]) == " ".join(words), where,
                  f"id {command['id']} is {promised.get(command['id'])} in ids.txt; a new command is added there")
            command["WORDS"] = words
            command["SYMBOL"] = "COMMAND_" + "_".join(words).replace(".", "_").replace("-", "_")
            if command["name"].lower() in FLAGS and parent is None:  # COMMAND_READONLY is the flag
                command["SYMBOL"] += "_COMMAND"
            command["ACL"] = categories(command)
            command["LEGACY"] = legacy_keys(command)
            command["SYNTAX"] = " ".join(argument_syntax(each) for each in command.get("arguments", []))
            command.setdefault("group", top.get("group"))
            check(command["group"] in GROUPS, where, f"unknown group {command['group']}")
        commands.append(top)
    return sorted(commands, key=lambda each: each["name"].lower())  # as the table has them


def public(commands):
    return [top for top in commands if not top.get("internal")]


def internal(commands):
    return [top for top in commands if top.get("internal")]


def every(commands):
    return [each for top in commands for each in [top] + top.get("subcommands", [])]


# ---- C ----

BANNER = "/* Generated from commands/ by tools/generate_commands.py. */\n"


def text(value):
    return "NULL" if value is None else json.dumps(value, ensure_ascii=False)


def ids_header(commands):
    lines = [BANNER, "#pragma once\n", "enum command_id {", "    COMMAND_NONE = 0,"]
    for command in sorted(every(commands), key=lambda each: each["id"]):
        lines.append(f"    {command['SYMBOL']} = {command['id']},")
    lines += [f"    COMMAND_MAXIMUM = {max(each['id'] for each in every(commands)) + 1},", "};", ""]
    return "\n".join(lines)


def machine_commands(commands):
    return [each for each in sorted(every(commands), key=lambda each: each["id"]) if each["place"] == "machine"]


def machine_handlers(commands):
    names = dict.fromkeys(each["handler"] for each in machine_commands(commands))
    lines = [BANNER, "#pragma once\n", "struct call;\n"]
    return "\n".join(lines + [f"void {name}(struct call *call);" for name in names] + [""])


def machine_table(commands):
    return "".join([BANNER] + [f"[{each['SYMBOL']}] = {each['handler']},\n" for each in machine_commands(commands)])


class DocsWriter:
    """Writes arrays of C data, innermost first."""

    def __init__(self):
        self.out = [BANNER, '#include "command/command_docs.h"', '#include "command/command_ids.h"', ""]
        self.count = 0

    def array(self, kind, items):
        if not items:
            return "NULL"
        self.count += 1
        self.out.append(f"static const {kind} data_{self.count}[] = {{{', '.join(items)}}};")
        return f"data_{self.count}"

    def words(self, words):
        return self.array("char *const", [text(word) for word in words] + ["NULL"] if words else [])

    def arguments(self, arguments):
        items = []
        for each in arguments:
            inner = self.arguments(each.get("arguments", []))
            items.append(
                f"{{.name = {text(each['name'])}, .type = {text(each['type'])}, .token = {text(each.get('token'))}, "
                f".since = {text(each.get('since'))}, "
                f".deprecated = {text(each.get('deprecated'))}, .key = {each.get('key', -1)}, "
                f".flags = {self.words(each.get('flags', []))}, .arguments = {inner}, "
                f".argument_count = {len(each.get('arguments', []))}}}")
        return self.array("struct command_argument", items)

    def keys(self, keys):
        return self.array("struct command_key_spec", [
            f"{{.flags = {self.words(key['flags'])}, .first = {key['first']}, .last = {key['last']}, "
            f".step = {key['step']}, .limit = {key.get('limit', 0)}, .count = {key.get('count', 0)}, .notes = {text(key.get('notes'))}}}"
            for key in keys])

    def docs(self, command):
        fields = {
            "group": text(command["group"]), "since": text(command["since"]), "summary": text(command["summary"]),
            "complexity": text(command["complexity"]), "syntax": text(command["SYNTAX"]),
            "deprecated": text(command.get("deprecated")), "replaced_by": text(command.get("replaced_by")),
            "system_command": "true" if command.get("system_command") else "false",
            "flags": self.words([flag for flag in shown_flags(command) if flag != "write" or not may_write(command)]),
            "categories": self.words(command["ACL"]),
            "hints": self.words(command.get("hints", [])), "keys": self.keys(command.get("keys", [])),
            "key_count": str(len(command.get("keys", []))),
            "arguments": self.arguments(command.get("arguments", [])),
            "argument_count": str(len(command.get("arguments", []))),
        }
        return "{" + ", ".join(f".{name} = {value}" for name, value in fields.items()) + "}"


def docs_source(commands):
    writer = DocsWriter()
    rows = [f"    [{each['SYMBOL']}] = {writer.docs(each)}," for each in every(commands)]
    return "\n".join(writer.out + ["", "const struct command_docs command_docs_by_id[COMMAND_MAXIMUM] = {"] + rows
                     + ["};", ""])


def varies(command):
    """Replicas that execute it may reply differently."""
    return any(hint.startswith("nondeterministic") for hint in command.get("hints", []))


def spec(command, sub_array):
    flags = " | ".join("COMMAND_" + flag.upper() for flag in command["flags"]) or "0"
    first, last, step = command["LEGACY"]
    return (f"    {{.name = {text('|'.join(command['WORDS']).lower())}, .shown = {text(' '.join(command['WORDS']))}, "
            f".id = {command['SYMBOL']}, .arity = {command['arity']}, .flags = {flags}, .first_key = {first}, "
            f".last_key = {last}, .key_step = {step}, .key_count = {key_count(command)}, .place = COMMAND_AT_{command['place'].upper()}, "
            f".words = {len(command['WORDS'])}, .internal = {'true' if command.get('internal') else 'false'}, "
            f".varies = {'true' if varies(command) else 'false'}, "
            f".locks = {'true' if command['group'] == 'locks' else 'false'}, "
            f".subcommands = {sub_array}, "
            f".subcommand_count = {len(command.get('subcommands', []))}, "
            f".docs = &command_docs_by_id[{command['SYMBOL']}]}},")


MASK = (1 << 64) - 1
MIX = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)


def name_words(name):
    padded = name.lower().encode().ljust(NAME_BYTES, b"\0")
    return [int.from_bytes(padded[at:at + 8], "little") for at in range(0, NAME_BYTES, 8)]


def perfect_hash(names):
    """A multiplier and a number of bits with which no two names share a slot: command_table_hash in command_table.h."""
    mixed = [(w[0] ^ (w[1] * MIX[0] & MASK) ^ (w[2] * MIX[1] & MASK)) for w in map(name_words, names)]
    state = 1
    for bits in range(len(names).bit_length(), 16):
        for _ in range(30000):
            state = (state * 6364136223846793005 + 1442695040888963407) & MASK
            slots = set()
            for value in mixed:
                slot = (value * (state | 1) & MASK) >> (64 - bits)
                if slot in slots:
                    break
                slots.add(slot)
            else:
                return state | 1, bits, [(value * (state | 1) & MASK) >> (64 - bits) for value in mixed]
    raise Invalid("no perfect hash found")


def table_source(commands):
    out = [BANNER, '#include "command/command_table.h"', '#include "command/command_docs.h"', ""]
    for top in commands:
        if "subcommands" in top:
            out += [f"static const struct command_spec {top['name'].lower()}_subcommands[] = {{"]
            out += [spec(each, "NULL") for each in top["subcommands"]] + ["};", ""]
    found, hidden = public(commands), internal(commands)
    out += ["const struct command_spec command_table_top[] = {"]
    out += [spec(top, top["name"].lower() + "_subcommands" if "subcommands" in top else "NULL") for top in found]
    out += ["};", f"const size_t command_table_count = {len(found)};", ""]
    out += ["static const struct command_spec internal_commands[] = {"]
    out += [spec(top, "NULL") for top in hidden] + ["};", ""]
    out += ["const struct command_spec *const command_table_by_id[COMMAND_MAXIMUM] = {"]
    out += [f"    [{top['SYMBOL']}] = &internal_commands[{at}]," for at, top in enumerate(hidden)]
    for at, top in enumerate(found):
        out.append(f"    [{top['SYMBOL']}] = &command_table_top[{at}],")
        for sub_at, each in enumerate(top.get("subcommands", [])):
            out.append(f"    [{each['SYMBOL']}] = &{top['name'].lower()}_subcommands[{sub_at}],")
    out += ["};", "", "const struct slice command_table_words[COMMAND_MAXIMUM][2] = {"]
    for command in every(commands):
        words = ", ".join(f"{{(const uint8_t *){text(word)}, {len(word)}}}" for word in command["WORDS"])
        out.append(f"    [{command['SYMBOL']}] = {{{words}}},")
    multiplier, bits, slots = perfect_hash([top["name"] for top in found])
    out += ["};", "", f"const uint64_t command_table_multiplier = {multiplier:#x}ULL;",
            f"const int command_table_shift = {64 - bits};",
            f"const struct command_table_slot command_table_slots[{1 << bits}] = {{"]
    for at, top in sorted(enumerate(found), key=lambda pair: slots[pair[0]]):
        words = ", ".join(f"{word:#x}ULL" for word in name_words(top["name"]))
        out.append(f"    [{slots[at]}] = {{{{{words}}}, &command_table_top[{at}]}},")
    return "\n".join(out + ["};", ""])


# ---- docs/commands.md ----

def key_text(command):
    first, last, step = command["LEGACY"]
    if first == 0:
        return None
    if first == last:
        return f"argument {first}"
    end = f"{last}" if last > 0 else ("the last" if last == -1 else f"the last but {-last - 1}")
    return f"arguments {first} to {end}" + (f", every {step}nd" if step == 2 else "")


def docs_entry(command):
    name = " ".join(command["WORDS"])
    lines = ["", f"### {name}", "", f"`{(name + ' ' + command['SYNTAX']).strip()}`", "", command["summary"], ""]
    if command.get("deprecated"):
        lines += [f"Deprecated since {command['deprecated']}: use {command['replaced_by']}.", ""]
    if "reply" in command:
        lines.append(f"- Reply: {command['reply']}")
    facts = [f"Complexity: {command['complexity']}", f"since {command['since']}", f"arity {command['arity']}"]
    if key_text(command):
        facts.append(f"keys: {key_text(command)}")
    if shown_flags(command):
        facts.append("flags: " + " ".join(shown_flags(command)))
    return lines + ["- " + " · ".join(facts)]


def docs_text(commands):
    out = ["# Commands", "", "Generated from commands/*.json by tools/generate_commands.py; edit those. What differs from "
           "Redis on purpose is in", "[differences.md](differences.md). Arity counts the name; a negative one is a minimum."]
    for group, title in GROUPS.items():
        members = [each for each in every(public(commands)) if each["group"] == group]
        if members:
            out += ["", f"## {title}"]
            for command in members:
                out += docs_entry(command)
    out += ["", "## Internal", "", "What nodes say to each other; clients find no such commands.", ""]
    out += [f"- {command['name']}: {command['summary']}" for command in internal(commands)]
    return "\n".join(out) + "\n"


def write(path, content):
    if not path.exists() or path.read_text() != content:
        path.write_text(content)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path)
    parser.add_argument("--depfile", type=pathlib.Path)
    parser.add_argument("--docs", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    commands = load(options.commands)
    if options.output:
        made = {"command_ids.h": ids_header, "machine_handlers.h": machine_handlers, "machine_table.inc": machine_table,
                "command_table.c": table_source, "command_docs.c": docs_source}
        for name, make in made.items():
            (options.output / name).write_text(make(commands))
        if options.depfile:
            sources = [str(options.commands), str(options.commands / "ids.txt"), __file__] + [str(path) for path in sorted(options.commands.glob("*.json"))]
            targets = " ".join(str(options.output / name) for name in made)
            options.depfile.write_text(f"{targets}: {' '.join(sources)}\n")
    if options.docs and options.check:
        if not options.docs.exists() or options.docs.read_text() != docs_text(commands):
            raise Invalid(f"{options.docs} is not current: run tools/generate_commands.py --commands commands --docs "
                          f"{options.docs}")
    elif options.docs:
        write(options.docs, docs_text(commands))


if __name__ == "__main__":
    try:
        main()
    except Invalid as error:
        sys.exit(f"generate_commands: {error}")
