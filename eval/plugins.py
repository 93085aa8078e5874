"""Metrics, protocols and methods of other packages, found by their entry points.

A package names them in its `pyproject.toml`; installed beside this one it is used like a part of
it. Everything it needs can be imported from `mvdiffusion_eval`. An example with all three is in
`tests/eval/example_plugin`.

```toml
[project.entry-points."mvdiffusion_eval.metrics"]
colorfulness = "my_package.color:METRIC"    # an `mvdiffusion_eval.Metric`
[project.entry-points."mvdiffusion_eval.protocols"]
my_protocols = "my_package:PROTOCOLS"       # path of a YAML file, see `protocols.names`
[project.entry-points."mvdiffusion_eval.methods"]
mine = "my_package:METHOD"                  # an `mvdiffusion_eval.Method`
```

- A metric is a `Metric`: a name and a function from `Inputs` (the folders and extractors) and a
  `Step` (what the protocol says of it) to an `Outcome` of `Measurement`s, most easily made by
  `per_sample`.
- A file of protocols names metrics, what images they are run on, and their options.
- A method is a `Method`: its printed name and color and, if it writes a layout of its own, a
  function that opens a folder as a `PanoramaFolder` or `SequenceFolder` (or a subclass).
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from mvdiffusion.records import InputError

GROUP = "mvdiffusion_eval"


def load_plugins(kind: str, of: type = object) -> dict[str, Any]:
    """Load what packages register.

    Args:
        kind: "metrics", "protocols" or "methods".
        of: class of the objects.

    Returns:
        The objects by the name of their entry point, in the order of the names.

    Raises:
        InputError: one cannot be imported, or is of another class.
    """
    plugins = {}
    for entry in sorted(entry_points(group=f"{GROUP}.{kind}"), key=lambda entry: entry.name):
        try:
            plugins[entry.name] = entry.load()
        except Exception as error:  # other people's code may raise anything
            package = entry.dist.name if entry.dist else "unknown"
            raise InputError(
                f"plug-in '{entry.name}' of the package '{package}' ({entry.value}) could not be "
                f"loaded: {type(error).__name__}: {error}; fix or uninstall the package."
            ) from error
        if not isinstance(plugins[entry.name], of):
            raise InputError(
                f"plug-in '{entry.name}': expected an mvdiffusion_eval.{of.__name__}, got "
                f"{type(plugins[entry.name]).__name__}."
            )
    return plugins
