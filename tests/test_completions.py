"""Texts generated side by side are those generated one by one, and end where they must."""

import json
import math

import numpy as np
import pytest
from conftest import TINY, assert_refused
from hypothesis import given
from hypothesis import strategies as st
from networks import MODELS, V, make

from gluonlm import native
from gluonlm.evaluate.cache import Cached, CacheSettings
from gluonlm.generate import completions
from gluonlm.generate.completions import Completion, Ends, Prompt, complete
from gluonlm.generate.sampling import beam_search, sample
from gluonlm.models import Ensemble
from gluonlm.run.load import load_model
from gluonlm.system.errors import InputError
from gluonlm.vocab import Vocab

LETTERS = Vocab("char", "abcdefghijk")
WORDS = Vocab("word", ["<unk>", "<eos>", "a", "b", "ab", "ba", ","])
PROMPTS = [[1], [2, 3, 4, 5, 6], [7, 7], [1], [0, 10, 3], [5] * 12, [8, 9]]


def completion(vocab, tokens, *stops, length=100, separator=None):
    """Return a completion of these tokens, and its pieces after each token."""
    nothing = np.empty(0, int)
    found = Completion(Prompt(nothing, nothing), 1, vocab, Ends(length, stops, separator))
    pieces = []
    for token in tokens:
        if not found.end:
            found.add(token)
            pieces.append(found.text)
    return found, pieces


def test_a_text_ends_before_a_stop_text_of_several_tokens():
    found, pieces = completion(LETTERS, LETTERS.encode("abcdefg"), "cde")
    assert (found.text, found.end, found.ids) == ("ab", "stop", [0, 1, 2, 3, 4])
    assert pieces == ["a", "ab", "ab", "ab", "ab"]  # "c" and "cd" are withheld


def test_withheld_text_is_released_if_no_stop_text_follows_or_the_length_is_reached():
    assert completion(LETTERS, LETTERS.encode("abcdbcde"), "cde")[1][4] == "abcdb"
    found, _ = completion(LETTERS, LETTERS.encode("abcd"), "cde", length=4)
    assert (found.text, found.end) == ("abcd", "length")


def test_the_stop_text_that_is_complete_first_ends_the_text():
    assert completion(LETTERS, LETTERS.encode("abcd"), "abcd", "bc")[0].text == "a"
    assert completion(LETTERS, LETTERS.encode("abcd"), "bc", "abc")[0].text == ""
    assert completion(WORDS, [2, 4], "ab", "b")[0].text == "a "


def test_a_separator_ends_the_text_and_is_not_part_of_it():
    found, _ = completion(LETTERS, [1, 2, 5, 3], separator=5)
    assert (found.text, found.end, found.ids) == ("bc", "document", [1, 2])


@given(
    st.lists(st.integers(1, 6), max_size=20),
    st.lists(st.text("ab ,\n", min_size=1, max_size=5), max_size=3),
)
def test_stop_texts_cut_the_complete_text_whatever_its_tokens_are(tokens, stops):
    text = WORDS.typeset(tokens)
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    found, pieces = completion(WORDS, tokens, *stops)
    if ends:
        assert (found.end, found.text) == ("stop", text[: min(ends)[1]])
        assert all(found.text.startswith(piece) for piece in pieces)
    else:
        assert found.end == ""
        assert text.startswith(found.text)
        withheld = text[len(found.text) :]
        assert not withheld or any(stop.startswith(withheld) for stop in stops)


def networks():
    yield "gru", make("gru", (40,))
    yield "lstm", make("lstm", (70, 30))
    yield "ensemble", Ensemble([make("gru"), make("gru")])
    yield "cache", Cached(make("gru", (40,)), CacheSettings(5, 0.3, 0.2))
    yield "window", MODELS["window onehot"]()


@pytest.mark.parametrize("name, model", networks())
@pytest.mark.parametrize(
    "how",
    [
        dict(),
        dict(greedy=True, stop="b"),
        dict(top_k=4, stop=("ca", "fg"), exclude=[2]),
        dict(repetition_penalty=1.5, no_repeat_ngram=2, separator=3),
    ],
)
def test_texts_do_not_depend_on_the_texts_generated_with_them(name, model, how, monkeypatch):
    together = [(c.ids, c.text, c.end) for c in complete(model, LETTERS, PROMPTS, 25, **how)]
    alone = []
    for number, prompt in enumerate(PROMPTS):
        (found,) = complete(model, LETTERS, [prompt], 25, seed=1 + number, **how)
        alone.append((found.ids, found.text, found.end))
    assert together == alone
    monkeypatch.setattr(completions, "MOST", 3)
    grouped = [(c.ids, c.text, c.end) for c in complete(model, LETTERS, PROMPTS, 25, **how)]
    assert grouped == alone
    if "exclude" in how:
        assert not any(2 in ids for ids, *_ in alone)


