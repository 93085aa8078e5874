"""Copy the results of a complete run of mini to results/reference/mini, where no rule writes.

They are what a visitor sees before running anything; `make reference` calls this.
"""

import hashlib
import json
import shutil
from pathlib import Path

from PIL import Image

from mvdiffusion.records import read_json_lines
from workflow.lib.current import CONFIG, RESULTS, refuse_unless_current
from workflow.lib.seal import seal

REFERENCE = RESULTS / "reference" / "mini"
QUALITY = 92  # of JPEG


def main() -> None:
    """Refuse anything but a complete, current run of mini; otherwise replace the reference."""
    refuse_unless_current()
    new = REFERENCE.with_name(f".{REFERENCE.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    shutil.copytree(RESULTS / "tables", new / "tables", ignore=shutil.ignore_patterns(".*"))
    copy_figures(RESULTS / "figures", new / "figures")
    shutil.copy(RESULTS / "metrics.json", new)
    (new / "provenance.json").write_text(json.dumps(provenance(), indent=2, sort_keys=True) + "\n")
    shutil.rmtree(REFERENCE, ignore_errors=True)
    new.rename(REFERENCE)
    print(f"{REFERENCE}: replaced; look at it, then commit it")


def copy_figures(figures: Path, copies: Path) -> None:
    """Copy charts as SVG alone and pictures as JPEG: every clone of the repository carries them.

    The seal beside the copies is theirs.
    """
    copies.mkdir()
    recipe = next(figures.glob("recipe-*.json"))
    for path in sorted({*figures.glob("[!.]*")} - {recipe}):
        if path.suffix != ".png":
            shutil.copy(path, copies)
        elif not path.with_suffix(".svg").exists():
            with Image.open(path, formats=["PNG"]) as picture:
                jpeg = picture.convert("RGB")
            jpeg.save(copies / f"{path.stem}.jpg", quality=QUALITY, subsampling=0)
    seal(copies / recipe.name, sorted(copies.iterdir()))


def provenance() -> dict[str, object]:
    """What made the results, from the score files, and how long each step took."""
    scores = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("scores/*/*.json"))]
    return {
        "config": CONFIG.as_posix(),
        "config_sha256": hashlib.sha256(CONFIG.read_bytes()).hexdigest(),
        "images_settings_sha256": {score["task"]: score["settings_sha256"] for score in scores},
        "scored_with": scores[0]["provenance"],
        "seconds": {path.stem: seconds(path) for path in sorted(RESULTS.glob("benchmarks/*.tsv"))},
    }


def seconds(benchmark: Path) -> float:
    """Wall-clock seconds of a step: its last job's, and those of a training's earlier sittings."""
    last = float(benchmark.read_text().splitlines()[1].split("\t")[0])
    log = RESULTS / "training" / benchmark.stem.removeprefix("train_") / "log"
    return last + sum(line["seconds"] for line in read_json_lines(log / "sittings.jsonl")[:-1])


if __name__ == "__main__":
    main()
