"""Warnings where MXNet ignores a setting or changes an input without an error."""

import subprocess
import sys
from pathlib import Path

import pytest

import gluonlm

ROOT = Path(gluonlm.__file__).parent.parent
START = """
import warnings
from gluonlm import compat
import mxnet as mx
from mxnet import nd
from mxnet.gluon import loss, nn, rnn

def warned(call):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    return [w for w in found if issubclass(w.category, compat.IgnoredSettingWarning)]

def output(layer, *inputs):
    layer.initialize()
    return layer(*inputs).asnumpy()
"""
# a call that MXNet accepts although it ignores a part of it, the same call without that part
CALLS = {
    "dropout of a fused layer": (
        "output(rnn.LSTM(3, 2, dropout=0.5), nd.ones((4, 2, 3)))",
        "output(rnn.LSTM(3, 1, dropout=0.5), nd.ones((4, 2, 3)))",
    ),
    "dropout of a fused layer in a hybridized network": (
        "net = nn.HybridSequential(); net.add(rnn.GRU(3, 2, dropout=0.5)); net.hybridize()\n"
        "output(net, nd.ones((4, 2, 3)))",
        "net = nn.HybridSequential(); net.add(rnn.GRU(3, 2)); net.hybridize()\n"
        "output(net, nd.ones((4, 2, 3)))",
    ),
    "sequence lengths": (
        "output(rnn.LSTM(3, use_sequence_length=True), nd.ones((4, 2, 3)), None, nd.ones(2))",
        "output(rnn.LSTM(3), nd.ones((4, 2, 3)))",
    ),
    "the activation of an RNN": ("rnn.RNN(3)", "rnn.RNN(3, 1, 'relu')"),
    "an id above the vocabulary": (
        "output(nn.Embedding(4, 3), nd.array([0, 4]))",
        "output(nn.Embedding(4, 3), nd.array([0, 3]))",
    ),
    "an id below the vocabulary": (
        "output(nn.Embedding(4, 3), mx.np.array([-1.0, 0]))",
        "output(nn.Embedding(4, 3), mx.np.array([3.0, 0]))",
    ),
    "a target above the vocabulary": (
        "loss.SoftmaxCrossEntropyLoss()(nd.ones((2, 4)), nd.array([4, 1]))",
        "loss.SoftmaxCrossEntropyLoss()(nd.ones((2, 4)), nd.array([3, 1]))",
    ),
    "dense targets": (
        "loss.SoftmaxCrossEntropyLoss()(nd.ones((2, 4)), nd.array([4, 1]))",
        "loss.SoftmaxCrossEntropyLoss(sparse_label=False)(nd.ones((2, 4)), nd.ones((2, 4)) * 9)",
    ),
}


def python(code):
    subprocess.run([sys.executable, "-c", START + code], check=True, cwd=ROOT)


def function(name, source):
    return f"\ndef {name}():\n" + "".join(f"    {line}\n" for line in source.splitlines())


@pytest.mark.parametrize("name", CALLS)
def test_an_ignored_setting_is_reported_once_and_an_error_in_strict_mode(name):
    ignored, good = CALLS[name]
    np_array = "mx.npx.set_np()\n" if "mx.np" in ignored else ""
    python(
        np_array
        + function("ignored", ignored)
        + function("good", good)
        + "assert not warned(ignored), 'without a call nothing is checked'\n"
        "compat.apply(['warnings'])\n"
        "assert not warned(good)\n"
        "assert len(warned(ignored)) == 1 and not warned(ignored)\n"
        "assert compat.applied[0][0] == 'warnings'\n"
        "compat.strict()\n"
        "good()\n"
        "try:\n    ignored()\n"
        "except compat.IgnoredSettingError as error:\n    assert ';' in str(error)\n"
        "else:\n    assert False, 'no error'\n"
    )


def test_wrong_gradients_are_named():
    """MXNet's native path applies dropout but differentiates it wrongly."""
    python(
        "compat.apply(['warnings'])\n"
        "x = nd.ones((4, 2, 3), dtype='float64')\n"
        "found = warned(lambda: output(rnn.LSTM(3, 2, dropout=0.5, dtype='float64'), x))\n"
        "assert 'wrong gradients' in str(found[0].message)\n"
    )


def test_symbols_have_no_ids_to_check():
    python(
        "from gluonlm.compat import apply; apply(['warnings'])\n"
        "import mxnet as mx\n"
        "layer = mx.gluon.nn.HybridSequential(); layer.add(mx.gluon.nn.Embedding(3, 2))\n"
        "layer.initialize(); layer.hybridize()\n"
        "assert layer(mx.nd.ones(4)).shape == (4, 2)\n"
    )
