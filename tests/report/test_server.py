"""The page over HTTP: what it answers, what it refuses, and that a run may change under it."""

import http.client
import json
import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from riverrun.errors import RiverrunError
from riverrun.report import latest
from riverrun.report.latest import Latest
from riverrun.report.server import PageServer
from riverrun.runs import Tree
from riverrun.runs.metrics import read_records

TINY = """\
[model]
family = "llama"
layers = 1
width = 16
heads = 2
context = 16
[data]
corpus = "bundled"
[batch]
sequences = 4
[optimizer]
peak_lr = 1e-2
[schedule]
kind = "inverse-sqrt"
warmup = "5 steps"
offset = "20 steps"
[averaging]
tracks = ["half-life:25"]
[readouts]
first = "8 steps"
sequences = 8
[checkpoints]
first = "10 steps"
[metrics]
every = 1
[engine]
device = "cpu"
threads = 1
"""


@pytest.fixture(scope="module")
def grown_once(tmp_path_factory):
    """A trunk at step 20 and a branch `end` at step 24; not to be changed."""
    from riverrun.cli import main

    folder = tmp_path_factory.mktemp("grown")
    recipe, run = folder / "tiny.toml", folder / "run"
    recipe.write_text(TINY)
    assert main(["train", str(recipe), "--run", str(run), "--until", "20 steps", "--quiet"]) == 0
    assert main(["branch", str(run), "--length", "4 steps", "--name", "end", "--quiet"]) == 0
    return run


