"""Configuration files: complete, documented, and every mistake named in one readable line."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from snakemake.utils import update_config
from snakemake_interface_common.exceptions import WorkflowError
from workflow_project import ROOT, Project, plan

from mvdiffusion.conversion.base_model import copies
from mvdiffusion.methods.registry import method_names, methods
from mvdiffusion.tasks import Task
from workflow.lib.config import SCHEMA, checked, has_all_sections, read_config, schema_text

WORKFLOW = ROOT / "workflow"


Null = object()  # a key that is there, and null


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((WORKFLOW / f"config/{name}.yaml").read_text())


def keys(values: Any, path: str = "") -> Iterator[str]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield f"{path}{key}"
            yield from keys(value, f"{path}{key}.")


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for value in schema.values():
            yield from objects(value)


def test_configurations_hold_the_same_keys_and_fit_the_schema() -> None:
    mini, base = set(keys(read("mini"))), set(keys(read("base")))
    assert set(keys(read("smoke"))) < mini | base
    assert {key for key in base if not key.startswith("base.")} < mini
    for name in ("mini", "paper"):
        assert checked(read(name), name) == read(name)
    assert read("mini")["datasets"] == read("paper")["datasets"], "both use what either prepared"


def test_smoke_changes_only_what_makes_mini_small() -> None:
    mini, smoke = read("mini"), read_config(WORKFLOW / "config/smoke.yaml")
    assert smoke["panorama"]["generation"] == mini["panorama"]["generation"] | {
        "num_inference_steps": 3, "batch_size": 2, "dtype": "float32", "num_samples": 8,
    }  # fmt: skip
    assert smoke["evaluation"]["claims"] == mini["evaluation"]["claims"] | {"judged": False}
    assert smoke["tasks"] == mini["tasks"]
    changed = {key: value for key, value in read("smoke").items() if key != "base"}  # its own
    for key in keys(changed):
        values = [changed, mini]
        for part in key.split("."):
            values = [value[part] for value in values]
        # Trainings and samplings share their few steps; sources hold whatever mini reads.
        shared = re.search(r"\.(training|generation|sources)\.", key)
        assert isinstance(values[0], dict) or shared or values[0] != values[1], key


def test_the_schema_is_that_of_the_classes_and_fits_the_configurations() -> None:
    text = SCHEMA.read_text(encoding="utf-8")
    assert text == schema_text(), "write it with `python -m workflow.lib.config`"
    validator = Draft202012Validator(yaml.safe_load(text))
    for name in ("mini", "paper"):
        validator.validate(read(name))
    assert not validator.is_valid(read("mini") | {"tasks": ["video"]})


def test_the_schema_refuses_unknown_keys_everywhere() -> None:
    found = list(objects(yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))))
    assert len(found) > 20
    assert all(part["additionalProperties"] is False and part["description"] for part in found)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("panorama.generation.guidance_scal", 2.0,
         "unknown setting 'panorama.generation.guidance_scal'; did you mean 'guidance_scale'?"),
        ("depth.generation.xyz", 1,
         "unknown setting 'depth.generation.xyz'; known: algorithm_type, batch_size, dtype, "),
        ("panorama.stage1.training.steps", "many",
         "setting 'panorama.stage1.training.steps' is 'many'; expected a whole number, at least 1"),
        ("outpaint.base.training.mixed_precision", False,
         "setting 'outpaint.base.training.mixed_precision' is False; expected one of 'no', 'bf16'"),
        ("base.vae.loss.kl_weight", -1,
         "setting 'base.vae.loss.kl_weight' is -1; expected a number, at least 0."),
        ("panorama.methods", ["panorama-finetune"],
         "setting 'panorama.methods' is 'panorama-finetune'; expected a method of the task "
         "panorama; did you mean 'panorama_finetune'? Known: ablation_decoder, "),
        ("panorama.trainings", {"panorama-finetune": {}},
         "setting 'panorama.trainings' is 'panorama-finetune'; expected a method of the task that "
         "trains a model; did you mean 'panorama_finetune'? Known: ablation_decoder, "),
        ("panorama.options", {"sync-diffusion": {}},
         "setting 'panorama.options' is 'sync-diffusion'; expected a method of the task that has "
         "options; did you mean 'syncdiffusion'? Known: inpainting, multidiffusion, sync"),
        ("panorama.options", {"repaint": {}},
         "setting 'panorama.options' is 'repaint'; expected a method of the task that has options"),
        ("panorama.options", {"syncdiffusion": {"wieght": 1.0}},
         "unknown setting 'panorama.options.syncdiffusion.wieght'; did you mean 'weight'? Known: "),
        ("panorama.options", {"syncdiffusion": {"network": "vgg"}},
         "setting 'panorama.options.syncdiffusion.network' is 'vgg'; expected one of 'auto', 'fea"),
        ("panorama.options", {"multidiffusion": {"stride": 1.0}},
         "setting 'panorama.options.multidiffusion.stride' is 1.0; expected a number, above 0 and "
         "below 1."),
        ("depth.options", {"repaint": {"times": 0}},
         "setting 'depth.options.repaint.times' is 0; expected a whole number, at least 1"),
        ("depth.options", {"repaint": 4},
         "setting 'depth.options.repaint' is 4; expected a mapping of keys to values."),
        ("panorama.methods", ["magic"],
         "setting 'panorama.methods' is 'magic'; expected a method of the task panorama; known: "),
        ("depth.methods", ["autoregressive_latent"],
         "setting 'depth.methods' is 'autoregressive_latent'; expected a method of the task depth"),
        ("depth.methods", ["wrong_correspondence"],
         "setting 'depth.control_samples' is null; expected a number, as 'methods' names the "
         "control 'wrong_correspondence'."),
        ("tasks", ["video"],
         "setting 'tasks.0' is 'video'; expected one of 'panorama', 'outpaint', 'depth'."),
        ("tasks", [], "setting 'tasks' is []; expected a list of values, each one of "),
        ("tasks", ["depth", "depth"],
         "setting 'tasks' is ['depth', 'depth']; expected every entry once."),
        ("tasks", "depth", "setting 'tasks' is 'depth'; expected a list of values, each one of "),
        ("data.walks.num_scenes.extra", 5,
         "unknown setting 'data.walks.num_scenes.extra'; did you mean 'train'? Known: test, train"),
        ("data.rooms.num_scenes.test", None,
         "setting 'data.rooms.num_scenes' is {'train': 3000, 'validation': 16, 'extractor': 600}; "
         "expected a mapping of train, validation, test, extractor to values, with at least 4 "),
        ("seed", None, "setting 'seed' is missing; add it."),
        ("seeds", [1, 2],
         "setting 'seeds' is [1, 2]; expected different ones, the first of them 'seed' = 0."),
        ("seeds", [0, 1, 1],
         "setting 'seeds' is [0, 1, 1]; expected different ones, the first of them 'seed' = 0."),
        ("seeds", [0, -1], "setting 'seeds.1' is -1; expected a whole number, at least 0"),
        ("base.pretrained", {"panorama": "a", "outpaint": "b", "depth": "c"},
         "setting 'base' is ['pretrained', 'vae', 'decoder', 'diffusion', 'unet']; expected either "
         "'pretrained' alone, or both 'vae' and 'diffusion' to be trained."),
        ("base.pretrained", "minature",
         "setting 'base.pretrained' is 'minature'; expected 'miniature', or a mapping of tasks to "
         "models, or null."),
        ("base.pretrained", {"panorama": "miniature", "outpaint": "b", "depth": "c"},
         "setting 'base.pretrained' is {'panorama': 'miniature', 'outpaint': 'b', 'depth': 'c'}; "
         "expected 'miniature' alone, for all tasks; a folder of that name is ./miniature."),
        ("base.pretrained", {"panorama": "a"},
         "setting 'base.pretrained' is {'panorama': 'a'}; expected a mapping of panorama, "
         "outpaint, depth to values, with at least 3 entries"),
        ("base", {}, "setting 'base' is []; expected either 'pretrained' alone, or both "),
        ("base.vae", None,
         "setting 'base' is ['decoder', 'diffusion', 'unet']; expected either 'pretrained' "),
        ("base", {"pretrained": "miniature", "unet": read("smoke")["base"]["unet"]},
         "setting 'base' is ['pretrained', 'unet']; expected either 'pretrained' alone, or both "),
        ("data.rooms", None,
         "setting 'data.sources.panorama' is 'rooms'; expected 'data.rooms' and "
         "'data.expected_sha256' beside it."),
        ("data.sources.depth", "rooms",
         "setting 'data.sources.depth' is 'rooms'; expected one of 'walks', 'scannet'."),
        ("dataset", "nyu",
         "setting 'dataset' is 'nyu'; expected one of 'matterport3d', 'scannet', or null."),
        ("datasets.scannet.scenes.train", ["a", "b"],
         "setting 'datasets.scannet.validation_scenes' is 8; expected fewer than the 2 scenes of "
         "'scenes.train'."),
        ("datasets.scannet.script", 5,
         "setting 'datasets.scannet.script' is 5; expected text, not empty, or null."),
        ("depth.stage1", Null, "setting 'depth.stage1' is null; expected its training, as only a "
         "pretrained base of the task knows it without."),
    ],
)  # fmt: skip
def test_mistakes_are_named(key: str, value: object, sentence: str) -> None:
    config = read("mini") | ({"base": read("smoke")["base"]} if key.startswith("base") else {})
    *sections, name = key.split(".")
    part = config
    for section in sections:
        part = part[section]
    if value is None:
        del part[name]
    else:
        part[name] = None if value is Null else value
    with pytest.raises(WorkflowError) as caught:
        checked(config, "mine.yaml")
    assert f"mine.yaml: {sentence}" in str(caught.value)


def test_snakemake_prints_the_sentence_and_nothing_is_written(project: Project) -> None:
    (project.root / "mine.yaml").write_text("panorama: {generation: {guidance_scal: 3}}\n")
    before = sorted(project.root.rglob("results/**/*"))
    printed = project.snakemake("run", "--configfile", "mine.yaml", check=False)
    assert "'panorama.generation.guidance_scal'; did you mean 'guidance_scale'?" in printed
    assert "mine.yaml" in printed
    assert sorted(project.root.rglob("results/**/*")) == before


@pytest.mark.long
def test_smoke_can_be_given_as_a_configuration(project: Project) -> None:
    overlay = ("run", "--dry-run", "--configfile", "workflow/config/smoke.yaml")
    assert "results/smoke/metrics.json" in project.snakemake(*overlay)


@pytest.mark.long
def test_a_first_look_trains_attention_on_few_rooms_and_no_more(made_project: Project) -> None:
    (line,) = re.findall(
        r"(workflow/config/look\.yaml) \\\n\s+-- (\S+)", (ROOT / "Makefile").read_text()
    )
    planned = made_project.snakemake("--dry-run", line[1], "--configfile", line[0])
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", planned, re.MULTILINE))
    base = {"train_vae", "train_base"}  # of the small project alone: mini's is there
    assert jobs.keys() - base - {"settings", "total"} == {"render_rooms", "train_stage2"}
    assert jobs["render_rooms"] == jobs["train_stage2"] == "1"


@pytest.mark.long
@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--dag", "dot"), "make_tables"),
        (("--rulegraph", "dot"), "make_tables"),
        pytest.param(("--filegraph",), "make_tables", marks=pytest.mark.slow),
        (("--summary",), "make_tables"),
        pytest.param(("--list-rules",), "make_tables", marks=pytest.mark.slow),
        pytest.param(("--dry-run",), "Nothing to be done", marks=pytest.mark.slow),
        pytest.param(
            ("--delete-all-output", "--dry-run"),
            "Would delete results/tables/claims.csv",
            marks=pytest.mark.slow,
        ),
        (("--unlock",), "Unlocked working directory"),
    ],
)
def test_tutorials_commands_need_no_number_of_cores(
    made_project: Project, option: tuple[str, ...], said: str
) -> None:
    """`profiles/default` has it, which Snakemake finds by itself."""
    assert said in made_project.run("snakemake", "run", *option)


def test_the_embedded_base_knows_no_task() -> None:
    config = read("mini") | {"base": {"pretrained": "miniature"}}
    assert checked(config, "mine.yaml") == config
    Draft202012Validator(yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))).validate(config)
    config["outpaint"]["base"] = None
    with pytest.raises(WorkflowError, match=r"'outpaint.base' is null; expected its training"):
        checked(config, "mine.yaml")


def test_real_data_must_be_described() -> None:
    config = read("mini")
    config["data"]["sources"]["panorama"] = "matterport3d"
    checked(config, "mine.yaml")
    del config["datasets"]["matterport3d"]
    with pytest.raises(WorkflowError, match=r"a dataset that 'datasets\.matterport3d' describes"):
        checked(config, "mine.yaml")


def test_a_whole_configuration_stands_for_itself_and_others_change_mini() -> None:
    assert has_all_sections(read("paper"))
    assert not has_all_sections(read("smoke"))
    assert not has_all_sections(
        {"name": "guided", "panorama": {"generation": {"guidance_scale": 4.0}}}
    )
    assert not has_all_sections({"tasks": ["depth"]})


def test_prompts_of_the_paper() -> None:
    """The released code puts a text before captions of Matterport3D, none before ScanNet's."""
    data = read("paper")["data"]
    assert data["views"]["prompt_prefix"] == "This is one view of a scene. "
    assert data["frames"]["prompt_prefix"] == ""


