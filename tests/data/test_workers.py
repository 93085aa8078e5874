"""A process that cannot hand on what it has loaded ends, so that nobody waits for it."""

import resource

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mvdiffusion.data.workers import end_if_unable_to_send


class TooLarge(Dataset):
    """Tensors that are larger than a file may be."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> torch.Tensor:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**12, 2**12))  # of this process alone
        return torch.zeros(2**16)


def test_what_cannot_be_sent_ends_the_loading(capfd: pytest.CaptureFixture[str]) -> None:
    loader = DataLoader(
        TooLarge(),
        batch_size=None,
        num_workers=1,
        worker_init_fn=end_if_unable_to_send,
        timeout=60,  # without which a failure would wait forever
    )
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        list(loader)
    told = capfd.readouterr().err
    assert told.startswith("loaded data could not be handed on (")
    assert "Traceback" not in told
