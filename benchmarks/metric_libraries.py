"""Scores by torchmetrics and clean-fid, one metric after the other, with extractors of ours.

Each reads the images itself, as a script that calls them does; torchmetrics gets batches of them.
Both see the same networks and the same images at full size: the extractors resize.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cleanfid.fid
import numpy as np
import open_clip
import torch
from PIL import Image
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.multimodal.clip_score import CLIPScore

from mvdiffusion_eval.extractors.base import FeatureExtractor, SimilarityExtractor

BATCH = 32


class Output(nn.Module):
    """One output of a feature extractor, as torchmetrics asks for it: 0 features, 1 logits."""

    def __init__(self, extractor: FeatureExtractor, which: int, size: int) -> None:
        super().__init__()
        self.extractor, self.which, self.num_features = extractor, which, size

    def forward(self, images: Tensor) -> Tensor:
        """Return [N, size] for uint8 images [N, 3, H, W]."""
        return self.extractor.extract(images)[self.which]


class Clip(nn.Module):
    """A similarity extractor in the form of transformers' CLIP, with its processor."""

    def __init__(self, extractor: SimilarityExtractor) -> None:
        super().__init__()
        self.extractor, self.config = extractor, SimpleNamespace()

    def processor(self, images: Any = None, text: Any = None, **_: Any) -> dict[str, Any]:
        """Stack images; prompts go through as numbers that lead back to them."""
        if images is not None:
            return {"pixel_values": torch.stack(images)}
        self.prompts = text
        numbers = torch.arange(len(text))[:, None]
        return {"input_ids": numbers, "attention_mask": torch.ones_like(numbers)}

    def get_image_features(self, images: Tensor) -> Tensor:
        """Embed uint8 images [N, 3, H, W]."""
        return self.extractor.encode_images(images)

    def get_text_features(self, numbers: Tensor, mask: Tensor) -> Tensor:
        """Embed the prompts of these numbers."""
        return self.extractor.encode_texts([self.prompts[number] for number in numbers[:, 0]])


def batches(folder: Path) -> Iterator[tuple[Tensor, list[Path]]]:
    """Read images [N, 3, H, W] with their files."""
    paths = sorted(folder.glob("*/*.png"))
    for start in range(0, len(paths), BATCH):
        chosen = paths[start : start + BATCH]
        arrays = [np.asarray(Image.open(path).convert("RGB")) for path in chosen]
        yield torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous(), chosen


@torch.inference_mode()
def score_with_libraries(
    generated: Path, real: Path, classifier: FeatureExtractor, clip: SimilarityExtractor
) -> dict[str, float]:
    """FID, Inception score and CLIP score by torchmetrics, then FID by clean-fid."""
    size = next(batches(generated))[0][:1]
    features, logits = (output.shape[1] for output in classifier.extract(size))
    fid = FrechetInceptionDistance(Output(classifier, 0, features))
    for folder in (generated, real):
        for images, _ in batches(folder):
            fid.update(images, real=folder == real)
    found = {"torchmetrics_fid": float(fid.compute())}
    inception = InceptionScore(Output(classifier, 1, logits), splits=10)
    for images, _ in batches(generated):
        inception.update(images)
    found["torchmetrics_inception_score"] = float(inception.compute()[0])
    model = Clip(clip)
    score = CLIPScore(lambda: (model, model.processor))
    for images, paths in batches(generated):
        score.update(list(images), prompts_of(paths))
    found["torchmetrics_clip_score"] = float(score.compute())
    found["cleanfid_fid"] = cleanfid.fid.compute_fid(
        str(generated), str(real), num_workers=0, batch_size=BATCH, device=torch.device("cpu"),
        custom_feat_extractor=lambda images: classifier.extract(images.byte())[0],
        custom_fn_resize=lambda image: image, verbose=False,
    )  # fmt: skip
    return found


def prompts_of(paths: Sequence[Path]) -> list[str]:
    """Read each image's own prompt."""
    return [(path.parent / "prompt.txt").read_text().splitlines()[int(path.stem)] for path in paths]


def tokens(prompts: Sequence[str]) -> Tensor:
    """Tokens of open_clip's vocabulary."""
    return open_clip.tokenize(list(prompts), 32)
