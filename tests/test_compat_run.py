"""`gluonlm run`: old notebooks and scripts in a process of their own, with repairs."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nbformat
import pytest
from conftest import assert_refused
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import gluonlm
from gluonlm.compat import REPAIRS
from gluonlm.compat.d2l import needed_release
from gluonlm.compat.notebook import read_markdown, read_notebook
from gluonlm.compat.run import run
from gluonlm.system.errors import InputError

ROOT = Path(gluonlm.__file__).parent.parent


def write_notebook(path, *sources):
    cells = [new_markdown_cell("An old notebook."), *map(new_code_cell, sources)]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def write_script(path, source):
    path.write_text(source)
    return path


def printed(notebook, cell):
    """Return what a code cell printed, from 1."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    streams = (output for output in cells[cell - 1].outputs if output.output_type == "stream")
    return "".join(stream.text for stream in streams if stream.name == "stdout")


# a statement that fails today, the repair for it, and the beginning of the recorded change
FAILING = {
    "gpu": ("import mxnet as mx\nassert mx.nd.ones(2, mx.gpu(1)).context == mx.cpu(1)", "gpu(1)"),
    "names": (
        "import time, numpy as np\ntime.clock(); assert np.NINF < np.float_(0)",
        "time.clock",
    ),
    "numbers": (
        "import mxnet as mx\nassert '%.1f' % mx.nd.ones((2, 3)).mean().asnumpy() == '1.0'",
        "float of an array",
    ),
    "shapes": (
        "import mxnet as mx\n"
        "a = mx.nd.arange(7)\n"
        "assert a.reshape((2, 3)).asnumpy().tolist() == [[0, 1, 2], [3, 4, 5]]\n"
        "assert a.reshape(shape=(2, 2)).shape == a.reshape(2, 2).shape\n"
        "for wrong in ((2, 4), (0, 2), (2, -1)):\n"
        "    try:\n        a.reshape(wrong)\n"
        "    except (ValueError, mx.MXNetError):\n        pass\n"
        "    else:\n        assert False, wrong\n",
        "reshape of 7 elements to 6",
    ),
    "parameters": (
        "import mxnet as mx\n"
        "layer = mx.gluon.nn.Dense(1, use_bias=False, in_units=2)\n"
        "layer.initialize(ctx=[mx.cpu(0), mx.cpu(1)])\n"
        "layer.weight._data[mx.cpu(1)] = mx.nd.array([[2, 3]], mx.cpu(1))\n"
        "assert layer(mx.nd.array([[1, 10]], mx.cpu(1))).asscalar() == 32\n"
        "assert layer.weight._data[mx.cpu(0)] is layer.weight.list_data()[0]",
        "Parameter._data",
    ),
    "python2": ("assert sum(xrange(4)) == reduce(lambda a, b: a + b, [1, 5])", "xrange"),
    "random": ("import random\nassert random.sample({7}, 1) == [7]", "random.sample"),
    "files": ("assert open('../nowhere/book.txt').read() == 'abc'", "../nowhere/book.txt"),
    "downloads": (
        "import requests, urllib.request\n"
        "url = 'http://localhost:9/old/book.txt?x=1'\n"
        "assert requests.get(url, stream=True).text == 'abc'\n"
        "assert urllib.request.urlopen(url).read() == b'abc'",
        "http://localhost:9/old/book.txt",
    ),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "books").mkdir()
    (folder / "books" / "book.txt").write_text("abc")
    return folder


@pytest.mark.parametrize("name", FAILING)
def test_a_repair_makes_a_failing_statement_run_and_is_recorded(tmp_path, data, name):
    source, change = FAILING[name]
    path = write_script(tmp_path / "old.py", source)
    outcome = run(path, data_folders=[data])
    assert not outcome.error
    assert [name, change] in [[n, c[: len(change)]] for n, c in outcome.repairs]
    without = run(path, [other for other in REPAIRS if other != name], [data])
    assert without.error
    assert name not in dict(without.repairs)


def test_a_line_of_an_example_is_corrected(tmp_path):
    """The number of batches in MXNet's example/rnn/old, which counted an array, not its rows."""
    write_script(
        tmp_path / "bucket_io.py",
        "import numpy as np\n"
        "class BucketSentenceIter:\n"
        "    def make_data_iter_plan(self):\n"
        "        return [np.floor((self.data[i]) / self.batch_size) for i in range(1)]\n",
    )
    path = write_script(
        tmp_path / "train.py",
        "import numpy, bucket_io\n"
        "rows = bucket_io.BucketSentenceIter()\n"
        "rows.data, rows.batch_size = [numpy.zeros((7, 2))], 3\n"
        "assert rows.make_data_iter_plan() == [2]\n",
    )
    assert not run(path).error
    assert run(path, [name for name in REPAIRS if name != "examples"]).error


