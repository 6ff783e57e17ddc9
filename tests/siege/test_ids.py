"""Arguments in Python: any sequence of ids is accepted, and invalid arguments are rejected."""

import re

import mxnet as mx
import numpy as np
import pytest

import gluonlm
from gluonlm import (
    Config,
    Vocab,
    get_batch,
    load_corpus,
    load_model,
    rnn_batch,
    sample,
    score,
    windows,
)
from gluonlm.config import DataConfig, ModelConfig
from gluonlm.generate.sampling import beam_search
from gluonlm.models import Ensemble, RNNModel, UnrolledRNN, WindowModel, build_model
from gluonlm.models.loss import cross_entropy
from gluonlm.system.device import to_device
from gluonlm.system.errors import InputError


@pytest.mark.parametrize("make", [list, tuple, lambda ids: ids, np.array, bytearray])
def test_any_sequence_is_batched_like_an_array(make):
    streams = rnn_batch(make(range(11)), 2)
    assert streams.tolist() == [[0, 5], [1, 6], [2, 7], [3, 8], [4, 9]]
    inputs, targets = get_batch(streams, 1, 2)
    assert inputs.tolist() == [[1, 6], [2, 7]]
    assert targets.tolist() == [2, 7, 3, 8]
    inputs, targets = windows(make(range(5)), 3)
    assert inputs.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert targets.tolist() == [3, 4]


def test_pytorch_tensors_are_batched():
    torch = pytest.importorskip("torch")
    streams = rnn_batch(torch.arange(11), 2)
    assert streams.tolist() == rnn_batch(range(11), 2).tolist()
    assert not streams.is_contiguous()


@pytest.mark.parametrize("ids", [[0.0, 1.9, 2.0], np.arange(3.0), [0, 1, np.nan]])
def test_floats_are_rejected_everywhere(ids):
    model = RNNModel("gru", 3, 4, (5,)).prepare([mx.cpu()])
    for use in (
        lambda: rnn_batch(ids, 1),
        lambda: windows(ids, 1),
        lambda: to_device(np.array(ids), 3, mx.cpu()),
        lambda: score(model, np.array(ids)),
        lambda: next(sample(model, ids, 1)),
    ):
        with pytest.raises(InputError, match="float64"):
            use()


@pytest.mark.parametrize("wrong", [-1, 3, 1.0, "a", None, 2**70])
def test_invalid_ids_are_not_decoded(wrong):
    vocab = Vocab("char", "abc")
    assert vocab.decode([np.int32(0), 2]) == "ac"
    with pytest.raises(InputError, match=rf"^{re.escape(repr(wrong))} .* 0 to 2$"):
        vocab.decode([0, wrong])
    words = Vocab("word", ["<unk>", "<eos>", "a"])
    with pytest.raises(InputError, match=rf"^{re.escape(repr(wrong))} "):
        words.typeset([2, wrong])


NUMBERS = [-1, 1.5, np.nan, None, "2", True]
SAMPLING = {
    **{f"streams {value}": dict(streams=value) for value in (0, *NUMBERS)},
    **{f"length {value}": dict(length=value) for value in NUMBERS},
    **{f"seed {value}": dict(seed=value) for value in (-1, 1.5, "2")},
    **{f"top_k {value}": dict(top_k=value) for value in NUMBERS},
    **{f"no_repeat_ngram {value}": dict(no_repeat_ngram=value) for value in NUMBERS},
    **{
        f"{name} {value}": {name: value}
        for name in ("temperature", "top_p", "repetition_penalty")
        for value in (-1, np.nan, np.inf, None, "2")
    },
}
PROMPTS = [[], None, 3, "abc", b"ab", [[1, 2]], [[1], [1, 2]], [3], [-1], [np.nan], [True], [2**70]]


@pytest.fixture(scope="module")
def model():
    return RNNModel("gru", 3, 4, (5,)).prepare([mx.cpu()])


@pytest.mark.parametrize("given", SAMPLING.values(), ids=SAMPLING)
def test_impossible_arguments_of_sample_are_rejected_when_it_is_called(given, model):
    with pytest.raises(InputError, match=f"`{next(iter(given))}`"):
        sample(model, [1], **{"length": 2, **given})


