"""Copy the results of a complete run to results/reference/<configuration>, where no rule writes.

They are what a visitor sees before running anything. `make reference` calls this for mini, and
`python -m workflow.scripts.publish_reference workflow/config/comparison.yaml` is for another
configuration.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from snakemake_interface_common.exceptions import WorkflowError

from mvdiffusion.records import InputError, read_json_lines
from workflow.lib.commands import repeated
from workflow.lib.config import read_config
from workflow.lib.seal import seal
from workflow.scripts.current import MINI, refuse_unless_current

REFERENCE = "results/reference"
QUALITY = 85  # of JPEG
LARGEST_PAGE = 1_500_000  # bytes of the page and of what lies beside it for the page alone


def main(config: Path) -> None:
    """Refuse anything but a complete, current run; otherwise replace the reference.

    Args:
        config: the run's configuration file.
    """
    try:
        results = Path(read_config(config)["results_dir"])
    except (InputError, WorkflowError) as error:
        sys.exit(str(error))
    reference = Path(REFERENCE, config.stem)
    refuse_another(reference, config)
    refuse_unless_current(results, config)
    new = reference.with_name(f".{reference.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    shutil.copytree(results / "tables", new / "tables", ignore=shutil.ignore_patterns(".*"))
    copy_figures(results / "figures", new / "figures")
    shutil.copy(results / "metrics.json", new)
    made = json.dumps(provenance(results, config), indent=2, sort_keys=True)
    (new / "provenance.json").write_text(made + "\n")
    write_page(results, new)
    shutil.rmtree(reference, ignore_errors=True)
    new.rename(reference)
    print(f"{reference}: replaced; look at it, then commit it")


def refuse_another(reference: Path, config: Path) -> None:
    """Refuse to put results in the place of those of another configuration of the same file name.

    Raises:
        SystemExit: with one sentence.
    """
    if config.is_absolute() or not config.resolve().is_relative_to(Path.cwd().resolve()):
        sys.exit(f"{config}: expected a file of this repository, named from its top folder")
    made = reference / "provenance.json"
    if made.exists() and (other := json.loads(made.read_text())["config"]) != config.as_posix():
        sys.exit(f"{reference}: holds results of {other}; rename {config}")


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


def write_page(results: Path, copy: Path) -> None:
    """Write a small page beside the copied tables and figures, which it links to.

    Raises:
        SystemExit: the command that writes it failed, or the page is too large to be kept.
    """
    settings = max(results.glob("settings/report-*.json"), key=lambda path: path.stat().st_mtime)
    scores = sorted((results / "scores").rglob("*.json"))
    folders = [path.relative_to(results / "scores").with_suffix("").as_posix() for path in scores]
    page = copy / "report.html"
    command: list[str | Path] = [
        *(sys.executable, "-m", "mvdiffusion_eval", "report", "--compact"),
        *("--config", settings, "--tables", copy / "tables", "--figures", copy / "figures"),
        *("--metrics", copy / "metrics.json", "--output", page),
        *repeated("--scores", map(str, scores)),
        *repeated("--generated", (f"{name}={results}/images/{name}" for name in folders)),
        *repeated(
            "--benchmark", (f"{path.stem}={path}" for path in results.glob("benchmarks/*.tsv"))
        ),
    ]
    if code := subprocess.run(command, check=False).returncode:
        sys.exit(code)
    (copy / "report_assets/.output.json").unlink(missing_ok=True)  # nothing is made there again
    beside = (path for path in copy.glob("report*/**/*") if path.is_file())
    size = sum(path.stat().st_size for path in (page, *beside))
    if size > LARGEST_PAGE:
        sys.exit(f"{page}: {size:,} bytes; expected at most {LARGEST_PAGE:,} in every clone")


def provenance(results: Path, config: Path) -> dict[str, object]:
    """What made the results, from the score files, and how long each step took."""
    scores = [json.loads(path.read_text()) for path in sorted(results.glob("scores/*/*.json"))]
    return {
        "config": config.as_posix(),
        "config_sha256": hashlib.sha256(config.read_bytes()).hexdigest(),
        "images_settings_sha256": {score["task"]: score["settings_sha256"] for score in scores},
        "scored_with": scores[0]["provenance"],
        "seconds": {path.stem: seconds(path) for path in sorted(results.glob("benchmarks/*.tsv"))},
    }


def seconds(benchmark: Path) -> float:
    """Wall-clock seconds of a step: its last job's, and those of a training's earlier sittings."""
    last = float(benchmark.read_text().splitlines()[1].split("\t")[0])
    log = benchmark.parents[1] / "training" / benchmark.stem.removeprefix("train_") / "log"
    return last + sum(line["seconds"] for line in read_json_lines(log / "sittings.jsonl")[:-1])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else MINI)
