# The tasks: what each of them reads, which models it trains, and what decides its images.
TASKS = [task for task in ("panorama", "outpaint", "depth") if task in config["tasks"]]
METHODS = {task: config[task]["methods"] for task in TASKS}
FORM = {"panorama": "views", "outpaint": "views", "depth": "frames"}  # of images, in `data`
EMBEDDED = ("validation", "test")  # splits of the rooms that the repository holds
EXPORT_CODE = {  # modules that write real images
    "panorama": ["mvdiffusion.data.views", "mvdiffusion.data.matterport3d"],
    "outpaint": ["mvdiffusion.data.views", "mvdiffusion.data.matterport3d"],
    "depth": ["mvdiffusion.data.views", "mvdiffusion.data.scannet"],
}
WALKS = ("train", "validation", "test") if "depth" in TASKS else ()


def scored(task):
    """Folders of a task that are scored: the real images, and what each method makes."""
    return ["real", *METHODS[task]]


def with_data(task, values):
    """Settings of a command that loads a task's views: with the seed, the device and their form."""
    shared = {
        "seed": config["seed"],
        "device": config["device"],
        "data": config["data"][FORM[task]],
    }
    return shared | values


def real_views(task, num_samples):
    """Settings of an export of real images."""
    return {"data": config["data"][FORM[task]], "num_samples": num_samples}


def scenes_of(kind, split):
    """Settings that decide one split of the rooms or the walks, and no other."""
    scenes = config["data"][kind]
    return scenes | {"num_scenes": {split: scenes["num_scenes"][split]}}


def data_file(task, split):
    """The file that tells of a split's data; the data lie beside it."""
    if task == "depth":
        return f"<results>/walks/{split}/{split}.json"
    return f"data/{split}.npy" if split in EMBEDDED else f"<results>/rooms/{split}/{split}.npy"


def data_of(split):
    """Input of a rule whose wildcard names the task."""
    return lambda wildcards: data_file(wildcards.task, split)


def single_view(task):
    """The step that trains the task's single-view model, from which stage 2 starts."""
    return f"{task}_base" if task == "outpaint" else f"{task}_stage1"


def model_of(task, method):
    """Whose model a method runs: the multi-view one only where its attention is asked for."""
    multi_view = method in ("mvdiffusion", "wrong_correspondence")
    return f"{task}_stage2" if multi_view else single_view(task)


def model_file(wildcards):
    return f"<results>/models/{model_of(wildcards.task, wildcards.method)}/model_index.json"


def generation_of(task, method):
    """Settings of a method's sampling; the control looks at fewer samples."""
    settings = dict(config[task]["generation"])
    if method == "wrong_correspondence":
        settings["num_samples"] = config[task]["control_samples"]
    return settings


def images_sha256(task):
    """Hash of everything upstream of a task's images; tables refuse scores of any other."""
    kinds = ["views", "rooms"] + (["frames", "walks"] if task == "depth" else [])
    return sha256(
        {
            "seed": config["seed"],
            "base": config["base"],
            "data": {kind: config["data"][kind] for kind in kinds},
            task: {key: value for key, value in config[task].items() if key != "methods"},
        }
    )


def compared_with(task):
    """Folders of a task that all scores need: outpainting is also held against the codec."""
    return ["real"] + (["codec"] if task == "outpaint" and "codec" in METHODS[task] else [])


def codec_file(wildcards):
    """Manifest of the codec's images where scores need them."""
    manifest = f"<results>/images/{wildcards.task}/codec/manifest.json"
    return [manifest] if "codec" in compared_with(wildcards.task) else []
