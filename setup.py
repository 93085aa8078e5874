"""The folder `eval/` is installed as `mvdiffusion_eval`: `eval` is a builtin's name, and common."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["mvdiffusion", "mvdiffusion.*"]),
        "mvdiffusion_eval",
        *(f"mvdiffusion_eval.{name}" for name in find_packages("eval")),
    ],
    package_dir={"mvdiffusion_eval": "eval"},
)
