"""Folders of multi-view models: loading them, and what lies in them beside the parts.

`pipeline.py` and, in the folders of parts that diffusers does not have, a file of their module let
`DiffusionPipeline.from_pretrained(FOLDER_OR_ID, trust_remote_code=True)` load the model: diffusers
takes the classes from there that `model_index.json` names. These files only import the installed
package. Classes of this package load the same folders without running any code of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from mvdiffusion.models.multiview_unet import MultiViewUNet, extend_input_channels
from mvdiffusion.pipelines.loading import (
    HASHES,
    check_files,
    check_model,
    in_precision,
    is_multi_view,
    load_single_view,
    local_folder,
    readable,
    record_files,
    shared_parts,
)
from mvdiffusion.records import InputError, atomic_output, read_json, write_json

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline as _Pipeline
else:
    _Pipeline = object

TASKS = {
    "MVDiffusionPanoramaPipeline": "the views of a panorama from text, one for each view",
    "MVDiffusionOutpaintPipeline": "the views of a panorama from text and some given views",
    "MVDiffusionDepthPipeline": "the images of a sequence from text, depth and camera poses",
}
"""Pipelines that others can load by a folder's own files, and what they generate."""

OWN_MODULES = {
    "multiview_unet": "mvdiffusion.models.multiview_unet",
    "patch_autoencoder": "mvdiffusion.models.patch_autoencoder",
}
"""Modules of parts that diffusers does not have, by the names of their files in a model folder."""

# The same for all tasks: diffusers keeps one copy of a local folder's file for all folders.
PIPELINE_FILE = '''"""The pipelines of the installed package mvdiffusion, for diffusers to find."""

try:
    from mvdiffusion.pipelines import (
        MVDiffusionDepthPipeline,
        MVDiffusionOutpaintPipeline,
        MVDiffusionPanoramaPipeline,
    )
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "mvdiffusion":
        raise
    raise ImportError(
        "This model is run by the Python package mvdiffusion, which is not installed: install it "
        "with `pip install -e .` in a clone of its repository."
    ) from None

__all__ = [
    "MVDiffusionDepthPipeline",
    "MVDiffusionOutpaintPipeline",
    "MVDiffusionPanoramaPipeline",
]
'''
PART_FILE = '''"""A part of the installed package mvdiffusion, for diffusers to find."""

from {module} import {name}

__all__ = ["{name}"]
'''
CARD = """---
library_name: diffusers
pipeline_tag: text-to-image
tags:
- mvdiffusion
- multi-view
- {task}
---
# MVDiffusion: {task}

Generates {what}. The views are denoised together by one UNet
with attention between the places where they correspond: MVDiffusion (Tang et al. 2023,
[arXiv 2307.01097](https://arxiv.org/abs/2307.01097)).

| | |
|---|---|
{rows}

## How to load it

With the package `mvdiffusion` installed, which holds the code of the model:

```python
from mvdiffusion.pipelines import {name}

pipeline = {name}.from_pretrained("FOLDER_OR_ID")
```

or, as any pipeline of diffusers,

```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("FOLDER_OR_ID", trust_remote_code=True)
```

which runs `pipeline.py` and the files of modules in this folder; they import the same package and
do nothing else. Only the first way checks the files against `sha256.json`, if there is one, and
computes in float32 whatever the precision on the disk.

## License

The weights are derived from those of the base model and bound to its license; that of Stable
Diffusion 2 is the CreativeML Open RAIL++-M License, and the miniature's base states its own in its
model card. The license of the package's code (MIT) does not extend to them. State the license here
before you pass the model on.
"""


