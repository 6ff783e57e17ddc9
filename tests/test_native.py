"""The compiled stepper and sampler, compared with NumPy's."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, assert_refused, start

from gluonlm import native
from gluonlm.generate import sampling
from gluonlm.models import build_model, native_stepper
from gluonlm.models.native_stepper import NativeStepper, make_stepper
from gluonlm.models.stepper import (
    Affine,
    EnsembleStepper,
    GRUCell,
    LSTMCell,
    MinGRUCell,
    MinLSTMCell,
    RecurrentStepper,
    RNNCell,
    relu,
    tanh,
)
from gluonlm.native import build
from gluonlm.system.errors import InputError

COMPILED = native.load() is not None
needs_kernels = pytest.mark.skipif(not COMPILED, reason="there are no native kernels here")
ACTIVATIONS = {"tanh": (tanh,), "relu": (relu,)}
KINDS = {"tanh": (1, RNNCell), "relu": (1, RNNCell), "lstm": (4, LSTMCell), "gru": (3, GRUCell)}
KINDS.update(mingru=(2, MinGRUCell), minlstm=(3, MinLSTMCell))


@pytest.fixture(params=native.SETS.values())
def kernels(request):
    """The kernels of each instruction set that this processor supports."""
    if not COMPILED:
        pytest.skip("there are no native kernels here")
    for lanes, name in native.SETS.items():
        if name == request.param and lanes <= native.open_library().lanes():
            return native.Kernels(native.open_library(), lanes)
    pytest.skip(f"this processor has no {request.param}")


def network(kind="gru", sizes=(17, 5), embed=3, vocab=11, tied=False, scale=0.5):
    """Return an embedding, cells and an output with random weights."""
    random = np.random.default_rng(7)

    def uniform(*shape):
        return random.uniform(-scale, scale, shape).astype(np.float32)

    gates, cell = KINDS[kind]
    cells = []
    for below, size in zip((embed, *sizes), sizes):
        wide = gates * size
        arrays = uniform(wide, below), uniform(wide, size), uniform(wide), uniform(wide)
        arrays = arrays[:: 2 if kind.startswith("min") else 1]
        cells.append(cell(*arrays, *ACTIVATIONS.get(kind, ())))
    embedding = uniform(vocab, embed)
    return (
        embedding,
        cells,
        Affine(embedding if tied else uniform(vocab, sizes[-1]), uniform(vocab)),
    )


def both(kernels, parts, streams=1, separator=None):
    """Return NumPy's stepper and the compiled one."""
    return (
        RecurrentStepper(*parts, streams, separator),
        NativeStepper(kernels, *parts, streams, separator),
    )


def assert_equal_states(expected, found):
    for arrays, others in zip(expected.state, found.state, strict=True):
        for array, other in zip(arrays, others, strict=True):
            np.testing.assert_allclose(other, array, atol=1e-6)
    np.testing.assert_allclose(found.hidden, expected.hidden, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "sizes, embed, vocab", [((1,), 1, 1), ((3, 17), 2, 9), ((257, 33), 17, 70)]
)
@pytest.mark.parametrize("streams", [1, 2, 5, 32, 70])
def test_compiled_steppers_agree_with_numpy(kernels, kind, sizes, embed, vocab, streams):
    expected, found = both(kernels, network(kind, sizes, embed, vocab, scale=0.1), streams)
    for ids in np.random.default_rng(1).integers(0, vocab, (12, streams)):
        np.testing.assert_allclose(found.step(ids), expected.step(ids), atol=1e-6)
    assert_equal_states(expected, found)


@pytest.mark.parametrize("kind", ["tanh", "lstm", "gru", "minlstm"])
def test_a_thousand_tokens_differ_by_less_than_a_millionth(kernels, kind):
    expected, found = both(kernels, network(kind, (60, 40), 30, 85, scale=0.1), 2)
    for ids in np.random.default_rng(2).integers(0, 85, (1000, 2)):
        np.testing.assert_allclose(found.step(ids), expected.step(ids), rtol=0, atol=1e-6)
    assert_equal_states(expected, found)


def test_tied_weights_documents_and_another_output(kernels):
    embedding, cells, output = network("lstm", (6, 4), 4, tied=True)
    for out in (output, lambda hidden: np.tanh(output(hidden))):
        expected, found = both(kernels, (embedding, cells, out), 3, separator=2)
        for ids in np.random.default_rng(3).integers(0, 4, (30, 3)):  # many separators
            np.testing.assert_allclose(found.step(ids), expected.step(ids), atol=1e-6)


