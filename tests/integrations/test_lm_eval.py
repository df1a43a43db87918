"""riverrun's decoder under lm-eval: what it answers is what the decoder says, and tasks are what their rules say."""

import functools
import json
import math
import random
import re
import socket
import sys

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from riverrun.data import Corpus, ingest
from riverrun.data.tokenizer import plain_bytes, train_bpe
from riverrun.errors import CorpusError, SettingError
from riverrun.models import Decoder, DecoderConfig
from riverrun.models.hugging_face import save_pretrained
from riverrun.train.engine import Engine

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from riverrun.integrations.lm_eval import DecoderLM, evaluate_tasks, load_tasks, loading, texts
from riverrun.integrations.lm_eval.model import windows
from riverrun.integrations.lm_eval.texts import Text, corpus_text, last_words, open_text

CONTEXT = 16
FP32 = Engine(torch.device("cpu"), "fp32", compile=False)
POEM = "riverrun, past Eve and Adam's, from swerve of shore to bend of bay — 日本"


def decoder(tokenizer, family="llama"):
    config = DecoderConfig(
        family=family, layers=2, width=32, heads=2, context=CONTEXT, vocabulary=tokenizer.vocabulary
    )
    return Decoder(config, seed=1)


@pytest.fixture(scope="module", params=["llama", "olmo"])
def model(request):
    """A decoder of each family that reads bytes."""
    return decoder(plain_bytes(), request.param)


def asked(kind, *arguments):
    return [Instance(request_type=kind, doc={}, arguments=each, idx=0) for each in arguments]


def document(text):
    return [256, *text.encode()]


def direct(model, context, continuation):
    """log p of a continuation, each of its tokens predicted by itself from the window that it is scored in."""
    tokens = [*document(context), *continuation.encode()]
    total = 0.0
    first = len(tokens) - len(continuation.encode())
    for start in range(first, len(tokens), CONTEXT):
        end = min(start + CONTEXT, len(tokens))
        for place in range(start, end):
            begin = max(0, end - 1 - CONTEXT)
            with torch.no_grad():
                logits = model(torch.tensor([tokens[begin:place]]))[0, -1]
            total += logits.double().log_softmax(-1)[tokens[place]].item()
    return total


PAIRS = {
    "short": ("past", " Eve"),
    "no context": ("", "riverrun"),
    "context beyond the window": (POEM, " bay"),
    "continuation as long as the window": ("Eve", POEM[:CONTEXT]),
    "continuation beyond the window": ("Eve and", POEM),
}


def test_a_likelihood_is_the_decoder_s_token_by_token(model):
    lm = DecoderLM(model, plain_bytes(), FP32, batch=2)
    answers = lm.loglikelihood(asked("loglikelihood", *PAIRS.values()), disable_tqdm=True)
    for (name, pair), (nats, _) in zip(PAIRS.items(), answers, strict=True):
        assert nats == pytest.approx(direct(model, *pair), abs=1e-4), name
    # A space before the seam belongs to the word behind it, as in all of lm-eval.
    [(moved, _)] = lm.loglikelihood(asked("loglikelihood", ("past ", "Eve")), disable_tqdm=True)
    assert moved == pytest.approx(answers[0][0], rel=1e-5)


def test_a_text_is_scored_as_a_document_every_token_once(model):
    lm = DecoderLM(model, plain_bytes(), FP32)
    whole = ["", "r", POEM[:CONTEXT], POEM, POEM * 3]
    answers = lm.loglikelihood_rolling(asked("loglikelihood_rolling", *((text,) for text in whole)))
    assert answers == pytest.approx([direct(model, "", text) for text in whole], abs=1e-3)
    assert answers[0] == 0


@given(st.integers(1, 20), st.lists(st.integers(0, 255), max_size=80), st.integers(1, 30))
def test_windows_hold_each_token_once_and_are_lm_eval_s_for_a_document(length, tokens, known):
    found = list(windows([256], tokens, length))
    theirs = map(make_disjoint_window, get_rolling_token_windows(tokens, 256, length, 1))
    assert [(inputs[: len(inputs) - len(targets) + 1], targets) for inputs, targets in found] == list(theirs)
    context = list(range(1000, 1000 + known))
    cut = list(windows(context, tokens, length))
    assert [target for _, targets in cut for target in targets] == tokens
    assert all(len(targets) <= len(inputs) <= length for inputs, targets in cut)
    assert all(inputs[len(inputs) - len(targets) + 1 :] == targets[:-1] for inputs, targets in cut)


