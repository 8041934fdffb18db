"""Random scripts for differential_generator.py: any command from within one, and values, conversions and errors of every
sort. None asks for the time, for randomness, for keys that were not declared, or for more than Lua itself orders."""

# What a script may not be told the same: random, timed, or in an order of its own.
OWN_RESULTS = {
    b"HRANDFIELD", b"RANDOMKEY", b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME", b"OBJECT", b"TIME", b"SCAN", b"HSCAN",
    b"WAIT",
}  # fmt: skip
# redis-server 7.0.15 ends when a script raises a table without a field err, so none does.
# These look at all keys (docs/differences.md: not allowed from script), or are about the connection.
NOT_FROM_SCRIPT = {b"DBSIZE", b"KEYS", b"FLUSHALL", b"FLUSHDB", b"SELECT", b"SWAPDB"}

SORTED = """
local function sorted(t)
    if type(t) ~= 'table' then return t end
    local words = {}
    for _, v in ipairs(t) do words[#words + 1] = tostring(v) end
    table.sort(words)
    return words
end
return sorted(%s)"""
SHAPE = """
local function shape(v, deep)
    if type(v) ~= 'table' or deep > 4 then return type(v) .. ':' .. (type(v) == 'number' and string.format('%%.17g', v) or tostring(v)) end
    local words, names = {}, {}
    for k in pairs(v) do names[#names + 1] = tostring(k) .. type(k) end
    table.sort(names)
    for i, v in ipairs(v) do words[i] = shape(v, deep + 1) end
    for _, k in ipairs({'ok', 'err', 'double', 'map', 'set', 'big_number', 'format', 'string', 'ignore_error_stats_update'}) do
        if v[k] ~= nil and k ~= 'map' and k ~= 'set' then words[#words + 1] = k .. '=' .. shape(v[k], deep + 1) end
    end
    return '{' .. table.concat(words, ',') .. '|' .. table.concat(names, ',') .. '}'
end
return shape(%s, 0)"""

NUMBERS = ["0", "1", "-1", "2.9", "-2.9", "0.5", "3", "7", "100", "1e15", "1e17", "-1e17", "2^31", "2^31 - 1", "-2^31", "2^32",
           "2^53", "2^53 + 2", "1e300", "0.1", "123456789.125", "1/3", "-0", "255", "65536", "1e-7"]  # fmt: skip
STRINGS = ["''", "'a'", "'hello world'", "'10'", "'-3'", "'1.5'", "'0x10'", "' 7 '", "'a\\r\\nb'", "'\\0\\1\\255'", "'%d'",
           "('x'):rep(70)", "'grün'", "'1e3'", "'ERR text'", "'MY text'", "KEYS[1]", "ARGV[1]", "ARGV[2]", "#ARGV"]  # fmt: skip
JSON = ["[]", "{}", "[1,2.5,\"x\",null,true]", "{\"a\":{\"b\":[1,{\"c\":null}]}}", "\"\\u00e9\\n\"", "1e2", "-0", "12345678901234567890",
        "[1,", "nul", "", "{\"a\":1,\"a\":2}", "[[[[[]]]]]", "\"\\ud83d\\ude00\"", "  3 ", "[1e400]", "{1:2}", "[0.1,1e-9]",
        "\"\\x\"", "tru", "[nan]", "{\"a\" : \"b\"}x", "99999999999999", "[true,false]"]  # fmt: skip
