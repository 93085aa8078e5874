"""The check of a folder before it is scored: all problems at once, and which protocols could run.

`open_folder` refuses at the first problem, and reads headers alone. Here every image is decoded to
its last pixel, every problem is listed, and what cannot be opened is looked at file by file.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mvdiffusion.images import holds_depth, is_whole_png, read_depth, read_rgb
from mvdiffusion.manifest import CAMERAS, MANIFEST, read_manifest, read_trajectory
from mvdiffusion.records import InputError, listed

from ..extractors.pretrained import has_weights
from ..folders.equirectangular import EquirectangularFolder
from ..folders.faults import THREADS, Faults, find_faults
from ..folders.images import check_depth, check_view, image_header
from ..folders.layouts import PANORAMA_SUFFIXES
from ..folders.opening import recognize_folder
from ..folders.samples import SampleFolder, SequenceFolder
from ..metrics.base import Inputs
from ..protocols.plan import AN_EXTRACTOR, Run, run_of
from ..protocols.protocol import protocols
from ..settings import ScoreSettings
from .score import matching_reference


@dataclass(frozen=True)
class Problem:
    """One thing about one file.

    Attributes:
        file: its path, or a folder's, or an option.
        problem: what was found and what was expected.
        stops: False for a note, which scoring does not wait for.
    """

    file: str
    problem: str
    stops: bool = True


@dataclass
class Checked:
    """What was found in a folder.

    Attributes:
        root: the folder.
        folder: as it was opened; None if that was impossible.
        problems: all of them.
        healthy: samples without a problem.
        faults: degenerate images in these.
        num_decoded: image files that were decoded.
        seconds: that decoding them took.
    """

    root: Path
    folder: SampleFolder | None = None
    problems: list[Problem] = field(default_factory=list)
    healthy: tuple[str, ...] = ()
    faults: Faults = field(default_factory=Faults)
    num_decoded: int = 0
    seconds: float = 0.0

    def report(self) -> dict[str, Any]:
        """What JSON says of it."""
        described: dict[str, Any] = {"root": str(self.root)}
        if self.folder is not None:
            ids = self.folder.sample_ids
            described |= {
                **{key: getattr(self.folder, key) for key in ("task", "method", "height", "width")},
                "samples": len(ids),
                "images": sum(self.folder.count(sample_id) for sample_id in ids),
                "prompts": sum(self.folder.has_prompts(sample_id) for sample_id in ids),
            }
        return described | {
            "problems": [dataclasses.asdict(problem) for problem in self.problems],
            "healthy_samples": len(self.healthy),
            "faults": dataclasses.asdict(self.faults),
            "decoded": self.num_decoded,
            "seconds": round(self.seconds, 3),
        }


def check(
    generated: str | Path,
    reference: str | Path | None = None,
    views: str | None = None,
    prompts: str | None = None,
    reference_views: str | None = None,
) -> dict[str, Any]:
    """Check a folder of images, and one of real views, before they are scored.

    Args:
        generated: folder in any layout that `score` takes.
        reference: real views of the same samples.
        views: pattern of the names of the images (see `folders.patterns`).
        prompts: pattern of the names of the files of prompts.
        reference_views: pattern of the names of the real images.

    Returns:
        What `mvdiffusion-eval check --json` prints: the folders with their problems, the protocols,
        and whether all is well (`ok`).

    Raises:
        InputError: there is no such folder.
    """
    ours = check_folder(generated, views=views, prompts=prompts)
    real = check_folder(reference, real=True, views=reference_views) if reference else None
    rows: list[dict[str, Any]] = []
    if ours.folder is not None and ours.healthy:
        matched = _matched(ours, real) if real else None
        usable = tuple(i for i in ours.healthy if matched is None or i in matched.sample_ids)
        rows = _protocol_rows(ours, matched, usable) if usable else []
    every = [*ours.problems, *(real.problems if real else ())]
    return {
        "generated": ours.report(),
        "reference": real and real.report(),
        "protocols": rows,
        "ok": not any(problem.stops for problem in every),
    }


def check_folder(
    root: str | Path, real: bool = False, views: str | None = None, prompts: str | None = None
) -> Checked:
    """Check every file of a folder.

    Args:
        root: the folder.
        real: whether it is opened as real views, see `open_folder`.
        views, prompts: patterns of the names of its files, likewise.

    Raises:
        InputError: there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected a folder of images.")
    found, start = Checked(root), time.perf_counter()
    try:
        found.folder = recognize_folder(root, real=real, views=views, prompts=prompts)
    except InputError as error:
        found.problems.append(_problem(error, root))
        _check_files(found)
        found.seconds = time.perf_counter() - start
        return found
    bad = _check_samples(found, found.folder)
    found.seconds = time.perf_counter() - start
    found.healthy = tuple(i for i in found.folder.sample_ids if i not in bad)
    if found.healthy:
        found.faults = find_faults(found.folder, found.healthy)
    found.problems += _prompt_problems(found.folder)
    return found