def test_given_views_of_outpainting() -> None:
    """The released training step gives view 0 alone; the miniature's samples vary."""
    given = {
        name: read(name)["outpaint"]["stage2"]["given_view_shares"] for name in ("mini", "paper")
    }
    assert given == {"mini": [0.1, 0.2, 0.3, 0.4], "paper": None}


def test_numbers_of_the_paper() -> None:
    """Computed here from the paper's own: epochs, panoramas and scans, and batches."""
    config = read("paper")
    panorama, depth = config["panorama"]["stage2"]["training"], config["depth"]
    assert panorama["steps"] == 10 * 9820 // 4
    assert panorama["learning_rate"] == 2e-4
    assert depth["stage1"]["training"]["steps"] == 10 * 2_500_000 // 256
    assert depth["stage1"]["training"]["learning_rate"] == 1e-5
    assert depth["stage2"]["training"]["steps"] == round(20 * 1505 * 590 / 100 / 4)
    assert depth["stage2"]["training"]["learning_rate"] == 1e-4
    assert {config[task]["generation"]["guidance_scale"] for task in config["tasks"]} == {9.0}
    assert {config[task]["generation"]["num_inference_steps"] for task in config["tasks"]} == {50}
    table = yaml.safe_load((ROOT / "eval/tables/published.yaml").read_text())[0]["rows"]
    recorded = {row["method"]: list(row["published"].values()) for row in config["not_run"]}
    assert recorded["Text2Light"] == table["Text2Light"]


