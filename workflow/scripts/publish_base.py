"""Put a release of the base into the repository: base.dvc, and its files in the embedded remote.

The files of the release before leave the remote, where nothing else needs them, so that the
repository's working tree holds one base. `snakemake base` makes the release.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from mvdiffusion.records import read_json, sha256_file

RELEASE = Path("results/base/release")
STORE = Path("workflow/resources/dvc-store/files/md5")
BASE, TRACKED = Path("base"), Path("base.dvc")


def main() -> None:
    """Replace the base that is shipped; the one before is in the history of git."""
    if not (RELEASE / "sha256.json").is_file():
        sys.exit(f"{RELEASE}: no sha256.json; finish `snakemake --cores all base` first")
    for name, sha256 in read_json(RELEASE / "sha256.json")["files"].items():
        if not (RELEASE / name).is_file() or sha256_file(RELEASE / name) != sha256:
            sys.exit(
                f"{RELEASE / name}: is not what was released, so nobody could load the model; "
                f"delete {RELEASE} and run `snakemake --cores all base` again"
            )
    before = objects(TRACKED)
    shutil.rmtree(BASE, ignore_errors=True)
    shutil.copytree(RELEASE, BASE, ignore=shutil.ignore_patterns(".*"))
    subprocess.run(["dvc", "add", "--quiet", str(BASE)], check=True)
    subprocess.run(["dvc", "push", "--quiet", str(TRACKED)], check=True)
    needed = set[str]().union(*map(objects, [*Path().glob("?*.dvc"), Path("dvc.lock")]))
    for md5 in before - needed:
        stored(md5).unlink(missing_ok=True)
    (md5,) = re.findall(r"md5: (\w+\.dir)", TRACKED.read_text())
    print(f"{TRACKED}: {md5}; write it to base.embedded_md5 in workflow/config/mini.yaml")


def objects(path: Path) -> set[str]:
    """Hashes that a file of DVC names, and those in the listings of folders that it names."""
    named = hashes(path)
    return named.union(*(hashes(stored(md5)) for md5 in named if md5.endswith(".dir")))


def hashes(path: Path) -> set[str]:
    """MD5 sums in a file's text; none if it is not there."""
    text = path.read_text() if path.exists() else ""
    return set(re.findall(r"\b[0-9a-f]{32}\b(?:\.dir)?", text))


def stored(md5: str) -> Path:
    """Where the embedded remote keeps a file, or the listing of a folder."""
    return STORE / md5[:2] / md5[2:]


if __name__ == "__main__":
    main()
