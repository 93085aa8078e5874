"""Settings of UNets, which a test may change."""

from typing import Any

import pytest
from tiny_models import SD2_UNET, TINY_UNET


@pytest.fixture
def tiny_unet_config() -> dict[str, Any]:
    return dict(TINY_UNET)


@pytest.fixture
def sd2_unet_config() -> dict[str, Any]:
    return dict(SD2_UNET)
