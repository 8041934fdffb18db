"""Random command sequences for differential.py, made from commands/*.json.

Everything that is implemented comes from there: a new command is tested from the moment its file exists. Arguments
follow the argument tree, and then, sometimes, are broken on purpose. What is known beforehand to differ between two
servers (docs/differences.md) is not asked here, or is asked in a form in which it cannot differ."""

import dataclasses
import json
import pathlib
import random

from differential_scripts import Scripts

COMMANDS = pathlib.Path(__file__).resolve().parents[2] / "commands"
CONNECTIONS = 4

STRING_KEYS = [b"s1", b"s2", b"s3", b"s4", b"s5"]
HASH_KEYS = [b"h1", b"h2", b"h3", b"h4", b"h5"]
ODD_KEYS = [b"", b"\x00\xff\r\n \"'", b"missing", b"k" * 300, "schlüssel".encode()]
KEYS = STRING_KEYS * 3 + HASH_KEYS * 3 + ODD_KEYS
FIELDS = [b"f1", b"f2", b"f3", b"f4", b"f5", b"1", b"", b"\x00\xfe", b"F" * 64, b"F" * 65]

INTEGERS = [b"0", b"1", b"2", b"3", b"7", b"10", b"-1", b"-2", b"-5", b"100", b"-100"] * 3 + [
    b"9223372036854775807", b"9223372036854775806", b"-9223372036854775808", b"-9223372036854775807",
    b"9223372036854775808", b"-9223372036854775809", b"18446744073709551615", b"18446744073709551616",
    b"4294967296", b"-4294967297", b"99999999999999999999999999", b"01", b"+1", b" 1", b"1 ", b"-0", b"-", b"",
    b"1.0", b"1e2", b"0x10", b"abc", b"1\x00", b"one",
]  # fmt: skip
FLOATS = [b"0", b"1", b"-1", b"1.5", b"-1.5", b"0.1", b"0.2", b"3.0", b"10.50", b"5e3", b"1e-5", b"-3.25"] * 3 + [
    b"3.0e3", b"1e17", b"1e18", b"123456789012345678", b"0.00000000000000001", b"1e-17", b"1e300", b"-1e300", b"1e4000",
    b"1e4932", b"1e5000", b"inf", b"-inf", b"+inf", b"infinity", b"nan", b"-nan", b"NaN", b"", b" 1", b"1 ", b"+1",
    b"1.", b".5", b"-.5", b"1e", b"0x1p3", b"0xA", b"1,5", b"abc", b"1.5abc", b"\x001", b"1\x00", b"9007199254740993",
    b"3.14159265358979323846264338327950288", b"1" * 40, b"0." + b"3" * 40, b"-0", b"-0.0", b"00012", b"1" * 300,
]  # fmt: skip
VALUES = [b"", b"a", b"foo", b"bar", b"hello world", b"\x00\x01\xff", b"\r\n", b"nx", b"get", b"x" * 44, b"x" * 45,
          b"y" * 64, b"y" * 65, b"z" * 600, "größe".encode(), b"10", b"-3", b"12345", b"9223372036854775807",
          b"-9223372036854775808", b"9223372036854775808", b"007", b"1.25", b"1e3", b"9999", b"10000", b" 5"]  # fmt: skip
PATTERNS = [b"*", b"*", b"s*", b"h?", b"[sh]1", b"[^s]*", b"s[1-3]", b"s[3-1]", b"\\s1", b"", b"**", b"?", b"f*", b"[",
            b"[a", b"s1", b"*1*", b"\\", b"[\\]]", b"k*k", b"*\xff*", b"[^", b"s[", b"[]1", b"f[1-"]  # fmt: skip
