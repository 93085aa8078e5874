"""Metrics, protocols and methods of other packages, found by their entry points.

A package names them in its `pyproject.toml`; installed beside this one it is used like a part of
it. An example with all three is in `tests/eval/example_plugin`.

```toml
[project.entry-points."mvdiffusion_eval.metrics"]
colorfulness = "my_package.color:METRIC"        # an `mvdiffusion_eval.metrics.base.Metric`
[project.entry-points."mvdiffusion_eval.protocols"]
my_protocols = "my_package:PROTOCOLS"       # path of a YAML file like `protocols/protocols.yaml`
[project.entry-points."mvdiffusion_eval.methods"]
mine = "my_package:METHOD"                        # an `mvdiffusion_eval.folders.methods.Method`
```
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from mvdiffusion.records import InputError

GROUP = "mvdiffusion_eval"


def load_plugins(kind: str) -> dict[str, Any]:
    """Load what packages register.

    Args:
        kind: "metrics", "protocols" or "methods".

    Returns:
        The objects by the name of their entry point, in the order of the names.

    Raises:
        InputError: one cannot be imported.
    """
    found = {}
    for entry in sorted(entry_points(group=f"{GROUP}.{kind}"), key=lambda entry: entry.name):
        try:
            found[entry.name] = entry.load()
        except Exception as error:  # whatever somebody else's code raises
            package = entry.dist.name if entry.dist else "unknown"
            raise InputError(
                f"plug-in '{entry.name}' of the package '{package}' ({entry.value}) could not be "
                f"loaded: {type(error).__name__}: {error}; fix or uninstall the package."
            ) from error
    return found
