"""cohort service: an endpoint that is registered while a command runs, drained when that is told to end, and shown."""

import json
import signal
import subprocess
import time

import pytest
import resp
import servers
from locks import fresh, until


@pytest.fixture(params=["cohort"])
def url(request, shared_servers):
    return f"cohort://127.0.0.1:{shared_servers(request.param).port}"


def service(url, action, *words, **how):
    command = [str(servers.COHORT), "service", action, "--url", url, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **how)


def start(url, *words):
    command = [str(servers.COHORT), "service", "register", "--url", url, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=servers.end_with_parent)


def listed(url, name):
    told = service(url, "list", name, "--json")
    assert told.returncode in (0, 1), told.stderr
    return {each["id"]: each for each in json.loads(told.stdout)}


def test_registered_while_a_command_runs(url, tmp_path):
    name, gate = fresh("web"), tmp_path / "gate"
    script = f"echo $COHORT_SERVICE; echo $COHORT_ENDPOINT; while [ ! -e {gate} ]; do sleep 0.05; done; exit 7"
    process = start(url, name, "10.0.0.1:80", "--ttl", "1s", "--weight", 7, "--zone", "north", "--", "sh", "-c", script)
    (endpoint,) = until(lambda: listed(url, name)).values()
    assert (endpoint["address"], endpoint["state"], endpoint["weight"], endpoint["zone"]) == ("10.0.0.1:80", "up", 7, "north")
    first = endpoint["since"]
    time.sleep(1.5)  # longer than the lease
    assert listed(url, name)[endpoint["id"]]["since"] == first
    shown = service(url, "list", name)
    assert shown.returncode == 0 and endpoint["id"] in shown.stdout and "10.0.0.1:80" in shown.stdout
    gate.touch()
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (7, "")
    assert output.split() == [name, endpoint["id"]]
    assert listed(url, name) == {}
    assert service(url, "list", name).returncode == 1


def test_drained_before_the_command_hears(url, tmp_path):
    """The command, told to end, looks what its endpoint is by then."""
    name, ready = fresh("drained"), tmp_path / "ready"
    look = f"{servers.COHORT} service list {name} --json --url {url}"
    script = f"trap '{look}; exit 3' TERM; touch {ready}; while :; do sleep 0.05; done"
    process = start(url, name, "h:80", "--id", "one", "--", "sh", "-c", script)
    until(ready.exists)
    assert listed(url, name)["one"]["state"] == "up"
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (3, "")
    assert json.loads(output)[0]["state"] == "draining"
    assert listed(url, name) == {}


def test_without_a_command(url):
    name = fresh("alone")
    process = start(url, name, "h:80", "--id", "one")
    until(lambda: listed(url, name))
    assert service(url, "drain", name, "one").returncode == 0
    assert listed(url, name)["one"]["state"] == "draining"
    assert service(url, "drain", name, "other").returncode == 1
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert service(url, "remove", name, "one").returncode == 1


def test_killed_and_refused(url):
    name = fresh("killed")
    process = start(url, name, "h:80", "--ttl", "1s", "--", "sleep", 1000)
    until(lambda: listed(url, name))
    process.kill()
    process.wait(60)
    until(lambda: not listed(url, name))
    assert service(url, "register", name, "h", "--", "true").returncode == 69
    assert "address" in service(url, "register", name, "h", "--", "true").stderr
    assert service(url, "register", name).returncode == 64
    assert service(url, "register", name, "h:1", "--").returncode == 64
    assert service(url, "register", name, "h:1", "--", "/nowhere/at/all").returncode == 127
    assert service(url, "drain", name).returncode == 64
    assert listed(url, name) == {}


def test_goes_on_while_nobody_answers(new_server, tmp_path):
    server = new_server()
    url, name, gate = f"cohort://127.0.0.1:{server.port}", fresh("on"), tmp_path / "gate"
    process = start(url, name, "h:80", "--ttl", "1s", "--", "sh", "-c", f"while [ ! -e {gate} ]; do sleep 0.05; done")
    until(lambda: listed(url, name))
    server.kill()
    told = process.stderr.readline()
    assert "is tried again" in told
    server.start()
    assert "is registered again" in process.stderr.readline()
    assert listed(url, name)
    gate.touch()
    process.communicate(timeout=60)
    assert process.returncode == 0
    with resp.Connection(server.port) as client:
        assert client.call("SERVICE.LIST", name) == []