def test_streams_are_selected_duplicated_and_dropped(kernels):
    steppers = both(kernels, network("lstm"), 3)
    for rows in ([2, 0, 0, 1, 1, 1, 2], [6, 0, 3], [1, 1, 0], np.array([True, False, True])):
        ids = np.arange(len(steppers[0].hidden)) % 11
        a, b = (stepper.step(ids) for stepper in steppers)
        np.testing.assert_allclose(a, b, atol=1e-6)
        for stepper in steppers:
            stepper.select(rows)
        assert_equal_states(*steppers)


def test_a_state_is_a_copy_that_another_stepper_can_continue(kernels):
    parts = network("gru")
    first, second = (NativeStepper(kernels, *parts, 2) for _ in range(2))
    first.step([3, 4])
    state, hidden = first.state, first.hidden
    second.state = state
    expected = first.step([5, 6])
    assert (second.step([5, 6]) == expected).all()
    assert (hidden == state[-1][0]).all()
    third = NativeStepper(kernels, *parts)
    third.state = state
    assert (third.step([5, 6]) == expected).all()


def test_a_full_table_of_products_begins_again(kernels, monkeypatch):
    monkeypatch.setattr(native_stepper, "KEPT", 0)
    expected, found = both(kernels, network("gru", vocab=40), 3)
    assert found._stepper.rows == 3
    for ids in np.random.default_rng(4).integers(0, 40, (50, 3)):
        np.testing.assert_allclose(found.step(ids), expected.step(ids), atol=1e-6)


def test_an_ensemble_averages_compiled_steppers(kernels):
    parts = network("lstm"), network("lstm", scale=0.3)
    pairs = zip(*(both(kernels, part, 2) for part in parts))
    expected, found = (EnsembleStepper(steppers) for steppers in pairs)
    for ids in np.random.default_rng(5).integers(0, 11, (9, 2)):
        np.testing.assert_allclose(found.step(ids), expected.step(ids), atol=2e-6)
    np.testing.assert_allclose(found.hidden, expected.hidden, atol=1e-6)


@pytest.mark.parametrize("streams", [1, 7, 40])
def test_results_do_not_depend_on_the_number_of_threads(kernels, streams, monkeypatch):
    monkeypatch.setattr(native_stepper, "PARALLEL", 0)
    steppers = []
    for threads in (1, 2, 3, 5, 5):
        monkeypatch.setattr(native, "threads", lambda number=threads: number)
        steppers.append(NativeStepper(kernels, *network("lstm", (70, 90), 20, 200), streams))
    for ids in np.random.default_rng(6).integers(0, 200, (100, streams)):
        expected, *others = (stepper.step(ids) for stepper in steppers)
        assert all((other == expected).all() for other in others)


def test_threads_are_at_most_the_processors_of_the_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 8}, raising=False)
    for variable, expected in ("2", 2), ("16", 3), ("0", 1), ("x", 3):
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
        assert native.threads() == expected


FORKED = """
import os, sys
sys.path.insert(0, {tests!r})
import numpy as np, test_native
from gluonlm import native
from gluonlm.models import native_stepper
native_stepper.PARALLEL, native.threads = 0, lambda: 3
stepper = native_stepper.NativeStepper(native.load(), *test_native.network("lstm", (70,)), 8)
stepper.step([1] * 8)
state = stepper.state
expected = stepper.step([2] * 8)
stepper.state = state
if (child := os.fork()) == 0:
    same = (stepper.step([2] * 8) == expected).all()
    os._exit(0 if same and (stepper.step([3] * 8) != expected).any() else 1)
failed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(failed or int((stepper.step([2] * 8) != expected).any()))
"""


@needs_kernels
def test_a_forked_process_continues_with_threads_of_its_own():
    child = start("-c", FORKED.format(tests=str(ROOT / "tests")))
    _, err = child.communicate(timeout=100)
    assert child.returncode == 0, err


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["embedding", "h2h", "output"])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_nan_and_infinity_are_treated_as_in_numpy(kernels, kind, value, where):
    embedding, cells, output = network(kind, (5,), 4)
    minimal = kind.startswith("min")
    recurrent = cells[0].i2h if minimal else cells[0].h2h
    array = {"embedding": embedding, "h2h": recurrent, "output": output.weight}[where]
    array[1, 2] = value
    if kind == "gru" and where == "h2h":
        cells[0].to_gates[1, 2] = value
    expected, found = both(kernels, (embedding, cells, output), 3)
    for ids in ([0, 1, 2], [2, 1, 0], [1, 3, 4]):
        both_logits = [stepper.step(ids) for stepper in (found, expected)]
        if minimal:  # its states are not bounded, and 0 times infinity is NaN
            both_logits = [np.where(np.isfinite(a), a, np.nan) for a in both_logits]
        np.testing.assert_allclose(*both_logits, atol=1e-5)
    if not minimal:
        assert_equal_states(expected, found)


