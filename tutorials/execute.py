"""Execute the notebooks of the course, each in a fresh kernel of this Python and an empty folder.

    python tutorials/execute.py                               # all lessons; saves nothing
    python tutorials/execute.py --jobs 2                      # two at a time
    python tutorials/execute.py --write tutorials/03-*.ipynb  # saves outputs and cover picture

With GLUONLM_TUTORIAL=short the notebooks run only a few steps, as in the tests. With
GLUONLM_CORPUS=nietzsche they read Nietzsche instead of the Python language reference.
"""

import argparse
import atexit
import functools
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from PIL import Image

HERE = Path(__file__).resolve().parent
IMAGES = HERE / "images"
TIMEOUT = 600  # seconds per cell
WIDTH, COLOURS = 480, 64  # of the cover pictures
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # colour codes in tracebacks
WIDGET = "application/vnd.jupyter.widget-view+json"
NOT_FOR_READERS = (
    "GLUONLM_TUTORIAL",
    "GLUONLM_CORPUS",
    "GLUONLM_DATA",
)  # unset for --write: committed outputs come from full runs on the default text


class TutorialError(Exception):
    """A notebook failed or had side effects; the message names the notebook and the cell."""


def lessons(folder=HERE):
    """Return the notebooks of a folder, sorted by number."""
    return sorted(folder.glob("[0-9][0-9]-*.ipynb"))


class Client(NotebookClient):
    """Run a notebook in a kernel of this Python, ignoring kernels that the user has installed."""

    def create_kernel_manager(self):
        """Return a kernel manager with its connection file in the temporary folder of the run."""
        self.km = AsyncKernelManager(
            kernel_name="python3",
            kernel_spec_manager=KernelSpecManager(
                kernel_dirs=[]
            ),  # without installed specs, python3 is the native kernel: sys.executable
            connection_file=str(Path(self.resources["metadata"]["path"]).parent / "kernel.json"),
            transport="ipc",  # files in that folder; over TCP, other users could read along
        )
        return self.km


