"""Every option of a command about locks, elections, barriers, latches and sessions is given once: a second one of its
kind is refused in words, whatever it says."""

import json
import pathlib

import pytest
import resp

COMMANDS = pathlib.Path(__file__).parents[2] / "commands"
SUBJECTS = ("LOCK", "ELECT", "BARRIER", "LATCH", "SESSION")


def flat(arguments):
    """What stands in the command, without the groups; of what excludes each other the first is what is needed."""
    for argument in arguments:
        if argument["type"] in ("oneof", "block") and "token" not in argument:
            optional = "optional" in argument.get("flags", [])
            for number, inner in enumerate(argument["arguments"]):
                unneeded = optional or (argument["type"] == "oneof" and number > 0)
                yield {**inner, "flags": inner.get("flags", []) + (["optional"] if unneeded else [])}
        else:
            yield argument


def value(argument, session):
    """Something that may stand there."""
    if argument["type"] == "oneof":
        return argument["arguments"][0]["token"]
    if argument["name"] == "id":
        return session
    return {"numkeys": 1, "ttl_ms": 1000}.get(argument["name"], 5 if argument["type"] == "integer" else "x")


def commands():
    for file in sorted(COMMANDS.glob("*.json")):
        command = json.loads(file.read_text())
        if command["name"].split(".")[0] in SUBJECTS:
            yield command


def cases():
    for command in commands():
        for option in (argument for argument in flat(command["arguments"]) if "token" in argument):
            yield pytest.param(command, option, id=f"{command['name']} {option['token']}")


def test_all_options_are_found():
    found = {case.values[1]["token"] for case in cases()}
    assert found == {"PX", "SESSION", "WAIT", "MODE", "PERMITS", "LIMIT", "REENTRANT", "NOTE", "COUNT", "VALUE",
                     "MATCH", "CURSOR", "FORCE"}  # fmt: skip


@pytest.mark.parametrize(("command", "option"), cases())
def test_an_option_given_twice(cohort, command, option):
    with cohort.connect() as client:
        session = client.call("SESSION.OPEN", "PX", 60_000)
        words = [command["name"]]
        lease = option["token"] in ("PX", "SESSION")  # which stand in each other's place
        for argument in flat(command["arguments"]):
            if "optional" in argument.get("flags", []) or argument.get("token") == option["token"]:
                continue
            if "token" not in argument:
                words.append(value(argument, session))
            elif not (lease and argument["token"] in ("PX", "SESSION")):
                words += [argument["token"], value(argument, session)]
        words += 2 * ([option["token"]] + [value(option, session)] * (option["type"] != "pure-token"))
        reply = client.call(*words)
        assert isinstance(reply, resp.Error), words
        if command["arity"] > 0:  # there is no place for a second one
            assert reply.startswith("ERR wrong number of arguments"), words
        else:
            assert reply.startswith("ERR syntax error") and len(reply) > len("ERR syntax error"), (words, reply)
