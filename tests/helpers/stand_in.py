"""Plays both command lines of the project in a few milliseconds, for tests of the workflow.

A result is a hash of all that went in (settings, files read, code of the modules), and the seeds
among it in plain text. Like the real commands it resumes: it goes on from a checkpoint or a sample
that it finds, whoever left it, so a workflow which leaves the wrong ones about gets wrong results.
"""

import base64
import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path

CODE = {
    "train": ["mvdiffusion/training/loop.py"],
    "generate": ["mvdiffusion/pipelines/panorama.py"],
    "score": ["eval/functional/psnr.py"],
    "tables": ["eval/tables/published.yaml"],
    "leaderboard": ["eval/tables/published.yaml"],
}
READ = ("data", "validation", "base", "model", "other", "views", "generated", "reference",
        "vae-reconstruction", "extractor", "scores", "tables", "figures", "metrics",
        "curves")  # fmt: skip
SPLITS = {"data": "train", "validation": "validation"}
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
)  # a PNG; text behind it is no part of the picture


def main() -> None:
    """Run one command; its name is written to commands.log."""
    words = [word for word in sys.argv[1:3] if not word.startswith("-")]
    of_scores = words[0] in ("tables", "leaderboard")  # what follows are score files
    words = words[:1] if of_scores else words
    options = parse(sys.argv[1 + len(words) :])
    scores = options.pop("") if of_scores else []
    chosen = [
        value for key in ("", "unit", "task", "method", "kind") for value in options.get(key, [])
    ]
    name = " ".join([*words, *chosen])
    with open("commands.log", "a") as log:
        log.write(name + "\n")
    if os.environ.get("FAIL_AT") == name:
        sys.exit("mvdiffusion: data/broken.jpg: truncated; copy it again")
    if words[-1] in PREPARATION:
        PREPARATION[words[-1]](options)
    else:
        write(
            words,
            options,
            digest(words[0], options | {"scores": scores or options.get("scores", [])}),
        )


def parse(arguments: list[str]) -> dict[str, list[str]]:
    """Collect the values after each --option."""
    options: dict[str, list[str]] = {}
    values = options.setdefault("", [])  # before the first option
    for argument in arguments:
        if argument.startswith("--"):
            values = options.setdefault(argument[2:], [])
        else:
            values.append(argument)
    return options


def digest(command: str, options: dict[str, list[str]]) -> str:
    """Hash what went in."""
    paths = [Path(path) for path in CODE.get(command, [])]
    told = options.get("settings", [""])[0]
    given = [told] if told.startswith("{") else []  # training commands get JSON
    paths += [Path(told)] if told and not given else []
    if command != "tables":
        for option in READ:
            folders = [Path(value.split("=")[-1]) for value in options.get(option, [])]
            split = options.get("split", [SPLITS.get(option)])[0]
            # Data folders hold several splits; a command reads one, and fails if it is not there.
            paths += [
                split_file(folder, split) if option in SPLITS else folder for folder in folders
            ]
    else:
        paths += [Path(value) for value in options["scores"]]
        paths += [Path(value.split("=")[-1]) for value in options.get("seed-score", [])]
    files = [
        file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
    ]
    content = given + [file.read_text(errors="replace") for file in files if file.is_file()]
    seeds = {seed for text in content for seed in re.findall(r"seed=\d+", text)}
    settings = json.loads(given[0] if given else Path(told).read_text()) if told else {}
    if "device" in settings:  # those with the seed of the experiment
        seeds.add(f"seed={settings['seed']}")
    return f"{' '.join(sorted(seeds))} {hashlib.sha256(json.dumps(content).encode()).hexdigest()}"


def split_file(folder: Path, split: str) -> Path:
    """The file that tells of a split, which must be there."""
    (file,) = folder.glob(f"{split}.*")
    return file


def write(words: list[str], options: dict[str, list[str]], result: str) -> None:
    """Leave the files that the real command leaves."""
    command = words[0]
    if command == "train":
        result = checkpointed(Path(options["checkpoints"][0]) / "state", result)
        save(Path(options["log-dir"][0]) / "metrics.jsonl", result)
        name = "config.json" if words[1] in ("vae", "decoder") else "model_index.json"
        save(Path(options["output"][0]) / name, result)
    elif words == ["external", "install"]:
        save(Path("external") / options[""][0], result)
    elif command in ("generate", "external"):
        folder = Path(options["output"][0])
        samples = [
            checkpointed(folder / f"{sample}.png", result + str(sample)) for sample in range(3)
        ]
        save(folder / "manifest.json", json.dumps(samples))
    elif command == "tables":
        tasks = [value.split("=")[0] for value in options["settings-sha256"]]
        tables = [
            f"{task}_{name}"
            for task in tasks
            for name in ("main", "distances", "consistency", "controls", "published")
        ]
        seeded = {Path(value).parent.name for value in options.get("seed-score", [])}
        tables += [f"{task}_{name}" for task in seeded for name in ("seeds", "seed_verdicts")]
        for table in [*tables, "claims", "published"]:
            for kind in ("csv", "md", "tex", "html"):
                save(Path(options["output-dir"][0]) / f"{table}.{kind}", result)
        save(Path(options["metrics"][0]), json.dumps({"result": result}))
    elif command == "figures":
        tasks = {value.split("/")[0] for value in options["generated"]}
        plots = [f"{plot}_{task}" for plot in ("overview", "psnr_per_pair") for task in tasks]
        plots += ["error_accumulation_panorama"] * ("panorama" in tasks) + ["training_curves"]
        names = [f"{plot}.{kind}" for plot in plots for kind in ("png", "svg", "csv")]
        for name in names:
            save(Path(options["output-dir"][0]) / name, f"pair\n{result}\n")
        for picture in [*(f"contact_sheet_{task}" for task in tasks), "ring_panorama"]:
            save(Path(options["output-dir"][0]) / f"{picture}.png", PIXEL + result.encode())
    else:
        if command == "score":
            task = Path(options["output"][0]).parent.name
            known = {"task": task, "settings_sha256": "0", "provenance": {}}
            known["features"] = features(options)
            result = json.dumps(known | {"result": result})
        save(Path(options["output"][0]) / file_of(words, options), result)
        if command == "report":
            page = Path(options["output"][0])
            save(page.with_name(f"{page.stem}_assets") / "panorama.js", result)


