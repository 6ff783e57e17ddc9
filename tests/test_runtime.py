"""Process setup and device discovery; GPUs are simulated."""

import os
import re
import signal
import sys
import types

import mxnet as mx
import numpy as np
import pytest
from conftest import start

from gluonlm.system import device, preflight, runtime
from gluonlm.system.errors import InputError


def python(code, **env):
    process = start("-c", code, env=env)
    out, err = process.communicate()
    return process.returncode, out.strip(), err.strip()


def test_importing_gluonlm_sets_nothing_until_mxnet_is_imported(monkeypatch):
    code = (
        "import os, gluonlm; before = os.environ.get('OMP_NUM_THREADS'); import mxnet as mx; "
        "print(before, os.environ['OMP_NUM_THREADS'], mx.nd.ones(2).sum().asscalar())"
    )
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert python(code) == (0, f"None {runtime.physical_cores()} 2.0", "")


def test_finding_mxnets_spec_sets_nothing(monkeypatch):
    code = (
        "import importlib.util, os, gluonlm; found = importlib.util.find_spec('mxnet'); "
        "print(bool(found), os.environ.get('OMP_NUM_THREADS'))"
    )
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert python(code) == (0, "True None", "")


def test_mxnet_does_not_import_scikit_learn():
    code = (
        "import sys, gluonlm, mxnet; print('sklearn' in sys.modules, 'scipy.stats' in sys.modules);"
        "import scipy.stats, sklearn; print(scipy.stats.norm.cdf(0), mxnet.nd.ones(1).asscalar())"
    )
    assert python(code) == (0, "False False\n0.5 1.0", "")
    code = "import sklearn, gluonlm, mxnet; import sys; print(sys.modules['sklearn'] is sklearn)"
    assert python(code) == (0, "True", "")


# a training step; shapes of NumPy's integers and exact metrics need the adapted modules
STEP = """
import os
import gluonlm
import mxnet as mx, numpy as np
from mxnet import autograd, gluon
network = gluon.rnn.GRU(4, input_size=3)
network.initialize()
trainer = gluon.Trainer(network.collect_params(), "adam")
before = network.l0_i2h_bias.data().asnumpy()
with autograd.record():
    loss = network(mx.nd.ones((2, 3, 3))).sum()
loss.backward()
trainer.step(1)
changed = (network.l0_i2h_bias.data().asnumpy() != before).all()
print(changed, mx.nd.zeros((np.int64(2), np.int32(1))).shape, os.environ["OMP_NUM_THREADS"])
"""
FAILING = (
    "def fail(name):\n    try: __import__(name)\n    except Exception as error: print('failed')\n"
)


def fails_without_gluonlm():
    return np.__version__ >= "2" or sys.version_info >= (3, 12)


@pytest.mark.skipif(not fails_without_gluonlm(), reason="MXNet needs no adapting here")
@pytest.mark.parametrize("names", [["mxnet"], ["mxnet", "mxnet"], ["mxnet.gluon"], ["gluonnlp"]])
def test_mxnet_is_imported_again_after_a_failed_import(names, monkeypatch):
    if "gluonnlp" in names:
        pytest.importorskip("gluonnlp")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    code = FAILING + "".join(f"fail({name!r})\n" for name in names) + STEP
    if "gluonnlp" in names:
        code += "import gluonnlp"
    failed = "failed\n" * len(names)
    expected = f"{failed}True (2, 1) {runtime.physical_cores()}"
    assert python(code) == (0, expected, "")


def test_mxnet_imported_first_is_kept():
    code = "import gluonlm.system.runtime as runtime, sys, mxnet as first, mxnet.gluon\n"
    code += "for name in [name for name in sys.modules if name.partition('.')[0] == 'gluonlm']:\n"
    code += "    del sys.modules[name]\n"
    code += "del sys.meta_path[0]\n"  # as if MXNet had not needed it
    code += STEP + "print(mx is first, gluon is first.gluon)"
    assert python(code, OMP_NUM_THREADS="1") == (0, "True (2, 1) 1\nTrue True", "")


def test_mxnet_loads_without_docstrings():
    process = start("-OO", "-c", STEP, env={"OMP_NUM_THREADS": "1"})
    out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "True (2, 1) 1\n", "")


MOST = runtime.MOST_THREADS * os.cpu_count()


@pytest.mark.parametrize("value", ["2,1", "0", "-1", "99999999", " 1", str(MOST + 1)])
def test_a_number_of_threads_that_crashes_openmp_is_refused(value, monkeypatch):
    for accepted in ("1", str(MOST)):
        monkeypatch.setenv("OMP_NUM_THREADS", accepted)
        runtime.configure()
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    message = f"^{re.escape(f'OMP_NUM_THREADS={value!r}')}: .* 1 to {MOST}$"
    with pytest.raises(InputError, match=message):
        runtime.configure()


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_reading_a_large_array_starts_no_second_thread_pool():
    code = (
        "import os, gluonlm, mxnet as mx; a = mx.nd.ones((1000, 1000)); a.wait_to_read(); "
        "count = lambda: len(os.listdir('/proc/self/task')); before = count(); a.asnumpy(); "
        "print(os.environ['OMP_NUM_THREADS'], count() - before)"
    )
    assert python(code, OMP_NUM_THREADS="2") == (0, "2 0", "")
    ours = python(code, OMP_NUM_THREADS="2", MXNET_CPU_PARALLEL_SIZE="200000")
    assert ours == (0, "2 1", "")  # at MXNet's start; settings of the user are kept


