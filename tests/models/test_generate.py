import pytest
import torch

from riverrun.models import Decoder, generate


@pytest.fixture
def model(tiny):
    return Decoder(tiny(embedding_rows=64), seed=2)


def test_temperature_zero_takes_the_most_likely(model):
    ids = list(generate(model, [1, 2, 3], 5, temperature=0))
    text = [1, 2, 3]
    for token in ids:
        assert token == model(torch.tensor([text]))[0, -1, :61].argmax().item()
        text.append(token)


def test_one_choice_is_the_most_likely_choice(model):
    greedy = list(generate(model, [4], 8, temperature=0))
    assert list(generate(model, [4], 8, top_k=1, seed=9)) == greedy


def test_a_seed_is_a_text_and_the_global_generator_stays(model):
    state = torch.get_rng_state()
    texts = [list(generate(model, [1], 20, seed=seed)) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_rows_past_the_vocabulary_are_never_sampled(model):
    torch.nn.init.zeros_(model.unembedding.weight)  # every row equally likely
    assert max(generate(model, [0], 200)) < 61


def test_text_goes_on_past_the_context(model):
    assert len(list(generate(model, [1] * 60, 10))) == 10


def test_only_the_last_context_tokens_count(model):
    long = list(range(60))
    assert list(generate(model, long, 5, seed=3)) == list(generate(model, long[-48:], 5, seed=3))


def test_stops_at_a_stop_token_and_keeps_it_back(model):
    free = list(generate(model, [1], 30, seed=4))
    stop = free[10]
    assert list(generate(model, [1], 30, seed=4, stop={stop})) == free[: free.index(stop)]


def test_gradients_are_on_between_tokens(model):
    for _ in generate(model, [1], 2):
        assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("prompt_ids", {"prompt_ids": []}),
        ("prompt_ids", {"prompt_ids": [61]}),
        ("max_tokens", {"max_tokens": -1}),
        ("temperature", {"temperature": -0.1}),
        ("top_k", {"top_k": 0}),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(model, name, arguments):
    with pytest.raises(ValueError, match=f"^{name}: "):
        generate(model, **{"prompt_ids": [1], "max_tokens": 1, **arguments})
