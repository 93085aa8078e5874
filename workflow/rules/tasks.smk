# The tasks: what each of them reads, which models it trains, and what decides its images.
TASKS = [task for task in ("panorama", "outpaint", "depth") if task in config["tasks"]]
METHODS = {task: config[task]["methods"] for task in TASKS}
FORM = {"panorama": "views", "outpaint": "views", "depth": "frames"}  # of images, in `data`
TRAINED_BASE = "pretrained" not in config["base"]
EVALUATORS = list(config["evaluation"]["evaluators"])
EMBEDDED = ("validation", "test")  # splits of the rooms that the repository holds
LEAST_SAMPLES_BY_STEP = 4  # so that a jackknife of two groups leaves two
EXPORT_CODE = {  # modules that write real images
    "panorama": ["mvdiffusion.generation.export", "mvdiffusion.data.matterport3d"],
    "outpaint": ["mvdiffusion.generation.export", "mvdiffusion.data.matterport3d"],
    "depth": ["mvdiffusion.generation.export", "mvdiffusion.data.scannet"],
}


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


def base_of(task):
    """The step that makes the model which the task's own training starts from."""
    return f"{task}_pretrained" if "pretrained" in config["base"] else "base"


def single_view_section(task):
    """The part of a task's configuration about its single-view model."""
    return "base" if task == "outpaint" else "stage1"


def single_view(task):
    """The step that makes the task's single-view model, from which stage 2 starts."""
    section = single_view_section(task)
    return f"{task}_{section}" if config[task][section] else base_of(task)


def base_file(wildcards):
    return f"<results>/models/{base_of(wildcards.task)}/model_index.json"


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


def data_settings(task):
    """All that decides a task's data, and the data that its base is trained on."""
    asked = {FORM[task]: source_of(task)}
    if "pretrained" not in config["base"]:
        asked["views"] = source_of("panorama")
    sources = {
        source: deciding_of_dataset(source) if source in REAL else config["data"][source]
        for source in asked.values()
    }
    return sources | {form: config["data"][form] for form in asked}


def deciding(sections):
    """Sections of the configuration without what decides no result."""
    return {
        key: deciding_settings(value) if isinstance(value, dict) else value
        for key, value in sections.items()
    }


def images_sha256(task):
    """Hash of everything upstream of a task's images; tables refuse scores of any other."""
    base = config["base"]
    return sha256(
        {
            "seed": config["seed"],
            "base": base["pretrained"][task] if "pretrained" in base else deciding(base),
            "data": data_settings(task),
            task: deciding({key: config[task][key] for key in config[task] if key != "methods"}),
        }
    )


def errors_by_step():
    """Whether panoramas are certainly scored step by step from view 0 (eval/metrics/error_accumulation.py)."""
    if "panorama" not in TASKS:
        return False
    if named := config["evaluation"]["score"]["protocols"]:
        return "error-accumulation" in named  # with too few samples, the score itself fails
    if config["data"]["sources"]["panorama"] != "rooms":
        return False  # drawn if there are enough; how many is not known before
    there = config["data"]["rooms"]["num_scenes"]["test"]
    scored_rooms = min(there, config["panorama"]["generation"]["num_samples"] or there)
    return scored_rooms >= LEAST_SAMPLES_BY_STEP and config["data"]["views"]["num_views"] > 2


def compared_with(task):
    """Folders of a task that all scores need: outpainting also its VAE reconstructions."""
    bound = "vae_reconstruction"
    return ["real"] + ([bound] if task == "outpaint" and bound in METHODS[task] else [])


def vae_reconstruction_file(wildcards):
    """Manifest of the VAE reconstructions where scores need them."""
    manifest = f"<results>/images/{wildcards.task}/vae_reconstruction/manifest.json"
    return [manifest] if "vae_reconstruction" in compared_with(wildcards.task) else []


def repeated(option, values):
    """Words of a command line that give an option once for each value."""
    return [word for value in values for word in (option, value)]


def bound_option(files):
    """Words that name the folder of VAE reconstructions, if there is one."""
    return repeated("--vae-reconstruction", folders_of(files))


def folders_of(files):
    """Folders that files lie in."""
    return [str(Path(file).parent) for file in files]