@pytest.mark.parametrize("how", [dict(temperature=0.7), dict(top_p=0.8, no_repeat_ngram=3)])
def test_texts_are_those_of_sample_with_successive_seeds(how):
    model = make("gru", (9,))
    found = [c.ids for c in complete(model, LETTERS, PROMPTS, 30, seed=4, **how)]
    for seed, (prompt, ids) in enumerate(zip(PROMPTS, found), 4):
        assert ids == [int(i[0]) for i in sample(model, prompt, 30, seed=seed, **how)]


def test_compiled_steppers_of_several_streams_agree_bit_for_bit():
    if native.load() is None:
        pytest.skip("no compiled kernels")
    model, ids = make("lstm", (70, 45)), np.random.default_rng(2).integers(0, V, (12, 64))
    steps = []
    for size in (2, 3, 7, 12, 13, 64):
        stepper = model.stepper(size)
        steps.append(np.array([stepper.step(row[:size])[:2] for row in ids]))
    assert all((step == steps[0]).all() for step in steps)


def test_prompts_are_read_in_batches_and_ended_streams_are_dropped(monkeypatch):
    monkeypatch.setattr(completions, "MOST", 8)
    read, sizes = [], []
    model = make()

    class Watched:
        window = None

        def stepper(self, streams):
            stepper = model.stepper(streams)
            step = stepper.step
            stepper.step = lambda ids: sizes.append(len(ids)) or step(ids)
            return stepper

    def prompts():
        for number in range(20):
            read.append(number)
            yield [number % V]

    texts = complete(Watched(), LETTERS, prompts(), 40, stop="a")
    next(texts)
    assert len(read) == 8
    assert len(list(texts)) == 19
    assert sizes[0] == 8
    assert {*sizes} - {8, 2} <= {4, 3}
    assert sum(sizes) < 8 * len(sizes)


def test_iterating_generates_a_text_while_it_is_read():
    found = next(complete(make(), LETTERS, [[1]], 10**9))
    pieces = iter(found)
    assert len("".join(next(pieces) for _ in range(5))) == len(found.ids) == 5


@pytest.mark.parametrize(
    "how",
    [
        dict(length=-1),
        dict(stop=""),
        dict(stop=[1]),
        dict(seed=-1),
        dict(temperature=math.nan),
        dict(top_k=-1),
    ],
)
def test_impossible_arguments_are_refused_before_generating(how):
    with pytest.raises(InputError, match="`"):
        complete(make(), LETTERS, [[1]], **{"length": 2, **how})


@pytest.mark.parametrize("prompts", [[[]], [[11]], [[1], [-1]], ["ab"]])
def test_invalid_prompts_are_refused(prompts):
    with pytest.raises(InputError):
        next(complete(make(), LETTERS, prompts, 2))


@pytest.mark.parametrize("bad", [[11], [-1], range(11)])
def test_invalid_ids_cannot_be_excluded(bad):
    with pytest.raises(InputError):
        sample(make(), [1], 3, exclude=bad)
    with pytest.raises(InputError):
        beam_search(make(), [1], 3, 2, exclude=bad)


@pytest.mark.parametrize("how", [dict(), dict(top_k=3), dict(greedy=True), dict(temperature=5.0)])
def test_excluded_ids_are_not_generated(how):
    model, excluded = make(), [0, 3, 7]
    assert {int(i) for ids in sample(model, [1], 90, streams=9, **how) for i in ids} & {*excluded}
    drawn = [i for ids in sample(model, [1], 90, streams=9, exclude=excluded, **how) for i in ids]
    assert not {int(i) for i in drawn} & {*excluded}
    assert not {*beam_search(model, [1], 40, 30, exclude=excluded)[0].tolist()} & {*excluded}


