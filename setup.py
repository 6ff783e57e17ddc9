"""Package gluonlm.

MXNet is an extra (cpu or gpu): both builds install into one folder, and a hard requirement would
overwrite the other. `make pins` writes requirements*.txt from these requirements.
"""

import platform
import re
import runpy
from glob import glob
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
REPOSITORY = "https://github.com/gluonlm/gluonlm"


def read(name):
    """Return the text of a file next to this one."""
    return (HERE / name).read_text(encoding="utf-8")


def readme():
    """Return the README with links that lead somewhere from a package index, too."""
    text = re.sub(r"(!\[[^\]]*\]\()(?!https?:)", rf"\1{REPOSITORY}/raw/main/", read("README.md"))
    return re.sub(r"((?<!!)\[[^\]]*\]\()(?!https?:|#)", rf"\1{REPOSITORY}/blob/main/", text)


class BuildLibrary(build_ext):
    """Name the library without Python's ABI: it is loaded by ctypes."""

    def get_ext_filename(self, name):
        """Return the path of a library below the package."""
        return name.replace(".", "/") + ".so"


def commands():
    """Return the commands that build the library, and a wheel for every Python."""
    try:
        from setuptools.command.bdist_wheel import bdist_wheel
    except ImportError:  # before setuptools 70.1: a wheel for this Python
        return {"build_ext": BuildLibrary}

    class BuildWheel(bdist_wheel):
        def get_tag(self):
            return "py3", "none", super().get_tag()[2]

    return {"build_ext": BuildLibrary, "bdist_wheel": BuildWheel}


def extensions():
    """Return the native kernels; without a compiler, the package is installed without them."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return []
    flags = runpy.run_path(str(HERE / "gluonlm/native/build.py"))["FLAGS"]
    arguments = dict(extra_compile_args=flags, extra_link_args=["-pthread"], language="c++")
    source, headers = "gluonlm/native/kernels.cc", sorted(glob("gluonlm/native/*.h"))
    arguments["depends"] = headers
    return [Extension("gluonlm.native.kernels", [source], optional=True, **arguments)]


RUN = ["nbclient>=0.10,<1", "nbformat>=5.10,<6", "ipykernel>=6.29,<8"]
TUTORIALS = [*RUN, "ipywidgets>=8,<9"]
SERVE = ["starlette>=1,<2", "uvicorn>=0.40,<1"]
TUNE = ["optuna>=4.5,<6"]
TENSORBOARD = ["tensorboardx>=2.6.2,<3"]
ONNX = ["onnx>=1.19.1,<2", "onnxruntime>=1.17,<2"]
GLUONNLP = ["gluonnlp==0.10.0"]  # a source package: needs a C compiler
MPI = ["mpi4py>=4.1,<5", "mpich>=5,<6"]
GPU = [
    "mxnet-cu117==1.9.1",
    "nvidia-cuda-runtime-cu11==11.7.99",
    "nvidia-cuda-nvrtc-cu11==11.7.99",
    "nvidia-cublas-cu11==11.10.3.66",
    "nvidia-cudnn-cu11==8.5.0.96",
    "nvidia-cufft-cu11==10.7.2.91",
    "nvidia-curand-cu11==10.2.10.91",
    "nvidia-cusolver-cu11==11.4.0.1",
    "nvidia-cusparse-cu11==11.7.4.91",
    "nvidia-nccl-cu11==2.14.3",
    "nvidia-nvtx-cu11==11.7.91",
]

setup(
    name="gluonlm",
    version=re.search(r'^__version__ = "(.+)"', read("gluonlm/__init__.py"), re.M).group(1),
    description="Recurrent language models on Apache MXNet Gluon: a package and a course",
    long_description=readme(),
    long_description_content_type="text/markdown",
    author="The gluonlm developers",
    author_email="gluonlm@users.noreply.github.com",
    url=REPOSITORY,
    project_urls={
        "Documentation": f"{REPOSITORY}/tree/main/docs",
        "Course": f"{REPOSITORY}/tree/main/tutorials",
        "Changes": f"{REPOSITORY}/blob/main/CHANGELOG.md",
    },
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="language-model rnn lstm gru mxnet gluon gluonnlp perplexity text-generation course",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)),
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
    packages=[*find_packages(include=["gluonlm", "gluonlm.*"]), "gluonlm_course"],
    package_dir={"gluonlm_course": "tutorials/gluonlm_course"},
    package_data={
        "gluonlm": ["py.typed", "demo/*.*", "demo/checkpoints/*", "demo/checkpoints/*/*"],
        "gluonlm.convert.page": ["*.html", "*.css", "*.js"],
    },
    ext_modules=extensions(),
    cmdclass=commands(),
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=[
        "numpy>=1.26,<3",
        "scipy>=1.11.3,<2",
        "scikit-learn>=1.3,<2",
        "matplotlib>=3.8,<4",
        "safetensors>=0.4,<1",
        "tqdm>=4.60,<5",
        "sentencepiece>=0.2.1,<0.3",
        "sacremoses>=0.1,<0.3",
        "regex>=2024.9.11,<2028",
        "shtab>=1.7,<2",
        'tomli>=2,<3; python_version < "3.11"',
        # what MXNet requires, without its bound on NumPy: pip install --no-deps mxnet==1.9.1
        "requests>=2.32,<3",
        "graphviz>=0.8.1,<0.9",
    ],
    extras_require={
        "cpu": ["mxnet==1.9.1"],
        "gluonnlp": GLUONNLP,
        "gpu": GPU,
        "onnx": ONNX,
        "mpi": MPI,
        "run": RUN,
        "serve": SERVE,
        "tensorboard": TENSORBOARD,
        "tune": TUNE,
        "tutorials": TUTORIALS,
        "test": [
            *TUTORIALS,
            *ONNX,
            *MPI,
            *SERVE,
            *TUNE,
            *TENSORBOARD,
            *GLUONNLP,
            "tokenizers>=0.22,<1",
            "playwright>=1.50,<2",
            "pytest>=8.4,<10",
            "pytest-xdist>=3.8,<4",
            "setuptools>=65",
            "hypothesis>=6.100,<7",
            "ruff==0.17.6",
            "mypy>=1.19,<3",
            "import-linter>=2,<3",
        ],
    },
    entry_points={"console_scripts": ["gluonlm = gluonlm.__main__:script"]},
)