def _check_samples(found: Checked, folder: SampleFolder) -> set[str]:
    """Decode the files of every sample; return the samples with problems."""
    checks = [(s, each) for s in folder.sample_ids for each in _checks(folder, s)]
    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(lambda one: _failure(one[1], found.root), checks))
    found.num_decoded = len(checks)
    failures = [(s, each) for (s, _), each in zip(checks, results, strict=True) if each]
    bad = {sample_id for sample_id, _ in failures}
    for sample_id in folder.sample_ids:
        if sample_id not in bad:  # what concerns no single file, such as views without a camera
            whole = _failure(partial(folder.check_images, sample_id), found.root)
            failures += [(sample_id, whole)] if whole else []
    found.problems += [problem for _, problem in failures]
    if isinstance(folder, SequenceFolder):
        found.problems += _empty_depth(folder, {s for s, _ in failures}, found.root)
    return {sample_id for sample_id, _ in failures}


def _checks(folder: SampleFolder, sample_id: str) -> Iterator[Callable[[], None]]:
    """The check of each file of a sample."""
    if isinstance(folder, EquirectangularFolder):
        yield partial(_decode, folder.files[sample_id], lambda _: folder.check_images(sample_id))
        return
    for path in folder.view_paths(sample_id):
        yield partial(_decode, path, partial(check_view, height=folder.height, width=folder.width))
    if isinstance(folder, SequenceFolder):
        for path in folder.depth_paths(sample_id):
            header = partial(check_depth, height=folder.height, width=folder.width)
            yield partial(_decode, path, header)


def _decode(path: Path, check_header: Callable[[Path], Any]) -> None:
    """Read an image to its last pixel.

    Raises:
        InputError: it is missing, damaged, or other than it should be.
    """
    check_header(path)
    (read_depth if holds_depth(image_header(path)[1]) else read_rgb)(path)
    if path.suffix.lower() == ".png" and not is_whole_png(path):
        raise InputError(f"{path}: has wrong checksums; its pixels have changed. Write it again.")


def _failure(look: Callable[[], Any], root: Path) -> Problem | None:
    try:
        look()
    except InputError as error:
        return _problem(error, root)
    except OSError as error:
        return Problem(_in(root, str(error.filename)), f"could not be read ({error.strerror}).")
    return None


def _problem(error: InputError, root: Path) -> Problem:
    """Take the sentence "file: what; expected" of an `InputError` apart."""
    file, _, said = str(error).partition(": ")
    return Problem(_in(root, file), said)


def _in(root: Path, file: str) -> str:
    """Name a file relative to the folder."""
    path = Path(file)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else file


def _empty_depth(folder: SequenceFolder, bad: set[str], root: Path) -> Iterator[Problem]:
    for sample_id in folder.sample_ids:
        for path in folder.depth_paths(sample_id) if sample_id not in bad else ():
            if not read_depth(path).any():
                said = "holds no depth at all; nothing corresponds to this frame."
                yield Problem(_in(root, str(path)), said, stops=False)


def _prompt_problems(folder: SampleFolder) -> Iterator[Problem]:
    """Report prompts that are wrong, or that some samples lack and others do not."""
    having = [sample_id for sample_id in folder.sample_ids if folder.has_prompts(sample_id)]
    if not having:
        said = "no sample has prompts; the CLIP score needs them."
        yield Problem(".", said, stops=False)
        return
    for sample_id in folder.sample_ids:
        failure = _failure(partial(folder.prompts, sample_id), folder.root)
        if failure is not None:
            yield failure