# Times to live never run out while a test runs, and never come near a limit that depends on the clock. Those without a
# number here are drawn, so that two are never so near each other that GT and LT depend on the milliseconds in between.
SOME_SECONDS, SOME_MILLISECONDS = b"seconds", b"milliseconds"
SECONDS = [SOME_SECONDS] * 12 + [
    b"0", b"-1", b"-1000", b"9223372036854775807", b"9223372036854775", b"9223372036854776", b"9223370000000000",
    b"-9223372036854775808", b"-9223372036854775", b"-9223372036854776", b"9223372036854775808", b"1.5", b"abc", b"",
    b" 10", b"010",
]  # fmt: skip
MILLISECONDS = [SOME_MILLISECONDS] * 12 + [
    b"0", b"-1", b"-1000", b"9223372036854775807", b"9223370000000000000", b"-9223372036854775808",
    b"9223372036854775808", b"1.5", b"abc", b"",
]  # fmt: skip
UNIX_SECONDS = [b"4102444800", b"4102444801", b"5000000000"] * 3 + [
    b"0", b"1", b"-1", b"1000000000", b"9223372036854775807", b"9223372036854775", b"9223372036854776",
    b"-9223372036854775808", b"-9223372036854776", b"9223372036854775808", b"x", b"",
]  # fmt: skip
UNIX_MILLISECONDS = [b"4102444800000", b"4102444800999", b"5000000000500"] * 3 + [
    b"0", b"1", b"-1", b"1000000000000", b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808", b"x",
]  # fmt: skip
# No times, random numbers or keys that were not declared. KEYS[1] may be nil.
SCRIPTS = [
    b"return redis.call('get', KEYS[1])", b"return redis.call('set', KEYS[1], ARGV[1])", b"return redis.call('incr', KEYS[1])",
    b"return redis.pcall('incr', KEYS[1])", b"return redis.call('hgetall', KEYS[1])", b"return {KEYS[1], ARGV[1], ARGV[2]}",
    b"redis.setresp(3) return redis.call('hgetall', KEYS[1])", b"return redis.call('hset', KEYS[1], ARGV[1], ARGV[2])",
    b"redis.call('append', KEYS[1], 'x') error('after a write')", b"return redis.call('incrbyfloat', KEYS[1], 0.5)",
    b"local v = redis.call('get', KEYS[1]) if v == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end",
    b"local n = 0 for i = 1, 3 do n = redis.call('hincrby', KEYS[1], 'f1', i) end return n", b"return #ARGV + #KEYS",
    b"return cjson.encode({ARGV[1], 1.5, true, {a = ARGV[2]}})", b"return cjson.decode(ARGV[1])", b"return {1, 2.9, nil, 4}",
    b"return redis.call('pttl', KEYS[1]) > -3", b"return tonumber(ARGV[1])", b"return {double = 2.5}", b"return 1 .. ARGV[1]",
    b"return {map = {a = 1}}", b"redis.setresp(3) return {true, false, {ok = 'fine'}, {err = 'MY error'}}",
    b"return redis.sha1hex(ARGV[1] or '')", b"return redis.call(ARGV[1], KEYS[1])", b"return string.format('%5s|%d', ARGV[1], 3)",
    b"local r = {} for w in ARGV[1]:gmatch('%w+') do r[#r + 1] = w end return r", b"#!lua flags=no-writes\nreturn 1",
    b"return ARGV[1]:gsub('(.)', '<%1>')", b"return redis.status_reply(ARGV[1])", b"return redis.error_reply(ARGV[1])",
    b"return redis.call('rename', KEYS[1], KEYS[2])", b"return redis.call('mset', KEYS[1], 1, KEYS[2], 2)",
    b"redis.call('hset', KEYS[1], 'f1', 1) return redis.call('copy', KEYS[1], KEYS[2])",
    b"local ok, e = pcall(redis.call, 'get') return e", b"return redis.call('type', KEYS[1])", b"x = 1", b"return y", b"return (",
    b"redis.call('publish', 'c3', ARGV[1]) return 1", b"redis.call('publish', 'c3', 'm') return redis.call('set', KEYS[1], 1)",
    b"redis.call('publish', 'c3', ARGV[1]) return redis.call('hset', KEYS[1], ARGV[1], ARGV[2])",
    b"#!lua flags=nosuch\nreturn 1", b"return redis.call('rename', KEYS[1], KEYS[1])", b"",
]  # fmt: skip
BY_NAME = {
    "script": SCRIPTS, "numkeys": [b"1"] * 6 + [b"2", b"2", b"0", b"0", b"-1", b"abc", b"", b"1000"],
    "seconds": SECONDS, "milliseconds": MILLISECONDS, "unix-time-seconds": UNIX_SECONDS,
    "unix-time-milliseconds": UNIX_MILLISECONDS, "field": FIELDS, "newkey": KEYS,
    "cursor": [b"0"] * 8 + [b"abc", b"", b"1.5", b" 0", b"18446744073709551616"],
    "destination-db": [b"0"] * 4 + [b"1", b"-1", b"abc", b"", b"99999999999"],
    "index": [b"0"] * 4 + [b"1", b"-1", b"abc", b"", b"99999999999"],
    "type": [b"string", b"hash", b"STRING", b"list", b"nosuch", b""],
    "channel": [b"c1", b"c2", b"c4", b""], "shardchannel": [b"c1", b"c2", b"c4", b""],
    "protover": [b"2", b"3"] * 4 + [b"1", b"4", b"abc", b"-1", b"", b"99999999999999999999"],
    "username": [b"default", b"nobody"], "clientname": [b"name", b"", b"with space", b"new\nline", b"\xff"],
    "connection-name": [b"name", b"", b"with space", b"new\nline", b"\xff"],
    "numreplicas": [b"0", b"-1", b"abc"], "timeout": [b"1", b"-1", b"abc"],
}  # fmt: skip
BY_COMMAND = {  # an answer of 10^18 elements, and a string of 400 MB, would tell nothing
    # A key that is set and is due at once is counted by Redis's DBSIZE until something meets it.
    ("SET", "unix-time-seconds"): [at for at in UNIX_SECONDS if at not in (b"1", b"1000000000")],
    ("SET", "unix-time-milliseconds"): [at for at in UNIX_MILLISECONDS if at not in (b"1", b"1000000000000")],
    ("HRANDFIELD", "count"): [b"0", b"1", b"2", b"3", b"5", b"50", b"500", b"-1", b"-2", b"-7", b"-40",
                              b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808", b"abc", b"",
                              b"1.5"],
    ("SETRANGE", "offset"): [b"0", b"1", b"2", b"5", b"40", b"200", b"-1", b"536870912", b"536870911999",
                             b"9223372036854775807", b"9223372036854775808", b"abc", b"", b"4294967296"],
}  # fmt: skip

