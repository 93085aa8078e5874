"""Training of feature extractors on rooms that no method is trained on.

Without pretrained Inception and CLIP, FID, Inception score and CLIP score need extractors trained
on the miniature's rooms. Their numbers compare methods with each other only. The same holds for
FAED at any size, see `train_faed`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, pad
from tqdm import tqdm

from mvdiffusion.outputs import already_made, is_begun, keep_spares, whole_output
from mvdiffusion.records import InputError, provenance, read_json, sha256_file, write_json
from mvdiffusion.settings import choose_precision

from ..folders.samples import SampleFolder
from ..settings import ClassifierSettings, ClipSettings, FaedSettings
from .base import RECORD
from .networks import Classifier, best_device, make_clip, prepare, tokenize
from .train_faed import train_autoencoder

CaptionedSettings = ClassifierSettings | ClipSettings
Settings = CaptionedSettings | FaedSettings
SETTINGS: dict[str, type] = {
    "classifier": ClassifierSettings,
    "clip": ClipSettings,
    "faed": FaedSettings,
}
"""Settings of each kind of extractor."""


@dataclass(frozen=True)
class Captioned:
    """Images uint8 [N, 3, H, W] with their prompts [N]."""

    images: Tensor
    prompts: list[str]


def train_extractor(
    folder: SampleFolder, settings: Settings, output: str | Path, overwrite: bool = False
) -> dict[str, Any]:
    """Train an extractor on a sample folder; write `weights.safetensors` and `extractor.json`.

    The last `held_out` part of the samples is kept for validation. Equal settings, images and
    thread counts give equal weights. FAED's long training resumes after an interruption:
    `<output>.training` holds its state until the end.

    Args:
        folder: the images.
        settings: of one kind of extractor.
        output: folder to write; a finished one of these settings and images is kept.
        overwrite: move an extractor, or an unfinished training, of other settings or images aside
            instead of refusing.

    Returns:
        The record written to `extractor.json`.

    Raises:
        InputError: a prompt names no class or several, there are too few samples, or no whole
            panoramas for FAED; or `output` is of other settings or images.
    """
    output, made_of = Path(output), _made_of(folder, settings)
    if is_begun(output, made_of, overwrite=overwrite) and (output / RECORD).is_file():
        already_made(output)
        return read_json(output / RECORD)
    training, validation = _split(folder, settings.held_out)
    torch.manual_seed(settings.seed)
    network: nn.Module
    unfinished = output.with_name(f"{output.name}.training")
    if isinstance(settings, FaedSettings):
        architecture: dict[str, Any] = {"widths": list(settings.widths)}
        image_size: int | list[int] = [settings.height, 2 * settings.height]
        network, numbers = train_autoencoder(
            folder, training, validation, settings, unfinished, overwrite
        )
    else:
        image_size, views = settings.image_size, [_load(folder, i) for i in (training, validation)]
        if isinstance(settings, ClassifierSettings):
            network, architecture = _train_classifier(views[0], settings)
            numbers = _validate_classifier(network, views[1], settings)
        else:
            network, architecture = _train_clip(views[0], settings)
            numbers = _validate_clip(network, views[1], settings)
    record = {
        **made_of,
        "format": 1,
        "name": f"miniature-{made_of['kind']}",
        "architecture": architecture,
        "image_size": image_size,
        "classes": list(getattr(settings, "classes", ())),
        "num_parameters": sum(each.numel() for each in network.parameters()),
        "validation": numbers,
        "provenance": provenance(),
    }
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    with whole_output(output, made_of) as temporary:
        save_file(state, temporary / "weights.safetensors")
        record["weights_sha256"] = sha256_file(temporary / "weights.safetensors")
        write_json(temporary / RECORD, record)
        keep_spares(temporary)
    if isinstance(settings, FaedSettings):
        unfinished.unlink()
    return record


def _made_of(folder: SampleFolder, settings: Settings) -> dict[str, Any]:
    """What decides the weights."""
    kind = next(name for name, own in SETTINGS.items() if isinstance(settings, own))
    decides = {"kind": kind, "settings": dataclasses.asdict(settings)}
    return {**decides, "views_sha256": folder.images_sha256()}


def _split(folder: SampleFolder, held_out: float) -> tuple[Sequence[str], Sequence[str]]:
    num_held_out = round(len(folder.sample_ids) * held_out)
    if not 0 < num_held_out < len(folder.sample_ids):
        raise InputError(
            f"{folder.root}: with {len(folder.sample_ids)} samples and held_out = {held_out}, no "
            "samples are left for training or for validation; give more samples."
        )
    return folder.sample_ids[:-num_held_out], folder.sample_ids[-num_held_out:]


def _load(folder: SampleFolder, sample_ids: Sequence[str]) -> Captioned:
    views, prompts = [], []
    for sample_id in tqdm(sample_ids, desc="reading views", unit="sample", disable=None):
        views.append(folder.views(sample_id))
        prompts += folder.prompts(sample_id)
    images = torch.from_numpy(np.concatenate(views)).permute(0, 3, 1, 2).contiguous()
    return Captioned(images, prompts)


def label_of(prompt: str, classes: Sequence[str]) -> int:
    """Index of the one class phrase found in a prompt, as whole words.

    Raises:
        InputError: the prompt holds none of the phrases, or several.

    >>> label_of("This is one view of a scene. A kitchen with a red wall.", ["attic", "kitchen"])
    1
    """
    found = [
        i for i, phrase in enumerate(classes) if re.search(rf"\b{re.escape(phrase)}\b", prompt)
    ]
    if len(found) != 1:
        names = [classes[i] for i in found]
        raise InputError(
            f"prompt '{prompt}' contains the class phrases {names}; expected exactly one of "
            f"{list(classes)} (settings key 'classes')."
        )
    return found[0]


def _train_classifier(data: Captioned, settings: ClassifierSettings) -> tuple[nn.Module, dict]:
    labels = torch.tensor([label_of(prompt, settings.classes) for prompt in data.prompts])
    network = Classifier(settings.channels, len(settings.classes))

    def loss(images: Tensor, index: Tensor) -> Tensor:
        logits = network(images)[1].float()
        return cross_entropy(logits, labels[index].to(logits.device), label_smoothing=0.1)

    _fit(network, data, settings, loss)
    return network, {"channels": list(settings.channels)}


def _train_clip(data: Captioned, settings: ClipSettings) -> tuple[nn.Module, dict]:
    architecture = {
        "embed_dim": settings.embed_dim,
        "vision": {
            "layers": list(settings.vision_layers),
            "width": settings.vision_width,
            "head_width": 64,
            "image_size": settings.image_size,
        },
        "text": {
            "context_length": settings.context_length,
            "width": settings.text_width,
            "heads": settings.text_heads,
            "layers": settings.text_layers,
        },
    }
    network: Any = make_clip(architecture)
    tokens = tokenize(data.prompts, settings.context_length)
    caption_of = {prompt: i for i, prompt in enumerate(dict.fromkeys(data.prompts))}
    captions = torch.tensor([caption_of[prompt] for prompt in data.prompts])

    def loss(images: Tensor, index: Tensor) -> Tensor:
        device = images.device
        image_features = normalize(network.encode_image(images).float(), dim=-1)
        text_features = normalize(network.encode_text(tokens[index].to(device)).float(), dim=-1)
        logits = network.logit_scale.exp().clamp(max=100) * image_features @ text_features.T
        return contrastive_loss(logits, captions[index].to(device))

    _fit(network, data, settings, loss)
    return network, architecture


def contrastive_loss(logits: Tensor, captions: Tensor) -> Tensor:
    """Symmetric contrastive loss in which all images of equal captions are positives.

    Args:
        logits: similarities [N, N], images along rows, texts along columns.
        captions: number of the caption of each image [N]; captions repeat in a small world.
    """
    equal = (captions[:, None] == captions[None, :]).float()
    targets = equal / equal.sum(1, keepdim=True)
    return (cross_entropy(logits, targets) + cross_entropy(logits.T, targets)) / 2


def _fit(
    network: nn.Module,
    data: Captioned,
    settings: CaptionedSettings,
    loss_of: Callable[[Tensor, Tensor], Tensor],
) -> None:
    device = best_device()
    dtype = getattr(torch, choose_precision("auto", device.type))
    network.to(device).to(memory_format=torch.channels_last).train()
    total = settings.epochs * (len(data.prompts) // settings.batch_size)
    if total == 0:
        raise InputError(
            f"{len(data.prompts)} views do not fill one batch of {settings.batch_size}."
        )
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total, pct_start=0.15
    )
    bar = tqdm(_batches(len(data.prompts), settings), total=total, desc="training", disable=None)
    for index, generator in bar:
        images = _augment(prepare(data.images[index], settings.image_size), generator)
        images = images.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss = loss_of(images, index)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    network.eval()


def _batches(
    num_images: int, settings: CaptionedSettings
) -> Iterator[tuple[Tensor, torch.Generator]]:
    generator = torch.Generator().manual_seed(settings.seed)
    for _ in range(settings.epochs):
        order = torch.randperm(num_images, generator=generator)
        for start in range(0, num_images - settings.batch_size + 1, settings.batch_size):
            yield order[start : start + settings.batch_size], generator


def _augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half the images and shift the batch by up to an eighth of its size."""
    mirror = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    images = torch.where(mirror, images.flip(-1), images)
    size = images.shape[-1]
    margin = size // 8
    top, left = torch.randint(0, 2 * margin + 1, (2,), generator=generator).tolist()
    padded = pad(images, (margin,) * 4, mode="reflect")
    return padded[:, :, top : top + size, left : left + size]


