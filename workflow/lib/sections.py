"""What a configuration may hold, as the classes by which the commands check their settings.

A section that a command gets is that command's own class; the others are here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from mvdiffusion.generation.settings import Generation
from mvdiffusion.parallel.settings import Processes
from mvdiffusion.preparation.settings import (
    FrameCaptions,
    HousePreparation,
    PanoramaSplits,
    RoomSettings,
    SceneCount,
    ScenePreparation,
    ViewCaptions,
    WalkSettings,
)
from mvdiffusion.settings import LARGEST, Count, Device, Seed, Text, mistake, settings
from mvdiffusion.tasks import Task
from mvdiffusion.training.settings import (
    Autoencoder,
    Decoder,
    Diffusion,
    FrameSettings,
    MultiFrame,
    MultiView,
    MultiViewRing,
    Outpainting,
    SingleView,
    ViewSettings,
)
from mvdiffusion_eval.settings import ClaimSettings, ClassifierSettings, ClipSettings, ScoreSettings
from workflow.lib.agreement import disagreements
from workflow.lib.sources import EMBEDDED_BASE

Entry = TypeVar("Entry")


def _each_once(entries: list[Entry]) -> list[Entry]:
    if len(set(entries)) < len(entries):
        raise ValueError("every entry once")
    return entries


def _below_results(folder: str) -> str:
    """Keep results where git ignores them, and where no code or data lie that a run would move."""
    plain = re.fullmatch(r"results(/[A-Za-z0-9_][A-Za-z0-9._-]*)*", folder)
    if not plain or folder.startswith("results/reference"):
        named = "a folder below it, named with letters, digits and . _ -"
        raise ValueError(f"'results' or {named}, but not results/reference")
    return folder


Distinct = Annotated[
    list[Entry],
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_each_once),
]
Units = Distinct[Annotated[str, Field(pattern="^[A-Za-z0-9_-]+$")]]
Folder = Annotated[str, Field(pattern="^[A-Za-z0-9._/][A-Za-z0-9._/-]*$")]  # plain in any shell
ResultsFolder = Annotated[str, AfterValidator(_below_results)]
EmbeddedMd5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}\.dir$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Few = Annotated[int, Field(ge=2, le=LARGEST)]  # with fewer there is no error of a mean
Split = Literal["train", "validation", "test"]
TaskName = Literal["panorama", "outpaint", "depth"]
ByTask = Annotated[dict[TaskName, Text], Field(min_length=3)]


def _by_task(models: object) -> object:
    """The embedded model is that of all tasks."""
    if models == EMBEDDED_BASE:
        return dict.fromkeys(Task, EMBEDDED_BASE)
    if isinstance(models, Mapping) and EMBEDDED_BASE in models.values():
        folder = f"a folder of that name is ./{EMBEDDED_BASE}"
        raise mistake("", models, f"'{EMBEDDED_BASE}' alone, for all tasks; {folder}")
    if isinstance(models, str):
        raise mistake("", models, f"'{EMBEDDED_BASE}', or a mapping of tasks to models, or null")
    return models


Pretrained = Annotated[
    ByTask, BeforeValidator(_by_task, json_schema_input_type=ByTask | Literal["miniature"])
]


@settings
class DataSources:
    """Which data the tasks learn from and are tested on.

    Attributes:
        panorama: procedural rooms or Matterport3D; outpainting uses the same.
        depth: walks through procedural rooms or ScanNet.
    """

    panorama: Literal["rooms", "matterport3d"]
    depth: Literal["walks", "scannet"]


@settings
class Rooms(RoomSettings):
    """Procedural rooms of every split.

    Attributes:
        num_scenes: number of rooms by split; those of "extractor" train feature extractors.
    """

    num_scenes: Annotated[
        dict[Literal["train", "validation", "test", "extractor"], SceneCount], Field(min_length=4)
    ]


@settings
class Walks(WalkSettings):
    """Walks of every split, in ScanNet's layout.

    Attributes:
        num_scenes: number of walks by split.
    """

    num_scenes: Annotated[dict[Split, SceneCount], Field(min_length=3)]


@settings
class ExpectedSha256:
    """Hashes of the rendered splits; null: not compared.

    Attributes:
        train: hash of the rooms for training.
        extractor: hash of the rooms that feature extractors are trained on.
        walks: hashes of the walks by split.
    """

    train: Sha256 | None
    extractor: Sha256 | None
    walks: Annotated[dict[Split, Sha256 | None], Field(min_length=3)]


@settings
class Data:
    """Where the data come from, and how they become samples.

    Attributes:
        sources: which data the tasks use.
        views: how a panorama is cut into perspective views.
        frames: how a walk is cut into sequences.
        rooms: the procedural rooms.
        walks: the walks through procedural rooms.
        expected_sha256: hashes of the rendered rooms and walks.
        embedded_md5: hash of the embedded rooms, as in data.dvc; null: not compared.
    """

    sources: DataSources
    views: ViewSettings
    frames: FrameSettings
    rooms: Rooms | None = None
    walks: Walks | None = None
    expected_sha256: ExpectedSha256 | None = None
    embedded_md5: EmbeddedMd5 | None = None


@settings
class Dataset:
    """A dataset that only licensees can download.

    Attributes:
        root: folder of the dataset; git ignores datasets/.
        downloads: folder of the owners' files, never emptied; null: <root>/downloads.
        script: the owners' download script.
        python: program that runs the script; null: this Python.
        accept_terms: whether you agree to the terms that the script asks about.
        keep_downloads: whether files in <root>/downloads stay when they were prepared.
        labels: the authors' archives, as you placed them.
    """

    root: Folder
    downloads: Text | None
    script: Text | None
    python: Text | None
    accept_terms: bool
    keep_downloads: bool
    labels: list[Text]


@settings
class Matterport3D(Dataset):
    """Matterport3D: panoramas by house.

    Attributes:
        houses: ids of the houses; null: the owners' list.
        preparation: how a house is prepared.
        splits: house-disjoint splits, where the authors' are missing.
        captions: captions of views by BLIP-2, where the authors' are missing.
    """

    houses: Units | None
    preparation: HousePreparation
    splits: PanoramaSplits
    captions: ViewCaptions


@settings
class ScanNet(Dataset):
    """ScanNet: RGB-D scans.

    Attributes:
        scenes: ids of the scans by split; null: the owners' list.
        validation_scenes: last scans of train that are kept for validation.
        preparation: how a scan is prepared.
        captions: captions of frames by BLIP-2, where the authors' are missing.
    """

    scenes: Annotated[dict[Literal["train", "test"], Units | None], Field(min_length=2)]
    validation_scenes: Count
    preparation: ScenePreparation
    captions: FrameCaptions

    def __post_init__(self) -> None:
        """Refuse a validation split that leaves nothing to train on."""
        train = self.scenes["train"]
        if train and len(train) <= self.validation_scenes:
            fewer = f"fewer than the {len(train)} scenes of 'scenes.train'"
            raise mistake("validation_scenes", self.validation_scenes, fewer)


@settings
class Datasets:
    """The paper's data.

    Attributes:
        matterport3d: panoramas by house.
        scannet: RGB-D scans.
    """

    matterport3d: Matterport3D | None = None
    scannet: ScanNet | None = None


@settings
class Base:
    """What Stable Diffusion is to the paper: pretrained, or trained from scratch.

    Attributes:
        pretrained: "miniature", the embedded model that all tasks start from; or models by task:
            ids on the Hugging Face hub (OWNER/NAME or OWNER/NAME@REVISION), or folders.
        embedded_md5: hash of the embedded model, as in base.dvc; null: not compared.
        vae: training of the autoencoder; null with pretrained models.
        decoder: fine-tuning of its decoder for the release; null: it is released as it is.
        diffusion: training of text encoder and UNet; null with pretrained models.
        unet: fine-tuning of the UNet for the release; null: it is released as it is.
    """

    pretrained: Pretrained | None = None
    embedded_md5: EmbeddedMd5 | None = None
    vae: Autoencoder | None = None
    decoder: Decoder | None = None
    diffusion: Diffusion | None = None
    unet: SingleView | None = None

    def __post_init__(self) -> None:
        """Refuse half a base, two, and a pretrained one that is refined."""
        given = [key for key, value in vars(self).items() if value is not None]
        models = [key for key in given if key != "embedded_md5"]
        trained = {"vae", "diffusion"} <= {*models} and "pretrained" not in models
        if models != ["pretrained"] and not trained:
            either = "either 'pretrained' alone, or both 'vae' and 'diffusion' to be trained"
            raise mistake("", models, either)


@settings
class Sampling(Generation):
    """How the samples of a split are generated.

    Attributes:
        num_samples: number of samples from the start of the test split; null means all.
    """

    num_samples: Few | None


@settings
class TaskSection:
    """What every task has.

    Attributes:
        stage2: training of the correspondence-aware attention.
        generation: how images are generated.
        methods: methods that are run and scored.
        control_samples: number of samples of a control; needed if `methods` names one.
        trainings: settings of models that single methods need, by the method's name; each has the
            keys of the command that makes it (see `training` in the method's declaration).
        options: numbers of single methods, by the method's name; each has the keys of the class
            that the method's declaration names as its `options`.
    """

    stage2: MultiView
    generation: Sampling
    methods: Distinct[str]
    control_samples: Few | None = field(default=None, kw_only=True)
    trainings: dict[str, dict[str, Any]] = field(default_factory=dict, kw_only=True)
    options: dict[str, dict[str, Any]] = field(default_factory=dict, kw_only=True)


@settings
class PanoramaSection(TaskSection):
    """Captions to the views of a panorama.

    Attributes:
        stage1: training of the whole UNet on single views; null: left out.
        stage2: training of the correspondence-aware attention.
    """

    stage2: MultiViewRing
    stage1: SingleView | None


@settings
class OutpaintSection(TaskSection):
    """Captions and a given view to the other views of a panorama.

    Attributes:
        base: training of the inpainting model that it starts from; null: the pretrained one.
        stage2: training of the correspondence-aware attention.
    """

    stage2: Outpainting
    base: SingleView | None


@settings
class DepthSection(TaskSection):
    """Captions and depth maps to the frames of a walk.

    Attributes:
        stage1: training of the whole UNet on single frames with their depth; null: left out.
        stage2: training of the attention and the image-condition layers.
    """

    stage2: MultiFrame
    stage1: SingleView | None


@settings
class TrainedExtractors:
    """Feature extractors that are trained here, on rooms of their own.

    Attributes:
        classifier: features of FID and of the Inception score.
        clip: features of the CLIP score (an open_clip model).
    """

    classifier: ClassifierSettings | None = None
    clip: ClipSettings | None = None


@settings
class Evaluation:
    """Feature extractors, scores and verdicts.

    Attributes:
        extractors: feature extractors that are trained; none where pretrained ones alone score.
        score: how folders are scored.
        claims: bounds of the verdicts on the claims.
        contact_sheet_samples: number of samples on a contact sheet.
        viewer_samples: samples of a task whose panoramas the page shows; null: as it chooses.
    """

    extractors: TrainedExtractors
    score: ScoreSettings
    claims: ClaimSettings
    contact_sheet_samples: Count
    viewer_samples: Count | None = None


@settings
class NotRun:
    """A method of the paper that is not run, on record for the reader alone.

    Attributes:
        method: its name.
        task: the task that the paper reports it for.
        published: the paper's numbers by metric.
        settings: how the paper ran it.
        source: where the paper says so.
        why: why it is not run here.
    """

    method: Text
    task: TaskName
    published: dict[str, float]
    settings: Text
    source: Text
    why: Text


@settings
class Configuration:
    """One experiment: data, base, and for each task its training, generation and methods.

    Attributes:
        name: name shown in the report.
        results_dir: folder that the experiment writes: "results" or one below it.
        seed: seed of training and generation.
        seeds: training seeds of stage 2, `seed` first; []: `seed` alone.
        device: where to compute; "auto" takes a GPU if there is one.
        tasks: tasks that are run; only what these need is made.
        data: where the data come from, and how they become samples.
        base: what Stable Diffusion is to the paper.
        panorama: captions to the views of a panorama.
        outpaint: captions and a given view to the other views of a panorama.
        depth: captions and depth maps to the frames of a walk.
        evaluation: feature extractors, scores and verdicts.
        datasets: the paper's data, which only licensees can download.
        dataset: what the target `data` makes, whatever the tasks.
        processes: how many processes share the work of one job.
        not_run: methods of the paper that are not run, on record for the reader alone.
        banner: what the report says before anything else.
    """

    name: Text
    results_dir: ResultsFolder
    seed: Seed
    device: Device
    tasks: Distinct[TaskName]
    data: Data
    base: Base
    panorama: PanoramaSection
    outpaint: OutpaintSection
    depth: DepthSection
    evaluation: Evaluation
    seeds: list[Seed] = field(default_factory=list)
    datasets: Datasets = Datasets()
    dataset: Literal["matterport3d", "scannet"] | None = None
    processes: Processes = Processes()
    not_run: list[NotRun] = field(default_factory=list)
    banner: str = ""

    def __post_init__(self) -> None:
        """Refuse keys of different sections that do not go together."""
        for found in disagreements(self):
            raise found