@pytest.mark.parametrize("variable", ["GLUONLM_MALLOC", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_memory_allocation_can_be_left_unchanged(monkeypatch, variable):
    calls = []
    monkeypatch.setattr(
        runtime.ctypes,
        "CDLL",
        lambda name: types.SimpleNamespace(mallopt=lambda *args: calls.append(args)),
    )
    runtime._keep_memory()
    assert calls == [(-4, 0), (-1, 2**31 - 1), (-8, 1)]
    monkeypatch.setenv(variable, "0")
    runtime._keep_memory()
    assert len(calls) == 3


def test_the_number_of_threads_depends_on_the_size_of_the_model():
    assert runtime.threads_for(2 * 32 * 256 * 256) == 1
    cores = runtime.physical_cores()
    assert runtime.threads_for(2 * 32 * 256 * 256, "native") == cores
    assert runtime.threads_for(2 * 32 * 16 * 256, "native") == 1
    assert runtime.threads_for(2 * 32 * 64 * 256 * 256) == cores


def test_an_unusable_numpy_is_refused_with_a_remedy(monkeypatch):
    monkeypatch.delitem(sys.modules, "mxnet.base")
    for version in ("1.25.2", "3.0.0"):
        monkeypatch.setattr(np, "__version__", version)
        with pytest.raises(InputError, match=rf"NumPy {version}.*'numpy>=2,<3'"):
            runtime.configure()


def test_devices_by_name():
    assert device.get_ctx("cpu") == [mx.cpu()]
    assert device.get_ctx("cpu:0,1") == [mx.cpu(0), mx.cpu(1)]
    assert device.get_ctx("auto") == [mx.cpu()]
    for name in ("tpu", "gpu:x", "gpu:-1", "gpu:0,0", "", "auto:1"):
        with pytest.raises(InputError, match="`ctx`"):
            device.get_ctx(name)


def machine(monkeypatch, gpus=1, cuda=True, capability=(8, 6)):
    monkeypatch.setattr(
        mx.runtime, "Features", lambda: types.SimpleNamespace(is_enabled=lambda name: cuda)
    )
    monkeypatch.setattr(mx.context, "num_gpus", lambda: gpus)
    monkeypatch.setattr(device, "compute_capability", lambda number: capability)


@pytest.mark.parametrize(
    "gpus, cuda, capability, message",
    [
        (0, False, None, "requirements-gpu.txt"),
        (0, True, None, "gpu:0: .* 0 GPUs"),
        (1, True, (9, 0), r"9\.0.* 5\.0 to 8\.9"),
        (1, True, (3, 7), r"3\.7.* 5\.0 to 8\.9"),
        (1, True, (12, 0), r"12\.0.* 5\.0 to 8\.9"),
    ],
)
def test_each_unusable_gpu_has_its_own_error(monkeypatch, gpus, cuda, capability, message):
    machine(monkeypatch, gpus, cuda, capability)
    with pytest.raises(InputError, match=message):
        device.get_ctx("gpu")
    assert device.get_ctx("auto") == [mx.cpu()]


def test_usable_gpus_become_contexts(monkeypatch):
    machine(monkeypatch, gpus=2)
    assert device.get_ctx("gpu:0,1") == [mx.gpu(0), mx.gpu(1)]
    assert device.get_ctx("auto") == [mx.gpu(0)]
    with pytest.raises(InputError, match=r"gpu:2: .* 2 GPUs"):
        device.get_ctx("gpu:2")


@pytest.mark.parametrize(
    "error, message",
    [
        (OSError("libcudart.so.11.0: cannot open shared object file"), "requirements-gpu.txt"),
        (OSError("libquadmath.so.0: cannot open shared object file"), "libquadmath0"),
        (ModuleNotFoundError("No module named 'mxnet'", name="mxnet"), "mxnet==1.9.1"),
    ],
)
def test_a_failure_to_load_mxnet_is_explained(monkeypatch, error, message):
    class Broken:
        def find_spec(self, name, path, target=None):
            if name == "mxnet":
                raise error

    monkeypatch.delitem(sys.modules, "mxnet")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(InputError, match=message):
        runtime.load_mxnet()


def test_preflight_names_missing_requirements(monkeypatch):
    assert preflight.missing() is None
    for attribute, value, message in (
        ("system", "Windows", "WSL 2"),
        ("machine", "aarch64", "linux/amd64"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(preflight.platform, attribute, lambda value=value: value)
            assert message in preflight.missing()


def test_cuda_libraries_installed_by_pip_are_loaded_in_any_order(tmp_path, monkeypatch):
    folder = tmp_path / "nvidia"
    for name in ("alpha", "beta"):
        (folder / name / "lib").mkdir(parents=True)
        (folder / name / "lib" / f"lib{name}.so.11").write_bytes(b"")
    loaded = []

    def load(path, mode):
        name = path.rsplit("/", 1)[1]
        if name == "libalpha.so.11" and "libbeta.so.11" not in loaded:  # alpha needs beta
            raise OSError("libbeta.so.11: cannot open shared object file")
        loaded.append(name)
        return object()

    monkeypatch.setattr(runtime.ctypes, "CDLL", load)
    spec = types.SimpleNamespace(submodule_search_locations=[str(folder)])
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: spec)
    runtime._preload_cuda()
    assert loaded == ["libbeta.so.11", "libalpha.so.11"]


def test_an_interrupt_swallowed_by_the_import_of_mxnet_is_raised_afterwards(tmp_path, monkeypatch):
    interrupt = "signal.raise_signal(signal.SIGINT)"
    swallow = f"import signal\ntry: {interrupt}\nexcept KeyboardInterrupt: pass\n"
    (tmp_path / "mxnet.py").write_text(swallow)
    monkeypatch.delitem(sys.modules, "mxnet")
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        runtime.load_mxnet()
    assert signal.getsignal(signal.SIGINT) is before