def test_the_output_of_gluonnlp_sampled_softmax_has_a_log_softmax(tmp_path):
    """In MXNet 1.9.1, log_softmax of an array that concat returned ends the process."""
    source = (
        "import mxnet as mx\n"
        "from gluonnlp.model import ISDense\n"
        "layer = ISDense(20, 10, 4, remove_accidental_hits=False)\n"
        "layer.initialize()\n"
        "layer.hybridize(static_alloc=True)\n"
        "x, ids = mx.nd.ones((8, 4)), mx.nd.arange(10)\n"
        "counts = mx.nd.ones(10), mx.nd.ones(8)\n"
        "logits, targets = layer(x, (ids, *counts), mx.nd.ones(8))\n"
        "logits = logits.reshape((2, 4, -1)).reshape((-3, -1))\n"
        "assert mx.gluon.loss.SoftmaxCrossEntropyLoss()(logits, targets).asnumpy().all()\n"
    )
    path = write_script(tmp_path / "train.py", source)
    assert not run(path).error
    assert run(path, [name for name in REPAIRS if name != "examples"]).error


def test_removed_modules_and_short_names_of_spacy(tmp_path):
    (tmp_path / "spacy.py").write_text(
        "def load(name): raise OSError\ndef blank(name): return name"
    )
    source = (
        "import spacy\n"
        "from pkg_resources import parse_version\n"
        "assert parse_version('2.10') > parse_version('2.9')\n"
        "assert spacy.load('en') == 'en'"
    )
    outcome = run(write_script(tmp_path / "old.py", source))
    assert not outcome.error
    assert any("spacy" in change for _, change in outcome.repairs)


def test_files_in_an_archive_of_another_version_are_used(tmp_path):
    with zipfile.ZipFile(tmp_path / "book.zip", "w") as archive:
        archive.writestr("text/book.txt", "abc")
    source = (
        "import os, zipfile\n"
        "from mxnet.gluon.utils import check_sha1\n"
        "os.makedirs('copy')\n"
        "os.chdir('copy')\n"
        "assert os.system('wget http://localhost:9/book.zip') == 0\n"
        "zipfile.ZipFile('book.zip').extractall()\n"
        "assert check_sha1('text/book.txt', '0' * 40)"
    )
    folder = tmp_path / "old"
    folder.mkdir()
    outcome = run(write_script(folder / "old.py", source), data_folders=[tmp_path])
    assert not outcome.error
    assert "downloads" in dict(outcome.repairs)


def test_a_log_named_after_a_cell_is_written(tmp_path):
    source = (
        "import inspect\n"
        "name = inspect.currentframe().f_code.co_filename.replace('.py', '.log')\n"
        "print('log', file=open(name, 'w'))"
    )
    assert not run(write_notebook(tmp_path / "old.ipynb", source)).error
    assert [path.read_text() for path in tmp_path.glob("*.log")] == ["log\n"]


def test_a_file_of_another_version_is_used_and_reported(tmp_path, data):
    """A notebook's own checksum does not reject a file that the user put into a data folder."""
    source = (
        "from mxnet.gluon.utils import download\n"
        "path = download('http://localhost:9/book.txt', sha1_hash='0' * 40)\n"
        "assert open(path).read() == 'abc'"
    )
    outcome = run(write_script(tmp_path / "old.py", source), data_folders=[data])
    assert not outcome.error
    assert any("0" * 40 in change for _, change in outcome.repairs)


def test_a_missing_file_exists_if_a_data_folder_has_it(tmp_path, data):
    source = (
        "import os\n"
        "assert os.path.exists('x/book.txt') and os.path.isfile('x/book.txt')\n"
        "assert not os.path.exists('x/other.txt') and not os.path.isfile('.')\n"
        "open('book.txt', 'w').write('mine')\n"
        "assert open('book.txt').read() == 'mine'"
    )
    assert not run(write_script(tmp_path / "old.py", source), data_folders=[data]).error
    assert (data / "books" / "book.txt").read_text() == "abc"