# These act on the server or the other connections, or answer with figures and texts of their own: here they are only
# called with a wrong number of arguments. Some have scenarios below, some a fixed test in test_differential.py.
ARITY_ONLY = {
    "MONITOR", "DEBUG", "QUIT", "INFO", "COMMAND", "COMMAND COUNT", "COMMAND INFO", "COMMAND DOCS", "COMMAND LIST",
    "COMMAND HELP", "OBJECT HELP", "CLIENT HELP", "CONFIG HELP", "SLOWLOG HELP", "CLIENT REPLY", "CLIENT KILL",
    "CLIENT PAUSE", "CLIENT UNPAUSE", "CLIENT UNBLOCK", "CLIENT LIST", "CLIENT INFO", "CONFIG REWRITE", "CONFIG GET",
    "CONFIG SET", "CONFIG RESETSTAT", "COMMAND GETKEYS", "COMMAND GETKEYSANDFLAGS",
    "SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUNSUBSCRIBE", "PUBSUB", "PUBSUB HELP",
    "SCRIPT", "SCRIPT LOAD", "SCRIPT EXISTS", "SCRIPT FLUSH", "SCRIPT HELP", "EVALSHA", "EVALSHA_RO",
}  # fmt: skip
NEVER = {"SHUTDOWN"}
CONFIG_NAMES = [b"maxmemory", b"timeout", b"slowlog-max-len", b"slowlog-log-slower-than"]
MALFORMED = [
    b"*1\r\n$abc\r\n", b"*1\r\n$-1\r\n", b"*abc\r\n", b"*1\r\n:5\r\n", b"*99999999999\r\n", b"*2147483648\r\n",
    b"*2\r\n$3\r\nGET\r\n!\r\n", b"*1\r\n$536870913\r\n", b"*1\r\n$99999999999999999999\r\n", b"get \"a\r\n", b"get 'a\r\n",
    b"get \"a\"b\r\n", b"set 'a'x 1\r\n", b"*1\r\n$\r\n", b"*1\r\n\r\n", b"*2\r\n$4\r\nECHO\r\n*1\r\n", b"* 1\r\n",
    b"*1 \r\n", b"*+1\r\n",
]  # fmt: skip
HARMLESS = [b"\r\n", b"\n", b"*0\r\n", b"*-1\r\n", b"*-5\r\n", b"   \r\n"]


