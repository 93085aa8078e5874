# Configuration files: reading, and one readable sentence about each mistake.
import os
from difflib import get_close_matches
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator


def checked(config, source):
    """Return the configuration if it fits the schema; otherwise say which key to mend."""
    schema = yaml.safe_load(Path("workflow/schemas/config.schema.yaml").read_text())
    errors = sorted(Draft202012Validator(schema).iter_errors(config), key=lambda e: list(e.path))
    if errors:
        sentences = "\n".join(f"  {source}: {config_error(error)}" for error in errors[:5])
        raise WorkflowError(f"the configuration cannot be used\n{sentences}")
    return config


def config_error(error):
    """One sentence for a validation error: the key, what was found, what is expected."""
    path = [str(part) for part in error.absolute_path]
    key, wanted = ".".join(path), error.validator_value
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        return "; ".join(
            unknown_key(path, name, known) for name in error.instance if name not in known
        )
    if error.validator == "required":
        missing = [".".join([*path, name]) for name in wanted if name not in error.instance]
        return f"missing: {', '.join(missing)}"
    if error.validator == "enum":
        return f"'{key}' is {error.instance!r}; expected one of {', '.join(map(str, wanted))}"
    if error.validator == "type":
        return f"'{key}' is {error.instance!r}; expected a value of type {wanted}"
    return f"'{key}': {error.message}"


def unknown_key(path, key, known):
    close = get_close_matches(str(key), known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}"
    return f"unknown key '{'.'.join([*path, str(key)])}'; {hint}"


def read_config(path):
    """Read and check a configuration file."""
    return checked(yaml.safe_load(Path(path).read_text()), path)


def configuration_files():
    """The files that the configuration in use is made of, the deciding one first."""
    return ", ".join(os.path.relpath(path) for path in workflow.configfiles)
