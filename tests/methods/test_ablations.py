"""Ablations are MVDiffusion with one thing changed, and say so."""

from typing import Any

import pytest

from mvdiffusion.attention_settings import AttentionSettings
from mvdiffusion.methods.registry import methods
from mvdiffusion.settings import parse

ABLATIONS = {name: own for name, own in methods().items() if own.role == "ablation"}


def test_each_changes_one_setting_of_its_own() -> None:
    changes: list[Any] = []
    for name, method in ABLATIONS.items():
        assert method.model == name  # a model of its own, of the same training
        assert (method.training.command, method.training.start) == ("stage2", "single-view")
        changed = dict(method.training.changes)
        attention = changed.pop("attention", {})
        assert len(changed) + len(attention) == 1
        assert changed in ({}, {"variant": "paper"}, {"variant": "released"})
        assert parse(AttentionSettings, attention).changes() == attention  # none is the default
        changes.append((changed, attention))
    assert all(changes.count(each) == 1 for each in changes)
    assert len({method.title for method in ABLATIONS.values()}) == len(ABLATIONS) == 12


@pytest.mark.parametrize("name", ABLATIONS)
def test_it_runs_the_method_as_it_is(name: str) -> None:
    class Batch:
        def panorama(self, **options: Any) -> Any:
            return "views", options

    assert ABLATIONS[name].function("panorama")(Batch()) == ("views", {})
    assert ABLATIONS[name].tasks == ("panorama",)