def test_every_number_of_an_experiment_says_where_it_is_from() -> None:
    """In paper.yaml: beside each number of training and sampling, or of the block like it above."""
    text = (WORKFLOW / "config/paper.yaml").read_text()
    block = text.partition("\npanorama:")[2].partition("\noutpaint:")[0]
    lines = [line for line in block.splitlines() if line.partition("#")[0].strip()]
    numbers = [line for line in lines if re.search(r":\s+[\d\"n]", line.partition("#")[0])]
    bare = [line.strip() for line in numbers if "#" not in line]
    # Those that the comment above or before them names.
    assert [line.split(":")[0] for line in bare] == [
        "stage1", "validate_every", "log_every", "num_workers",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_other_backbones_change_some_keys_of_the_papers_experiment(name: str) -> None:
    paper, changed = read("paper"), read(name)
    assert set(keys(changed)) - set(keys(changed.get("outpaint", {}), "outpaint.")) < set(
        keys(paper)
    )
    update_config(paper, changed)
    assert checked(paper, name) == paper
    for model in paper["base"]["pretrained"].values():
        assert len(copies(model)[0].revision or "") == 40


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_other_backbones_are_planned(name: str) -> None:
    jobs = plan(*(WORKFLOW / f"config/{file}.yaml" for file in ("paper", name)))
    names = [job.rule.name for job in jobs.jobs]
    assert names.count("train_stage2") == len(read("paper" if name == "sd15" else name)["tasks"])
    assert names.count("train_inpainting") == (name == "sd15")


def test_the_comparison_and_the_ablations_leave_no_method_out() -> None:
    # MVDiffusion again, in the miniature, and independent views, as it has a stage 1
    twins = {"ablation_paper", "ablation_masked", "ablation_overlapping", "independent_finetuned"}
    for task in Task:
        sections = [read(name).get(task, {}) for name in ("comparison", "ablations")]
        named = {method for section in sections for method in section.get("methods", [])}
        known = {name for name in method_names(task) if not methods()[name].is_external}
        assert named == known - twins, task