class ModelFolders(_Pipeline):
    """The part of a multi-view pipeline that loads and writes folders."""

    unet_task: ClassVar[str]

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> Self:
        """Load a model of this task, as stage 2 and `mvdiffusion convert` write it.

        Args:
            folder: the folder, or its id on the Hugging Face hub; its files are checked against the
                hashes that it has. No code of it is run.
            options: passed on to diffusers, such as `torch_dtype`; float32 without.

        Raises:
            InputError: no such model, a changed file, or a model of another task or of single
                views.
        """
        local = local_folder(folder, options)
        check_model(local)
        check_files(local)
        if (local / "unet").is_dir() and not is_multi_view(local):
            raise InputError(
                f"{folder}: is a model of single views; load it by {cls.__name__}."
                "from_single_view, which adds untrained attention between the views."
            )
        with readable(local, f"no model of the task {_task(cls.__name__)}"):
            made = super().from_pretrained(local, use_safetensors=True, **options)
        loaded: Self = in_precision(made, options)
        return loaded

    @classmethod
    def from_single_view(
        cls,
        folder: str | Path,
        variant: str = "released",
        ignore_condition: bool = False,
        **options: Any,
    ) -> Self:
        """Load a Stable Diffusion folder (or hub id) and insert untrained multi-view layers.

        Args:
            folder: a folder in the format of diffusers, of Stable Diffusion 1, 2 or XL, with as
                many input channels as the task needs: those of base, inpainting or depth.
            variant: CAA arithmetic, "released" or "paper".
            ignore_condition: load a model of text alone, too; its new input channels have no
                effect, so it sees neither mask nor depth.
            options: passed on to `from_pretrained`, such as `torch_dtype`; float32 without.

        Raises:
            InputError: no such model, a changed file, or a model of another kind.
        """
        base = load_single_view(folder, **options)
        latent_channels = base.vae.config.latent_channels
        if ignore_condition and base.unet.config.in_channels == latent_channels:
            extend_input_channels(base.unet, cls.input_channels(latent_channels))
        unet = MultiViewUNet.from_unet(base.unet, variant, cls.unet_task)
        parts = {**shared_parts(base), **cls._further_parts(folder, **options)}
        return cls(unet=unet, **parts)

    @classmethod
    def _further_parts(cls, folder: str | Path, **options: Any) -> dict[str, Any]:
        """Load what a pipeline has beside the parts of Stable Diffusion, by name: nothing."""
        return {}

    @classmethod
    def input_channels(cls, latent_channels: int) -> int:
        """Input channels of this task's UNet."""
        return latent_channels

    @classmethod
    def _dict_from_json_file(cls, json_file: str | Path) -> Any:
        """Read a configuration as diffusers does, but for the classes: they are this package's."""
        config: Any = super()._dict_from_json_file(json_file)
        if not isinstance(config, dict):
            return config
        for key, value in config.items():
            if isinstance(value, list) and value:
                first = value[0] if isinstance(value[0], str) else ""
                named = [OWN_MODULES.get(first, value[0]), *value[1:]]
                config[key] = value[-1] if key == "_class_name" else named
        return config

    def save_config(
        self, save_directory: str | Path, push_to_hub: bool = False, **more: Any
    ) -> None:
        """Write what describes the model as a whole; `save_pretrained` calls it last.

        Args:
            save_directory: the folder of the model, whose other parts are written.
            push_to_hub, more: see diffusers.
        """
        super().save_config(save_directory, push_to_hub, **more)
        folder = Path(save_directory)
        _leave_out_absent_parts(folder)
        if type(self).__name__ in TASKS:
            _write_modules(folder)
            write_card(folder, self, {})
        if (folder / HASHES).is_file():  # of a model that is written anew
            record_files(folder)


def _task(name: str) -> str:
    """Name of the task of a pipeline's class."""
    return name.removeprefix("MVDiffusion").removesuffix("Pipeline").lower()


def _leave_out_absent_parts(folder: Path) -> None:
    """Name no second text encoder where there is none: what is not named loads as none."""
    index = read_json(folder / "model_index.json")
    for name in ("text_encoder_2", "tokenizer_2"):
        if index.get(name) == [None, None]:
            del index[name]
    write_json(folder / "model_index.json", index)


def _write_modules(folder: Path) -> None:
    """Write the files that import this package, and name their classes in model_index.json."""
    index = read_json(folder / "model_index.json")
    (folder / "pipeline.py").write_text(PIPELINE_FILE)
    index["_class_name"] = ["pipeline", index["_class_name"]]
    names = {module: name for name, module in OWN_MODULES.items()}
    for part, value in index.items():
        if isinstance(value, list) and value[0] in names:
            module, name = value
            text = PART_FILE.format(module=module, name=name)
            (folder / part / f"{names[module]}.py").write_text(text)
            index[part] = [names[module], name]
    write_json(folder / "model_index.json", index)


def write_card(folder: Path, pipeline: Any, provenance: Mapping[str, str]) -> None:
    """Write the model card of a saved pipeline, README.md.

    Args:
        folder: the model.
        pipeline: what was saved.
        provenance: rows on where the weights come from, such as "Base" and "Training".
    """
    name, unet = type(pipeline).__name__, pipeline.unet
    height, width = pipeline.default_size()
    attention = sum(weights.numel() for weights in unet.correspondence_parameters())
    count = {
        part: sum(module.num_parameters() for module in modules)
        for part, modules in {"vae": [pipeline.vae], "text": pipeline.text.encoders}.items()
    }
    encoders = "text encoder" + "s" * (len(pipeline.text.encoders) - 1)
    dtype = str(unet.dtype).removeprefix("torch.")
    rows = {
        "Size of a view": f"{height} × {width} pixels (height × width)",
        "Attention between views": f"variant `{unet.config['variant']}`"
        + "".join(f", {key} {value}" for key, value in (unet.config["attention"] or {}).items()),
        "Parameters": f"UNet {unet.num_parameters():,}, of which {attention:,} for the views to "
        f"see each other; VAE {count['vae']:,}; {encoders} {count['text']:,}",
        "Precision": dtype,
        **(provenance or {"Origin": "not recorded"}),
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    with atomic_output(folder / "README.md") as temporary:
        temporary.write_text(CARD.format(task=_task(name), what=TASKS[name], name=name, rows=table))