def _check_files(found: Checked) -> None:
    """Look at the files of a folder that could not be opened, each for itself."""
    root = found.root
    looks: list[Callable[[], Any]] = [
        *(partial(_decode, path, image_header) for path in _images(root)),
        *(partial(read_trajectory, path.parent) for path in _visible(root, CAMERAS)),
    ]
    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(lambda look: _failure(look, root), looks))
    found.num_decoded = len(_images(root))
    problems = [*found.problems, *filter(None, results), *_unlisted(root)]
    found.problems = list(dict.fromkeys(problems))


def _images(root: Path) -> list[Path]:
    return [path for path in _visible(root, "*") if path.suffix.lower() in PANORAMA_SUFFIXES]


def _visible(root: Path, pattern: str) -> list[Path]:
    found = (path for path in sorted(root.rglob(pattern)) if path.is_file())
    return [p for p in found if not any(n.startswith(".") for n in p.relative_to(root).parts)]


def _unlisted(root: Path) -> Iterator[Problem]:
    """Name each sample that a manifest lists and the folder lacks, or the other way round."""
    if not (root / MANIFEST).is_file():
        return
    try:
        stated = set(read_manifest(root).samples)
    except InputError:
        return  # which is why the folder could not be opened
    there = {p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")}
    for name in sorted(stated - there):
        yield Problem(name, f"no such folder, but {MANIFEST} lists this sample.")
    for name in sorted(there - stated):
        yield Problem(name, f"{MANIFEST} does not list this sample.")


def _matched(ours: Checked, real: Checked) -> SampleFolder | None:
    """The real views of the healthy samples; None, with a problem, if the folders do not match."""
    assert ours.folder is not None
    if real.folder is None:
        return None
    both = tuple(i for i in ours.healthy if i in set(real.healthy))
    lacking = sorted(set(ours.folder.sample_ids) - set(real.folder.sample_ids))
    if lacking:
        said = f"has no real views of {len(lacking)} samples: {listed(lacking)}."
        real.problems.append(Problem(str(real.root), said))
    if not both:
        return None
    try:
        return matching_reference(dataclasses.replace(ours.folder, sample_ids=both), real.folder)
    except InputError as error:
        real.problems.append(_problem(error, real.root))
        return None


def _protocol_rows(
    ours: Checked, reference: SampleFolder | None, samples: Sequence[str]
) -> list[dict[str, Any]]:
    """Say of each of the task's protocols what could be measured, and what is lacking for it."""
    assert ours.folder is not None
    folder = dataclasses.replace(ours.folder, sample_ids=tuple(samples))
    inputs = Inputs(folder, reference, (), ScoreSettings(), faults=ours.faults)
    of_task = [p for _, p in sorted(protocols().items()) if folder.task in p.tasks]
    return [_protocol_row(run_of(protocol, inputs)) for protocol in of_task]


def _protocol_row(run: Run) -> dict[str, Any]:
    extractors = {name: has_weights(name) for name in run.protocol.extractors}
    measured, lacking = [step.key for step, _ in run.steps], {}
    for step in run.protocol.steps:
        if step.key not in run.lacking:
            continue
        needs = [need for need in run.lacking[step.key].split(" and ") if need != AN_EXTRACTOR]
        if AN_EXTRACTOR in run.lacking[step.key]:
            needs += _missing(step.extractors, extractors)
        if needs:
            lacking[step.key] = needs
        else:
            measured.append(step.key)
    return {
        "name": run.protocol.name,
        "version": run.protocol.version,
        "measured": measured,
        "lacking": lacking,
        "extractors": extractors,
    }


def _missing(names: Iterable[str], here: dict[str, bool | None]) -> list[str]:
    """What a step that uses extractors lacks: weights, or an extractor of the user's."""
    if not names:
        return [AN_EXTRACTOR]
    return [f"the weights of {name}" for name in names if here[name] is False]
