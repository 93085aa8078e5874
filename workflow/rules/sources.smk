# Where each task's data come from: procedural rooms and walks, or real datasets. Also the ids and
# paths that the rules of the real ones are about (datasets.smk); nothing here looks at the data.
SPLITS = ("train", "validation", "test")
REAL = {"matterport3d": "panorama", "scannet": "depth"}  # datasets, and the task of their captions
LISTS = "mvdiffusion/preparation/lists"  # the owners' ids


def source_of(task):
    """Name of the data that a task learns from and is tested on."""
    return config["data"]["sources"]["depth" if task == "depth" else "panorama"]


# A base that is trained learns from panoramas, whatever the tasks.
SOURCES = {source_of(task) for task in (*TASKS, *(["panorama"] if TRAINED_BASE else []))}
USED = [dataset for dataset in REAL if dataset in {*SOURCES, config.get("dataset")}]


def deciding_of_dataset(dataset):
    """What of a dataset's settings decides its bytes, wherever they lie and come from."""
    places = ("root", "downloads", "script", "python", "accept_terms", "keep_downloads", "labels")
    settings = config["datasets"][dataset]
    chosen = {key: value for key, value in settings.items() if key not in places}
    return chosen | {"has_labels": has_labels(dataset)}


def official_ids(name):
    return Path(f"{LISTS}/{name}.txt").read_text().split()


def houses():
    return config["datasets"]["matterport3d"]["houses"] or official_ids("matterport3d")


@cache
def scans():
    """Ids of the scans by split; some of the owners' training scans are kept for validation."""
    settings = config["datasets"]["scannet"]
    chosen = {
        split: settings["scenes"][split] or official_ids(f"scannet_{split}")
        for split in ("train", "test")
    }
    held_out = settings["validation_scenes"]
    return {
        "train": chosen["train"][:-held_out],
        "validation": chosen["train"][-held_out:],
        "test": chosen["test"],
    }


def shown_configuration():
    """The configuration without what is not used and what is of this machine."""
    shown = {key: value for key, value in config.items() if key not in ("dataset", "datasets")}
    used = {dataset: deciding_of_dataset(dataset) for dataset in USED}
    return shown | ({"datasets": used} if used else {})


def downloads(dataset):
    """Folder of what the owners' script downloads, or has downloaded before."""
    settings = config["datasets"][dataset]
    return settings["downloads"] or f"{settings['root']}/downloads"


def is_kept(dataset):
    """Whether what was downloaded stays; a folder that the user gave is never emptied."""
    settings = config["datasets"][dataset]
    return settings["keep_downloads"] or settings["downloads"] is not None


def fetching(dataset, path):
    """A mark that a unit was fetched; it goes when the download does, so both are made again."""
    return path if dataset not in USED or is_kept(dataset) else temp(path)


def fetch_options(dataset):
    """What the fetching command needs to know beside the unit."""
    settings = config["datasets"][dataset]
    given = {f"--{key}": settings[key] for key in ("script", "python") if settings[key]}
    words = [word for option in given.items() for word in option]
    agreed = ["--accept-terms"] if settings["accept_terms"] else []
    return [dataset, "--downloads", downloads(dataset), *words, *agreed]


def has_labels(dataset):
    return bool(config["datasets"][dataset]["labels"])


def labels_mark(dataset):
    """Input of rules that read the authors' labels, if there are any."""
    return [f"<{dataset}>/labels.extracted"] if has_labels(dataset) else []


def labels_options(dataset):
    """What the command needs that extracts the authors' labels."""
    settings = config["datasets"][dataset]
    archives = [word for path in settings["labels"] for word in ("--archive", path)]
    return [dataset, *archives, "--output", f"{settings['root']}/labels"]


def labels_option(dataset):
    labels = f"{config['datasets'][dataset]['root']}/labels"
    return ["--labels", labels] if has_labels(dataset) else []


def after_preparing(dataset):
    """What to do with a download that was prepared, and with the record beside it."""
    return "" if is_kept(dataset) else ' && rm -f "$source" "$source.json"'


def units_of(dataset):
    """Ids of all houses, or of all scans with the split before them."""
    if dataset == "matterport3d":
        return houses()
    return [f"{split}/{scene}" for split, scenes in scans().items() for scene in scenes]


def prepared_units(dataset):
    """Marks of all houses or scans, which are there when they are prepared."""
    return [f"<{dataset}>/prepared/{unit}/.prepared" for unit in units_of(dataset)]


def split_options(dataset):
    """What the command needs that writes the splits: also which units are meant."""
    units = [word for unit in units_of(dataset) for word in ("--unit", Path(unit).name)]
    return [dataset, *labels_option(dataset), *units]


def captions_file(dataset, split):
    """The last file that is made of a split: its images and all its captions are there."""
    return f"<{dataset}>/prepared/captions_{split}.json"


def rooms_file(split):
    """Rooms of the splits for testing are embedded in the repository."""
    return f"data/{split}.npy" if split in EMBEDDED else f"<results>/rooms/{split}/{split}.npy"


def data_file(task, split):
    """The file that tells of a split's data; the data lie beside it."""
    source = source_of(task)
    if source in REAL:
        return captions_file(source, split)
    return f"<results>/walks/{split}/{split}.json" if source == "walks" else rooms_file(split)


def data_of(split):
    """Input of a rule whose wildcard names the task."""
    return lambda wildcards: data_file(wildcards.task, split)


def data_steps(task, *splits):
    """Steps whose results a command reads when it reads splits of a task's data."""
    source = source_of(task)
    if source in REAL:
        return [f"{source}_captions_{split}" for split in splits]
    drawn = [split for split in splits if source == "walks" or split not in EMBEDDED]
    return [f"{source}_{split}" for split in drawn]


def data_reads(task):
    """Small files that decide a task's data: the hash of the embedded rooms."""
    return ["data.dvc"] if source_of(task) == "rooms" else []


def all_data():
    """What the target `data` makes: a dataset that is asked for, or what the tasks read."""
    if config.get("dataset"):
        return [captions_file(config["dataset"], split) for split in SPLITS]
    read = {data_file(task, split) for task in TASKS for split in SPLITS}
    return sorted(read) + ([rooms_file("evaluator")] if EVALUATORS else [])


def data_settings_files():
    """Settings files of the steps that make them."""
    if config.get("dataset"):
        return settings_files(f"<{config['dataset']}>")
    drawn = [step for step in RECIPES if step.startswith(("rooms_", "walks_"))]
    own = [RECIPES[step].path for step in drawn]
    return own + [path for dataset in USED for path in settings_files(f"<{dataset}>")]