@pytest.mark.parametrize(
    "ids, error",
    [
        ([11, 0], IndexError),
        ([0, -1], IndexError),
        ([2**40, 0], IndexError),
        ([0], ValueError),
        ([[0, 1]], ValueError),
        ([0.5, 1.0], TypeError),
    ],
)
def test_invalid_ids_are_refused_and_change_nothing(kernels, ids, error):
    steppers = both(kernels, network(), 2)
    with pytest.raises(error):
        steppers[1].step(np.array(ids))
    np.testing.assert_allclose(*(stepper.step([10, 3]) for stepper in steppers), atol=1e-6)


def test_weights_that_do_not_fit_together_are_refused(kernels):
    embedding, cells, output = network("lstm", (6, 4), 5)
    cells[1].h2h = cells[1].h2h[:3]
    with pytest.raises(ValueError, match=r"\(16, 3\)"):
        NativeStepper(kernels, embedding, cells, output)
    embedding, cells, output = network("lstm", (6, 4), 5)
    for parts in ((embedding[:, :4], cells, output), (embedding, cells[::-1], output)):
        with pytest.raises(ValueError, match="expected"):
            NativeStepper(kernels, *parts)
    output.weight = output.weight[:, :10]
    with pytest.raises(ValueError, match=r"\(4, 10\)"):
        NativeStepper(kernels, embedding, cells, output)
    stepper = NativeStepper(kernels, *network("lstm", (6, 4), 5), 2)
    with pytest.raises(ValueError):
        stepper.state = [[np.zeros((2, 4))] * 2] * 2


@pytest.mark.parametrize("vocab", [1, 3, 16, 85, 129, 1000])
@pytest.mark.parametrize("temperature", [1e-10, 0.3, 1.0, 5.0, 1e300])
def test_drawn_ids_agree_with_numpy(kernels, vocab, temperature):
    random = np.random.default_rng(8)
    logits = random.normal(0, 3, (32, vocab + 2)).astype(np.float32)[:, :vocab]
    for _ in range(20):
        uniform = random.random(32)
        expected = sampling.draw(logits, uniform, temperature)
        assert (sampling.draw(logits, uniform, temperature, kernels=kernels) == expected).all()


def test_the_first_and_last_ids_can_be_drawn(kernels):
    logits = np.log(np.array([[1e-30, 0.25, 0.5, 0.25, 1e-30]], np.float32))
    for uniform, expected in ((0.0, 0), (1e-9, 1), (0.2499, 1), (0.2501, 2), (0.7501, 3)):
        assert kernels.draw(logits, 1.0, np.array([uniform])) == expected
    assert kernels.draw(logits, 1.0, np.array([1 - 2.0**-53])) in (3, 4)
    assert kernels.draw(np.full((1, 300), -5.0, "f"), 2.0, np.array([1 - 2.0**-53])) == 299


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_without_a_distribution_the_first_id_is_drawn(kernels, value):
    logits = np.zeros((2, 40), np.float32)
    logits[1, 33] = value
    assert kernels.draw(logits, 1.0, np.array([0.99, 0.99])).tolist() == [39, 0]
    assert kernels.draw(np.full((1, 5), -np.inf, "f"), 1.0, np.array([0.5])).tolist() == [0]