@torch.inference_mode()
def _validate_classifier(
    network: nn.Module, data: Captioned, settings: ClassifierSettings
) -> dict[str, Any]:
    labels = torch.tensor([label_of(prompt, settings.classes) for prompt in data.prompts])
    logits = torch.cat([network(images)[1].cpu() for images in _chunks(data, settings)])
    share = torch.bincount(labels).max() / len(labels)
    return {
        "num_images": len(labels),
        "accuracy": float((logits.argmax(1) == labels).float().mean()),
        "accuracy_of_commonest_class": float(share),
    }


@torch.inference_mode()
def _validate_clip(network: Any, data: Captioned, settings: ClipSettings) -> dict[str, Any]:
    captions = list(dict.fromkeys(data.prompts))
    own = torch.tensor([captions.index(prompt) for prompt in data.prompts])
    tokens = tokenize(captions, settings.context_length).to(best_device())
    texts = normalize(network.encode_text(tokens), dim=-1).cpu()
    images = torch.cat([network.encode_image(batch).cpu() for batch in _chunks(data, settings)])
    cosine = normalize(images, dim=-1) @ texts.T
    own_cosine = cosine[torch.arange(len(own)), own]
    return {
        "num_images": len(own),
        "num_captions": len(captions),
        "retrieval_top1": float((cosine.argmax(1) == own).float().mean()),
        "retrieval_chance": 1 / len(captions),
        "clip_score_own_prompt": float(100 * own_cosine.clamp(min=0).mean()),
        "clip_score_any_prompt": float(100 * cosine.clamp(min=0).mean()),
    }


def _chunks(data: Captioned, settings: CaptionedSettings) -> Iterator[Tensor]:
    for images in data.images.split(256):
        yield prepare(images, settings.image_size).to(best_device())
