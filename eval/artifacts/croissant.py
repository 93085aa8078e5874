"""Croissant metadata of an artifact: JSON-LD that data platforms read (MLCommons, version 1.0).

It names the files with their hashes, and holds a record of every sample: its prompts and its values
of every metric that has one per sample. http://mlcommons.org/croissant/1.0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from mvdiffusion.settings import Text, settings

from .layout import IMAGES, SCORES

SAMPLES, PICTURES, FILES = "samples", "images", "image-files"
"""Ids of the record sets and of the set of files."""

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that Croissant 1.0 prescribes."""


@settings
class About:
    """What only the owner of the images can say of them.

    Attributes:
        license: license of the images and scores, best as a URL of spdx.org.
        creators: names of people or groups.
        cite_as: how to cite them, best as BibTeX.
        date_published: the day of publication.
    """

    license: Text | None = None
    creators: tuple[Text, ...] = ()
    cite_as: Text | None = None
    date_published: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")] | None = None


def metadata(
    content: Mapping[str, Any],
    prompts: Mapping[str, Sequence[str]],
    scores_sha256: str,
    image_types: Sequence[str],
    about: About,
) -> dict[str, Any]:
    """Make the JSON-LD of an artifact.

    Args:
        content: of the score file.
        prompts: of each sample.
        scores_sha256: hash of the score file.
        image_types: suffixes of the packed images, as `.png`; none if no images are packed.
        about: what the owner says.
    """
    task, method = content["task"], content["method"]
    scores = {
        "@type": "cr:FileObject",
        "@id": SCORES,
        "name": SCORES,
        "description": "Score file of mvdiffusion-eval with its values per sample.",
        "contentUrl": SCORES,
        "encodingFormat": "application/json",
        "sha256": scores_sha256,
    }
    stated = {
        "license": about.license,
        "citeAs": about.cite_as,
        "datePublished": about.date_published,
        "creator": [{"@type": "Person", "name": name} for name in about.creators] or None,
    }
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"Scores of {method} ({task})",
        "description": f"Generated images of the task '{task}' by the method '{method}', scored by "
        "mvdiffusion-eval: hashes, prompts, and scores of every sample.",
        "version": "1.0.0",
        **{key: value for key, value in stated.items() if value is not None},
        "distribution": [scores, *([_files(image_types)] if image_types else [])],
        "recordSet": [_samples(content, prompts), *([_pictures()] if image_types else [])],
    }


def records(
    content: Mapping[str, Any], prompts: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """List a record for every sample: id, prompts (a line each), and the values of metrics.

    Args:
        content: of the score file.
        prompts: of each sample.
    """
    columns = {f"{SAMPLES}/{name}": one["values"] for name, one in _per_sample(content).items()}
    return [
        {
            f"{SAMPLES}/id": sample_id,
            f"{SAMPLES}/prompt": "\n".join(prompts.get(sample_id, ())),
            **{field: values[number] for field, values in columns.items()},
        }
        for number, sample_id in enumerate(content["images"]["samples"])
    ]


def _per_sample(content: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found = content["metrics"].items()
    return {name: one for name, one in sorted(found) if one["values_per"] == "sample"}


def _samples(content: Mapping[str, Any], prompts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    fields = [
        _field(f"{SAMPLES}/id", "Id of the sample.", "sc:Text"),
        _field(
            f"{SAMPLES}/prompt", "Its prompts: one for all views, or a line for each.", "sc:Text"
        ),
    ]
    for name, one in _per_sample(content).items():
        unit = f", in {one['unit']}" if one["unit"] else ""
        said = f"By the protocol {one['protocol']} v{one['version']}{unit}."
        fields.append(_field(f"{SAMPLES}/{name}", said, "sc:Float"))
    return {
        "@type": "cr:RecordSet",
        "@id": SAMPLES,
        "name": SAMPLES,
        "description": "Every scored sample with its values; null where a metric leaves it out.",
        "key": {"@id": f"{SAMPLES}/id"},
        "field": fields,
        "data": records(content, prompts),
    }


def _files(image_types: Sequence[str]) -> dict[str, Any]:
    formats = {".png": "image/png", ".webp": "image/webp"}
    return {
        "@type": "cr:FileSet",
        "@id": FILES,
        "name": FILES,
        "description": "The generated images.",
        "encodingFormat": sorted({formats.get(suffix, "image/jpeg") for suffix in image_types}),
        "includes": [f"{IMAGES}/**/*{suffix}" for suffix in image_types],
    }


def _pictures() -> dict[str, Any]:
    def of_files(name: str, said: str, kind: str, what: str) -> dict[str, Any]:
        source = {"fileSet": {"@id": FILES}, "extract": {"fileProperty": what}}
        return {**_field(f"{PICTURES}/{name}", said, kind), "source": source}

    return {
        "@type": "cr:RecordSet",
        "@id": PICTURES,
        "name": PICTURES,
        "description": "Every image file.",
        "field": [
            of_files("name", "Its name in the artifact.", "sc:Text", "fullpath"),
            of_files("content", "Its pixels.", "sc:ImageObject", "content"),
        ],
    }


def _field(name: str, said: str, kind: str) -> dict[str, Any]:
    short = name.partition("/")[2]
    return {"@type": "cr:Field", "@id": name, "name": short, "description": said, "dataType": kind}
