"""Settings of everything that prepares data: procedural rooms and walks, Matterport3D, ScanNet."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mvdiffusion.settings import (
    Count,
    Device,
    Dtype,
    ImageSide,
    InnerShare,
    JpegQuality,
    Seed,
    Text,
    Whole,
    settings,
)

SceneCount = Annotated[int, Field(ge=1, le=99999)]
RenderedSide = Annotated[int, Field(ge=16, le=4096, multiple_of=16)]  # pixels
RecordedSide = Annotated[int, Field(ge=16, le=8192)]  # pixels
ROOM_KINDS = (
    "bedroom", "kitchen", "living room", "office", "bathroom", "dining room", "library", "hallway",
)  # fmt: skip


@settings
class RoomSettings:
    """What decides the bytes of the procedural rooms.

    Attributes:
        seed: seed of the whole collection.
        num_scenes: number of rooms by split.
        face_size: edge of a cube face in pixels, a multiple of 16.
        jpeg_quality: JPEG quality of the faces.
    """

    seed: Seed
    num_scenes: dict[Literal["train", "validation", "test", "extractor"], SceneCount]
    face_size: RenderedSide = 128
    jpeg_quality: JpegQuality = 92


@settings
class WalkSettings:
    """What decides the bytes of the walks of a camera through procedural rooms.

    Attributes:
        seed: seed of the whole collection.
        num_scenes: number of walks by split, each through a room of its own.
        num_frames: frames of a walk.
        height: height of a frame in pixels, a multiple of 16.
        width: width of a frame in pixels, a multiple of 16.
        fov_deg: horizontal field of view in degrees.
        jpeg_quality: JPEG quality of the color images.
        overlap: overlap of consecutive key frames: a frame that shares less with the last key frame
            is the next one.
        max_depth: range of the depth sensor in meters.
    """

    seed: Seed
    num_scenes: dict[Literal["train", "validation", "test"], SceneCount]
    num_frames: Annotated[int, Field(ge=2, le=9999)] = 72
    height: RenderedSide = 96
    width: RenderedSide = 128
    fov_deg: Annotated[float, Field(gt=10, lt=150)] = 75.0
    jpeg_quality: JpegQuality = 92
    overlap: InnerShare = 0.65
    max_depth: Annotated[float, Field(gt=0, lt=65)] = 4.5


@settings
class HousePreparation:
    """What decides which panoramas of a house of Matterport3D are kept.

    Attributes:
        face_size: edge of a cube face in pixels that is expected; null takes any, if a panorama's
            six faces have the same.
    """

    face_size: Count | None = None


@settings
class ScenePreparation:
    """What decides the bytes of a prepared scene of ScanNet.

    Attributes:
        height: height of color and depth images in pixels, at most the recording's depth.
        width: width of color and depth images in pixels, likewise.
        jpeg_quality: JPEG quality of the color images.
        frame_step: every so many frames are kept.
        overlap: overlap of consecutive key frames (paper: about 0.65).
    """

    height: RecordedSide = 480
    width: RecordedSide = 640
    jpeg_quality: JpegQuality = 95
    frame_step: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    overlap: InnerShare = 0.65


@settings
class PanoramaSplits:
    """How the panoramas of Matterport3D are split.

    Attributes:
        seed: seed of the order of houses (and of panoramas, with the authors' lists).
        test_share: share of the houses that are for testing, without the authors' lists.
        validation_houses: houses taken out of training, without the authors' lists.
        validation_panoramas: how many panoramas of those houses at most; with the authors' lists,
            of theirs for training, where they stay.
        allow_missing: whether entries of the authors' lists may be left out whose panoramas are not
            prepared.
    """

    seed: Seed = 0
    test_share: InnerShare = 0.1
    validation_houses: Whole = 1
    validation_panoramas: Whole = 64
    allow_missing: bool = False


@settings
class Captioning:
    """How captions are made. Nothing is drawn at random: the likeliest words are taken.

    The search's defaults are those of LAVIS, with which the authors made theirs (their issue #8).

    Attributes:
        model: id on the Hugging Face hub, or folder, of a BLIP-2 in transformers' format with
            safetensors.
        revision: commit of the hub id; null means the newest.
        batch_size: images at once.
        device: where to compute; "auto" takes a GPU if there is one.
        dtype: precision of the weights and of the computation.
        max_new_tokens: greatest length of a caption.
        num_beams: beams of the search for the likeliest caption; 1 is greedy.
        prompt: text that the caption continues, itself no part of the caption.
    """

    model: Text = "Salesforce/blip2-opt-2.7b"
    revision: str | None = None
    batch_size: Count = 32
    device: Device = "auto"
    dtype: Dtype = "float16"
    max_new_tokens: Count = 30
    num_beams: Count = 5
    prompt: str = ""


@settings
class ViewCaptions(Captioning):
    """How the views of panoramas get captions.

    Attributes:
        image_size: side in pixels of the views that panoramas are cut into.
    """

    image_size: ImageSide = 512


@settings
class FrameCaptions(Captioning):
    """How the frames of scenes get captions.

    Attributes:
        frames: frames that get captions: "valid" (as the authors) or only "key" frames.
    """

    frames: Literal["valid", "key"] = "valid"


@settings
class CaptionSettings(ViewCaptions, FrameCaptions):
    """How captions of a split are made, of panoramas or of scenes."""