BIT_OPERATIONS = ["tobit", "bnot", "bswap", "tohex", "band", "bor", "bxor", "lshift", "rshift", "arshift", "rol", "ror"]
RAISED = [
    "error('plain')", "error('level', 0)", "error({err = 'MY own'})", "error({err = 'one'})", "error()", "error(nil)",
    "error(12)", "assert(false, 'said')", "assert(nil)", "local n = nil return n.x", "local n = nil return n()", "return {} + 1",
    "return 'a' + 1", "return #5", "return {} .. 'x'", "return {} < {}", "return 1 < 'x'", "redis.call()", "redis.call({})", "redis.call('nosuch')",
    "redis.call('get')", "redis.call('get', KEYS[1], 'x', 'y')", "redis.call('watch', 'x')", "redis.call('multi')",
    "redis.call('eval', 'return 1', 0)", "redis.call(12)", "redis.call('get', {})", "redis.call('get', nil)", "redis.setresp(4)",
    "redis.setresp()", "redis.error_reply()", "redis.status_reply(1)", "redis.sha1hex()", "redis.log(1)", "nosuch = 1", "return nosuch",
    "string.x = 1", "redis.call = 1", "return setmetatable(_G, {})", "return getmetatable('').__index == string",
    "return string.rep()", "return ('x'):rep(-1)", "return string.format('%d', 'x')", "return tostring()", "return next({})",
    "return select(0)", "return math.floor('x')", "return cjson.decode()", "return cjson.encode(function() end)", "return bit.band()",
    "return bit.lshift(1)", "return unpack()", "return table.concat({1, {}})", "local t = {} t[nil] = 1", "return rawset(_G, 'a', 1)",
    "return loadstring('return 1 +')", "return loadstring('return 7')()", "return pcall(error)", "return {pcall(error, {err = 'X y'})}",
    "return coroutine.wrap(function() redis.call('get') end)()", "return {xpcall(function() error('x') end, function(e) return e .. '!' end)}",
    "return redis.acl_check_cmd('nosuch')", "return redis.acl_check_cmd('get', KEYS[1])", "return redis.breakpoint()",
    "return redis.replicate_commands()", "return redis.set_repl(redis.REPL_NONE)", "return redis.REDIS_VERSION", "return redis.LOG_WARNING",
    "while true do break end return 3", "goto x", "return 1 2", "if true then", "return '", "--[[", "return [==[ x ]==]", "return 0x7fffffff",
]  # fmt: skip


