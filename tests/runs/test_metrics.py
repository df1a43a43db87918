import json

from hypothesis import given
from hypothesis import strategies as st

from riverrun.runs.metrics import MetricsLog, append_record, read_records, to_json


def written(path, steps):
    for step in steps:
        append_record(path, {"step": step, "loss/train": 1.0 / step})


def test_a_resume_cuts_the_record_back_to_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    written(path, [10, 20, 30, 40])
    log = MetricsLog(path, step=25)
    log.append({"step": 30, "loss/train": 0.5})
    log.close()
    assert [(r["step"], r["loss/train"]) for r in read_records(path)] == [(10, 0.1), (20, 0.05), (30, 0.5)]


def test_a_torn_line_is_left_out_and_overwritten(tmp_path):
    path = tmp_path / "metrics.jsonl"
    written(path, [10, 20])
    with path.open("a") as file:
        file.write('{"step": 30, "loss')
    assert [r["step"] for r in read_records(path)] == [10, 20]
    log = MetricsLog(path, step=30)
    log.append({"step": 40})
    log.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10, 20, 40]


def test_a_record_goes_on_after_a_torn_line(tmp_path):
    path = tmp_path / "evaluations.jsonl"
    written(path, [10, 20])
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 5)
    append_record(path, {"step": 30})
    assert [r["step"] for r in read_records(path)] == [10, 30]


def test_floats_survive_exactly(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_record(path, {"step": 1, "loss/train": 0.1 + 0.2})
    assert read_records(path)[0]["loss/train"] == 0.1 + 0.2


def test_what_a_full_disk_does_not_take_waits_and_comes_in_order(tmp_path):
    class FullDisk:
        def __init__(self, file):
            self.file, self.room = file, 30

        def write(self, content):
            if not self.room:
                raise OSError(28, "No space left on device")
            taken = content[: self.room]
            self.room -= len(taken)
            return self.file.write(taken)

    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, 0)
    disk = log._file
    log._file = FullDisk(disk)
    for step in (1, 2, 3):
        try:
            log.append({"step": step, "loss": 1.0})
        except OSError:
            assert step > 1
    assert [record["step"] for record in read_records(path)] == [1]
    log._file = disk
    log.sync()
    log.close()
    assert read_records(path) == [{"step": step, "loss": 1.0} for step in (1, 2, 3)]


def one_by_one(path):
    """All whole lines up to the first that is torn, each parsed by itself."""
    found = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


numbers = st.none() | st.integers(0, 2**60) | st.floats(allow_nan=False, allow_infinity=False)
records = st.lists(
    st.dictionaries(st.sampled_from(["step", "loss/raw", 'ü"\\']), numbers | st.text(), min_size=1)
)


@given(records, st.integers(0, 30))
def test_a_record_read_at_once_is_its_lines_wherever_it_is_torn(tmp_path_factory, records, torn):
    path = tmp_path_factory.getbasetemp() / "lines.jsonl"
    content = "".join(to_json(record) + "\n" for record in records).encode()
    path.write_bytes(content[: max(0, len(content) - torn)])
    assert read_records(path) == one_by_one(path)


def test_lines_end_at_the_first_that_is_damaged(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": \x00\n{"step": 3}\n')
    assert read_records(path) == one_by_one(path) == [{"step": 1}]
    path.write_bytes(b'{"step": 1}\n{"step": 2\n"tokens": 3}\n')  # two that make one together
    assert read_records(path) == [{"step": 1}]
    assert read_records(tmp_path / "none") == []
