"""Configurations at random, and what the commands themselves say of those that are accepted.

The commands' part is not the workflow's: each command reads what the rules give it with its own
class, and then what it would build from it is built, without weights (on PyTorch's meta device).
"""

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from typing import Any

import diffusers
import torch
from snakemake_interface_common.exceptions import WorkflowError
from transformers import CLIPTextConfig, CLIPTextModel

from mvdiffusion.generation.settings import ExportSettings, GenerationSettings
from mvdiffusion.methods.registry import find_method
from mvdiffusion.models.multiview_unet import MultiViewUNet
from mvdiffusion.models.patch_autoencoder import PatchAutoencoder
from mvdiffusion.pipelines import PIPELINES
from mvdiffusion.pipelines.checks import check_size
from mvdiffusion.preparation.settings import (
    CaptionSettings,
    HousePreparation,
    PanoramaSplits,
    RoomSettings,
    ScenePreparation,
    WalkSettings,
)
from mvdiffusion.records import canonical_json
from mvdiffusion.settings import parse
from mvdiffusion.training.base import LATENT_SCHEDULER, _build_unet
from mvdiffusion.training.diffusion import min_snr_weights
from mvdiffusion.training.loop import MicroBatches
from mvdiffusion.training.settings import (
    BaseSettings,
    DecoderSettings,
    FrameSettings,
    FrameStage,
    MultiFrameSettings,
    MultiViewSettings,
    OutpaintSettings,
    TrainingSettings,
    VaeSettings,
    ViewSettings,
    ViewStage,
)
from mvdiffusion_eval.extractors.networks import Classifier, make_clip
from mvdiffusion_eval.functional.cross_view_psnr import neighbor_overlaps
from mvdiffusion_eval.protocols.protocol import protocols
from mvdiffusion_eval.settings import (
    ClaimSettings,
    ClassifierSettings,
    ClipSettings,
    ScoreSettings,
)
from workflow.lib.config import WORKFLOW, checked, read_config
from workflow.lib.sources import Sources
from workflow.lib.tasks import Tasks

Config = dict[str, Any]
NAMES = ("mini", "smoke", "base", "paper")
BASES = {name: read_config(WORKFLOW / f"config/{name}.yaml") for name in NAMES}
VALUES: list[Any] = [
    None, True, False, 0, 1, 2, 3, 7, -1, -0.0, 0.0, 0.5, 1.5, 8.0, 64.0, 1e300, -1e300,
    float("nan"), float("inf"), float("-inf"), 10**30, 2**63, 2**31, 1e-320, "", "x", "8", "1e-3",
    "nan", "ünïcødé 🛋", "a b", "a'b", "$(touch X)", "../..", "/etc/passwd", "{x}", "{{ 7*7 }}",
    "%s", [], {}, [1], [None], ["a"], {"a": 1}, [[1]], [1, 1], ["panorama", "panorama"],
    "DDIMScheduler", "UNet2DConditionModel", "\x00", "a\nb", "2020-01-01",
]  # fmt: skip
NUMBERS = [
    0, 1, 2, 3, 7, 8.0, 64.0, 20.0, 0.5, 1.5, 1e300, float("nan"), float("inf"), float("-inf"),
    10**30, 2**31, -1, 100_000,
]  # fmt: skip
WORDS = ["x", "DDIMSheduler", "PNDMScheduler", "EulerDiscreteScheduler", "auto", "bf16", "sample",
         "epsilon", ""]  # fmt: skip


def places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All keys and entries of a configuration."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))


def owner(config: Config, place: tuple[Any, ...]) -> Any:
    """The mapping or list that holds a place."""
    found: Any = config
    for part in place[:-1]:
        found = found[part]
    return found


def structural_mutation(rng: random.Random) -> Config:
    """A configuration with a value of any kind somewhere, or a key less, or more, or misspelt."""
    config = copy.deepcopy(BASES[rng.choice(list(BASES))])
    place = rng.choice(list(places(config)))
    held, key = owner(config, place), place[-1]
    kind = rng.choice(("value", "value", "delete", "extra", "rename"))
    if kind == "value" or isinstance(held, list):
        held[key] = copy.deepcopy(rng.choice(VALUES))
    elif kind == "extra":
        held[str(rng.choice(["seed", "x", "steps", "model"]))] = rng.choice(VALUES)
    else:
        value = held.pop(key)
        if kind == "rename":
            held[f"{key}s"] = value
    return config


def value_mutation(rng: random.Random) -> Config:
    """The miniature, or the training of its base, with another number, or another word."""
    config = copy.deepcopy(BASES[rng.choice(("mini", "base"))])
    leaves = [place for place in places(config) if place[0] != "datasets"]
    place = rng.choice([p for p in leaves if not isinstance(owner(config, p)[p[-1]], (dict, list))])
    held, key = owner(config, place), place[-1]
    old = held[key]
    if isinstance(old, str):
        held[key] = rng.choice(WORDS)
    else:
        as_float = [float(old)] if isinstance(old, int) else []
        near = [old + 1, old - 1, old * 2] if isinstance(old, int) else []
        held[key] = rng.choice([*NUMBERS, *as_float, *near])
    return config


