"""MXNet finds the names that later releases removed; other modules are unaffected."""

import subprocess
import sys
import types

import mxnet as mx
import numpy as np
import pytest
from conftest import ROOT

from gluonlm.system import adaptation
from gluonlm.system.adaptation import names as tables


def python(code):
    """Run a program in a separate process and return its output."""
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", code],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def adapted(code):
    """Return a module whose code is adapted like MXNet's."""
    module = types.ModuleType("adapted")
    adaptation.adapt(module)
    exec(code, vars(module))
    return module


def test_other_modules_import_numpy_and_distutils_unchanged():
    names = [*tables.RENAMED, *tables.CONSTANTS, *tables.FINANCIAL, "in1d", "msort"]
    code = f"import numpy\nbefore = [name for name in {names} if name in dir(numpy)]\n"
    code += "import gluonlm, mxnet\nfrom mxnet import gluon, np, onnx, test_utils\n"
    code += f"after = [name for name in {names} if name in dir(numpy)]\nprint(before == after)\n"
    code += "import sys\nprint('distutils' in sys.modules, 'onnx.mapping' in sys.modules)\n"
    code += "print(numpy is sys.modules['numpy'])"
    assert python(code) == ["True", "False", "False", "True"]


@pytest.mark.parametrize("name", [*tables.RENAMED, *tables.CONSTANTS, "in1d", "msort"])
@pytest.mark.parametrize(
    "form", ["import numpy; n = numpy.{0}", "from numpy import {0} as n", "import numpy as np\n"
             "def late():\n    import numpy\n    return numpy.{0}\nn = late()"]
)  # fmt: skip
def test_an_adapted_module_finds_removed_names_by_any_import_of_numpy(name, form):
    found = adapted(form.format(name)).n
    if name in tables.CONSTANTS and name != "int":
        np.testing.assert_equal(found, tables.CONSTANTS[name])  # here NaN equals NaN
        assert np.signbit(found) == np.signbit(tables.CONSTANTS[name])
    elif name in vars(np):
        assert found is vars(np)[name]
    elif name in tables.RENAMED:
        assert found is getattr(np, tables.RENAMED[name])
    else:
        assert callable(found)


def test_an_adapted_module_imports_the_rest_of_numpy_unchanged():
    module = adapted(
        "import numpy as np, numpy.random as rnd, numpy.testing as npt\n"
        "from numpy.linalg import norm\nimport os.path as path"
    )
    assert module.np.ndarray is np.ndarray
    assert module.rnd is np.random
    assert module.npt is np.testing
    assert module.norm is np.linalg.norm
    assert module.path is __import__("os").path
    with pytest.raises(AttributeError):
        _ = module.np.no_such_name


def test_replaced_functions_agree_with_the_removed_ones():
    overlay = tables.OVERLAYS["numpy"]
    np.testing.assert_array_equal(overlay.in1d([[1, 2], [3, 1]], [1, 3]), [True, False, True, True])
    np.testing.assert_array_equal(overlay.in1d([1, 2], [1], invert=True), [False, True])
    np.testing.assert_array_equal(overlay.msort([[3, 1], [2, 4]]), [[2, 1], [3, 4]])
    assert overlay.core.numeric.normalize_axis_tuple(-1, 3) == (2,)
    for name in tables.FINANCIAL:
        with pytest.raises(NotImplementedError, match=f"numpy.{name} .*numpy_financial.{name}"):
            getattr(mx.np, name, getattr(overlay, name))(0.1)


def test_versions_compare_by_number():
    module = adapted("from distutils.version import LooseVersion, StrictVersion")
    assert module.LooseVersion("1.17") < module.LooseVersion("1.26.4") < module.LooseVersion("2.5")
    assert module.StrictVersion("10.0") > module.StrictVersion("9.1rc2")


def test_mxnet_imports_optional_libraries_when_it_uses_them():
    names = ["onnx", "requests", "scipy", "sklearn"]
    code = f"import sys, gluonlm, mxnet as mx\nprint([n for n in {names} if n in sys.modules])\n"
    code += "mx.nd.array([1]).asnumpy()\nprint('scipy' in sys.modules)\n"
    code += "csr = mx.nd.sparse.csr_matrix(([2.0], ([1], [0])), shape=(2, 2))\n"
    code += "from scipy.sparse import csr_matrix\nprint(csr.asscipy().sum())\n"
    code += "print(mx.nd.sparse.array(csr_matrix([[0, 3.0]])).asnumpy().tolist())\n"
    code += (
        "from mxnet.contrib import quantization as q\nprint(q.stats.entropy([0.5, 0.5]) > 0.69)\n"
    )
    code += "print(mx.gluon.utils.requests.get.__module__)"
    assert python(code) == ["[]", "False", "2.0", "[[0.0,", "3.0]]", "True", "requests.api"]


def test_a_library_that_is_not_installed_is_also_missing_for_mxnet():
    code = "import sys\nsys.modules['scipy'] = sys.modules['scipy.sparse'] = None\n"
    code += "import gluonlm, mxnet as mx\n"
    code += "csr = mx.nd.sparse.csr_matrix(([2.0], [0], [0, 1]), shape=(1, 1))\n"
    code += "try: csr.asscipy()\nexcept ImportError: print('missing')"
    assert python(code) == ["missing"]


OPERATORS = """
import inspect, threading, gluonlm, mxnet as mx
nd, sym = mx.nd, mx.sym
def code(f): return f.__code__.co_names
before = inspect.signature(nd.FullyConnected), code(nd.FullyConnected)
x, w = nd.array([[1.0, 2.0]]), nd.array([[3.0, 4.0], [5.0, 6.0]])
print(nd.FullyConnected(x, w, num_hidden=2, no_bias=True).asnumpy().tolist())
print(nd.FullyConnected(data=x, weight=w, num_hidden=2, no_bias=True).asnumpy().tolist())
print(inspect.signature(nd.FullyConnected) == before[0], code(nd.FullyConnected) == before[1])
print(nd.concat(x, x, dim=0).shape, nd.concat(*[x, x, x], dim=1).shape)
out = nd.zeros((1, 2))
print(nd.broadcast_add(x, x, out=out) is out, out.asnumpy().tolist())
print(sym.Concat(sym.var("a"), sym.var("b"), dim=1, name="c").list_arguments())
print(sym.FullyConnected(sym.var("a"), num_hidden=2, name="fc").list_arguments())
found = []
threads = [threading.Thread(target=lambda: found.append(nd.tanh(x).shape)) for _ in range(8)]
[t.start() for t in threads], [t.join() for t in threads]
print(found == [(1, 2)] * 8, nd.tanh.__name__, "Returns" in nd.tanh.__doc__)
"""


def test_operators_are_compiled_when_first_called_and_keep_their_signature():
    printed = " ".join(python(OPERATORS))
    assert printed == (
        "[[11.0, 17.0]] [[11.0, 17.0]] True False (2, 2) (1, 6) True [[2.0, 4.0]] "
        "['a', 'b'] ['a', 'fc_weight', 'fc_bias'] True tanh True"
    )