def test_temperature_zero_is_greedy():
    model = make()
    texts = [
        [int(ids[0]) for ids in sample(model, [1], 40, **how)]
        for how in (dict(temperature=0), dict(greedy=True))
    ]
    assert texts[0] == texts[1]


# the command


@pytest.fixture
def prompt_file(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("the \nlittle ducks went\nto\r\nout")
    return path


@pytest.fixture
def generate(trained, command):
    """Run the command with flags; return its output."""

    def run(*flags, run=trained):
        code, out, err = command("generate", run, "--length", 20, *flags)
        assert (code, err) == (0, ""), err
        return out

    return run


LINES = ["the ", "little ducks went", "to", "out"]


def test_a_file_of_prompts_gives_the_texts_of_single_prompts(generate, prompt_file):
    alone = [generate("--prompt", line, "--seed", 5 + n) for n, line in enumerate(LINES)]
    texts = generate("--prompts", prompt_file, "--seed", 5)
    assert texts == ("-" * 20 + "\n").join(alone)
    twice = generate("--prompts", prompt_file, "--samples", 2, "--separator", "\\f").split("\f")
    assert len(twice) == 8
    assert twice[3] + "\n" == generate("--prompt", LINES[1], "--seed", 4)


def test_json_lines_contain_prompt_text_length_seed_and_end(generate, prompt_file):
    records = [
        json.loads(line)
        for line in generate("--prompts", prompt_file, "--jsonl").split("\n")
        if line
    ]
    assert [record["prompt"] for record in records] == LINES
    assert [record["seed"] for record in records] == [1, 2, 3, 4]
    for record in records:
        alone = generate("--prompt", record["prompt"], "--seed", record["seed"])
        assert record["prompt"] + record["text"] + "\n" == alone
        assert (record["tokens"], record["end"]) == (20, "length")
    (greedy,) = generate("--jsonl", "--temperature", 0).splitlines()
    assert "seed" not in json.loads(greedy)


def test_the_command_stops_at_a_text(generate):
    text = generate("--prompt", "the ").removeprefix("the ")[:-1]
    stop = text[3:6]
    flags = ["--stop", stop, "--stop", "\\n\\t"[:2] + stop, "--jsonl", "--prompt", "the "]
    record = json.loads(generate(*flags))
    assert record["text"] == text[: text.index(stop)]
    assert (record["end"], record["tokens"]) == ("stop", text.index(stop) + 3)


def test_texts_without_an_end_are_counted(trained, command):
    flags = ["--stop", "the little ducks", "--length", 3, "--samples", 2]
    code, out, err = command("generate", trained, *flags)
    assert (code, err.count("\n")) == (0, 1)
    assert "2 of 2" in err
    assert out


def test_texts_are_written_to_a_file_that_is_not_replaced_by_accident(
    generate, trained, command, tmp_path
):
    out = tmp_path / "texts.txt"
    generate("--prompt", "the ", "--out", out)
    assert out.read_text() == generate("--prompt", "the ")
    before = out.read_bytes()
    assert_refused(command("generate", trained, "--out", out), str(out), "--overwrite")
    failed = command("generate", trained, "--out", out, "--overwrite", "--prompt", "Ω")
    assert_refused(failed, "Ω")
    assert out.read_bytes() == before
    generate("--samples", 3, "--separator", "\\n--\\n", "--out", out, "--overwrite")
    assert out.read_text().count("\n--\n") == 2


@pytest.mark.parametrize(
    "content, names",
    [
        (b"the\n\nout\n", ["line 2", "empty"]),
        (b"the\nout\xff\n", ["0xff", "offset 7", "--encoding"]),
        ("the\nto Ω\n".encode(), ["line 2", "'Ω' at position 3"]),
        (b"", ["empty"]),
        (b"the\0\n", ["NUL"]),
    ],
)
def test_bad_prompts_are_found_before_anything_is_printed(
    content, names, trained, command, tmp_path
):
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    assert_refused(command("generate", trained, "--prompts", path), *names)


def test_unknown_characters_of_prompts_can_be_skipped(generate, trained, command, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("theΩ \nΩto\n", encoding="utf-16")
    flags = ["--prompts", path, "--unknown", "skip", "--encoding", "utf-16", "--separator", "\\f"]
    texts = generate(*flags).split("\f")
    assert [text[:4] for text in texts][:1] == ["the "]
    assert texts[1].startswith("to")
    path.write_text("the\nΩ\n")
    refused = command("generate", trained, "--prompts", path, "--unknown", "skip")
    assert_refused(refused, "line 2", "no known token")


@pytest.mark.parametrize(
    "flags, names",
    [
        (["--prompts", "x", "--prompt", "the"], ["--prompt", "--prompts"]),
        (["--prompts", "x", "--dynamic", "sgd"], ["--dynamic", "--prompts"]),
        (["--prompts", "missing.txt"], ["missing.txt"]),
        (["--separator", "x"], ["--separator"]),
        (["--samples", 2, "--jsonl", "--separator", "x"], ["--separator", "--jsonl"]),
        (["--overwrite"], ["--overwrite", "--out"]),
        (["--encoding", "cp1252"], ["--encoding", "--prompts"]),
        (["--stop", ""], ["--stop"]),
        (["--stop", "Ω"], ["--stop", "Ω"]),
        (["--document"], ["--document", "--document-separator"]),
        (["--no-unk"], ["--no-unk"]),
        (["--temperature", 0, "--samples", 2], ["--samples", "--greedy"]),
        (["--beam", 2, "--temperature", 0], ["--greedy", "--beam"]),
        (["--out", "no/such/folder/x"], ["no/such/folder"]),
    ],
)
def test_flags_without_effect_are_refused(flags, names, trained, command):
    assert_refused(command("generate", trained, *flags), *names)


def test_a_beam_is_cut_at_a_stop_text(generate):
    text = generate("--prompt", "the ", "--beam", 3)[4:-1]
    record = json.loads(generate("--prompt", "the ", "--beam", 3, "--stop", text[2:4], "--jsonl"))
    assert record["text"] == text[: text.index(text[2:4])]


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """A run on documents that are lines."""
    from gluonlm.train.__main__ import main

    folder = tmp_path_factory.mktemp("documents")
    (folder / "names.txt").write_text("".join(f"{a}{b}n\n" for a in "bcdf" * 40 for b in "aeio"))
    flags = ["--data", folder / "names.txt", "--document-separator", "\\n", *TINY]
    main([*map(str, flags), "--run", str(folder / "run")])
    return folder / "run"


def test_complete_documents_begin_and_end_at_the_separator(documents, generate, command):
    model, checkpoint = load_model(documents)
    (mark,) = checkpoint.vocab.encode("\n")

    def expected(prompt, seed):
        ids = [int(i[0]) for i in sample(model, [mark, *prompt], 300, seed=seed)]
        return checkpoint.vocab.decode(ids[: ids.index(mark)])

    lines = generate(
        "--document", "--samples", 4, "--separator", "\\n", "--length", 300, run=documents
    )
    assert lines.split("\n") == [*(expected([], seed) for seed in (1, 2, 3, 4)), ""]
    prompt = checkpoint.vocab.encode("ba")
    flags = ["--document", "--prompt", "ba", "--jsonl", "--seed", 3, "--length", 300]
    record = json.loads(generate(*flags, run=documents))
    assert (record["text"], record["end"]) == (expected(prompt, 3), "document")
    assert record["tokens"] == len(record["text"])


def test_unk_is_never_written(text_file, tmp_path, command):
    flags = ["--data", text_file, "--level", "word", "--vocab-size", 8, *TINY]
    assert command("train", *flags, "--run", tmp_path / "run")[::2] == (0, "")
    how = ["--length", 60, "--samples", 3]
    assert "<unk>" in command("generate", tmp_path / "run", *how)[1]
    code, out, err = command("generate", tmp_path / "run", *how, "--no-unk")
    assert (code, err) == (0, "")
    assert "<unk>" not in out
    code, out, _ = command("generate", tmp_path / "run", "--beam", 4, "--length", 30, "--no-unk")
    assert code == 0
    assert "<unk>" not in out


def test_unknown_words_of_all_prompts_are_named_once(text_file, tmp_path, command):
    flags = ["--data", text_file, "--level", "word", *TINY, "--run", tmp_path / "run"]
    assert command("train", *flags)[::2] == (0, "")
    (tmp_path / "prompts.txt").write_text("the zebra\nthe yak\nthe zebra\n")
    flags = ["--prompts", tmp_path / "prompts.txt", "--length", 2]
    code, _, err = command("generate", tmp_path / "run", *flags)
    assert (code, err.count("\n"), err.count("zebra"), err.count("yak")) == (0, 1, 1, 1)
