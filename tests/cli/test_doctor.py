"""`riverrun doctor`: whether this machine is ready."""

import json


def test_this_machine_is_ready(riverrun, here, files_below):
    before = files_below(here)
    found = json.loads(riverrun("doctor", "--json").out)
    assert found["ready"] is True
    names = [check["name"] for check in found["checks"]]
    assert {"python", "torch", "device", "fp32", "bf16", "disk"} <= set(names)
    assert len(names) == len(set(names))
    assert files_below(here) == before


def test_a_folder_that_cannot_be_written_fails_it_by_name(riverrun):
    for directory in ("nowhere", "tiny.toml"):
        ended = riverrun("doctor", "--directory", directory, "--json")
        assert ended.code == 1
        failed = [check for check in json.loads(ended.out)["checks"] if check["ok"] is False]
        assert [check["name"] for check in failed] == ["disk"]
        assert directory in failed[0]["found"]


def test_a_person_reads_lines(riverrun):
    ended = riverrun("doctor")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith("ready to train\n")
