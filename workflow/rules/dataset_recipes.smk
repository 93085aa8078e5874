# What decides each step of the real datasets. Nothing but labels is cleared when a recipe changes: the
# commands run again, find by their own records what is still right, and make the rest. Labels have no
# records, and those of an archive that is no longer named must not be read. What is fetched is the
# owners' to decide, so it has no recipe.
PREPARATION = "mvdiffusion.preparation"


def dataset_recipe(dataset, step, settings, code, after=(), makes=(), units=()):
    recipe(
        f"{dataset}_{step}",
        settings,
        [f"{PREPARATION}.{code}"],
        after=[f"{dataset}_{name}" for name in after],
        makes=makes,
        root=f"<{dataset}>",
        units=units,
    )


def split_settings(dataset):
    settings = config["datasets"][dataset]
    return settings["splits"] if dataset == "matterport3d" else {}


for dataset in USED:
    labels = ["labels"] if has_labels(dataset) else []
    if labels:
        archives = [Path(path).name for path in config["datasets"][dataset]["labels"]]
        extracted = [f"<{dataset}>/labels"]
        dataset_recipe(dataset, "labels", {}, "labels", makes=extracted, units=archives)
    preparation = config["datasets"][dataset]["preparation"]
    read = labels if dataset == "scannet" else []  # of houses only the splits read them
    dataset_recipe(dataset, "units", preparation, dataset, after=read)
    dataset_recipe(
        dataset,
        "splits",
        split_settings(dataset),
        "splits",
        after=["units", *labels],
        units=units_of(dataset),
    )
    for split in SPLITS:
        captions = config["datasets"][dataset]["captions"]
        dataset_recipe(dataset, f"captions_{split}", captions, "captions", after=["splits"])