class Scripts:
    def __init__(self, rng):
        self.rng = rng

    def pick(self, *makers):
        return self.rng.choice(makers)()

    # ---- expressions ----

    def number(self):
        return self.rng.choice(NUMBERS)

    def string(self):
        return self.rng.choice(STRINGS)

    def leaf(self):
        return self.pick(self.number, self.number, self.string, self.string, lambda: self.rng.choice(["true", "false", "nil", "cjson.null"]))

    def typed(self, depth):
        """A table that stands for a type of reply."""
        rng = self.rng
        return rng.choice([
            lambda: f"{{ok = {self.string()}}}", lambda: f"{{err = {self.string()}}}", lambda: f"{{double = {self.number()}}}",
            lambda: f"{{map = {{[{self.string()}] = {self.value(depth + 1)}}}}}", lambda: f"{{set = {{[{self.string()}] = true}}}}",
            lambda: f"{{big_number = '{rng.choice(['12345678901234567890', '-1', 'abc', ''])}'}}",
            lambda: f"{{verbatim_string = {{format = '{rng.choice(['txt', 'mkd', 'x'])}', string = {self.string()}}}}}",
            lambda: f"redis.status_reply({self.string()})", lambda: f"redis.error_reply({self.string()})",
            lambda: f"{{ok = 'fine', {self.value(depth + 1)}}}", lambda: f"{{a = 1, {self.value(depth + 1)}}}",
        ])()  # fmt: skip

    def value(self, depth=0):
        chance = self.rng.random()
        if depth > 3 or chance < 0.5:
            return self.leaf()
        if chance < 0.75:
            return "{" + ", ".join(self.value(depth + 1) for _ in range(self.rng.randrange(5))) + "}"
        return self.typed(depth) if chance < 0.93 else self.reckoned()

    def reckoned(self):
        return self.pick(self.bits, self.text, self.mathematics, self.json)

    def bits(self):
        count = {"tobit": 1, "bnot": 1, "bswap": 1}.get(name := self.rng.choice(BIT_OPERATIONS), 2)
        return f"bit.{name}({', '.join(self.number() for _ in range(count))})"

    def mathematics(self):
        a, b = self.number(), self.number()
        return self.rng.choice([
            f"math.floor({a})", f"math.ceil({a})", f"math.abs({a})", f"math.max({a}, {b})", f"math.min({a}, {b})", f"math.fmod({a}, 7)",
            f"({{math.modf({a})}})", f"({{math.frexp({a})}})", f"math.sqrt(math.abs({a}))", f"({a}) % 7", f"({a}) / 8", f"({a}) * ({b})",
            f"({a}) - ({b})", f"tostring({a})", f"tonumber({self.string()})", f"tonumber('{self.rng.choice(['ff', '777', 'zz', '12'])}', "
            f"{self.rng.choice(['8', '16', '36', '10'])})", f"math.ldexp({a}, 3)", f"string.format('%.14g', {a})",
        ])  # fmt: skip

    def text(self):
        s = f"tostring({self.string()})"
        return self.rng.choice([
            f"{s}:upper()", f"{s}:reverse()", f"{s}:sub({self.rng.randint(-4, 4)}, {self.rng.randint(-4, 6)})", f"#{s}", f"{{{s}:byte(1, -1)}}",
            f"{{{s}:find('%d+')}}", f"{{{s}:gsub('%w', '%0%0')}}", f"{s} .. {s}", f"{s}:rep(3)", f"string.format('%5s|%-5s|%q', {s}, {s}, {s})",
            f"string.format('%d %x %g %e %c', 65, 255, {self.number()}, {self.number()}, 66)", f"{{{s}:match('^(%s*)(.-)%s*$')}}",
            f"table.concat({{{s}, {self.number()}, {s}}}, ', ')", f"redis.sha1hex({s})", f"{s} < {s}", f"{s} == {self.string()}",
        ])  # fmt: skip

    def json(self):
        document = "'" + self.rng.choice(JSON).replace("\\", "\\\\") + "'"
        return self.rng.choice([
            f"cjson.encode({self.flat()})", f"cjson.decode({document})", f"cjson.encode(cjson.decode({document}))",
            f"cjson.decode(cjson.encode({self.flat()}))", f"({{pcall(cjson.decode, {document})}})",
        ])  # fmt: skip

    def flat(self):
        """What JSON has a form for, mostly."""
        return self.pick(self.leaf, lambda: "{" + ", ".join(self.leaf() for _ in range(self.rng.randrange(4))) + "}",
                         lambda: f"{{a = {self.leaf()}}}", lambda: f"{{[{self.rng.choice(['1', '3', '1.5', '30', 'true'])}] = {self.leaf()}}}")  # fmt: skip

    # ---- texts ----

    def text_of_script(self):
        rng = self.rng
        first = rng.choice(["", "", "", "redis.setresp(3) ", "redis.setresp(2) "])
        chance = rng.random()
        if chance < 0.55:
            body = f"return {self.value()}"
        elif chance < 0.7:
            body = rng.choice(RAISED)
        elif chance < 0.85:
            body = f"local ok, v = pcall(function() {rng.choice(RAISED)} end) return {{ok, type(v) == 'table' and (v.err or 'table') or v}}"
        else:
            body = f"return {{{self.value()}, redis.pcall('{rng.choice(['get', 'incr', 'hgetall', 'hlen', 'type', 'strlen'])}', KEYS[1]), {self.value()}}}"
        shebang = rng.choice([""] * 12 + ["#!lua\n", "#!lua flags=no-writes\n", "#!lua flags=allow-oom,no-writes\n", "#!lua name=x\n", "#!js\n"])
        return (shebang + first + body).encode()

    def of_command(self, argv):
        """EVAL of any command, with all its words declared as keys; None when its reply could differ by itself."""
        if not argv or not argv[0]:
            return None
        rng, name = self.rng, argv[0].upper()
        if name in OWN_RESULTS or name in NOT_FROM_SCRIPT:
            return None
        call = rng.choice(["redis.call(unpack(ARGV))", "redis.pcall(unpack(ARGV))"])
        protocol = rng.choice(["", "redis.setresp(3) "])
        if name in (b"HGETALL", b"HKEYS", b"HVALS"):
            body = SORTED % call if protocol == "" else f"return type({call})"
        else:
            body = rng.choice([f"return {call}", f"return {{{call}, 1}}", SHAPE % call, f"{call} error('afterwards')",
                               f"local r = {call} return {{type(r), r}}"])  # fmt: skip
        keys = list(dict.fromkeys(argv[1:]))
        word = rng.choice([b"EVAL"] * 6 + [b"EVAL_RO"])
        shebang = rng.choice([b""] * 8 + [b"#!lua flags=no-writes\n", b"#!lua\n"])
        return [word, shebang + (protocol + body).encode(), b"%d" % len(keys), *keys, *argv]