@functools.lru_cache(maxsize=1)
def fonts():
    """Return a temporary folder for matplotlib's font cache, deleted when this process exits.

    The user's cache may list fonts of a deleted environment and cause warnings.
    """
    folder = tempfile.mkdtemp(prefix="gluonlm-fonts-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def execute(path, environment=None):
    """Execute a notebook in an empty folder that is deleted afterwards.

    Parameters
    ----------
    environment
        Environment variables of the kernel, to which PYTHONPATH for this checkout is added
        (default: the environment of this process).

    Returns
    -------
    nbformat.NotebookNode
        The notebook with its outputs, normalised. The file is not changed.

    Raises
    ------
    TutorialError
        If the file is not a notebook, or a cell fails, writes to stderr (also a warning), or leaves
        a file in its folder.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError):
        raise TutorialError(f"{path.name}: not a notebook") from None
    with tempfile.TemporaryDirectory(prefix="gluonlm-tutorial-") as folder:
        work = Path(folder) / "work"
        work.mkdir()
        variables = dict(os.environ if environment is None else environment)
        variables["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(HERE.parent), str(HERE), variables.get("PYTHONPATH")])
        )  # this checkout's gluonlm and gluonlm_course
        variables["GLUONLM_COURSE"] = ""  # leave the user's progress alone
        variables["IPYTHONDIR"] = folder  # without the user's start-up files and history
        variables["MPLCONFIGDIR"] = fonts()
        variables.pop("MPLBACKEND", None)  # figures must reach the notebook
        client = Client(
            notebook,
            timeout=TIMEOUT,
            record_timing=False,
            store_widget_state=False,
            coalesce_streams=True,
            resources={"metadata": {"path": work}},
        )
        try:
            client.execute(env=variables)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise TutorialError(
                f"{path.name}, cell {_failed_cell(notebook)}: {COLOUR.sub('', str(error)).strip()}"
            ) from None
        except AssertionError:
            if client.km is None:  # nbclient has stopped the kernel because of Ctrl-C
                raise KeyboardInterrupt from None
            raise
        left = sorted(file.name for file in work.iterdir())
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", ()):
            if output.output_type == "stream" and output.name == "stderr":
                raise TutorialError(
                    f"{path.name}, cell {number}: writes to stderr:\n{output.text.strip()}"
                )
    if left:
        raise TutorialError(f"{path.name}: leaves {', '.join(left)} in the reader's working folder")
    return normalise(notebook)


def _failed_cell(notebook):
    """Return the number, from 1, of the first code cell that did not finish."""
    cells = [
        (number, cell) for number, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"
    ]
    failed = [
        number
        for number, cell in cells
        if any(output.output_type == "error" for output in cell.outputs)
    ]
    waiting = [number for number, cell in cells if cell.execution_count is None]
    return (failed or waiting or [len(notebook.cells)])[0]


def normalise(notebook):
    """Remove everything that differs between runs or machines, in place; return the notebook."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number:02}"
        cell.metadata = nbformat.from_dict(
            {name: cell.metadata[name] for name in ("tags", "mystnb") if cell.metadata.get(name)}
        )
        if cell.cell_type == "code":
            # a widget refers to a model in a kernel that no longer exists
            cell.outputs = [
                output for output in cell.outputs if WIDGET not in output.get("data", {})
            ]
            for output in cell.outputs:
                if "metadata" in output:
                    output.metadata = nbformat.from_dict(_alt_text(output, cell.metadata))
    return notebook


def _alt_text(output, of_cell):
    """Return the metadata of an output: the alt text of a picture.

    nbconvert reads alt texts from the output, MyST-NB (`make book`) from the cell.
    """
    described = of_cell.get("mystnb", {}).get("image")
    return {"image/png": described} if described and "image/png" in output.get("data", {}) else {}


def cover(notebook):
    """Return the cover of a lesson: the first PNG of a cell tagged `cover`, else the first PNG.

    Return None if the lesson has no PNG.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in sorted(code, key=lambda cell: "cover" not in cell.metadata.get("tags", [])):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                return b64decode(output.data["image/png"])
    return None


def shrink(png):
    """Return a PNG scaled to at most WIDTH pixels, with COLOURS colours."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.LANCZOS)
    small = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()


def write(path, notebook):
    """Save an executed notebook, and the cover of a lesson as images/NN.png."""
    nbformat.validate(notebook)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    picture = cover(notebook) if path.parent == HERE else None
    if picture:
        IMAGES.mkdir(exist_ok=True)
        (IMAGES / f"{path.name[:2]}.png").write_bytes(shrink(picture))


def main(argv=None):
    """Execute the notebooks of the command line; exit with 1 if one fails."""
    parser = argparse.ArgumentParser(
        description="Execute notebooks of the course in fresh kernels, and print their times."
    )
    parser.add_argument(
        "notebooks",
        nargs="*",
        type=Path,
        metavar="NOTEBOOK",
        help="notebooks to execute (default: all lessons)",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="save the outputs in the notebooks, and the cover picture of each lesson",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="notebooks that run at the same time, each with its part of the cores; times that a "
        "notebook measures are then too long (default: 1)",
    )
    arguments = parser.parse_args(argv)
    if arguments.jobs < 1:
        parser.error(f"--jobs {arguments.jobs}: must be at least 1")
    if arguments.write and arguments.jobs > 1:
        parser.error("--write needs --jobs 1: the times in the outputs would be wrong")
    began, paths = time.monotonic(), arguments.notebooks or lessons()
    for path in paths:
        if not path.is_file():
            parser.error(f"{path}: no such notebook")
    if len(paths) > 1:
        run_all(paths, arguments.jobs, arguments.write)
        print(f"{time.monotonic() - began:6.1f} s  total")
        return
    environment = {
        name: value
        for name, value in os.environ.items()
        if not (arguments.write and name in NOT_FOR_READERS)
    }
    try:
        notebook = execute(paths[0], environment)
    except TutorialError as error:
        sys.exit(f"tutorials: {error}")
    if arguments.write:
        write(paths[0].resolve(), notebook)
    print(f"{time.monotonic() - began:6.1f} s  {paths[0].name}")


def run_all(paths, jobs, save=False):
    """Execute notebooks in `jobs` processes at a time, and print their times in order.

    Exits with 1 at the first notebook that fails. `save` is --write.
    """
    environment = dict(os.environ)
    if jobs > 1:
        threads = max(1, len(os.sched_getaffinity(0)) // jobs)  # MXNet runs on Linux only
        environment.setdefault("OMP_NUM_THREADS", str(threads))

    def run(path):
        command = [sys.executable, __file__, *["--write"][:save], str(path)]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    with ThreadPoolExecutor(jobs) as pool:
        runs = [pool.submit(run, path) for path in paths]
        try:
            for child in (future.result() for future in runs):
                if child.returncode:
                    print(child.stderr.rstrip(), file=sys.stderr, flush=True)  # others still run
                    sys.exit(1)
                print(child.stdout.rstrip(), flush=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # also after Ctrl-C


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("tutorials: interrupted")