def test_arrays_of_other_shapes_and_types_are_refused(kernels):
    logits, uniform = np.zeros((2, 3), np.float32), np.zeros(2)
    for bad in (
        (logits.astype("d"), uniform), (logits[:, ::2], uniform), (logits, uniform[:1]),
        (logits[:, :0], uniform), (logits, np.zeros((2, 1))), (logits[0], uniform),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            kernels.draw(bad[0], 1.0, bad[1])


@pytest.mark.parametrize("choice", ["mxnet", "auto"])
def test_a_seed_generates_the_same_ids_as_before(choice, monkeypatch):
    class Model:
        window = None

        @staticmethod
        def stepper(streams):
            return make_stepper(*network(scale=2.0), streams)

    monkeypatch.setenv(native.VARIABLE, choice)
    drawn = sampling.sample(Model, [1, 2], 24, seed=5, temperature=0.8, streams=2)
    assert np.array(list(drawn)).T.tolist() == [
        [3, 10, 2, 2, 2, 2, 2, 8, 9, 10, 2, 8, 2, 2, 8, 2, 2, 2, 3, 2, 2, 2, 3, 2],
        [3, 9, 8, 2, 10, 2, 8, 8, 2, 2, 2, 2, 2, 3, 2, 0, 2, 2, 2, 2, 2, 2, 2, 2],
    ]


@needs_kernels
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("tail", [{}, dict(adaptive_softmax=(2, 5)), dict(members=2)])
def test_a_model_generates_the_same_ids_with_either_stepper(kind, tail, monkeypatch):
    import mxnet as mx

    from gluonlm.config import Config

    config = Config.from_dict(dict(model=kind, hidden_size=(7, 5), **tail))
    model = build_model(config.model, 9).prepare([mx.cpu()], "uniform:1", 3)
    texts = []
    for choice in native.CHOICES:
        monkeypatch.setenv(native.VARIABLE, choice)
        drawn = np.array(list(sampling.sample(model, [1, 2], 200, streams=3)))
        found, likelihood = sampling.beam_search(model, [1], 12, 4)
        texts.append((drawn.tolist(), found.tolist(), round(likelihood, 4)))
    assert texts[0] == texts[1] == texts[2]


def test_the_kernels_are_chosen_by_the_variable(monkeypatch):
    parts = network()
    monkeypatch.setenv(native.VARIABLE, "mxnet")
    assert native.load() is None
    assert isinstance(make_stepper(*parts), RecurrentStepper)
    assert native.description() == "mxnet (disabled)"
    monkeypatch.setenv(native.VARIABLE, "fast")
    with pytest.raises(InputError, match=r"'fast'.*auto, native, mxnet"):
        native.load()


@needs_kernels
def test_the_kernels_are_used_for_float32(monkeypatch):
    embedding, *rest = network()
    assert isinstance(make_stepper(embedding, *rest), NativeStepper)
    assert isinstance(make_stepper(embedding.astype("d"), *rest), RecurrentStepper)
    assert native.description().removeprefix("native ") in native.SETS.values()


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Search for the library in a folder of the test."""
    monkeypatch.delenv(native.VARIABLE, raising=False)
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "kernels.so")
    native._found.cache_clear()
    native.open_library.cache_clear()
    yield tmp_path / "kernels.so"
    native._found.cache_clear()
    native.open_library.cache_clear()


@pytest.mark.parametrize("content", [None, b"", b"not a library", b"\x7fELF\2\1\1" + bytes(99)])
def test_without_a_valid_library_numpy_is_used(content, library, monkeypatch, command, trained):
    if content is not None:
        library.write_bytes(content)
    assert native.load() is None
    assert native.description().startswith("mxnet (")
    assert isinstance(make_stepper(*network()), RecurrentStepper)
    monkeypatch.setenv(native.VARIABLE, "native")
    result = command("generate", trained, "--length", 3)
    assert_refused((result[0], "", result[2]), native.VARIABLE)


def test_processors_without_avx2_use_numpy(library, monkeypatch):
    class Old:
        @staticmethod
        def lanes():
            return 0

    monkeypatch.setattr(native, "open_library", Old)
    library.touch()
    native._found.cache_clear()
    assert native.description() == "mxnet (this processor has no AVX2)"
    monkeypatch.undo()


@pytest.mark.skipif(not shutil.which("g++"), reason="there is no compiler here")
def test_the_library_is_compiled_if_its_source_is_newer(tmp_path, monkeypatch):
    source, compiled = tmp_path / "kernels.cc", tmp_path / "kernels.so"
    source.write_text('extern "C" int version() { return 1; }')
    monkeypatch.setattr(build, "SOURCE", source)
    monkeypatch.setattr(build, "LIBRARY", compiled)
    monkeypatch.setenv("CXX", "no-such-compiler")
    build.build()
    assert not compiled.exists()
    monkeypatch.delenv("CXX")
    build.build()
    before = compiled.stat().st_mtime_ns
    build.build()
    assert compiled.stat().st_mtime_ns == before
    os.utime(compiled, (1, 1))
    build.build()
    assert compiled.stat().st_mtime > 1
    os.utime(compiled, (1, 1))
    source.write_text("not C++")
    build.build()
    assert compiled.stat().st_mtime == 1
    assert {path.name for path in tmp_path.iterdir()} == {"kernels.cc", "kernels.so"}


@pytest.mark.full
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no compiler here")
def test_the_tests_of_the_kernels_pass_with_sanitizers(tmp_path):
    flags = [*build.FLAGS, "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
    command = ["g++", *flags, "-shared", "-fPIC", "-pthread", build.SOURCE]
    subprocess.run([*command, "-o", tmp_path / "kernels.so"], check=True)
    runtimes = [
        subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True)
        for name in ("libasan.so", "libubsan.so", "libstdc++.so")
    ]
    code = (
        "import pathlib, sys, pytest; from gluonlm import native; "
        f"native.LIBRARY = pathlib.Path({str(tmp_path / 'kernels.so')!r}); "
        "native.load() or sys.exit('the library cannot be loaded'); "
        "sys.exit(pytest.main(['-qs', '-p', 'no:xdist', '-m', 'not full', '-x', "
        f"{__file__!r}, {str(ROOT / 'tests' / 'test_native_network.py')!r}]))"
    )
    environment = {
        "LD_PRELOAD": " ".join(runtime.stdout.strip() for runtime in runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **environment},
        capture_output=True, text=True, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout[-3000:], done.stderr[-3000:])
