import csv
import io
import random

from riverrun.compare.spreadsheet import results_csv


def read(text):
    return list(csv.DictReader(io.StringIO(text), strict=True))


def test_every_result_has_a_line_that_reads_back_to_its_numbers(simulate):
    simulated = simulate(("wsd", "cosine"))
    lines = read(results_csv(simulated.measured()))
    assert len(lines) == len(simulated.results)
    found = {
        (line["method"], line["budget"], int(line["seed"]), float(line["optimizer.peak_lr"])): line
        for line in lines
    }
    for result in simulated.results:
        line = found[result.method, result.budget, result.seed, result.point[0][1]]
        for measure in ("step", "tokens", "total_tokens", "loss", "select", "mean_lr"):
            value = getattr(result, measure)
            assert type(value)(line[measure]) == value
        before = result.before_decay
        assert line["loss_before_decay"] == (repr(before.loss) if before else "")


def test_lines_follow_the_plan_whatever_the_order_of_results(simulate):
    simulated = simulate(("wsd", "constant"), peaks=(0.008, 0.002))
    text = results_csv(simulated.measured(baseline=None))
    random.Random(0).shuffle(simulated.results)
    assert results_csv(simulated.measured(baseline=None)) == text
    lines = read(text)
    assert list(dict.fromkeys(line["method"] for line in lines)) == [
        method.name for method in simulated.methods
    ]
    assert [(line["optimizer.peak_lr"], line["seed"]) for line in lines[:4]] == [
        ("0.008", "0"),
        ("0.008", "1"),
        ("0.008", "2"),
        ("0.002", "0"),
    ]


def test_the_chosen_are_those_of_the_table(simulate):
    measured = simulate(("constant", "cosine")).measured()
    chosen = [line for line in read(results_csv(measured)) if line["chosen"] == "yes"]
    assert {(line["method"], line["optimizer.peak_lr"]) for line in chosen} == {
        ("constant", "0.002"),
        ("constant + ema-25", "0.004"),
        ("constant + ema-12.5", "0.004"),
        ("cosine", "0.004"),
    }
    assert len(chosen) == 4 * 4 * 3
