"""A bank: clients move money between accounts that live in all shards, each transfer a transaction, and others sum up all
accounts in one. Whatever breaks, the sum is right at every look, and the history has one order.

    with bank.Load(nodes, seed=1) as load:
        …break things…
    load.read_everything(nodes)
    load.check(tmp_path / "history.jsonl")

An account's value is its balance and a word that is never written again, so that each read tells which transfer it saw."""

import itertools
import time

import history
import resp

BALANCE = 100  # of an account that nobody has touched


def balance(value):
    return BALANCE if value is None else int(value.split(" ")[0])


class Client(history.Client):
    """Every eighth one looks at all accounts, the others transfer."""

    sums = 0  # looks that were right

    def step(self):
        try:
            self.look(self.connection) if self.process % 8 == 0 else self.transfer(self.connection)
        except OSError:
            self.lose()
            return
        time.sleep(self.random.uniform(0, 2 * self.load.pause))

    def begin(self, ops):
        """Notes a transaction that is about to be asked for."""
        operation = {"process": self.process, "op": "txn", "ops": ops, "outcome": "unknown", "start": time.monotonic_ns()}
        self.operations.append(operation)
        return operation

    def end(self, operation, reply):
        """What became of it; true when it is done."""
        if isinstance(reply, resp.Error):
            self.refused(operation, reply)
        elif reply is None:
            operation["outcome"] = "failed"
        else:
            inner = [one for one in reply if isinstance(one, resp.Error)] if isinstance(reply, list) else []
            assert not inner, f"half of {operation['ops']} was done: {reply}"
            operation.update(outcome="ok", end=time.monotonic_ns())
        return operation["outcome"] == "ok"

    def refused(self, operation, error):
        operation["key"] = ""  # for the words of a complaint
        code = error.split(" ", 1)[0]
        assert code in history.DEFINITE | history.INDEFINITE | {"EXECABORT", "TXNABORT"}, f"is nothing done after '{error}'?"
        self.load.count(code)
        if code in history.INDEFINITE:
            self.process += 8 * self.load.clients
        else:
            operation["outcome"] = "failed"
        time.sleep(history.RETRY_SECONDS)

    def lose(self):
        self.process += 8 * self.load.clients
        self.disconnect()

    def choose_two(self):
        """Some accounts are liked more than others."""
        first = int(self.load.keys * self.random.random() ** 2)
        return first, (first + 1 + self.random.randrange(self.load.keys - 1)) % self.load.keys

    def plan(self, names, values):
        """The operations of a transfer between two accounts that were read."""
        self.done += 1
        amount = self.random.randrange(1, 20)
        after = [balance(values[0]) - amount, balance(values[1]) + amount]
        reads = [{"op": "get", "key": name, "result": value} for name, value in zip(names, values, strict=True)]
        writes = [
            {"op": "set", "key": name, "value": f"{money} {self.process}.{self.done}.{place}"}
            for place, (name, money) in enumerate(zip(names, after, strict=True))
        ]
        return reads, writes

    def transfer(self, connection):
        names = [self.load.name(number) for number in self.choose_two()]
        if self.load.interactive and self.random.randrange(2):
            self.transfer_interactively(connection, names)
            return
        replies = connection.calls([["WATCH", *names], ["GET", names[0]], ["GET", names[1]]])
        if any(isinstance(reply, resp.Error) for reply in replies):
            connection.call("UNWATCH")
            time.sleep(history.RETRY_SECONDS)
            return
        reads, writes = self.plan(names, [reply and reply.decode() for reply in replies[1:]])
        operation = self.begin(reads + writes)
        commands = [["SET", write["key"], write["value"]] for write in writes]
        self.end(operation, connection.calls([["MULTI"], *commands, ["EXEC"]])[-1])

    def transfer_interactively(self, connection, names):
        begun = connection.call("TXN.BEGIN", "PROTOCOL", self.random.choice(["2PC", "2PC", "3PC"]))
        replies = connection.calls([["GET", name] for name in names])
        if any(isinstance(reply, resp.Error) for reply in [begun, *replies]):
            connection.call("TXN.ROLLBACK")
            time.sleep(history.RETRY_SECONDS)
            return
        reads, writes = self.plan(names, [reply and reply.decode() for reply in replies])
        connection.calls([["SET", write["key"], write["value"]] for write in writes])
        operation = self.begin(reads + writes)
        self.end(operation, connection.call("TXN.COMMIT"))

    def look(self, connection):
        names = [self.load.name(number) for number in range(self.load.keys)]
        operation = self.begin([{"op": "get", "key": name} for name in names])
        if self.random.randrange(2):
            reply = connection.call("MGET", *names)
        else:
            reply = connection.calls([["MULTI"], ["MGET", *names], ["EXEC"]])[-1]
            reply = reply[0] if isinstance(reply, list) else reply
        if not self.end(operation, reply):
            return False
        values = [value and value.decode() for value in reply]
        for op, value in zip(operation["ops"], values, strict=True):
            op["result"] = value
        total = sum(map(balance, values))
        assert total == BALANCE * self.load.keys, f"the sum of all accounts is {total}"
        self.sums += 1
        return True


class Load(history.Load):
    """As history.Load; `keys` is how many accounts there are."""

    def __init__(self, servers, seed, clients=64, keys=1000, timeout=5, pause=0.05, interactive=True):
        super().__init__(servers, seed, clients=clients, keys=keys, timeout=timeout, pause=pause)
        self.interactive = interactive
        self.threads = [Client(self, number) for number in range(clients)]

    def name(self, number):
        return f"account:{number}"

    def read_everything(self, servers, seconds=60):
        looker = Client(self, self.clients)
        looker.process = 2**31
        self.threads.append(looker)
        deadline = time.monotonic() + seconds
        for server in itertools.islice(itertools.cycle(servers), len(servers)):
            with server.connect() as connection:
                while not looker.look(connection):
                    assert time.monotonic() < deadline, looker.operations[-1]["outcome"]

    def sums(self):
        return sum(thread.sums for thread in self.threads)
