"""MXNet finds the names that later releases removed; every other module sees them unchanged."""

import subprocess
import sys
import types

import mxnet as mx
import numpy as np
import pytest
from conftest import ROOT

from gluonlm import compat


def python(code):
    """Run a program in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", code],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def adapted(code):
    """Return a module whose code ran as MXNet's does."""
    module = types.ModuleType("adapted")
    compat.adapt(module)
    exec(code, vars(module))
    return module


def test_other_importers_see_numpy_and_distutils_as_they_are():
    names = [*compat.RENAMED, *compat.CONSTANTS, *compat.FINANCIAL, "in1d", "msort"]
    code = f"import numpy\nbefore = [name for name in {names} if name in dir(numpy)]\n"
    code += "import gluonlm, mxnet\nfrom mxnet import gluon, np, onnx, test_utils\n"
    code += f"after = [name for name in {names} if name in dir(numpy)]\nprint(before == after)\n"
    code += "import sys\nprint('distutils' in sys.modules, 'onnx.mapping' in sys.modules)\n"
    code += "print(numpy is sys.modules['numpy'])"
    assert python(code) == ["True", "False", "False", "True"]


@pytest.mark.parametrize("name", [*compat.RENAMED, *compat.CONSTANTS, "in1d", "msort"])
@pytest.mark.parametrize(
    "form", ["import numpy; n = numpy.{0}", "from numpy import {0} as n", "import numpy as np\n"
             "def late():\n    import numpy\n    return numpy.{0}\nn = late()"]
)  # fmt: skip
def test_an_adapted_module_finds_each_removed_name_however_it_imports_numpy(name, form):
    found = adapted(form.format(name)).n
    if name in compat.CONSTANTS and name != "int":
        np.testing.assert_equal(found, compat.CONSTANTS[name])  # NaN is equal to NaN here
        assert np.signbit(found) == np.signbit(compat.CONSTANTS[name])
    elif name in vars(np):
        assert found is vars(np)[name]
    elif name in compat.RENAMED:
        assert found is getattr(np, compat.RENAMED[name])
    else:
        assert callable(found)


def test_an_adapted_module_imports_the_rest_of_numpy_as_everybody_does():
    module = adapted(
        "import numpy as np, numpy.random as rnd, numpy.testing as npt\n"
        "from numpy.linalg import norm\nimport os.path as path"
    )
    assert module.np.ndarray is np.ndarray and module.rnd is np.random
    assert module.npt is np.testing and module.norm is np.linalg.norm
    assert module.path is __import__("os").path
    with pytest.raises(AttributeError):
        _ = module.np.no_such_name


def test_replaced_functions_return_what_the_removed_ones_did():
    overlay = compat.numpy_overlay()
    np.testing.assert_array_equal(overlay.in1d([[1, 2], [3, 1]], [1, 3]), [True, False, True, True])
    np.testing.assert_array_equal(overlay.in1d([1, 2], [1], invert=True), [False, True])
    np.testing.assert_array_equal(overlay.msort([[3, 1], [2, 4]]), [[2, 1], [3, 4]])
    assert overlay.core.numeric.normalize_axis_tuple(-1, 3) == (2,)
    for name in compat.FINANCIAL:
        with pytest.raises(NotImplementedError, match=f"numpy.{name} .*numpy_financial.{name}"):
            getattr(mx.np, name, getattr(overlay, name))(0.1)


def test_versions_compare_by_number():
    module = adapted("from distutils.version import LooseVersion, StrictVersion")
    assert module.LooseVersion("1.17") < module.LooseVersion("1.26.4") < module.LooseVersion("2.5")
    assert module.StrictVersion("10.0") > module.StrictVersion("9.1rc2")
