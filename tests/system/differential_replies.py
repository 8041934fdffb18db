"""Replies as bytes on the wire, and when two of them count as the same: for differential.py.

A parsed reply is (type, value): the type is its first byte, the value bytes, None, or a list of replies."""

TIME_TOLERANCE_MS = 5000
TIMES = {  # milliseconds in a unit of the reply
    b"TTL": 1000, b"EXPIRETIME": 1000, b"PTTL": 1, b"PEXPIRETIME": 1,
}  # fmt: skip
UNORDERED = {b"KEYS", b"HKEYS", b"HVALS", b"HGETALL", b"SCAN", b"HSCAN", b"COMMAND", b"CONFIG"}


def end_of(data, at):
    """The position after the reply that starts at `at`, or -1 when it is not all there."""
    open_values = 1
    while open_values:
        line = data.find(b"\r\n", at)
        if line < 0:
            return -1
        kind = data[at]
        open_values -= 1
        if kind in b"$=!":
            size = int(data[at + 1:line])
            at = line + 2 + (size + 2 if size >= 0 else 0)
            if at > len(data):
                return -1
            continue
        if kind in b"*~>":
            open_values += max(0, int(data[at + 1:line]))
        elif kind in b"%|":
            open_values += 2 * int(data[at + 1:line]) + (kind == ord("|"))
        elif kind not in b"+-:_#,(":
            raise ValueError(f"not a reply: {bytes(data[at:at + 60])!r}")
        at = line + 2
    return at


def parse(data, at=0):
    """The reply that starts at `at`, and where it ends."""
    line = data.index(b"\r\n", at)
    kind, rest = data[at:at + 1], data[at + 1:line]
    at = line + 2
    if kind in b"$=!":
        size = int(rest)
        return ((kind, None), at) if size < 0 else ((kind, data[at:at + size]), at + size + 2)
    if kind in b"*~>%":
        count = int(rest) * (2 if kind == b"%" else 1)
        if count < 0:
            return (kind, None), at
        items = []
        for _ in range(count):
            item, at = parse(data, at)
            items.append(item)
        return (kind, items), at
    return (kind, rest), at


# ---- what counts as the same ----

def shape(reply):
    kind, value = reply
    return (kind, [shape(item) for item in value]) if isinstance(value, list) else (kind, value is None)


def ordered(items):
    return sorted(items, key=repr)


def pairs(items):
    return [tuple(items[at:at + 2]) for at in range(0, len(items), 2)]


def same_times(a, b, unit_ms):
    if a[0] != b":" or b[0] != b":":
        return False
    a, b = int(a[1]), int(b[1])
    return a == b if min(a, b) < 0 else abs(a - b) * unit_ms <= max(TIME_TOLERANCE_MS, 2 * unit_ms)


def same_scan(argv, a, b):
    """Steps of a scan differ; when both give all in one step, they give the same."""
    if shape(a)[0] != b"*" or shape(b)[0] != b"*" or len(a[1]) != 2 or len(b[1]) != 2:
        return False
    if a[1][0] != (b"$", b"0") or b[1][0] != (b"$", b"0"):
        return a[1][1][0] == b[1][1][0]
    found_a, found_b = a[1][1][1], b[1][1][1]
    if argv[0].upper() == b"HSCAN":
        found_a, found_b = pairs(found_a), pairs(found_b)
    return ordered(found_a) == ordered(found_b)


def same_random_fields(argv, a, b):
    """HRANDFIELD: as many, and without repetition when the count is positive."""
    if shape(a) == shape(b) and (a[0] != b"*" or a[1] == b[1]):
        return True
    if a[0] != b"*" or b[0] != b"*" or len(a[1]) != len(b[1]):
        return False
    if [shape(item) for item in a[1]] != [shape(item) for item in b[1]]:
        return False
    for reply in (a, b):
        fields = reply[1]
        if len(argv) > 3 and fields and fields[0][0] == b"$":
            fields = fields[::2]
        if not argv[2].startswith(b"-") and len({repr(field) for field in fields}) != len(fields):
            return False
    return True


def same_hello(a, b):
    """server, version, id and mode are each server's own."""
    if a[0] != b[0] or len(a[1]) != len(b[1]):
        return False
    own = {(b"$", word) for word in (b"server", b"version", b"id", b"mode")}
    return [p for p in pairs(a[1]) if p[0] not in own] == [p for p in pairs(b[1]) if p[0] not in own]


def same_exec(queued, a, b):
    if a[1] is None or b[1] is None or len(a[1]) != len(b[1]) or len(a[1]) != len(queued):
        return False
    return all(same(argv, x, y, None) for argv, x, y in zip(queued, a[1], b[1]))


def unordered(reply):
    """Without the order of anything."""
    kind, value = reply
    return (kind, ordered(map(unordered, value))) if isinstance(value, list) else reply


def same(argv, a, b, queued):
    """Whether two parsed replies to argv are the same; queued: the commands of the transaction that EXEC ended."""
    if a == b:
        return True
    name = argv[0].upper() if argv else b""
    if a[0] == b"-" or b[0] == b"-":
        return False
    if name == b"EXEC" and queued is not None and a[0] == b[0] == b"*":
        return same_exec(queued, a, b)
    if a[0] != b[0]:
        return False
    if name in TIMES:
        return same_times(a, b, TIMES[name])
    if name in (b"SCAN", b"HSCAN"):
        return same_scan(argv, a, b)
    if name == b"HRANDFIELD":
        return a[0] != b"*" or same_random_fields(argv, a, b)
    if name in (b"EVAL", b"EVAL_RO") and b"hgetall" in argv[1].lower() + argv[-2].lower():
        return unordered(a) == unordered(b)
    if name == b"RANDOMKEY":
        return shape(a) == shape(b)
    if name == b"HELLO" and isinstance(a[1], list):
        return same_hello(a, b)
    if name == b"WAIT":  # the rival may have followers
        return a[0] == b":" and 0 <= int(b[1]) <= 2
    if name in (b"EVAL", b"EVAL_RO") and b"hgetall" in argv[1] and isinstance(a[1], list) and isinstance(b[1], list):
        return ordered(pairs(a[1])) == ordered(pairs(b[1]))
    if name in (b"PUBLISH", b"SPUBLISH"):  # clients of that node alone
        return a[0] == b":" and 0 <= int(b[1]) <= int(a[1])
    if name == b"PUBSUB" and argv[1].upper() in (b"CHANNELS", b"SHARDCHANNELS"):
        return set(map(repr, b[1])) <= set(map(repr, a[1]))
    if name == b"PUBSUB":
        return shape(a) == shape(b)
    if name == b"TIME":
        return shape(a) == shape(b) and abs(int(a[1][0][1]) - int(b[1][0][1])) <= 2
    if name == b"CLIENT" and argv[1].upper() == b"ID":
        return shape(a) == shape(b)
    if name == b"OBJECT" and argv[1].upper() in (b"IDLETIME", b"REFCOUNT"):
        return shape(a) == shape(b)
    if name in UNORDERED and isinstance(a[1], list) and isinstance(b[1], list):
        split = pairs if a[0] == b"%" or name in (b"HGETALL", b"CONFIG") else list
        return ordered(split(a[1])) == ordered(split(b[1]))
    return False