def is_accepted(config: Config) -> bool:
    """Whether the workflow takes a configuration; anything but a sentence is raised."""
    try:
        checked(config, "mine.yaml")
    except WorkflowError:
        return False
    return True


def refusals(config: Config) -> list[str]:
    """What the commands would say, each `section: message`; nothing if all take their settings."""
    found, section = [], "rules"
    try:
        for section, check in _checks(config):
            try:
                check()
            except Exception as error:
                found.append(f"{section}: {type(error).__name__}: {error}")
    except Exception as error:
        found.append(f"after {section}: {type(error).__name__}: {error}")
    return found


def _checks(config: Config) -> Iterator[tuple[str, Callable[[], Any]]]:
    sources = Sources(config)
    tasks = Tasks({**config, "device": "auto"}, sources)  # whatever this machine has
    if sources.trains_base:
        base = config["base"]
        yield "vae", lambda: read(VaeSettings, tasks.settings("panorama", base["vae"]))
        if base.get("decoder"):
            tuned = tasks.settings("panorama", base["decoder"])
            yield "decoder", lambda: read(DecoderSettings, tuned)
        yield "base", lambda: read(BaseSettings, tasks.settings("panorama", base["diffusion"]))
        if base.get("unet"):
            again = tasks.settings("panorama", base["unet"])
            yield "unet", lambda: read(ViewStage, again)
        networks = {key: base["diffusion"][key] for key in ("tokenizer", "text_encoder", "unet")}
        networks |= {"vae": base["vae"]["model"], "size": config["data"]["views"]["image_size"]}
        yield "networks", lambda: build_base(json.dumps(networks))
    for task in tasks.names:
        yield from _checks_of_task(config, tasks, task)
    for kind, cls in {"rooms": RoomSettings, "walks": WalkSettings}.items():
        for split in sources.drawn(kind):
            yield kind, lambda cls=cls, k=kind, s=split: read(cls, sources.scenes(k, s))
    for name in sources.datasets.used:
        described = config["datasets"][name]
        house = name == "matterport3d"
        preparation = HousePreparation if house else ScenePreparation
        yield name, lambda p=preparation, d=described: read(p, d["preparation"])
        yield name, lambda d=described: read(CaptionSettings, d["captions"])
        if house:
            yield name, lambda d=described: read(PanoramaSplits, d["splits"])
    yield from _checks_of_evaluation(config, tasks)


def _checks_of_task(
    config: Config, tasks: Tasks, task: str
) -> Iterator[tuple[str, Callable[[], Any]]]:
    section, stage = config[task], "base" if task == "outpaint" else "stage1"
    layout, data = (
        ("frames", FrameSettings) if task == "depth" else ("views", ViewSettings)
    )  # fmt: skip
    single = FrameStage if task == "depth" else ViewStage
    several = {"outpaint": OutpaintSettings, "depth": MultiFrameSettings}.get(
        task, MultiViewSettings
    )
    if section[stage]:
        yield f"{task} {stage}", lambda: read(single, tasks.settings(task, section[stage]))
    yield f"{task} stage2", lambda: read(several, tasks.settings(task, section["stage2"]))
    for method in tasks.methods[task]:
        yield f"{task} {method}", lambda m=method: find_method(m, task).function(task)
        settings = tasks.generation(task, method)
        cut, own = settings.pop("data"), settings.pop("options", {})
        yield f"{task} {method}", lambda m=method, o=own: find_method(m, task).read_options(o)
        yield f"{task} {method}", lambda c=cut: read(data, c)
        yield f"{task} {method}", lambda s=settings: read(GenerationSettings, s)
        yield f"{task} {method}", lambda s=settings: _enough_samples(config, task, s)
    real = tasks.real(task, section["generation"].get("num_samples"))
    real.pop("data")
    yield f"{task} real", lambda: read(ExportSettings, real)
    base = config["base"]
    if not base.get("pretrained"):
        scheduler = json.dumps(base["diffusion"]["scheduler"])
        generation = section["generation"]
        numbers = (
            generation.get("scheduler", "DDIMScheduler"),
            generation.get("num_inference_steps", 50),
        )
        yield f"{task} sampling", lambda: sample_nothing(scheduler, *numbers)
        yield f"{task} size", lambda: _latent_size(config, config["data"][layout])
        for part in filter(None, (section[stage], section["stage2"])):
            kind = base["diffusion"]["scheduler"].get("prediction_type", "epsilon")
            gamma = part.get("loss", {}).get("min_snr_gamma") or 5.0
            yield f"{task} loss", lambda k=kind, g=gamma: min_snr_weights(torch.ones(1), g, k)
    if task != "depth":
        yield f"{task} overlap", lambda: _overlaps(config)