@dataclasses.dataclass
class Step:
    """What one connection sends, and what may be expected: how many replies, or the end of the connection."""

    connection: int
    data: bytes
    argv: list = None  # when it is one command: how to compare its reply
    replies: int = 1
    closes: bool = False
    sleep_ms: int = 0  # afterwards
    scan: bool = False  # argv with a cursor at its place: goes on until the cursor is 0
    alone: bool = False  # nothing may follow it in the same write

    def shown(self):
        words = self.argv if self.argv else [self.data]
        text = " ".join(shown(word) for word in words)
        notes = f"  (then {self.sleep_ms} ms)" if self.sleep_ms else ""
        return f"[{self.connection}] {text}{notes}"


def shown(word):
    text = word.decode("latin-1")
    if text and len(text) <= 80 and all("!" <= c <= "~" and c not in "\"'\\" for c in text):
        return text
    if len(word) > 80 and len(set(word)) == 1:
        return f"{shown(word[:1])}*{len(word)}"
    return '"' + repr(word)[2:-1].replace('"', '\\"').replace("\\'", "'") + '"'


def encode(argv):
    return b"*%d\r\n" % len(argv) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in argv)


def encode_inline(argv, rng):
    """As a person types it; None when a word would need more than plain quoting."""
    words = []
    for word in argv:
        if word and all(48 <= c <= 122 and c != 92 for c in word):
            words.append(word)
        else:
            escaped = b"".join(
                bytes([c]) if 32 <= c < 127 and c not in b'"\\' else b"\\x%02x" % c for c in word
            )
            words.append(b'"' + escaped + b'"')
    line = b" ".join(words)
    if len(line) > 60000 or not argv[0]:
        return None
    return rng.choice([b"", b" "]) + line + rng.choice([b"\r\n", b"\n", b" \r\n"])


def ours(since):
    return since is not None and since.startswith("cohort")


class Command:
    def __init__(self, words, item, group):
        self.name = " ".join(words)
        self.words = [word.encode() for word in words]
        self.arguments = [a for a in item.get("arguments", []) if not ours(a.get("since"))]
        self.arity = item["arity"]
        self.keys = item.get("keys", [])
        self.group = group
        self.weight = {"string": 6, "hash": 6, "generic": 5, "transactions": 0.3, "scripting": 12, "connection": 1, "server": 1, "pubsub": 1}[group]
        if "FLUSH" in self.name:
            self.weight = 0.2
        elif self.name == "MULTI":
            self.weight = 0  # see transaction()
        elif self.name in ("PUBLISH", "SPUBLISH"):
            self.weight = 5
        elif item["place"] == "server":
            self.weight = 0.4


def load_commands():
    found = []
    for path in sorted(COMMANDS.glob("*.json")):
        top = json.loads(path.read_text())
        if top["group"] == "cluster":  # beside a redis-server in cluster mode: test_cluster_commands.py
            continue
        items = [([top["name"]], top)] + [([top["name"], s["name"]], s) for s in top.get("subcommands", [])]
        for words, item in items:
            if not ours(item["since"]) and " ".join(words) not in NEVER:
                found.append(Command(words, item, top["group"]))
    return found


