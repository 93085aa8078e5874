"""The real datasets as a configuration describes them: units, folders and options of commands.

Nothing here looks at the data. A unit is a house of Matterport3D or a scan of ScanNet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mvdiffusion.tasks import Task
from workflow.lib.commands import repeated
from workflow.lib.contents import content_sha256

DATASETS: dict[str, Task] = {"matterport3d": Task.PANORAMA, "scannet": Task.DEPTH}
"""Names, and the task whose captions a dataset gets."""
SPLITS = ("train", "validation", "test")
LISTS = "mvdiffusion/preparation/lists"  # the owners' ids
OF_THIS_MACHINE = (
    "accept_terms", "downloads", "keep_downloads", "labels", "python", "root", "script",
)  # fmt: skip


def dataset_root(config: Mapping[str, Any], name: str) -> str:
    """Folder of a real dataset; rules name it even where no experiment needs it."""
    described = config.get("datasets", {}).get(name) or {"root": f"datasets/{name}"}
    return str(described["root"])


class Datasets:
    """The datasets of one experiment; where they lie and come from decides nothing.

    Args:
        config: the configuration.
        used: names of those that the experiment needs.
    """

    def __init__(self, config: Mapping[str, Any], used: Sequence[str]) -> None:
        """Remember the settings by name."""
        self.settings: dict[str, Any] = config.get("datasets", {})
        self.used = tuple(used)

    def deciding(self, name: str) -> dict[str, Any]:
        """What of a dataset's settings decides its bytes, wherever they lie and come from."""
        settings = self.settings[name].items()
        chosen = {key: value for key, value in settings if key not in OF_THIS_MACHINE}
        return chosen | {"has_labels": self.has_labels(name)}

    def houses(self) -> list[str]:
        """Ids of the houses."""
        return self.settings["matterport3d"]["houses"] or _official_ids("matterport3d")

    def scans(self) -> dict[str, list[str]]:
        """Ids of the scans by split; some of the owners' training scans are kept for validation."""
        settings = self.settings["scannet"]
        chosen = {
            split: settings["scenes"][split] or _official_ids(f"scannet_{split}")
            for split in ("train", "test")
        }
        held_out = settings["validation_scenes"]
        return {
            "train": chosen["train"][:-held_out],
            "validation": chosen["train"][-held_out:],
            "test": chosen["test"],
        }

    def units(self, name: str) -> list[str]:
        """Ids of all houses, or of all scans with the split before them."""
        if name == "matterport3d":
            return self.houses()
        return [f"{split}/{scan}" for split, scans in self.scans().items() for scan in scans]

    def prepared_units(self, name: str) -> list[str]:
        """Marks of all houses or scans, which are there when they are prepared."""
        return [f"<{name}>/prepared/{unit}/.prepared" for unit in self.units(name)]

    def fetch_options(self, name: str) -> list[str]:
        """What the fetching command needs to know beside the unit."""
        settings = self.settings[name]
        folder = settings["downloads"] or f"{settings['root']}/downloads"
        script = repeated("--script", [settings["script"]] if settings["script"] else [])
        python = repeated("--python", [settings["python"]] if settings["python"] else [])
        agreed = ["--accept-terms"] if settings["accept_terms"] else []
        return [name, "--downloads", folder, *script, *python, *agreed]

    def keeps_downloads(self, name: str) -> bool:
        """Whether what was downloaded stays; a folder that the user gave is never emptied."""
        if name not in self.used:
            return True
        settings = self.settings[name]
        return bool(settings["keep_downloads"] or settings["downloads"] is not None)

    def after_preparing(self, name: str) -> str:
        """Command that deletes a download that was prepared, and the record beside it."""
        return "" if self.keeps_downloads(name) else ' && rm -f "$source" "$source.json"'

    def has_labels(self, name: str) -> bool:
        """Whether there are splits or captions of the authors."""
        return bool(self.settings[name]["labels"])

    def labels_contents(self, name: str) -> list[str]:
        """Names and hashes of the authors' archives."""
        archives = self.settings[name]["labels"]
        return [part for path in archives for part in (Path(path).name, content_sha256(path))]

    def labels_steps(self, name: str) -> list[str]:
        """The step that extracts the authors' labels, if there are any."""
        return [f"{name}_labels"] if self.has_labels(name) else []

    def labels_mark(self, name: str) -> list[str]:
        """Input of rules that read the authors' labels, if there are any."""
        return [f"<{name}>/labels.extracted"] if self.has_labels(name) else []

    def extraction_options(self, name: str) -> list[str]:
        """What the command needs that extracts the authors' labels."""
        settings = self.settings[name]
        output = f"{settings['root']}/labels"
        return [name, *repeated("--archive", settings["labels"]), "--output", output]

    def labels_options(self, name: str) -> list[str]:
        """The option of commands that read the authors' labels."""
        folder = f"{self.settings[name]['root']}/labels"
        return ["--labels", folder] if self.has_labels(name) else []

    def split_options(self, name: str) -> list[str]:
        """What the command needs that writes the splits: also which units are meant."""
        units = repeated("--unit", [Path(unit).name for unit in self.units(name)])
        return [name, *self.labels_options(name), *units]

    def captions_file(self, name: str, split: str) -> str:
        """The last file that is made of a split: its images and all its captions are there."""
        return f"<{name}>/prepared/captions_{split}.json"


def _official_ids(name: str) -> list[str]:
    return Path(f"{LISTS}/{name}.txt").read_text().split()