def _checks_of_evaluation(config: Config, tasks: Tasks) -> Iterator[tuple[str, Callable[[], Any]]]:
    evaluation = config["evaluation"]
    yield "score", lambda: read(ScoreSettings, evaluation["score"])
    yield "score", lambda: [protocols()[name] for name in evaluation["score"].get("protocols", [])]
    yield "tables", lambda: read(ClaimSettings, evaluation["claims"])
    for kind, cls in {"classifier": ClassifierSettings, "clip": ClipSettings}.items():
        if kind in tasks.extractors:
            settings = {"seed": config["seed"]} | evaluation["extractors"][kind]
            yield kind, lambda c=cls, s=settings: read(c, s)
            yield kind, lambda k=kind, s=settings: build_extractor(k, json.dumps(s))
    yield "report", lambda: canonical_json(tasks.sources.shown_configuration())


def read(cls: type, values: Config) -> Any:
    """Read settings as a command does, from the file that the workflow writes."""
    settings = parse(cls, json.loads(canonical_json(values)))
    training = getattr(settings, "training", None)
    if isinstance(training, TrainingSettings):
        MicroBatches([], training)
        views = settings.data.num_views
        assert training.views_per_panorama <= views or isinstance(settings.data, FrameSettings)
    return settings


def _enough_samples(config: Config, task: str, settings: Config) -> None:
    rooms = config["data"]["sources"]["panorama"] == "rooms"
    if task != "depth" and rooms:
        there = config["data"]["rooms"]["num_scenes"]["test"]
        assert (settings.get("num_samples") or 0) <= there, "too few rooms"


def _latent_size(config: Config, cut: Config) -> None:
    levels = config["base"]["vae"]["model"].get("block_out_channels", [0] * 3)
    sides = (cut["image_size"],) * 2 if "image_size" in cut else (cut["height"], cut["width"])
    check_size(*sides, 2 ** (len(levels) - 1))


def _overlaps(config: Config) -> None:
    views, score = config["data"]["views"], config["evaluation"]["score"]
    own, count = views["image_size"], views.get("num_views", 8)
    for side in {own, score.get("consistency_resolution") or own}:
        overlap(views.get("fov_deg", 90.0), count, min(side, 512))


@cache
def overlap(fov_deg: float, count: int, side: int) -> None:
    """Compare two neighboring views, as the metric does."""
    neighbor_overlaps(fov_deg, [0, 360 / count], side, side)


@cache
def sample_nothing(options: str, name: str, steps: int) -> None:
    """Take the first and last steps of a sampler, on noise of one latent."""
    base = diffusers.DDIMScheduler(**LATENT_SCHEDULER | json.loads(options)).config
    scheduler = getattr(diffusers, name).from_config(base)
    scheduler.set_timesteps(steps)
    sample = torch.ones(1, 1, 2, 2) * scheduler.init_noise_sigma
    for t in scheduler.timesteps if steps < 100 else scheduler.timesteps[:2]:
        scheduler.scale_model_input(sample, t)
        sample = scheduler.step(torch.zeros_like(sample), t, sample).prev_sample
    assert sample.isfinite().all(), "not finite"
    assert int(max(scheduler.timesteps)) < base.num_train_timesteps, "beyond the last timestep"


@cache
def build_base(networks: str) -> None:
    """Build autoencoder, text encoder, UNet and multi-view UNets of a base without weights."""
    options = json.loads(networks)
    with torch.device("meta"):
        vae = PatchAutoencoder(**options["vae"])
        text = CLIPTextConfig(
            **options["text_encoder"],
            vocab_size=49408,
            max_position_embeddings=options["tokenizer"]["model_max_length"],
        )
        CLIPTextModel(text)
        unet = _build_unet(options["unet"], vae, options["size"], text.hidden_size)
        for kind in {pipeline.unet_task for pipeline in PIPELINES.values()}:
            MultiViewUNet.from_unet(unet, "released", kind)


@cache
def build_extractor(kind: str, settings: str) -> None:
    """Build a feature extractor without weights, and run it on two images."""
    cls = ClassifierSettings if kind == "classifier" else ClipSettings
    values = asdict(parse(cls, json.loads(settings)))  # with the defaults
    size = values["image_size"]
    with torch.device("meta"):
        images = torch.zeros(2, 3, size, size)
        if kind == "classifier":
            Classifier(values["channels"], len(values["classes"]))(images)
            return
        vision = {"layers": values["vision_layers"], "width": values["vision_width"]}
        vision |= {"head_width": 64, "image_size": size}
        names = {"context_length": "context_length", "width": "text_width"}
        names |= {"heads": "text_heads", "layers": "text_layers"}
        text = {key: values[name] for key, name in names.items()}
        network = make_clip({"embed_dim": values["embed_dim"], "vision": vision, "text": text})
        network.encode_image(images)
