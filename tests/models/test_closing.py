"""Convolutions that look across the left and right edges."""

import pytest
import torch
from torch import nn

from mvdiffusion.models.closing import closed_convolutions


def test_padding_is_what_is_at_the_other_edge():
    torch.manual_seed(0)
    conv, x = nn.Conv2d(2, 3, 3, padding=1), torch.rand(1, 2, 5, 6)
    wider = torch.cat([x[..., -1:], x, x[..., :1]], -1)
    with torch.no_grad():
        zeros, expected = conv(x), conv(wider)[..., 1:-1]
        with closed_convolutions(conv):
            torch.testing.assert_close(conv(x), expected)
        with closed_convolutions(conv, closed=False):
            assert torch.equal(conv(x), zeros)
        with pytest.raises(RuntimeError), closed_convolutions(conv):
            conv(torch.rand(1, 5, 4, 4))
        assert torch.equal(conv(x), zeros)
        assert conv.padding == (1, 1)