def file_of(words: list[str], options: dict[str, list[str]]) -> str:
    """Name of the file, inside --output, that tells Snakemake of a command's success."""
    split = options.get("split", [""])[0]
    names = {"rooms": f"{split}.npy", "walks": f"{split}.json", "export": "manifest.json"}
    return {"train-extractor": "extractor.json"}.get(words[0], names.get(words[-1], ""))


def features(options: dict[str, list[str]]) -> list[str]:
    """What the code makes of each image, kept by the image's content as the real command does."""
    folders = [Path(options[option][0]) for option in ("generated", "reference")]
    images = [path.read_text() for folder in folders for path in sorted(folder.glob("*.png"))]
    code = hashlib.sha256(Path(CODE["score"][0]).read_bytes()).hexdigest()
    kept = Path(options["cache"][0])
    return [checkpointed(kept / hashlib.sha256(i.encode()).hexdigest(), code) for i in images]


def checkpointed(path: Path, value: str) -> str:
    """Go on from what is there, as the real commands do; a test may stop us in between."""
    if not path.exists():
        save(path, value)
    if os.environ.get("HANG_AT") and os.environ["HANG_AT"] in str(path):
        Path("hanging").touch()
        for _ in range(60_000):  # until a test lets us go on
            if Path("go_on").exists():
                break
            time.sleep(0.05)
    return path.read_text()


def save(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content if isinstance(content, bytes) else content.encode())
    temporary.replace(path)


def fetch(options: dict[str, list[str]]) -> None:
    """Find a house or scan in the downloads, or have it from the owner's script."""
    path = Path(options["downloads"][0]) / f"{options['unit'][0]}.zip"
    if not path.exists():
        if not options.get("script"):
            sys.exit(f"mvdiffusion: {path}: no such file. Sign https://terms.example")
        assert "accept-terms" in options
        save(path, options["unit"][0])
    print(path)


def labels(options: dict[str, list[str]]) -> None:
    """Extract the authors' labels."""
    save(Path(options["output"][0]) / "labels.txt", Path(options["archive"][0]).read_text())


def prepare(options: dict[str, list[str]]) -> None:
    """Keep a house or scan that is there, of this source and these settings, or make it."""
    (source,), (folder,) = options["source"], options["output"]
    record, settings = Path(folder) / "prepared.json", Path(options["settings"][0]).read_text()
    content = json.dumps([settings, Path(source).read_text()])
    if record.exists() and record.read_text() == content:
        with open("commands.log", "a") as log:
            log.write(f"kept {options['unit'][0]}\n")
        return
    save(record, content)
    save(record.with_name("data"), options["unit"][0])


def splits(options: dict[str, list[str]]) -> None:
    """List all that is prepared."""
    root = Path(options["prepared"][0])
    units = sorted(str(path) for path in root.rglob("prepared.json"))
    for name in ("train", "validation", "test"):
        save(root / f"{name}.{'npy' if options[''] == ['matterport3d'] else 'json'}", str(units))
    save(root / "splits.json", json.dumps(units))


def caption(options: dict[str, list[str]]) -> None:
    """Record the captions of a split."""
    settings, name = Path(options["settings"][0]).read_text(), options["split"][0]
    save(Path(options["data"][0]) / f"captions_{name}.json", settings)


def fetch_base(options: dict[str, list[str]]) -> None:
    """Put a pretrained model into a folder."""
    save(Path(options["output"][0]) / "model_index.json", options["model"][0])


def release_base(options: dict[str, list[str]]) -> None:
    """Put a trained model into a folder, with what its trainings logged."""
    logs = [Path(options[name][0]) / "metrics.jsonl" for name in ("vae-log", "base-log")]
    read = [*logs, Path(options["base"][0]) / "model_index.json", Path(options["trials"][0])]
    save(Path(options["output"][0]) / "model_index.json", " ".join(p.read_text() for p in read))


PREPARATION = {
    function.__name__.replace("_", "-"): function
    for function in (fetch, labels, prepare, splits, caption, fetch_base, release_base)
}
main()
