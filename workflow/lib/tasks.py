"""The tasks: which models each of them trains, which methods run, and what decides its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from mvdiffusion.methods.declaration import EXTERNAL, MODELS
from mvdiffusion.methods.registry import find_method
from mvdiffusion.methods.specification import find_specification
from mvdiffusion.records import settings_sha256
from mvdiffusion.settings import parse
from mvdiffusion.tasks import Task
from mvdiffusion.training.baselines.settings import METHOD_TRAININGS
from mvdiffusion.training.settings import ViewSettings, deciding_settings
from workflow.lib.commands import folders_of, named, repeated
from workflow.lib.contents import package_sha256
from workflow.lib.models import TrainingSeeds, needed_models, own_training, training_settings
from workflow.lib.recipes import Recipes
from workflow.lib.sources import EMBEDDED_BASE, LEAST_SAMPLES_BY_STEP, Sources

BOUND = "vae_reconstruction"  # the method that others are compared with in outpainting


class Tasks:
    """The tasks of one experiment.

    Attributes:
        names: of the tasks.
        methods: names by task.
        scored: `<task>/<name>` of all folders of images that are scored.
        extractors: kinds of feature extractors that are trained.
        seeds: what is trained under further seeds.
    """

    def __init__(self, config: Mapping[str, Any], sources: Sources) -> None:
        """Read what a configuration asks for."""
        self.config, self.sources = config, sources
        self.names = sources.tasks
        self.methods: dict[str, list[str]] = {task: config[task]["methods"] for task in self.names}
        self.scored = [f"{task}/{name}" for task in self.names for name in self.folders(task)]
        self.extractors = [
            kind for kind, training in config["evaluation"]["extractors"].items() if training
        ]
        self.seeds = TrainingSeeds(self)

    def processes(self, kind: str) -> int:
        """How many processes share the work of a job, of which each has a GPU of its own.

        Args:
            kind: "training", "generation" or "scoring".
        """
        return int((self.config.get("processes") or {}).get(kind, 1))

    def made_here(self, task: str) -> list[str]:
        """Methods of a task that this project runs itself."""
        return [name for name in self.methods[task] if not find_method(name, task).is_external]

    @property
    def external(self) -> list[tuple[str, str]]:
        """Task and name of each method of others, the name without `external/`."""
        found = [(task, name) for task in self.names for name in self.methods[task]]
        return [(t, n.removeprefix(EXTERNAL)) for t, n in found if find_method(n, t).is_external]

    def external_sha256(self, task: str, name: str) -> str:
        """Hash of what decides the images of a method of others, beside settings and data."""
        return settings_sha256(find_specification(name).deciding(task))

    def external_settings(self, task: str) -> dict[str, Any]:
        """Settings of a run of a method of others."""
        number = self.config[task]["generation"].get("num_samples")
        return self.real(task, number) | {"seed": self.config["seed"]}

    @property
    def declarations(self) -> list[str]:
        """What methods say of themselves: it decides how tables and figures show them."""
        shown = ("title", "role", "place", "color", "published")
        methods = [find_method(name, task) for task in self.names for name in self.methods[task]]
        return [repr([getattr(method, name) for name in shown]) for method in methods]

    def beside(self, task: str, method: str) -> list[str]:
        """What decides a method's images beside settings, models and code of this project.

        That is the hash of its task's settings, the classes that load its models, beside those of
        the tasks, and the code of another package.
        """
        own = find_method(method, task)
        foreign = [] if own.is_ours else package_sha256(own.module)
        return [self.images_sha256(task), *own.loaders.values(), *foreign]

    def folders(self, task: str) -> list[str]:
        """Folders of a task that are scored: the real images, and what each method makes."""
        return ["real", *self.methods[task]]

    def settings(self, task: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of a command that loads a task's data: with seed, device and their layout."""
        shared = {key: self.config[key] for key in ("seed", "device")}
        return shared | {"data": self.config["data"][Task(task).layout]} | dict(values)

    def real(self, task: str, num_samples: int | None) -> dict[str, Any]:
        """Settings of an export of real images."""
        return {"data": self.config["data"][Task(task).layout], "num_samples": num_samples}

    def generation(self, task: str, method: str) -> dict[str, Any]:
        """Settings of a method's sampling, with its options; a control looks at fewer samples."""
        settings = self.settings(task, self.config[task]["generation"])
        declared = find_method(method, task)
        if declared.is_control:
            settings["num_samples"] = self.config[task]["control_samples"]
        if declared.options:  # all of them, for the record beside the images
            given = self.config[task].get("options", {}).get(method, {})
            settings["options"] = asdict(declared.read_options(given))
        return settings

    def generation_code(self, task: str, method: str) -> list[str]:
        """Modules of the project that make a method's images."""
        own = find_method(method, task)
        command = ["mvdiffusion.cli.generate:generate_split", "mvdiffusion.cli.data:open_dataset"]
        split = [*command, "mvdiffusion.generation.split"]
        return [*split, *([own.module] if own.is_ours else [])]

    def base(self, task: str) -> str:
        """The step that makes the model which the task's own training starts from."""
        if self.sources.trains_base:
            return "base"
        return EMBEDDED_BASE if self.sources.embeds_base else f"{task}_pretrained"

    def single_view(self, task: str) -> str:
        """The step that makes the task's single-view model, from which stage 2 starts."""
        section = "base" if task == "outpaint" else "stage1"
        return f"{task}_{section}" if self.config[task][section] else self.base(task)

    def step_of(self, task: str, model: str) -> str:
        """Find the step that makes a model.

        Args:
            task: that of the method which needs the model.
            model: its name in the method's declaration.
        """
        steps: dict[str, Callable[[], str]] = {
            "base": lambda: self.base(task),
            "single-view": lambda: self.single_view(task),
            "multi-view": lambda: f"{task}_stage2",
            "inpainting": lambda: self.single_view("outpaint"),
        }
        return steps[model]() if model in steps else f"{task}_{model}_model"

    def models(self, task: str, method: str) -> list[str]:
        """Steps of the models that a method runs, the main one first."""
        return [self.step_of(task, model) for model in find_method(method, task).models]

    def model_files(self, wildcards: Any) -> list[str]:
        """Input of the rule that runs a method: its models, the main one first."""
        return [self.model_index(step) for step in self.models(**dict(wildcards))]

    def generation_options(self, wildcards: Any, input: Any) -> list[str]:
        """Parameter of the rule that runs a method: its models and the hash of the settings."""
        names = find_method(wildcards.method, wildcards.task).others
        model, *others = folders_of(input.models)
        sha256 = self.images_sha256(wildcards.task)
        return [
            *("--model", model, "--settings-sha256", sha256),
            *repeated("--other", named(names, others)),
            *("--processes", str(self.processes("generation"))),
        ]

    @property
    def trainings(self) -> list[tuple[str, str]]:
        """Task and method of each training that is a method's own, after the one it starts from."""
        needed = ((task, needed_models(self.methods[task])) for task in self.names)
        return [(task, name) for task, models in needed for name in models if name not in MODELS]

    @property
    def every_method(self) -> set[str]:
        """Names of the methods that run, and of those that only train a model for them."""
        return {name for task in self.names for name in self.made_here(task)} | {
            name for _, name in self.trainings
        }

    def start(self, task: str, method: str) -> str:
        """Step of the model that a method's own training starts from."""
        return self.step_of(task, own_training(find_method(method, task)).start)

    def training_settings(self, task: str, method: str) -> dict[str, Any]:
        """Settings of a method's own training."""
        return self.settings(task, training_settings(self.config[task], method))

    def training_words(self, recipes: Recipes) -> Callable[[Any, Any], list[str]]:
        """Parameter of the rule that runs a method's own training: subcommand and settings.

        It asks for outputs, see `Recipes.settings`.
        """

        def words(wildcards: Any, output: Any) -> list[str]:
            task, method = wildcards.task, wildcards.method
            command = own_training(find_method(method, task)).command
            several = ["--task", task] if len(METHOD_TRAININGS[command]) > 1 else []
            settings = recipes.settings(self.step_of(task, method))(wildcards, output)
            return [command, *several, "--settings", *settings]

        return words

    def training_module(self, task: str, method: str) -> str:
        """Name, in `mvdiffusion.training`, of the module that runs a method's own training."""
        name = own_training(find_method(method, task)).command.replace("-", "_")
        return name if name.startswith("stage") else f"baselines.{name}"

    @property
    def released(self) -> list[str]:
        """Steps that train the parts of a base that is released."""
        if not self.sources.trains_base:
            return []
        tuned = [part for part in ("decoder", "unet") if self.config["base"].get(part)]
        return ["vae", "base", *tuned]

    def release_options(self, wildcards: Any) -> list[str]:
        """Parameter of the rule that releases a base: models and logs of its trainings."""
        results = self.config["results_dir"]
        options = []
        for step in self.released:
            options += [f"--{step}", f"{results}/models/{step}"]
            options += [f"--{step}-log", f"{results}/training/{step}/log"]
        return options

    @property
    def trained(self) -> list[str]:
        """Steps that train a model, in their order."""
        base = ["vae", "base"] if self.sources.trains_base else []
        own = []
        for task in self.sources.started:
            first = self.single_view(task)
            own += [first] if first != self.base(task) else []
            own += [f"{task}_stage2"] if task in self.names else []
        return base + own + [self.step_of(*training) for training in self.trainings]

    @property
    def scores(self) -> list[str]:
        """Steps that score the folders of images."""
        return [f"score_{folder.replace('/', '_')}" for folder in self.scored]

    @property
    def tables(self) -> list[str]:
        """Files of all tables."""
        kinds = ("main", "distances", "consistency", "controls", "published")
        names = [f"{task}_{kind}" for task in self.names for kind in kinds]
        names += [f"{task}_ablations" for task in self.names if self.ablations(task)]
        names += self.seeds.tables
        formats = ("csv", "md", "tex", "html")
        return [f"{name}.{end}" for name in [*names, "claims", "published"] for end in formats]

    def ablations(self, task: str) -> list[str]:
        """Ablations among the methods of a task; they have a table of their own."""
        return [name for name in self.methods[task] if find_method(name, task).role == "ablation"]

    @property
    def training_logs(self) -> dict[str, str]:
        """Steps whose logs the tables of ablations show, by `<task>/<method>`."""
        return {
            f"{task}/{name}": self.models(task, name)[0]
            for task in self.names
            if (ablations := self.ablations(task))
            for name in self.methods[task]
            if name in ablations or find_method(name, task).model == "multi-view"
        }

    def table_options(self, wildcards: Any, input: Any) -> list[str]:
        """Parameter of the rule that makes the tables: what to make them from.

        The hashes are those that the scores must have.
        """
        hashes = named(self.names, map(self.images_sha256, self.names))
        return [
            *input.scores[: len(self.scored)],
            *("--settings", input.settings),
            *repeated("--settings-sha256", hashes),
            *repeated("--training-log", named([*self.training_logs], input.logs)),
            *repeated("--seed-score", self.seeds.score_files(input.scores)),
        ]

    @property
    def figures(self) -> list[str]:
        """Files of all figures."""
        names = [f"{plot}_{task}" for plot in ("overview", "psnr_per_pair") for task in self.names]
        names += ["error_accumulation_panorama"] if self.errors_by_step() else []
        names += ["training_curves"]
        plots = [f"{name}.{end}" for name in names for end in ("png", "svg", "csv")]
        ring = ["ring_panorama.png"] if self.closes_rings() else []
        return [f"contact_sheet_{task}.png" for task in self.names] + ring + plots

    def figure_options(self, wildcards: Any, input: Any) -> list[str]:
        """Parameter of the rule that draws the figures: what to draw them from."""
        return [
            *repeated("--generated", named(self.scored, input.images)),
            *repeated("--scores", input.scores),
            *repeated("--curves", named(self.trained, input.curves)),
            *("--num-samples", str(self.config["evaluation"]["contact_sheet_samples"])),
        ]

    def named_extractors(self) -> list[str]:
        """Extractors that the configuration names, beside those that are trained."""
        return self.config["evaluation"]["score"].get("extractors", [])

    @property
    def timed(self) -> list[str]:
        """Names of the benchmark files of this experiment, see `benchmark` in its rules."""
        trained = [*self.trained, *self.released, *self.extractors]
        rooms = ["export_extractor_rooms"] if self.extractors else []
        return [
            *(f"{kind}_{s}" for kind in ("rooms", "walks") for s in self.sources.drawn(kind)),
            *dict.fromkeys(f"train_{step.removesuffix('_model')}" for step in trained),
            *(["release_base"] if self.released else []),
            *(f"export_{task}_real" for task in self.names),
            *(f"generate_{task}_{name}" for task in self.names for name in self.made_here(task)),
            *(f"external_{task}_{name}" for task, name in self.external),
            *rooms,
            *(f"score_{folder.replace('/', '_', 1)}" for folder in self.scored),
            *self.seeds.timed,
            *("tables", "figures", "leaderboard"),
        ]

    def report_options(self, wildcards: Any, input: Any) -> list[str]:
        """Parameter of the rule that writes the page: what it shows.

        Times are no inputs: results that were fetched have none. What other configurations have
        left beside them is not of this run. The leaderboard is only linked to.
        """
        results = self.config["results_dir"]
        folder = f"{results}/benchmarks"
        shown = self.config["evaluation"].get("viewer_samples")
        return [
            *("--tables", *folders_of(input.tables[:1]), "--metrics", f"{results}/metrics.json"),
            *("--figures", *folders_of(input.figures[:1])),
            *repeated("--benchmark", (f"{step}={folder}/{step}.tsv" for step in self.timed)),
            *repeated("--scores", input.scores),
            *repeated("--generated", named(self.scored, input.images)),
            *("--leaderboard", f"{results}/leaderboard.html"),
            *repeated("--viewer-samples", [str(shown)] if shown else []),
        ]

    def compared(self, task: str) -> list[str]:
        """Folders of a task that all scores need: outpainting also its VAE reconstructions."""
        bound = [BOUND] if task == "outpaint" and BOUND in self.methods[task] else []
        return ["real", *bound]

    def vae_reconstruction(self, wildcards: Any) -> list[str]:
        """Input of a rule whose wildcard names the task: reconstructions, if scores need them."""
        manifest = f"<results>/images/{wildcards.task}/{BOUND}/manifest.json"
        return [manifest] if BOUND in self.compared(wildcards.task) else []

    def score_options(self, input: Any) -> list[str]:
        """Options of the scoring command: where it computes, and what it compares with."""
        return [
            *("--device", self.config["device"]),
            *("--processes", str(self.processes("scoring"))),
            *repeated("--reference", folders_of([input.reference])),
            *repeated("--vae-reconstruction", folders_of(input.vae_reconstruction)),
            *repeated("--extractor", [*folders_of(input.extractor), *self.named_extractors()]),
        ]

    def images_sha256(self, task: str) -> str:
        """Hash of everything upstream of a task's images; tables refuse scores of any other."""
        # The model and the options of a single method are part of the recipe of its images.
        several = ("methods", "trainings", "options")
        own = {key: value for key, value in self.config[task].items() if key not in several}
        return settings_sha256(
            {
                "seed": self.config["seed"],
                "base": self._deciding_base(task),
                "data": self.sources.deciding(task),
                task: _deciding(own),
            }
        )

    def _deciding_base(self, task: str) -> Any:
        base = self.config["base"]
        if self.sources.trains_base:
            return _deciding({key: base[key] for key in ("vae", "diffusion")})
        embedded = self.sources.embeds_base
        return self.sources.embedded_md5("base") if embedded else base["pretrained"][task]

    def closes_rings(self) -> bool:
        """Whether views of panoramas go all the way round, and their closing pair is scored.

        See eval/report/ring.py.
        """
        named = self.config["evaluation"]["score"].get("protocols")
        if "panorama" not in self.names or (named and "paper-consistency-pano" not in named):
            return False
        views = parse(ViewSettings, self.config["data"]["views"])
        return views.num_views > max(2, 360 / views.fov_deg)

    def errors_by_step(self) -> bool:
        """Whether panoramas are certainly scored step by step from view 0.

        See eval/metrics/error_accumulation.py.
        """
        if "panorama" not in self.names:
            return False
        if named := self.config["evaluation"]["score"].get("protocols"):
            return "error-accumulation" in named  # with too few samples, the score itself fails
        data = self.config["data"]
        if data["sources"]["panorama"] != "rooms":
            return False  # drawn if there are enough; how many is not known before
        there = data["rooms"]["num_scenes"]["test"]
        rooms = min(there, self.config["panorama"]["generation"].get("num_samples") or there)
        return bool(
            rooms >= LEAST_SAMPLES_BY_STEP and parse(ViewSettings, data["views"]).num_views > 2
        )

    def model_file(self, step: Callable[..., str]) -> Callable[[Any], str]:
        """Input of a rule: the model that a step makes which follows from the rule's wildcards.

        Args:
            step: a method such as `base`, which gets the wildcards.
        """
        return lambda wildcards: self.model_index(step(**dict(wildcards)))

    def model_index(self, step: str) -> str:
        """The file that tells of the model which a step makes; the model lies beside it."""
        folder = "base" if step == EMBEDDED_BASE else f"<results>/models/{step}"
        return f"{folder}/model_index.json"


def _deciding(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of the configuration without what decides no result."""
    return {
        key: deciding_settings(value) if isinstance(value, Mapping) else value
        for key, value in sections.items()
    }
