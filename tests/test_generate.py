"""The generate command: flags reach the sampler."""

import re

import pytest
from conftest import TINY, assert_refused

from gluonlm.generate.sampling import beam_search, sample
from gluonlm.run.load import load_model
from gluonlm.vocab import Vocab

LENGTH = 30


@pytest.fixture
def generate(trained, command):
    """Run the command on a prompt with extra flags; return its output."""

    def run(*flags):
        flags = ["--prompt", "the ", "--length", LENGTH, *flags]
        code, out, err = command("generate", trained, *flags)
        assert (code, err) == (0, "")
        return out

    return run


@pytest.mark.parametrize(
    "args, name",
    [
        (["--prompt", "Ωmega"], "'Ω' at position 0"),
        (["--prompt", ""], "--prompt"),
        (["--temperature", "1e-11"], "temperature 1e-11"),
        (["--temperature", "nan"], "temperature nan"),
        (["--top-p", "0"], "top-p 0"),
        (["--top-k", "-1"], "top-k -1"),
        (["--length", "0"], "--length 0"),
        (["--beam", "0"], "--beam 0"),
        (["--beam", "2", "--repetition-penalty", "2"], "--repetition-penalty"),
        (["--repetition-penalty", "0.9"], "--repetition-penalty 0.9"),
        (["--no-repeat-ngram", "-1"], "--no-repeat-ngram -1"),
        (["--checkpoint", "worst"], "--checkpoint"),
        (["--prompt", "Ω", "--unknown", "skip"], "--prompt"),
    ],
)
def test_bad_requests_are_one_line(args, name, trained, command):
    assert_refused(command("generate", trained, *args), name)


def test_unknown_characters_can_be_skipped(trained, command):
    code, out, err = command(
        "generate", trained, "--prompt", "theΩ ", "--unknown", "skip", "--length", 3
    )
    assert (code, err) == (0, "")
    assert out.startswith("the ")
    assert len(out) == 8


def test_prompts_are_lowercased_like_the_text(text_file, tmp_path, command):
    assert (
        command("train", "--data", text_file, "--lower", "--run", tmp_path / "run", *TINY)[0] == 0
    )
    code, out, err = command("generate", tmp_path / "run", "--prompt", "THE", "--length", 2)
    assert (code, err) == (0, "")
    assert out.startswith("the")


@pytest.mark.parametrize(
    "flags, how",
    [
        (["--temperature", 0.01], dict(temperature=0.01)),
        (["--top-k", 2], dict(top_k=2)),
        (["--top-p", 0.1], dict(top_p=0.1)),
        (["--greedy"], dict(greedy=True)),
        (["--seed", 7], dict(seed=7)),
        (["--repetition-penalty", 3], dict(repetition_penalty=3)),
        (["--no-repeat-ngram", 2], dict(no_repeat_ngram=2)),
    ],
)
def test_text_is_sampled_with_the_flags(flags, how, trained, generate):
    model, checkpoint = load_model(trained)
    prompt = checkpoint.encode("the ")

    def text(**how):
        drawn = [int(ids[0]) for ids in sample(model, prompt, LENGTH, **how)]
        return "the " + checkpoint.vocab.typeset(drawn, prompt[-1]) + "\n"

    assert text(**how) != text()
    assert generate() == text()
    assert generate(*flags) == text(**how)


def test_several_texts_use_successive_seeds_and_a_line_separates_them(generate):
    alone = [generate("--seed", seed) for seed in (5, 6, 7)]
    assert len(set(alone)) == 3
    assert generate("--seed", 5, "--samples", 3) == ("-" * 20 + "\n").join(alone)


def test_a_beam_has_the_requested_width(trained, generate):
    model, checkpoint = load_model(trained)
    prompt, found = checkpoint.encode("the "), {}
    for width in (1, 4, 30):
        best, _ = beam_search(model, prompt, LENGTH, width)
        found[width] = "the " + checkpoint.vocab.typeset(list(map(int, best)), prompt[-1]) + "\n"
        assert generate("--beam", width) == found[width]
    assert len(set(found.values())) > 1


@pytest.mark.parametrize("flags", [["--samples", 2], ["--greedy"]])
def test_a_beam_finds_one_text(flags, trained, command):
    assert_refused(command("generate", trained, "--beam", 2, *flags), "--beam", *flags[:1])


def test_seed_zero_is_valid(generate):
    assert generate("--seed", 0) != generate("--seed", 1)


def test_without_a_prompt_only_the_generated_text_is_printed(trained, command):
    model, checkpoint = load_model(trained)
    drawn = sample(model, checkpoint.vocab.default_prompt(), LENGTH)
    expected = checkpoint.vocab.decode(int(ids[0]) for ids in drawn)
    assert command("generate", trained, "--length", LENGTH)[1] == expected + "\n"


def test_a_prompt_and_its_continuation_have_one_space_between():
    vocab = Vocab("word", ["<unk>", "<eos>", "it", "$", "5", ","])
    for prompt, expected in (([2, 3], "it $5,"), ([3, 2], "$it 5,"), ([], "5,")):
        spell = vocab.speller(prompt[-1] if prompt else None)
        assert vocab.typeset(prompt) + spell(4) + spell(5) == expected


def test_unknown_words_of_a_prompt_are_named(text_file, tmp_path, command):
    flags = ["--data", text_file, "--level", "word", "--tokenizer", "punctuation", "--lower"]
    assert command("train", *flags, *TINY, "--run", tmp_path / "run")[::2] == (0, "")
    prompt = ["--prompt", "The Zebra, out; zebra\x1b the", "--length", 2]
    code, out, err = command("generate", tmp_path / "run", *prompt)
    assert code == 0
    assert out.startswith("the <unk>")
    assert err.count("\n") == 1
    assert re.findall("'([^']*)'", err) == ["zebra", ";", "\\x1b"]
    assert "\x1b" not in err
    many = " ".join(f"x{n}" for n in range(5000))
    code, _, err = command("generate", tmp_path / "run", "--prompt", many, "--length", 2)
    assert (code, err.count("\n")) == (0, 1)
    assert "'x0', 'x1'" in err
    assert len(err) < 500
    assert command("generate", tmp_path / "run", "--prompt", "the ducks", "--length", 2)[2] == ""


def test_only_words_become_unknown():
    assert Vocab("char", ["a"]).unknown_words("ab") == []
    assert Vocab("word", ["a"]).unknown_words("a b") == []  # encoding raises
    vocab = Vocab("word", ["<unk>", "<eos>", "a"])
    assert vocab.unknown_words("a b <unk> c\nb") == ["b", "c"]