@pytest.mark.parametrize("prompt", PROMPTS, ids=repr)
def test_impossible_prompts_and_texts_are_rejected(prompt, model):
    for use in (sample, beam_search, lambda model, ids, *_: score(model, ids)):
        with pytest.raises(InputError):
            use(model, prompt, 2, 1)


def test_prompts_may_be_any_sequence(model):
    texts = [[1, 2], (1, 2), np.array([1, 2]), range(1, 3), mx.nd.array([1, 2], dtype="int32")]
    found = [[int(ids[0]) for ids in sample(model, text, 5)] for text in texts]
    assert found == [found[0]] * len(texts)


@pytest.mark.parametrize("value", [0, *NUMBERS])
def test_impossible_sizes_of_batches_and_beams_are_rejected(value, model):
    streams = rnn_batch(range(10), 2)
    for use in (
        lambda: rnn_batch(range(4), value),
        lambda: get_batch(streams, 0, value),
        lambda: get_batch(streams, value or -1, 2),
        lambda: windows(range(4), value),
        lambda: windows(range(4), 2, value),
        lambda: score(model, [1, 2], seq_len=value),
        lambda: beam_search(model, [1], 2, value),
        lambda: beam_search(model, [1], value or -1, 2),
    ):
        with pytest.raises(InputError):
            use()


@pytest.mark.parametrize("data", [None, "abc", 3, [[1, 2], [3, 4]], [[1], [1, 2]], iter([1])])
def test_texts_of_other_shapes_are_not_batched(data):
    for use in (lambda: rnn_batch(data, 1), lambda: windows(data, 1)):
        with pytest.raises(InputError):
            use()


@pytest.mark.parametrize("data", [None, "abc", 3, [1, 2], [[1], [1, 2]], iter([1])])
def test_only_streams_have_batches(data):
    with pytest.raises(InputError):
        get_batch(data, 0, 1)


@pytest.mark.parametrize("ctx", [3, "tpu", [None], ["cpu"], {"cpu": 0}])
def test_contexts_are_checked(ctx, model, trained):
    for use in (lambda: load_model(trained, ctx=ctx), lambda: score(model, [1, 2], ctx)):
        with pytest.raises(InputError, match="`ctx`"):
            use()


def test_contexts_may_be_names_contexts_or_lists(model, trained):
    for ctx in ("cpu", mx.cpu(), [mx.cpu()], None):
        loaded, _ = load_model(trained, ctx=ctx)
        assert next(iter(loaded.parameters().values())).list_ctx() == [mx.cpu()]
        assert score(model, [1, 2], ctx).shape == (1,)


NETWORKS = {
    "kind": lambda: RNNModel("GRU", 5, 3, [4]),
    "no layer": lambda: RNNModel("gru", 5, 3, []),
    "no list": lambda: RNNModel("gru", 5, 3, 4),
    "empty layer": lambda: RNNModel("gru", 5, 3, [0]),
    "vocabulary": lambda: RNNModel("gru", 0, 3, [4]),
    "fraction": lambda: RNNModel("gru", 5, 3.5, [4]),
    "activation": lambda: RNNModel("rnn", 5, 3, [4], activation="sigmoid"),
    "separator": lambda: RNNModel("rnn", 5, 3, [4], separator=5),
    "unrolled size": lambda: UnrolledRNN(5, 3, 0),
    "unrolled window": lambda: UnrolledRNN(5, 3, 4, window=0),
    "unrolled activation": lambda: UnrolledRNN(5, 3, 4, activation="softsign"),
    "window size": lambda: WindowModel(5, 0, 3),
    "window": lambda: WindowModel(5, 4, -1),
    "representation": lambda: WindowModel(5, 4, 3, "one-hot"),
    "no networks": lambda: Ensemble([]),
    "one network": lambda: Ensemble(UnrolledRNN(5, 3, 4)),
    "two kinds": lambda: Ensemble([RNNModel("gru", 5, 3, [4]), RNNModel("lstm", 5, 3, [4])]),
    "two vocabularies": lambda: Ensemble([RNNModel("gru", v, 3, [4]) for v in (5, 6)]),
    "configuration": lambda: build_model(Config(), 5),
    "size of configuration": lambda: build_model(ModelConfig(), 0),
}
for name in ("dropout", "embed_dropout", "weight_drop", "word_dropout", "activation_reg"):
    for rate in (-0.1, np.nan, "a", 1 if name != "activation_reg" else np.inf):
        NETWORKS[f"{name} {rate}"] = lambda given={name: rate}: RNNModel("gru", 5, 3, [4], **given)


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_impossible_networks_are_rejected(make):
    with pytest.raises(InputError):
        make()


