"""Package gluonlm.

MXNet is an extra (cpu or gpu): both builds install into one folder, and a hard requirement would overwrite the other.
"""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
VERSION = re.search(
    r'^__version__ = "(.+)"', (HERE / "gluonlm" / "__init__.py").read_text(encoding="utf-8"), re.M
).group(1)


def gpu_requirements():
    """Give the MXNet and CUDA lines of requirements-gpu.txt."""
    lines = (HERE / "requirements-gpu.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith(("mxnet", "nvidia-"))]


setup(
    name="gluonlm",
    version=VERSION,
    description="Recurrent language models on Apache MXNet Gluon: a package and a course",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=["gluonlm"],
    python_requires=">=3.9,<3.13",
    install_requires=[
        "gluonnlp==0.10.0",
        "numpy>=1.23.5,<2",
        "scipy>=1.9,<2",
        "scikit-learn>=1.2,<2",
        "matplotlib>=3.7,<4",
        "safetensors>=0.4,<1",
        "tqdm>=4.60,<5",
        'tomli>=2,<3; python_version < "3.11"',
        'setuptools>=65,<81; python_version >= "3.12"',
    ],
    extras_require={"cpu": ["mxnet==1.9.1"], "gpu": gpu_requirements()},
)
