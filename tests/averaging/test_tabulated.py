import numpy as np
import pytest

from riverrun.averaging import Tabulated, Tail, parse_profile, read_profile


@pytest.fixture
def table(tmp_path):
    """A function that writes a table and gives its path."""

    def write(text, name="mine.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_text(text, encoding=encoding)
        return str(path)

    return write


def test_each_weight_is_shared_by_the_iterates_since_the_row_before(table):
    profile = read_profile(table("step,weight\n2,1\n3,0\n6,3\n"))
    np.testing.assert_allclose(profile.weights(6), [0.125, 0.125, 0, 0.25, 0.25, 0.25])


def test_later_iterates_than_the_table_holds_have_no_weight(table):
    profile = read_profile(table("step,weight\n2,1\n4,3\n"))
    np.testing.assert_allclose(profile.weights(6), [0.125, 0.125, 0.375, 0.375, 0, 0])
    assert float(profile.cumulative(6, 6)) == 1


def test_earlier_the_table_is_cut_off(table):
    np.testing.assert_allclose(read_profile(table("step,weight\n2,1\n4,3\n")).weights(3), [0.2, 0.2, 0.6])


@pytest.mark.parametrize("t", [10, 100, 12_345])
def test_fractions_serve_any_position(table, t):
    profile = read_profile(table("fraction,weight\n0.8,0\n1,7\n"))
    np.testing.assert_allclose(profile.weights(t), Tail(0.2).weights(t), atol=1e-12)


def test_only_ratios_count(table):
    one, other = (read_profile(table(f"step,weight\n1,{w}\n2,{3 * w}\n", f"{w}.csv")) for w in (1, 1e-3))
    np.testing.assert_allclose(one.weights(2), other.weights(2))


def test_a_path_is_a_spec(table):
    path = table("step,weight\n2,1\n")
    profile = parse_profile(path)
    assert profile == Tabulated(path, "step", (2.0,), (1.0,))
    assert profile.name == "file-mine"
    assert parse_profile(f" {path} ") == profile
    assert parse_profile(profile.spec) == profile
    assert not profile.nested


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(
    "text", ["step,weight\r\n2,1\r\n", " step , weight\n\n2, 1\n\n", '"step","weight"\n"2","1"']
)
def test_as_spreadsheets_write_it(table, text, encoding):
    profile = read_profile(table(text, encoding=encoding))
    assert (profile.unit, profile.positions, profile.shares) == ("step", (2.0,), (1.0,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"mine.csv is empty; must begin with the line step,weight"),
        ("step,weight\n", "the column step must increase from above 0"),
        ("2,1\n3,1\n", r"mine.csv: got the columns '2,1'; must be step,weight or fraction,weight"),
        ("position,weight\n2,1\n", "got the column 'position'; must be step or fraction"),
        ("step,weight\n2,one\n", r"mine.csv, row 1: got '2,one'; must be two numbers"),
        ("step,weight\n2,1\n3\n", r"row 2: got '3'; must be two numbers"),
        ("step,weight\n2,1,5\n", r"row 1: got '2,1,5'; must be two numbers"),
        ("step,weight\n2,1\n2,1\n", "the column step must increase"),
        ("step,weight\n3,1\n2,1\n", "the column step must increase"),
        ("step,weight\n0,1\n2,1\n", "must increase from above 0"),
        ("step,weight\n-1,1\n2,1\n", "must increase from above 0"),
        ("step,weight\nnan,1\n", "must increase from above 0"),
        ("step,weight\n2,1\ninf,1\n", "must increase from above 0"),
        ("fraction,weight\n0.5,1\n1.5,1\n", r"got the fraction 1.5; must be at most 1"),
        ("step,weight\n2,-1\n3,2\n", "weights must be numbers, none below 0 and not all 0"),
        ("step,weight\n2,nan\n", "weights must be numbers"),
        ("step,weight\n2,inf\n", "weights must be numbers"),
        ("step,weight\n2,0\n", "not all 0"),
        ("step,weight\n" + "1" * 200_000 + ",1\n", "cannot be read"),
    ],
)
def test_wrong_tables_are_answered_in_one_line(table, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_profile(table(text))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"profile: .*none.csv cannot be read \(.*No such file"):
        parse_profile(str(tmp_path / "none.csv"))
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match=r"binary.csv cannot be read"):
        parse_profile(str(tmp_path / "binary.csv"))


def test_a_position_before_all_weight(table):
    profile = read_profile(table("step,weight\n100,0\n200,1\n"))
    assert profile.weights(150)[:100].sum() == 0
    with pytest.raises(ValueError, match="holds no weight up to position 100; name a later one"):
        profile.weights(100)
