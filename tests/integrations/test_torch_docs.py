def test_the_page_runs_as_it_stands(run_snippets):
    found = run_snippets("integrations/torch.md")
    assert found["scheduler"].position == 360
    assert set(found["averager"].names) == {"ema-25", "ema-12.5"}