@pytest.fixture
def run(grown_once, tmp_path):
    """A copy of that run to do anything with."""
    shutil.copytree(grown_once, tmp_path / "run")
    return tmp_path / "run"


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@contextmanager
def served(content):
    with PageServer(0, content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server(grown_once):
    with served(Latest(Tree(grown_once))) as running:
        yield running


def ask(server, target="/", method="GET", hosts=None):
    """The response and its body; `hosts` are the Host headers, the usual one if not given."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for host in [f"127.0.0.1:{server.server_port}"] if hosts is None else hosts:
            connection.putheader("Host", host)
        connection.endheaders()
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def facts_of(content):
    return json.loads(content.facts)


def test_the_page_and_its_facts_are_what_it_serves(server, grown_once):
    response, page = ask(server)
    assert (response.status, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert page.lower().startswith(b"<!doctype html>")
    response, facts = ask(server, "/facts.json")
    assert (response.status, response.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    found = json.loads(facts)
    assert found["live"] is True
    assert [(node["id"], node["step"]) for node in found["nodes"]] == [("trunk", 20), ("end", 24)]


@pytest.mark.parametrize("target", ["/", "/facts.json", "/nothing"])
def test_every_answer_forbids_what_a_page_could_be_misused_for(server, target):
    response, body = ask(server, target)
    policy = response.headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in response.headers
    head, nothing = ask(server, target, "HEAD")
    assert (head.status, nothing) == (response.status, b"")
    assert head.headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize(
    "target",
    [
        "/../",
        "/..",
        "/../../../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/%2fetc%2fpasswd",
        "//etc/passwd",
        "/etc/passwd",
        "etc/passwd",
        "..",
        "file:///etc/passwd",
        "http://127.0.0.1/facts.json",
        "/trunk/node.json",
        "/trunk/metrics.jsonl",
        "/report.html",
        "/facts.json/../trunk/node.json",
        "/facts.json/",
        "/facts.json%00",
        "/?file=trunk/node.json",
        "/index.html",
        "/\\..\\..",
        "*",
    ],
)
def test_no_other_path_leads_anywhere(server, target):
    response, body = ask(server, target)
    assert (response.status, body) == (404, b"There is / and /facts.json.\n")


def test_the_path_of_a_file_that_is_there_leads_nowhere(server, grown_once):
    file = grown_once / "trunk/node.json"
    assert file.is_file()
    response, body = ask(server, str(file))
    assert (response.status, body) == (404, b"There is / and /facts.json.\n")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
def test_it_answers_to_the_names_of_this_machine_s_loopback(server, name):
    response, _ = ask(server, "/facts.json", hosts=[f"{name}:{server.server_port}"])
    assert response.status == 200


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [""],
        ["evil.example"],
        ["evil.example:{port}"],
        ["127.0.0.1"],
        ["127.0.0.1:1"],
        ["127.0.0.1:{port}.evil.example"],
        ["evil.example@127.0.0.1:{port}"],
        ["0.0.0.0:{port}"],
        ["127.0.0.1:{port}", "evil.example"],
        ["127.0.0.1:{port}", "127.0.0.1:{port}"],
    ],
)
@pytest.mark.parametrize("target", ["/", "/facts.json", "/nothing"])
def test_it_answers_to_no_other_name_by_which_a_web_page_could_read_along(server, target, hosts):
    hosts = [host.format(port=server.server_port) for host in hosts]
    response, body = ask(server, target, hosts=hosts)
    assert response.status == 403
    assert body.startswith(b"This page answers to 127.0.0.1:")
    assert b"evil" not in body


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"]
)
def test_it_can_only_be_read(server, method):
    response, body = ask(server, "/facts.json", method)
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
    assert body == b"This page can be read, by GET or HEAD, and nothing else.\n"


def test_it_lives_on_the_loopback_interface_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_port}/"
    with pytest.raises(OSError):  # another address of the same machine
        socket.create_connection(("127.0.0.2", server.server_port), timeout=1)


@pytest.mark.parametrize(
    "words", [b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n", b"GET / HTTP/9.9\r\n\r\n"]
)
def test_nonsense_gets_nothing_of_the_run_and_does_no_harm(server, words):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as connection:
        connection.sendall(words)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"trunk" not in answer
    assert ask(server)[0].status == 200


def test_it_reads_the_run_again_only_after_a_while_and_when_a_file_changed(run, monkeypatch):
    reads = []
    page_facts = latest.page_facts
    monkeypatch.setattr(latest, "page_facts", lambda *a, **k: reads.append(1) or page_facts(*a, **k))
    clock = Clock()
    page = Latest(Tree(run), clock)
    first = page.content()
    record = run / "trunk/metrics.jsonl"
    with record.open("a") as file:
        file.write(json.dumps({**read_records(record)[-1], "step": 21}) + "\n")
    clock.now = 1.9
    assert page.content() is first
    clock.now = 2.1
    assert facts_of(page.content())["nodes"][0]["step"] == 21
    clock.now = 100.0
    page.content()
    assert len(reads) == 2


def test_while_one_request_reads_the_run_others_get_what_there_is(run, monkeypatch):
    began, go_on = threading.Event(), threading.Event()
    clock = Clock()
    page = Latest(Tree(run), clock)
    first, page_facts = page.content(), latest.page_facts

    def slowly(*arguments, **options):
        began.set()
        assert go_on.wait(20)
        return page_facts(*arguments, **options)

    monkeypatch.setattr(latest, "page_facts", slowly)
    shutil.rmtree(run / "branches/end")
    clock.now = 10.0
    with ThreadPoolExecutor() as pool:
        reader = pool.submit(page.content)
        assert began.wait(20)
        assert page.content() is first
        go_on.set()
        assert [node["id"] for node in facts_of(reader.result())["nodes"]] == ["trunk"]


def tear_the_last_line(run):
    with (run / "trunk/metrics.jsonl").open("ab") as record:
        record.write(b'{"step": 21, "tok')


def cut_back_as_a_resume_does(run):
    record = run / "trunk/metrics.jsonl"
    shutil.rmtree(run / "trunk/checkpoints/00000020")
    lines = record.read_bytes().splitlines(keepends=True)
    record.write_bytes(b"".join(line for line in lines if json.loads(line)["step"] <= 16))


def remove_a_branch(run):
    shutil.rmtree(run / "branches/end")


def begin_a_branch(run):
    (run / "branches/new").mkdir()


def damage_a_branch(run):
    (run / "branches/end/node.json").write_text('{"form')


@pytest.mark.parametrize(
    ("change", "nodes"),
    [
        (tear_the_last_line, {"trunk": 20, "end": 24}),
        (cut_back_as_a_resume_does, {"trunk": 16, "end": 24}),
        (remove_a_branch, {"trunk": 20}),
        (begin_a_branch, {"trunk": 20, "end": 24}),
        (damage_a_branch, {"trunk": 20}),
    ],
)
def test_files_may_change_under_it(run, change, nodes):
    clock = Clock()
    page = Latest(Tree(run), clock)
    change(run)
    clock.now = 10.0
    assert {node["id"]: node["step"] for node in facts_of(page.content())["nodes"]} == nodes


def test_while_the_run_cannot_be_read_the_last_good_facts_stay_with_a_note(run):
    clock = Clock()
    page = Latest(Tree(run), clock)
    good = facts_of(page.content())
    moved = run.rename(run.with_name("moved"))
    for clock.now in (10.0, 20.0):
        facts = facts_of(page.content())
        assert facts["nodes"] == good["nodes"]
        assert facts["notes"][:-1] == good["notes"]
        assert facts["notes"][-1].startswith(
            f"This is what was known at {good['written']}; since then the run "
        )
        assert str(run) in facts["notes"][-1]
    moved.rename(run)
    clock.now = 30.0
    facts = facts_of(page.content())
    assert (facts["notes"], facts["nodes"]) == (good["notes"], good["nodes"])


def test_a_run_that_cannot_be_read_at_first_is_not_served(run):
    (run / "trunk/node.json").write_text("torn")
    with pytest.raises(RiverrunError):
        Latest(Tree(run))


def test_every_request_is_answered_while_the_record_is_written_and_cut_back(run):
    record = run / "trunk/metrics.jsonl"
    whole = record.read_bytes()
    lines = whole.splitlines(True)
    clock = Clock()
    with served(Latest(Tree(run), clock)) as server, ThreadPoolExecutor(4) as pool:
        asked = []
        for turn in range(24):
            clock.now += 10.0
            asked.append(pool.submit(ask, server, "/facts.json"))
            record.write_bytes(b"".join(lines[: 10 + turn % 5]) + lines[-1][:turn])
        for each in asked:
            response, body = each.result()
            assert response.status == 200
            assert json.loads(body)["nodes"][0]["id"] == "trunk"