def test_every_repair_is_documented_and_tested():
    assert set(REPAIRS) == {*FAILING, "d2l", "examples", "warnings"}
    assert all(repair.__doc__ for repair in REPAIRS.values())


def test_import_changes_nothing_without_a_call():
    code = (
        "import random, sys, builtins, io, gluonlm, gluonlm.compat, mxnet as mx, numpy as np\n"
        "import requests, urllib.request\n"
        "assert not hasattr(np, 'float_') and not hasattr(builtins, 'xrange')\n"
        "assert builtins.open is io.open and 'gluonlm' not in io.open.__module__\n"
        "assert mx.gpu(0).device_type == 'gpu' and 'd2lbook' not in sys.modules\n"
        "for function in (random.sample, mx.gluon.rnn.RNN.__init__, mx.Context.__init__,\n"
        "                 mx.gluon.nn.Embedding.__call__,requests.adapters.HTTPAdapter.send):\n"
        "    assert 'gluonlm' not in function.__code__.co_filename, function\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_removed_names_stay_removed_for_current_libraries(tmp_path):
    """SciPy and others test for a name to learn NumPy's version."""
    source = (
        "import numpy as np, types\n"
        "library = types.ModuleType('scipy.test')\n"
        "exec('import numpy\\nfound = hasattr(numpy, \"float_\")', vars(library))\n"
        "assert hasattr(np, 'float_') and not library.found\n"
        "try:\n    np.no_such_name\n"
        "except AttributeError as error:\n    assert 'no_such_name' in str(error)\n"
        "else:\n    assert False"
    )
    assert run(write_script(tmp_path / "old.py", source)).error == ""


def test_a_notebook_is_executed_in_its_folder_and_written(tmp_path, data, command):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "helper.py").write_text("answer = 42")
    path = write_notebook(
        folder / "old.ipynb",
        "%matplotlib inline\nfrom IPython import display\ndisplay.set_matplotlib_formats('svg')",
        "import helper\nprint(helper.answer)",
        "print(open('book.txt').read())",
    )
    out = tmp_path / "new.ipynb"
    code, shown, _ = command("run", str(path), "--out", str(out), "--data-dir", str(data))
    assert code == 0
    executed = nbformat.read(out, 4)
    assert printed(executed, 2) == "42\n"
    assert printed(executed, 3) == "abc\n"
    assert "IPython.display.set_matplotlib_formats" in shown
    assert str(data / "books" / "book.txt") in shown


def test_an_interrupted_cell_is_reported_and_later_cells_are_executed(tmp_path):
    """Even if the cell catches every ordinary exception."""
    path = write_notebook(
        tmp_path / "long.ipynb",
        "steps = 0",
        "while True:\n    try:\n        steps += 1\n    except Exception:\n        pass",
        "print(steps > 0)",
    )
    outcome = run(path, limit=1)
    assert (outcome.cells, outcome.total, outcome.interrupted) == (3, 3, [2])
    assert not outcome.error
    assert printed(outcome.notebook, 3) == "True\n"


def test_a_failing_cell_ends_the_notebook(tmp_path, command):
    path = write_notebook(tmp_path / "bad.ipynb", "x = 1", "y = x / 0", "print('later')")
    out = tmp_path / "bad-executed.ipynb"
    code, shown, _ = command("run", str(path), "--out", str(out))
    assert code == 1
    assert "cell 2 of 3: ZeroDivisionError" in shown
    executed = nbformat.read(out, 4)
    assert [cell.get("execution_count") for cell in executed.cells] == [None, 1, 2, None]


def test_a_kernel_that_dies_is_an_error(tmp_path):
    outcome = run(write_notebook(tmp_path / "x.ipynb", "import os\nos._exit(3)", "1"))
    assert outcome.error and outcome.cells == 1


