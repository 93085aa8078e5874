# After a kill (-9, power cut) the same command simply goes on. Steps write their results whole or
# not at all and resume by themselves; what is left to fix is Snakemake's own state: its locks, and
# its marks on outputs of jobs that did not end. That state is only stale if no Snakemake lives, so
# living ones share an advisory lock, which the system drops when they end, however they end.
import fcntl
from base64 import urlsafe_b64decode
from pathlib import Path

STATE = Path(".snakemake")


def resume_after_kill():
    """Fix the state if no other Snakemake is at work; returns what keeps this one's lock."""
    STATE.mkdir(exist_ok=True)
    alive = open(STATE / "alive", "w")
    try:
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for mark in STATE.glob("incomplete/**/*"):
            if mark.is_file() and mark.name != "migration_underway":
                marked_output(mark).unlink(missing_ok=True)
                mark.unlink()
        for lock in STATE.glob("locks/*.lock"):
            lock.unlink()
    except BlockingIOError:
        pass
    fcntl.flock(alive, fcntl.LOCK_SH)
    return alive


def marked_output(mark):
    """Snakemake names a mark by the output's path in base64, long ones in several parts."""
    parts = mark.relative_to(STATE / "incomplete").parts
    return Path(urlsafe_b64decode("".join(part.lstrip("@") for part in parts)).decode())
