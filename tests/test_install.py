"""The distributions: an sdist with working tests, and a wheel that works anywhere."""

import os
import platform
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest
from conftest import ROOT

pytestmark = pytest.mark.full
KERNELS = "gluonlm/native/kernels.so"


def run(*words, cwd, **env):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env={**environment, **env}, capture_output=True, text=True
    )
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel built from it, both by setuptools."""
    folder = tmp_path_factory.mktemp("built")
    tracked = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    dist = folder / "dist"
    call = f"from setuptools import build_meta; print(build_meta.build_sdist({str(dist)!r}))"
    name = run(sys.executable, "-c", call, cwd=folder / "source")
    with tarfile.open(folder / "dist" / name.split()[-1]) as archive:
        archive.extractall(folder / "sdist", filter="data") if sys.version_info >= (3, 12) else (
            archive.extractall(folder / "sdist")
        )
    (unpacked,) = (folder / "sdist").iterdir()
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps")
    run(*pip, "--wheel-dir", dist, unpacked, cwd=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    return unpacked, wheel


def environment(folder):
    """Return the Python of an environment with the same packages except gluonlm."""
    venv.create(folder, with_pip=True)
    version = "python{}.{}".format(*sys.version_info)
    (site,) = (folder / "lib" / version).glob("site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site / "others.pth").write_text("\n".join(ours))
    return folder / "bin" / "python"


def test_a_wheel_trains_from_another_folder_and_installs_the_command(built, tmp_path):
    _, wheel = built
    python = environment(tmp_path / "env")
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index")
    run(*pip, wheel, cwd=tmp_path)
    away = tmp_path / "away"
    away.mkdir()
    command = python.parent / "gluonlm"
    run(command, "train", "--max-steps", 3, "--quiet", "--run", "run", cwd=away)
    assert "bits per character" in run(command, "evaluate", "run", cwd=away)
    assert "nietzsche-unrolled" in run(command, "train", "--list-presets", cwd=away)
    assert len(run(command, "generate", "run", "--length", 5, cwd=away)) > 5
    assert len(run(command, "generate", "--demo", "--length", 5, cwd=away)) > 5
    found = run(python, "-c", "import gluonlm; print(gluonlm.__file__)", cwd=away)
    assert found.startswith(str(tmp_path))


def test_a_wheel_contains_only_the_packages(built):
    contents = zipfile.ZipFile(built[1]).infolist()
    names = [item.filename for item in contents]
    assert sum(item.compress_size for item in contents if "/demo/" in item.filename) < 1e6
    assert "gluonlm/py.typed" in names
    assert "gluonlm/vocab/subwords.py" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"gluonlm", "gluonlm_course"}
    lessons = sorted(path.name for path in (ROOT / "tutorials/gluonlm_course").glob("*.py"))
    installed = [name for name in names if name.startswith("gluonlm_course/")]
    assert sorted(name.split("/")[1] for name in installed) == lessons
    assert (KERNELS in names) == bool(shutil.which("g++"))
    assert built[1].name.endswith(f"-py3-none-linux_{platform.machine()}.whl")
    (metadata,) = [name for name in names if name.endswith("METADATA")]
    text = zipfile.ZipFile(built[1]).read(metadata).decode()
    assert "Provides-Extra: cpu" in text
    assert "](docs/" not in text
    assert "](tutorials/" not in text


def test_without_a_compiler_the_wheel_has_no_kernels(built, tmp_path):
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps")
    source = shutil.copytree(built[0], tmp_path / "new", ignore=shutil.ignore_patterns("build"))
    run(*pip, "-w", tmp_path, source, cwd=tmp_path, CC="no-compiler", CXX="no-compiler")
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "gluonlm/native/__init__.py" in names
    assert KERNELS not in names


def test_the_sdists_tests_run(built):
    unpacked, _ = built
    quick = ["tests/test_vocab.py", "tests/test_train.py", "tests/test_architecture.py"]
    quick += ["tests/test_form.py", "tests/test_docs.py"]
    out = run(sys.executable, "-m", "pytest", "-q", "-m", "not full", *quick, cwd=unpacked)
    assert " passed" in out or "[100%]" in out


def test_the_container_trains():
    """The Dockerfile, also used by the devcontainer; tests/container.py follows it elsewhere."""
    if (
        not shutil.which("docker")
        or subprocess.run(["docker", "info"], capture_output=True).returncode
    ):
        pytest.skip("needs Docker")
    run("docker", "build", "-f", ".devcontainer/Dockerfile", "-t", "gluonlm-test", ".", cwd=ROOT)
    shown = run("docker", "run", "--rm", "gluonlm-test", "train", "--max-steps", "2", cwd=ROOT)
    assert "bits per character" in shown