class Generator:
    """Endless steps from one seed. Connections with an odd number speak RESP3 from the start."""

    def __init__(self, seed, shards=1):
        self.rng = random.Random(seed)
        self.shards = shards
        self.commands = load_commands()
        self.by_words = {tuple(command.words): command for command in self.commands}
        self.weights = [command.weight for command in self.commands]
        self.in_multi = [False] * CONNECTIONS
        self.scripts = Scripts(self.rng)

    # ---- arguments ----

    def leaf(self, command, argument):
        rng, name, kind = self.rng, argument["name"], argument["type"]
        pool = BY_COMMAND.get((command.name, name)) or BY_NAME.get(name)
        if name == "script" and rng.random() < 0.6:
            return self.scripts.text_of_script()
        if pool is not None and not (name == "type" and kind != "string"):
            choice = rng.choice(pool)
            if choice is SOME_SECONDS:
                return b"%d" % rng.randint(1000, 1000000)
            return b"%d" % rng.randint(1000000, 1000000000) if choice is SOME_MILLISECONDS else choice
        if kind == "key":
            if rng.random() < 0.75 and command.group in ("string", "hash"):
                return rng.choice(STRING_KEYS if command.group == "string" else HASH_KEYS)
            return rng.choice(KEYS)
        if kind == "integer":
            return rng.choice(INTEGERS)
        if kind == "double":
            return rng.choice(FLOATS)
        if kind == "pattern":
            return rng.choice(PATTERNS)
        return rng.choice(rng.choice([VALUES, VALUES, INTEGERS, FLOATS]))

    def once(self, command, argument):
        kind = argument["type"]
        if kind == "pure-token":
            return [self.letters(argument["token"].encode())]
        inner = [a for a in argument.get("arguments", []) if not ours(a.get("since"))]
        if kind == "oneof":
            out = self.tree(command, [dict(self.rng.choice(inner), flags=[])])
        elif kind == "block":
            out = self.tree(command, inner)
        else:
            out = [self.leaf(command, argument)]
        return ([self.letters(argument["token"].encode())] if "token" in argument else []) + out

    def repeats(self):
        chance = self.rng.random()
        return 1 if chance < 0.5 else self.rng.randint(2, 4) if chance < 0.99 else self.rng.randint(100, 160)

    def tree(self, command, arguments):
        """Words for a list of arguments; the optional ones at its end may come in any order."""
        parts = []
        for argument in arguments:
            flags = argument.get("flags", [])
            if "optional" in flags and self.rng.random() < 0.6:
                continue
            times = self.repeats() if "multiple" in flags else 1
            words = [word for at in range(times) for word in self.numbered(command, argument, at, times)]
            parts.append(("optional" in flags, words))
        fixed = [words for optional, words in parts if not optional]
        options = [words for optional, words in parts if optional]
        if all(optional for optional, _ in parts[len(fixed):]):
            self.rng.shuffle(options)
            ordered = fixed + options
        else:
            ordered = [words for _, words in parts]
        return [word for words in ordered for word in words]

    def numbered(self, command, argument, at, times):
        words = self.once(command, argument)
        if times > 50 and argument["type"] == "block":  # many different fields: a hash outgrows its small form
            words[0] = b"n%d" % at
        return words

    def letters(self, word):
        """Upper, lower or mixed case."""
        choice = self.rng.random()
        if choice < 0.4:
            return word.lower()
        return word if choice < 0.9 else bytes(c ^ 32 if chr(c).isalpha() and self.rng.random() < 0.5 else c for c in word)

    def broken(self, argv):
        """One mistake."""
        rng = self.rng
        argv = list(argv)
        words = argv[1:]
        choice = rng.randrange(7)
        if choice == 0 and words:
            argv.pop()
        elif choice == 1:
            argv.append(rng.choice(VALUES))
        elif choice == 2 and words:
            argv[rng.randrange(1, len(argv))] = rng.choice(rng.choice([VALUES, INTEGERS, PATTERNS, KEYS]))
        elif choice == 3 and words:
            argv.insert(rng.randrange(1, len(argv) + 1), rng.choice([b"NX", b"XX", b"GET", b"EX", b"GT", b"LT", b"nosuch"]))
        elif choice == 4 and words:
            argv.append(rng.choice(words))
        elif choice == 5 and len(words) > 1:
            a, b = rng.sample(range(1, len(argv)), 2)
            argv[a], argv[b] = argv[b], argv[a]
        elif choice == 6:
            argv[0] = rng.choice([argv[0] + b"x", argv[0][:-1], b"", b"nosuch", b"\x00", b"get\r\n", b"a" * 200])
        return argv

    def wrong_count(self, command):
        """Fewer arguments than the arity asks for, or more; None when there is no such number."""
        smallest = len(command.words)
        counts = [n for n in range(smallest, abs(command.arity))]
        if command.arity > 0:
            counts += [command.arity + 1, command.arity + 2]
        if not counts:
            return None
        return command.words + [b"x"] * (self.rng.choice(counts) - smallest)

    def safe(self, command, argv):
        """Broken arguments may make another command of it, one that must not run."""
        if command.name in ("HRANDFIELD", "SETRANGE"):
            return not any(len(word) > 3 and word.lstrip(b"-").isdigit() for word in argv[2:3])
        if command.name in ("SCAN", "HSCAN", "WAIT") or command.group in ("server", "connection"):
            return False
        return True

    def argv(self):
        if self.rng.random() < 0.08:
            argv = self.scripts.of_command(self.argv_of_command(from_script=True))
            if argv is not None:
                return argv
        return self.argv_of_command()

    def argv_of_command(self, from_script=False):
        command = self.rng.choices(self.commands, self.weights)[0]
        if from_script and command.group not in ("string", "hash", "generic") and command.name not in ("PING", "ECHO"):
            return None
        if command.name in ARITY_ONLY:
            return self.wrong_count(command)
        words = [self.letters(word) for word in command.words]
        argv = words + self.tree(command, command.arguments)
        if self.rng.random() < 0.08:
            changed = self.broken(argv)
            if self.safe(command, changed) and not self.takes_time(changed):
                return changed
        return argv

    @staticmethod
    def takes_time(argv):
        """A time to live that could run out during the test: `EX 10`, made by a mistake."""
        name = argv[0].upper()
        if name in (b"EXPIRE", b"PEXPIRE", b"SETEX", b"PSETEX", b"SET", b"GETEX", b"EXPIREAT", b"PEXPIREAT"):
            return any(word.strip().isdigit() and 0 < int(word) < 10**6 for word in argv[2:])
        return False

    # ---- steps ----

    def step(self, connection, argv, **more):
        if self.rng.random() < 0.03:
            inline = encode_inline(argv, self.rng)
            if inline is not None:
                return Step(connection, inline, argv, **more)
        return Step(connection, encode(argv), argv, **more)

    def may_be_queued(self, connection, argv):
        """HELLO acts at another moment (docs/differences.md)."""
        return argv[0].upper() != b"HELLO"

    def plain(self, connection):
        argv = None
        while argv is None or (self.in_multi[connection] and not self.may_be_queued(connection, argv)):
            argv = self.argv()
        if len(argv) == 1 and argv[0].upper() in (b"EXEC", b"DISCARD", b"RESET"):
            self.in_multi[connection] = False
        return self.step(connection, argv)

    def transaction(self, connection):
        """Steps of a whole or half transaction, with other connections at work in between."""
        rng, steps = self.rng, []
        other = rng.randrange(CONNECTIONS)
        key = rng.choice(KEYS)
        if rng.random() < 0.6:
            steps.append(self.step(connection, [b"WATCH"] + [rng.choice(KEYS) for _ in range(rng.randint(0, 2))] + [key]))
            if rng.random() < 0.1:
                steps.append(self.step(connection, [b"UNWATCH"]))
            if rng.random() < 0.7 and not self.in_multi[other]:
                for _ in range(rng.randint(1, 3)):
                    step = self.plain(other)
                    if rng.random() < 0.7 and len(step.argv) > 1 and step.argv[1] in KEYS:
                        step.argv[1] = key
                        step = self.step(other, step.argv)
                    steps.append(step)
        steps.append(self.step(connection, [self.letters(b"MULTI")]))
        self.in_multi[connection] = True
        for _ in range(rng.choice([0, 1, 2, 3, 5, 12])):
            steps.append(self.plain(connection))
            if self.in_multi[connection] and rng.random() < 0.03:
                steps.append(self.step(connection, rng.choice([[b"FLUSHALL"], [b"FLUSHDB", b"ASYNC"], [b"flushall", b"x"]])))
            if self.in_multi[connection] and rng.random() < 0.1:
                steps.append(self.step(connection, rng.choice([[b"DBSIZE"], [b"KEYS", b"*"], [b"SCAN", b"0", b"COUNT", b"1000"]])))
            if self.in_multi[connection] and rng.random() < 0.1:
                keys = [rng.choice(KEYS), rng.choice(KEYS)]
                steps.append(self.step(connection, rng.choice([[b"RENAME", *keys], [b"COPY", *keys, b"REPLACE"], [b"RENAMENX", *keys]])))
        if self.in_multi[connection] and rng.random() < 0.05:
            steps.append(self.step(connection, rng.choice([[b"MULTI"], [b"WATCH", key], [b"EXEC", b"x"], [b"UNWATCH"]])))
        if rng.random() < 0.95:
            steps.append(self.step(connection, [self.letters(rng.choice([b"EXEC"] * 5 + [b"DISCARD"]))]))
            self.in_multi[connection] = False
        return steps

    def expiry(self, connection):
        """A key that ends, seen after its end."""
        rng, key = self.rng, self.rng.choice(KEYS)
        ms = b"%d" % rng.randint(1, 20)
        begin = rng.choice([
            [b"SET", key, b"v", b"EXAT", b"1"], [b"SET", key, b"v", b"PX", ms], [b"PSETEX", key, ms, b"v"], [b"PEXPIRE", key, ms], [b"GETEX", key, b"PX", ms],
        ])  # fmt: skip
        steps = [self.step(connection, begin, sleep_ms=250, alone=True)]
        after = rng.choice([[b"GET", key], [b"EXISTS", key], [b"TTL", key], [b"TYPE", key], [b"HLEN", key], [b"DEL", key]])
        return steps + [self.step(connection, after), self.step(connection, [b"EXISTS", key])]

    def closing(self, connection):
        data = self.rng.choice(MALFORMED + [encode([b"QUIT"]), b"quit\r\n", encode([b"QUIT"]) + encode([b"PING"])])
        before = b"".join(encode([b"PING"]) for _ in range(self.rng.randint(0, 2)))
        self.in_multi[connection] = False
        return [Step(connection, before + data, closes=True, alone=True)]

    def silent(self, connection):
        """CLIENT REPLY: what is between OFF and ON answers nothing, ON itself does."""
        inner = encode([b"SET", self.rng.choice(STRING_KEYS), self.rng.choice(VALUES)]) + encode([b"nosuch"])
        on = encode([b"CLIENT", b"REPLY", b"ON"])
        data = self.rng.choice([
            encode([b"CLIENT", b"REPLY", b"OFF"]) + inner + on,
            encode([b"CLIENT", b"REPLY", b"SKIP"]) + encode([b"ECHO", b"s1"]) + on,
            encode([b"CLIENT", b"REPLY", b"SKIP"]) * 2 + encode([b"ECHO", b"s1"]) + on,
            encode([b"CLIENT", b"REPLY", b"nosuch"]),
        ])  # fmt: skip
        return [Step(connection, data)]

    def out_of_memory(self, connection):
        """maxmemory refuses writes, and nothing else."""
        steps = []
        for _ in range(self.rng.randint(1, 8)):
            argv = self.plain(connection).argv
            if argv[0].upper() not in (b"FLUSHALL", b"FLUSHDB", b"RESET", b"HELLO", b"EVAL", b"EVAL_RO"):
                steps.append(argv)
        steps.append([b"CONFIG", b"SET", b"maxmemory", b"0"])
        full = encode([b"SET", b"s1", b"full"]) + encode([b"CONFIG", b"SET", b"maxmemory", b"1"])
        return [Step(connection, full, replies=2)] + [self.step(connection, argv) for argv in steps]

    def configuration(self, connection):
        rng, name = self.rng, self.rng.choice(CONFIG_NAMES)
        return [self.step(connection, rng.choice([
            [b"CONFIG", b"GET", name], [b"CONFIG", b"GET", name, name.upper()], [b"CONFIG", b"GET", b"nosuch"],
            [b"CONFIG", b"GET", name[:5] + b"*" + name[6:]], [b"CONFIG", b"SET", b"nosuch", b"1"],
            [b"CONFIG", b"SET", b"timeout", b"0"], [b"CONFIG", b"SET", b"timeout", b"abc"],
            [b"CONFIG", b"SET", b"timeout", b"-1"], [b"CONFIG", b"SET", b"maxmemory", b"abc"],
            [b"CONFIG", b"SET", b"maxmemory", b"100gb", b"timeout", b"0"], [b"CONFIG", b"SET", b"maxmemory", b"0"],
            [b"CONFIG", b"SET", b"timeout", b"0", b"nosuch", b"1"], [b"CONFIG", b"SET", b"timeout", b"0", b"timeout", b"0"],
            [b"CONFIG", b"SET", b"timeout"], [b"CONFIG", b"SET", b"timeout", b"0", b"maxmemory"],
        ]))]  # fmt: skip

    def get_keys(self, connection):
        argv = None
        while argv is None or argv[0].upper() in (b"COMMAND", b"CLIENT", b"CONFIG", b"SLOWLOG"):
            argv = self.argv()
        word = self.rng.choice([b"GETKEYS", b"GETKEYSANDFLAGS"])
        return [self.step(connection, [b"COMMAND", word] + argv)]

    def scan(self, connection):
        """A whole scan, step by step."""
        rng = self.rng
        argv = [b"SCAN", b"0"] if rng.random() < 0.5 else [b"HSCAN", rng.choice(HASH_KEYS), b"0"]
        if rng.random() < 0.6:
            argv += [b"COUNT", rng.choice([b"1", b"2", b"5", b"1000"])]
        if rng.random() < 0.3:
            argv += [b"MATCH", rng.choice(PATTERNS)]
        if rng.random() < 0.3 and argv[0] == b"SCAN":
            argv += [b"TYPE", rng.choice(BY_NAME["type"])]
        return [Step(connection, b"", argv, replies=0, scan=True, alone=True)]

    def next(self):
        """A few steps that belong together."""
        rng = self.rng
        connection = rng.randrange(CONNECTIONS)
        chance = rng.random()
        if self.in_multi[connection] and rng.random() < 0.15:
            self.in_multi[connection] = False
            return [self.step(connection, [rng.choice([b"EXEC", b"DISCARD", b"RESET"])])]
        if self.in_multi[connection] or chance < 0.9:
            return [self.plain(connection) for _ in range(rng.choice([1, 1, 2, 5, 20]))]
        if chance < 0.965:
            return self.transaction(connection)
        for limit, make in ((0.967, self.closing), (0.969, self.silent), (0.972, self.out_of_memory),
                            (0.975, self.configuration), (0.985, self.get_keys), (0.9955, self.scan),
                            (0.9965, self.expiry)):  # fmt: skip
            if chance < limit:
                return make(connection)
        return [Step(connection, rng.choice(HARMLESS), replies=0)]
