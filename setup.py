"""Package gluonlm.

MXNet is an extra (cpu or gpu): both builds install into one folder, and a hard requirement would
overwrite the other.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def read(name):
    """Return the text of a file beside this one."""
    return (HERE / name).read_text(encoding="utf-8")


def gpu_requirements():
    """Return the MXNet and CUDA lines of requirements-gpu.txt."""
    lines = read("requirements-gpu.txt").splitlines()
    return [line for line in lines if line.startswith(("mxnet", "nvidia-"))]


setup(
    name="gluonlm",
    version=re.search(r'^__version__ = "(.+)"', read("gluonlm/__init__.py"), re.M).group(1),
    description="Recurrent language models on Apache MXNet Gluon: a package and a course",
    long_description=read("README.md"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["gluonlm", "gluonlm.*"]),
    package_data={"gluonlm": ["py.typed"]},
    python_requires=">=3.9,<3.13",
    install_requires=[
        "gluonnlp==0.10.0",
        "numpy>=1.23.5,<2",
        "scipy>=1.9,<2",
        "scikit-learn>=1.2,<2",
        "matplotlib>=3.7,<4",
        "safetensors>=0.4,<1",
        "tqdm>=4.60,<5",
        "sentencepiece>=0.2.1,<0.3",
        "sacremoses>=0.1,<0.3",
        "shtab>=1.7,<2",
        'tomli>=2,<3; python_version < "3.11"',
        'setuptools>=65,<81; python_version >= "3.12"',
    ],
    entry_points={"console_scripts": ["gluonlm = gluonlm.__main__:script"]},
    extras_require={"cpu": ["mxnet==1.9.1"], "gpu": gpu_requirements()},
)