@pytest.mark.parametrize(
    "targets", [[0, 1, 5], [0, -1, 2], [0, 1], [[0, 1, 2]]], ids=["large", "negative", "few", "2-d"]
)
def test_the_loss_rejects_impossible_targets(targets):
    """MXNet wrote outside of the gradient, which ended the process."""
    with pytest.raises(InputError):
        cross_entropy(mx.nd.zeros((3, 5)), mx.nd.array(targets, dtype="int32"))


def test_the_loss_rejects_other_types():
    logits, targets = mx.nd.zeros((3, 5)), mx.nd.array([0, 1, 2])
    for given in ((logits, targets), (logits, [0, 1, 2]), (logits.asnumpy(), targets)):
        with pytest.raises(InputError):
            cross_entropy(*given)


def test_the_text_and_trainer_need_their_group_of_settings(model):
    for use in (
        lambda: load_corpus("book.txt"),
        lambda: load_corpus(Config()),
        lambda: load_corpus(vocab="abc"),
        lambda: gluonlm.Trainer(model, Config(), np.arange(99) % 3),
    ):
        with pytest.raises(InputError, match="Config"):
            use()


@pytest.mark.parametrize("wrong", [b"ab", None, 3, ["a"]])
def test_only_text_is_encoded(wrong, trained):
    subwords = Vocab.build(["the cat sat on the mat " * 20], "subword", 300)
    for vocab in (Vocab("char", "abc"), Vocab("word", ["<unk>", "a"]), subwords):
        with pytest.raises(InputError):
            vocab.encode(wrong)
    with pytest.raises(InputError):
        load_model(trained)[1].encode(wrong)
    for level in ("char", "word", "subword"):
        with pytest.raises(InputError):
            Vocab.build([wrong], level)


def test_a_vocabulary_is_built_from_a_string():
    assert Vocab.build("b a b", "word") == Vocab.build(["b a b"], "word")
    for given in (dict(level="letter"), dict(max_size=-1), dict(max_size=1.5)):
        with pytest.raises(InputError):
            Vocab.build(["a b"], **{"level": "word", **given})
    with pytest.raises(InputError, match="`unknown`"):
        Vocab("char", "abc").encode("abc", "ignore")


@pytest.mark.parametrize("level, size", [("char", 0), ("word", 0), ("subword", 300)])
def test_a_byte_order_mark_is_not_a_token(level, size, tmp_path):
    text = "the cat sat on the mat\n" * 20
    path = tmp_path / "marked.txt"
    path.write_text(text, encoding="utf-8-sig")
    marked = path.read_text(encoding="utf-8")
    assert marked[0] == "\ufeff"
    vocab = load_corpus(DataConfig(data=str(path), level=level, vocab_size=size)).vocab
    np.testing.assert_array_equal(vocab.encode(marked), vocab.encode(text))
    assert Vocab.build(marked, level, size) == Vocab.build(text, level, size)


def test_a_byte_order_mark_inside_a_text_is_kept():
    vocab = Vocab.build(["a\ufeffb"])
    assert vocab.decode(vocab.encode("\ufeffab")) == "\ufeffab"
    with pytest.raises(InputError, match="position 1"):
        Vocab("char", "ab").encode("a\ufeff")
    with pytest.raises(InputError, match="position 0"):
        Vocab("char", "ab").encode("\ufeffa", start=0)  # a part of a text


def test_library_errors_do_not_name_flags():
    for use in (
        lambda: Config.from_dict({"dropuot": 0.5}),
        lambda: Vocab("char", "ab").encode("c"),
        lambda: build_model(ModelConfig(model="window", tie_weights=True), 5),
        lambda: load_corpus(DataConfig(data="missing.txt")),
        lambda: windows([1], 1),
    ):
        with pytest.raises(InputError) as refused:
            use()
        assert not re.search(r"--[a-z]", str(refused.value))
