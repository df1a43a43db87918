"""The theory lab as a user calls it."""

import json

import pytest

from riverrun.theory.claims import CLAIMS
from riverrun.verification import Claim, Measurement


def test_rates_are_a_table_and_a_figure(riverrun, here):
    ended = riverrun("theory", "rates", "--source", "4.5", "--gammas", "0", "0.5", "0.8")
    assert (ended.code, ended.err) == (0, "")
    assert "best gamma max(0, min(1/2, 1 - a/b)) = 0.5" in " ".join(ended.out.split()).replace("Best", "best")
    assert "published max(0, 1 - a/b) = 0.667: with b > 2a they differ" in " ".join(ended.out.split())
    assert (here / "theory" / "rates-1.5-4.5.png").read_bytes().startswith(b"\x89PNG")


def test_rates_as_json(riverrun, here):
    found = json.loads(riverrun("theory", "rates", "--gammas", "0", "0.4", "--json").out)
    assert found["best_gamma"] == pytest.approx(0.4)
    assert found["slopes"][1]["averaged"] == pytest.approx(
        found["slopes"][1]["predicted"]["averaged"], abs=0.02
    )
    assert not (here / "theory").exists()


def test_a_comparison_is_a_table_and_a_figure(riverrun, here):
    ended = riverrun("theory", "compare", "--horizons", "64", "256", "1024", "--out", "figures")
    assert ended.code == 0
    assert "constant + tail-0.5" in ended.out
    assert (here / "figures" / "compare-1.5-2.5.png").exists()


def test_figure_3_has_six_panels(riverrun, here):
    found = json.loads(riverrun("theory", "figure3", "--workers", "1", "--json").out)
    assert [(panel["capacity"], panel["source"]) for panel in found["panels"]][:2] == [(1.1, 1.1), (1.1, 2.2)]
    assert len(found["panels"]) == 6


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("rates", "--capacity", "0.9"), "--capacity: got 0.9; must be more than 1"),
        (("rates", "--gammas", "0.3", "1.5"), "--gammas: got 1.5; must be at least 0 and less than 1"),
        (
            ("compare", "--source", "1"),
            "--source: got 1.0; must be more than 1, or the risk at w = 0 is infinite",
        ),
        (("compare", "--horizons", "64", "32"), "--horizons: got [64, 32]; must increase, from 16"),
        (("compare", "--horizons", "-5"), "--horizons: got [-5]; must increase, from 16"),
        (("compare", "--noise", "0"), "--noise: got 0; must be more than 0"),
        (("compare", "--average", "tial:0.2"), "--average: got 'tial:0.2'"),
        (("figure3", "--workers", "0"), "--workers: got 0; must be at least 1"),
        (("verify", "--only", "C99"), "theory verify --only: there is no claim 'C99'"),
        (("fit", "nowhere"), "nowhere: is no run of riverrun"),
    ],
)
def test_wrong_arguments_are_one_line(riverrun, here, arguments, complaint):
    assert riverrun("theory", *arguments).complaint.startswith(complaint)


def test_verify_prints_value_bounds_and_verdict(riverrun, here):
    ended = riverrun("theory", "verify", "--only", "C3")
    assert ended.code == 0
    assert "C3   holds" in ended.out
    assert "allowed" in ended.out
    assert "1 claims, 8 measurements: all hold. 13 left out" in ended.out


def test_verify_as_json_names_every_measurement(riverrun, here):
    found = json.loads(riverrun("theory", "verify", "--only", "C3", "--json").out)
    assert found["holds"] is True
    assert len(found["claims"][0]["measurements"]) == 8


def test_a_claim_that_fails_is_told_and_is_the_exit_code(riverrun, here, monkeypatch):
    wrong = Claim(
        number="C1", statement="Pigs fly", measure=lambda: [Measurement(what="height", value=0.0, low=1.0)]
    )
    monkeypatch.setattr("riverrun.theory.claims.CLAIMS", (wrong, *CLAIMS[2:3]))
    ended = riverrun("theory", "verify")
    assert ended.code == 1
    assert "C1   FAILS  Pigs fly" in ended.out
    assert "! height: 0, allowed >= 1" in ended.out
    assert "C1 fails" in ended.out


def test_exponents_of_a_run(riverrun, run):
    ended = riverrun("theory", "fit", "run", "--after", "0.05")
    assert ended.code == 0, ended.err
    assert "(b-1)/a, how fast the bias falls" in ended.out
    assert "a hint for what to try, no more" in " ".join(ended.out.split())
    found = json.loads(riverrun("theory", "fit", "run", "--after", "0.05", "--json").out)
    assert found["points"] == sum(found["curves"].values())


def test_a_run_too_short_to_fit_is_told(riverrun, run):
    assert "to fit exponents; train longer" in riverrun("theory", "fit", "run", "--after", "0.9").complaint