def test_the_batch_does_not_change_the_answer(model):
    pairs = asked("loglikelihood", *PAIRS.values())
    answers = [
        DecoderLM(model, plain_bytes(), FP32, batch=batch).loglikelihood(pairs, True) for batch in (1, 3, 50)
    ]
    for one in zip(*answers, strict=True):
        assert [nats for nats, _ in one] == pytest.approx([one[0][0]] * 3, rel=1e-5)
        assert len({greedy for _, greedy in one}) == 1


@pytest.fixture(scope="module")
def speaker():
    """A decoder that has learnt one sentence, with what it speaks."""
    tokenizer = train_bpe([POEM] * 4, 300)
    model = decoder(tokenizer)
    tokens = torch.tensor(
        [[tokenizer.end_of_text, *tokenizer.encode("ab cd ef gh ij"), tokenizer.end_of_text]]
    )
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(60):
        model.loss(tokens[:, :-1], tokens[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return DecoderLM(model, tokenizer, FP32)


def test_a_text_is_continued_up_to_a_stop_or_its_end(speaker):
    kinds = {
        "whole": {},
        "stop": {"until": ["gh", "ef"]},
        "one stop": {"until": "ij"},
        "short": {"max_gen_toks": 3},
        "as others call it": {"max_tokens": 3},
        "sampled": {"do_sample": True, "temperature": 0.1, "top_k": 1},
    }
    answers = speaker.generate_until(asked("generate_until", *(("ab cd", kind) for kind in kinds.values())))
    assert dict(zip(kinds, answers, strict=True)) == {
        "whole": " ef gh ij",
        "stop": " ",
        "one stop": " ef gh ",
        "short": " ef",
        "as others call it": " ef",
        "sampled": " ef gh ij",
    }
    drawn = [
        ("ab cd", {"temperature": 1e3, **given}) for given in ({}, {"do_sample": True}, {"do_sample": False})
    ]
    unsaid, sampled, greedy = speaker.generate_until(asked("generate_until", *drawn))
    assert greedy == " ef gh ij"
    assert greedy not in (unsaid, sampled)
    with pytest.raises(SettingError, match=r"generation_kwargs.top_p: got 0.9"):
        speaker.generate_until(asked("generate_until", ("ab", {"do_sample": True, "top_p": 0.9})))


def test_greedy_is_what_the_model_would_write(speaker):
    asks = asked("loglikelihood", ("ab cd", " ef gh ij"), ("ab cd", " ef gh ik"))
    assert [greedy for _, greedy in speaker.loglikelihood(asks, disable_tqdm=True)] == [True, False]


def test_greedy_is_what_the_model_would_write_in_every_window():
    model = decoder(plain_bytes())
    torch.nn.init.zeros_(model.unembedding.weight)  # of equals the first is taken, whatever came before
    lm = DecoderLM(model, plain_bytes(), FP32)
    texts = ("\0" * 3 * CONTEXT, "a" + "\0" * 3 * CONTEXT, "\0" * 3 * CONTEXT + "a")
    answers = lm.loglikelihood(asked("loglikelihood", *(("a", text) for text in texts)), disable_tqdm=True)
    assert [greedy for _, greedy in answers] == [True, False, False]


def test_a_continuation_that_a_token_across_the_seam_takes_in_is_scored_all_the_same():
    tokenizer = train_bpe(["abab abab abab"] * 4, 258)
    assert len(tokenizer.encode("ab")) == 1
    lm = DecoderLM(decoder(tokenizer), tokenizer, FP32)
    [(nats, _)] = lm.loglikelihood(asked("loglikelihood", ("a", "b")), disable_tqdm=True)
    assert nats < -0.1


def test_passages_end_in_a_word_to_guess_among_four():
    filler = " ".join(["so"] * 31)
    endings = [" mornings", " evening", " summer!", " winter", " mornings", " a3b4c5", " few", "\tnights"]
    documents = ["\n".join(filler + ending for ending in endings), f"{filler} cut off before the end"]
    examples = list(last_words(Text("test", lambda: iter(documents)), None))
    assert [example["word"] for example in examples] == [
        "mornings",
        "evening",
        "summer",
        "winter",
        "mornings",
    ]
    for number, example in enumerate(examples):
        assert example["context"] == filler
        assert example["answer"] == number % 4
        assert example["choices"][example["answer"]] == example["word"]
        assert len(set(example["choices"])) == 4
    assert examples[1]["choices"] == ["summer", "evening", "winter", "mornings"]


def test_a_text_with_too_few_words_to_choose_among_is_told():
    with pytest.raises(CorpusError, match="gives 0 passages"):
        list(last_words(Text("notes.txt", lambda: iter(["too short"])), None))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A corpus of made-up words, and the texts that it was made of."""
    folder = tmp_path_factory.mktemp("corpus")
    chance = random.Random(0)
    words = ["".join(chance.choices("aeinorstéß", k=chance.randrange(2, 8))) for _ in range(100)]
    lines = [" ".join(chance.choices(words, k=chance.randrange(20, 90))) + ".\n" for _ in range(40)]
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    ingest([str(folder / "texts.jsonl")], folder / "corpus", tokenizer="bpe:300", held_out=0.4, workers=1)
    return folder / "corpus", lines


@pytest.mark.parametrize("block", [7, 2**20])
def test_the_documents_of_a_corpus_are_the_texts_that_it_was_made_of(block, corpus, monkeypatch):
    monkeypatch.setattr(texts, "_BLOCK", block)
    folder, lines = corpus
    opened = Corpus.open(folder)
    found = list(corpus_text(opened, "it").documents())
    assert len(found) == opened.documents["validation"] > 5
    assert set(found) <= set(lines)
    assert found == list(open_text(str(folder)).documents())


@pytest.fixture
def no_network(monkeypatch):
    """Whoever looks for another machine fails."""

    def refuse(*_, **__):
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("no_network")
def test_scores_of_local_tasks_are_those_of_likelihoods_by_hand(model, corpus, tmp_path):
    lm = DecoderLM(model, plain_bytes(), FP32)
    source = corpus_text(Corpus.open(corpus[0]), "it")
    examples = list(last_words(source, None))[:8]
    tasks = load_tasks(["perplexity", "last-word", "cloze"], tmp_path, text=source, limit=8)
    results = {result.task: result for result in evaluate_tasks(lm, tasks, limit=8)}
    scores = {
        task: {score.metric: (score.value, score.stderr) for score in result.scores}
        for task, result in results.items()
    }
    documents = list(source.documents())[:8]
    nats = sum(direct(model, "", text) for text in documents)
    bits, stderr = scores["perplexity"]["bits_per_byte"]
    assert bits == pytest.approx(
        -nats / sum(len(text.encode()) for text in documents) / math.log(2), rel=1e-5
    )
    assert stderr is None

    endings = [direct(model, example["context"], f" {example['word']}") for example in examples]
    assert scores["last-word"]["perplexity"][0] == pytest.approx(
        math.exp(-sum(endings) / len(endings)), rel=1e-4
    )
    right = [
        max(example["choices"], key=lambda word: direct(model, example["context"], f" {word}"))
        == example["word"]
        for example in examples
    ]
    share = sum(right) / len(right)
    assert scores["cloze"]["acc"] == pytest.approx((share, math.sqrt(share * (1 - share) / (len(right) - 1))))

    assert {(result.samples, result.few_shot) for result in results.values()} == {(8, 0)}
    assert all(result.version == "1" for result in results.values())


def test_a_model_that_has_come_apart_scores_infinity_and_is_right_no_more_often(corpus, tmp_path):
    """Words that are none, as where a text has no spaces, have perplexities too large for a number."""
    lost = decoder(plain_bytes())
    lost.unembedding.weight.data.mul_(1e4)
    source = corpus_text(Corpus.open(corpus[0]), "it")
    tasks = load_tasks(["perplexity", "last-word", "cloze"], tmp_path, text=source)
    for factor, expected in ((1.0, math.inf), (math.nan, math.nan)):
        lost.norm.weight.data.mul_(factor)
        results = evaluate_tasks(DecoderLM(lost, plain_bytes(), FP32), tasks, limit=8)
        scores = {(result.task, score.metric): score.value for result in results for score in result.scores}
        assert scores["perplexity", "word_perplexity"] == pytest.approx(expected, nan_ok=True)
        assert scores["last-word", "perplexity"] == pytest.approx(expected, nan_ok=True)
    assert scores["cloze", "acc"] == 0.25


def test_solved_examples_come_before_a_question(model, corpus, tmp_path, monkeypatch):
    heard = []
    score = DecoderLM._score
    monkeypatch.setattr(DecoderLM, "_score", lambda self, pairs: heard.extend(pairs) or score(self, pairs))
    source = corpus_text(Corpus.open(corpus[0]), "it")
    tasks = load_tasks(["last-word", "cloze", "perplexity"], tmp_path, text=source, few_shot=2)
    results = evaluate_tasks(DecoderLM(model, plain_bytes(), FP32), tasks, limit=3)
    assert {result.task: result.few_shot for result in results} == {
        "last-word": 2,
        "cloze": 2,
        "perplexity": 0,
    }
    examples = list(last_words(source, None))
    solved = {f"{example['context']} {example['word']}" for example in examples}
    for example in examples[:3]:
        asked_as = {bytes(context[1:]).decode() for context, _ in heard if context[1:]}
        [prompt] = {context for context in asked_as if context.endswith(example["context"])}
        *shots, question = prompt.split("\n\n")
        assert question == example["context"]
        assert len(shots) == 2
        assert set(shots) <= solved - {f"{example['context']} {example['word']}"}


def test_lm_eval_s_own_model_over_the_export_says_the_same(tmp_path):
    """But for end-of-text before a context, which its tokenizer has no word of."""
    hugging_face = pytest.importorskip("lm_eval.models.huggingface")
    tokenizer = plain_bytes()
    own = decoder(tokenizer)
    tokenizer.save(tmp_path / "tokenizer.json")
    save_pretrained(
        tmp_path / "export",
        own.config,
        own.state_dict(),
        tokenizer_file=tmp_path / "tokenizer.json",
        end_of_text=tokenizer.end_of_text,
    )
    theirs = hugging_face.HFLM(str(tmp_path / "export"), device="cpu", dtype="float32", batch_size=3)
    lm = DecoderLM(own, tokenizer, FP32)
    whole = asked("loglikelihood_rolling", *((text,) for text in ("r", POEM, POEM * 3)))
    expected = theirs.loglikelihood_rolling(whole, disable_tqdm=True)
    assert lm.loglikelihood_rolling(whole) == pytest.approx(expected, rel=1e-5)
    # A context longer than the window has lost its beginning anyhow.
    pairs = asked("loglikelihood", ("", "Eve"), (POEM, " bay"), (POEM, " and"))
    expected = [nats for nats, _ in theirs.loglikelihood(pairs, disable_tqdm=True)]
    assert [nats for nats, _ in lm.loglikelihood(pairs, disable_tqdm=True)] == pytest.approx(
        expected, rel=1e-5
    )


OWN_TASK = """\
task: rhymes
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}, cache_dir: {cache}}}
test_split: test
output_type: generate_until
doc_to_text: question
doc_to_target: answer
generation_kwargs: {{until: [" gh"], max_gen_toks: 8}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
filter_list:
  - name: stripped
    filter: [{{function: remove_whitespace}}, {{function: take_first}}]
"""


@pytest.fixture
def own_task(tmp_path):
    """A directory with a task file of one's own, and one that cannot be had."""
    folder = tmp_path / "own"
    folder.mkdir()
    rows = [{"question": "ab cd", "answer": "ef"}, {"question": "ab cd", "answer": "xy"}]
    (folder / "rhymes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = OWN_TASK.format(file=folder / "rhymes.jsonl", cache=tmp_path / "cache")
    (folder / "rhymes.yaml").write_text(task)
    (folder / "gone.yaml").write_text(task.replace("rhymes.jsonl", "gone.jsonl").replace("rhymes", "gone"))
    (folder / "metric.yaml").write_text(
        task.replace("exact_match", "exact_mitch").replace("rhymes\n", "metric\n")
    )
    (folder / "template.yaml").write_text(task.replace("answer", "'{{x'").replace("rhymes\n", "template\n"))
    (folder / "code.yaml").write_text(task.replace("task: rhymes", "task: code\nunsafe_code: true"))
    return folder


def test_a_task_file_of_one_s_own_by_name_and_by_path(speaker, own_task, tmp_path):
    for number, options in enumerate(
        ({"names": ["rhymes"], "include_path": own_task}, {"names": [str(own_task / "rhymes.yaml")]})
    ):
        (tmp_path / str(number)).mkdir()
        tasks = load_tasks(**options, scratch=tmp_path / str(number), note=lambda text: None)
        [result] = evaluate_tasks(speaker, tasks)
        [score] = result.scores
        assert (result.task, result.samples, score.metric) == ("rhymes", 2, "exact_match,stripped")
        assert (score.value, score.higher_is_better) == (0.5, True)
        assert score.stderr == pytest.approx(0.5)  # of two, one right


@pytest.fixture
def few_tasks(monkeypatch):
    """Without the thousands of lm-eval's own, which take seconds to read."""
    few = functools.partial(TaskManager, include_defaults=False)
    monkeypatch.setattr(loading, "TaskManager", lambda include_path, **_: few(include_path=include_path))


@pytest.mark.usefixtures("few_tasks")
def test_a_group_scores_the_mean_of_its_tasks(speaker, own_task, tmp_path):
    task = (own_task / "rhymes.yaml").read_text().replace("task: rhymes", "task: hard")
    (own_task / "hard.yaml").write_text(task.replace("max_gen_toks: 8", "max_gen_toks: 1"))
    metrics = "[{metric: exact_match, filter_list: stripped, weight_by_size: true}]"
    (own_task / "poems.yaml").write_text(
        f"group: poems\ntask: [rhymes, hard]\naggregate_metric_list: {metrics}\n"
    )
    told = []
    tasks = load_tasks(["poems"], tmp_path, include_path=own_task, note=told.append)
    results = evaluate_tasks(speaker, tasks)
    assert {result.task: (result.samples, result.scores[0].value) for result in results} == {
        "rhymes": (2, 0.5),
        "hard": (2, 0.0),
        "poems": (4, 0.25),
    }
    assert told == ["reading lm-eval's list of tasks", "loading poems"]


def test_two_tasks_of_one_name_are_refused(own_task, corpus, tmp_path):
    task = (own_task / "rhymes.yaml").read_text()
    for name in ("rhymes", "cloze"):
        (own_task / f"another-{name}.yaml").write_text(task.replace("task: rhymes", f"task: {name}"))
    one, two, own = (str(own_task / f"{name}.yaml") for name in ("rhymes", "another-rhymes", "another-cloze"))
    for names, complaint in {
        (one, two): f"--tasks {two}: the name of its task, rhymes, is also that of {one}; rename",
        ("cloze", own): f"--tasks {own}: the name of its task, cloze, is also that of riverrun's own; rename",
        (own,): f"--tasks {own}: the name of its task, cloze, is also that of riverrun's own; rename",
    }.items():
        with pytest.raises(SettingError, match=re.escape(complaint)):
            load_tasks(names, tmp_path, text=open_text(str(corpus[0])), note=lambda text: None)


@pytest.mark.usefixtures("few_tasks")
def test_what_cannot_be_loaded_is_told_in_a_line_with_a_way_out(own_task, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "evaluate", None)  # where unknown metrics are looked for, for seconds

    def complaint(name, **options):
        with pytest.raises((SettingError, CorpusError)) as told:
            load_tasks([name], tmp_path, note=lambda text: None, **options)
        assert "\n" not in str(told.value)
        return str(told.value)

    assert "no text to be made of; name one, as in cloze:FILE" in complaint("cloze")
    assert complaint("cloze:none.jsonl").startswith("source none.jsonl: no such file")
    (tmp_path / "empty.jsonl").write_text('{"text": "fine"}\n{"texts": "not"}\n')
    assert "empty.jsonl, line 2: no field 'text'" in complaint(f"perplexity:{tmp_path}/empty.jsonl")
    assert complaint("rhymed", include_path=own_task).endswith(
        "unknown name 'rhymed'; did you mean 'rhymes'?"
    )
    assert complaint("none.yaml") == "--tasks none.yaml: no such file"
    assert "exact_mitch" in complaint("metric", include_path=own_task)
    assert complaint(str(own_task / "template.yaml")).endswith("mend its task file")
    assert "lm-eval on the directory of riverrun export" in complaint("code", include_path=own_task)
    assert "is no directory" in complaint("rhymes", include_path=own_task / "rhymes.yaml")
    gone = complaint("gone", include_path=own_task)
    assert "need a network the first time. These need none: perplexity, last-word, cloze" in gone