def test_a_script_gets_its_arguments_and_a_time_limit(tmp_path, command):
    path = write_script(
        tmp_path / "train.py",
        "import sys\nprint(sys.argv[1:], __name__)\nwhile 'x' in sys.argv: pass",
    )
    code = "import gluonlm.__main__ as m; m.main(['run', %r, '--quick', '1', '--', %r, '--y'])"
    for word, end in (("z", "ran to the end"), ("x", "still running after 1 s")):
        done = subprocess.run(
            [sys.executable, "-c", code % (str(path), word)],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert f"['{word}', '--y'] __main__" in done.stdout
        assert end in done.stdout


def test_a_waiting_thread_does_not_outlive_the_time_limit(tmp_path):
    source = (
        "import queue, threading\n"
        "threading.Thread(target=queue.Queue().get).start()\n"
        "print('started', flush=True)\n"
        "while True: pass"
    )
    outcome = run(write_script(tmp_path / "train.py", source), limit=1)
    assert outcome.interrupted == [1]
    assert not outcome.error


MARKDOWN = """
# Title
```{.python .input  n=1}
first = 1
```
```{.python .input}
#@tab pytorch
import torch
```
````{.python .input}
%%tab mxnet, pytorch
second = 2
````
```{.python .input}
#@tab all
third = 3
```
```bash
rm -r everything
```
```python
fourth = 4
```
"""


def test_markdown_cells_are_those_of_mxnet():
    cells = [cell.source for cell in read_markdown(MARKDOWN) if cell.cell_type == "code"]
    assert cells == ["first = 1", "second = 2", "third = 3", "fourth = 4"]


def test_the_tab_object_of_d2l_selects_mxnet(tmp_path):
    path = write_notebook(
        tmp_path / "tab.ipynb",
        "%load_ext d2lbook.tab\ntab.interact_select(['mxnet', 'jax'])",
        "print(tab.selected('mxnet', 'jax'), tab.selected('jax'))",
    )
    assert printed(run(path).notebook, 2) == "True False\n"


@pytest.mark.parametrize(
    "code, release",
    [
        ("import d2l\n(a, b, c, d) = d2l.load_data_time_machine()", "d2l==0.8.7"),
        ("import d2l\nfrom mxnet import npx\nd2l.load_data_time_machine(9, 8)", "d2l==0.11.4"),
        ("import d2l\nd2l.load_data_time_machine(32, 35)", "d2l==0.10.3"),
        ("from d2l import mxnet as d2l\nd2l.load_data_time_machine(32, 35)", "d2l==0.17.6"),
        ("from d2l import mxnet as d2l\nclass A(d2l.Module): pass", "d2l==1.0.3"),
        ("import d2lzh as d2l", "d2lzh==1.0.0"),
        ("import mxnet as mx", ""),
    ],
)
def test_the_release_that_a_notebook_needs(code, release):
    assert needed_release(code) == release


@pytest.mark.parametrize("source", ["print 'a'", "try:\n    pass\nexcept A, e:\n    pass"])
def test_python_2_is_rejected_by_cell(tmp_path, source):
    path = write_notebook(tmp_path / "old.ipynb", "%matplotlib inline\nx = 1", source)
    with pytest.raises(InputError, match="cell 2 is Python 2"):
        read_notebook(path)


def test_bad_arguments_are_rejected(tmp_path, command):
    notebook = write_notebook(tmp_path / "a.ipynb", "1")
    script = write_script(tmp_path / "a.py", "1")
    (tmp_path / "broken.ipynb").write_text("{")
    (tmp_path / "empty.md").write_text("No code.")
    out = tmp_path / "there.ipynb"
    out.write_text("precious")
    for words in (
        ["missing.ipynb"],
        [str(tmp_path)],
        [str(tmp_path / "broken.ipynb"), "--out", str(tmp_path / "new.ipynb")],
        [str(tmp_path / "empty.md"), "--out", str(tmp_path / "new.ipynb")],
        [str(notebook), "--out", str(out)],
        [str(notebook), "--quick", "-1"],
        [str(notebook), "--without", "everything"],
        [str(notebook), "--data-dir", str(tmp_path / "no")],
        [str(notebook), "--ctx", "gpu"],
        [str(notebook), "--", "--epochs"],
        [str(script), "--out", str(tmp_path / "new.ipynb")],
    ):
        assert_refused(command("run", *words))
    assert out.read_text() == "precious"
    assert not (tmp_path / "new.ipynb").exists()


def test_ctrl_c_ends_the_kernel_and_keeps_the_executed_cells(tmp_path):
    started = tmp_path / "started"
    path = write_notebook(
        tmp_path / "long.ipynb",
        "print('first')",
        f"import os, time\nopen({str(started)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)",
        "print('never')",
    )
    out = tmp_path / "out.ipynb"
    process = subprocess.Popen(
        [sys.executable, "-m", "gluonlm", "run", str(path), "--out", str(out)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (started.exists() and started.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert printed(nbformat.read(out, 4), 1) == "first\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
