#!/usr/bin/env bash
# huggingface-hub==2.4.0: `hf cache rm REPOSITORY` can delete another repository and leave the one that it names. Two cached
# repositories hold the same commit when a history was pushed to a second name, or a repository was renamed and downloaded
# under both names. The command turns the name into commits, and deletes each commit from one repository that has it,
# whichever it meets first in a set. The order changes from run to run. --dry-run and the confirmation show the right name,
# and the exit status is 0. `hf cache prune` does the same to a snapshot whose ref is there to keep it.
# Expected: the repository that was named, and that was shown, is the one that is deleted.
# Seen, over 16 runs of each command on a fresh cache of two repositories with one commit:
#   hf cache rm model/org/copy: shown org/copy; deleted org/copy in some runs, org/original in others
#   hf cache prune, no ref in org/copy: shown org/copy; deleted org/copy in some runs, org/original in others
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check huggingface-hub==2.4.0
cd "$work"
HF_HOME=$work/hf HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON' | tee seen
import shutil
import subprocess
from pathlib import Path

COMMIT = "a" * 40
REPOSITORIES = ("org/copy", "org/original")


def folder(cache, repository):
    return Path(cache, "models--" + repository.replace("/", "--"))


def fill(cache):
    """What downloads of one file, with branch main for org/original and by commit for org/copy, leave in a cache."""
    for repository in REPOSITORIES:
        blob = folder(cache, repository) / "blobs" / ("b" * 40)
        link = folder(cache, repository) / "snapshots" / COMMIT / "model.safetensors"
        for path in (blob, link):
            path.parent.mkdir(parents=True)
        blob.write_bytes(b"weights")
        link.symlink_to(Path("../../blobs", blob.name))
    (folder(cache, "org/original") / "refs").mkdir()
    (folder(cache, "org/original") / "refs/main").write_text(COMMIT)


def answers(number, *command):
    """The repositories that the command shows, and those that are gone after it."""
    cache = f"cache-{number}"
    fill(cache)
    run = ["venv/bin/hf", "cache", *command, "--yes", "--cache-dir", cache]
    ended = subprocess.run(run, check=True, capture_output=True, text=True)
    shown = [name for name in REPOSITORIES if f"model/{name}" in ended.stdout + ended.stderr]
    gone = [name for name in REPOSITORIES if not folder(cache, name).exists()]
    shutil.rmtree(cache)
    return ", ".join(shown), ", ".join(gone)


for name, command in (("rm model/org/copy", ("rm", "model/org/copy")), ("prune, no ref in org/copy", ("prune",))):
    seen = [answers(number, *command) for number in range(16)]
    shown, deleted = sorted({row[0] for row in seen}), sorted({row[1] for row in seen})
    print(f"hf cache {name}: shown {' or '.join(shown)}; deleted {' in some runs, '.join(deleted)} in others")
PYTHON
diff seen - <<'WANTED'
hf cache rm model/org/copy: shown org/copy; deleted org/copy in some runs, org/original in others
hf cache prune, no ref in org/copy: shown org/copy; deleted org/copy in some runs, org/original in others
WANTED
