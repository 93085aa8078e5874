"""Which extra of the package installs what: `pip install 'mvdiffusion[eval]'`.

The package alone generates. What scores, trains, or runs the experiments has an extra of its own
(`[project.optional-dependencies]` in pyproject.toml).
"""

from __future__ import annotations

MODULES = {
    "eval": (
        *("cleanfid", "grimp", "jinja2", "markupsafe", "matplotlib", "open_clip", "pandas"),
        *("tabulate", "torch_fidelity", "torchmetrics"),
    ),
    "train": ("grimp", "jinja2", "matplotlib", "tensorboard", "torchmetrics"),
    "workflow": ("dvc", "packaging", "snakemake", "snakemake_interface_common"),
    "demo": ("gradio",),
    "offline": ("timm",),
    "colmap": ("pycolmap",),
    "mesh": ("open3d",),
}
"""Modules that are imported and that the package alone lacks, by extra."""


def advice(module: str | None, command: str) -> str | None:
    """Say how to install a module that was not found.

    Args:
        module: its dotted name.
        command: which command needs it; where several extras have it, that of `mvdiffusion-eval`
            is `eval`.

    Returns:
        One sentence; None if no extra installs it, as it is a mistake of the code then.

    >>> advice("pandas.core", "mvdiffusion-eval")
    "the package pandas is missing; install it with `pip install 'mvdiffusion[eval]'`."
    >>> advice("nonsense", "mvdiffusion-eval") is None
    True
    """
    name = (module or "").partition(".")[0]
    extras = [extra for extra, modules in MODULES.items() if name in modules]
    if not extras:
        return None
    extra = extras[0] if command == "mvdiffusion-eval" else extras[-1]
    return f"the package {name} is missing; install it with `pip install 'mvdiffusion[{extra}]'`."
