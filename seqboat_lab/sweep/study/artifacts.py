"""What runs leave, sent where a report on another machine finds it: a directory that all reach, or an S3 bucket."""

import json
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import optuna
from optuna.artifacts import FileSystemArtifactStore, download_artifact, upload_artifact
from optuna.artifacts._upload import ARTIFACTS_ATTR_PREFIX
from optuna.trial import FrozenTrial

from seqboat_lab.config.checks import ConfigError
from seqboat_lab.data.files.files import landing, locked

RUN_FILE, CHECKPOINT_FILE = "run.tar.gz", "checkpoint.tar.gz"
CHECKPOINTS, BEST = "checkpoints", "best.ckpt"
S3 = "s3://"


def open_artifacts(where: str | None) -> Any:
    """Optuna's store of a directory, or of `s3://bucket/prefix`, or None. Raises `ConfigError` if there can be none.

    Credentials and the endpoint of another server than Amazon's are boto3's: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...
    """
    if where is None:
        return None
    if not where.startswith(S3):
        try:
            Path(where).expanduser().mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError("artifacts", f"{where} cannot be a directory ({error.strerror})") from None
        return FileSystemArtifactStore(Path(where).expanduser())
    bucket, _, prefix = where.removeprefix(S3).partition("/")
    try:
        from optuna.artifacts import Boto3ArtifactStore

        return _Below(Boto3ArtifactStore(bucket), prefix.strip("/"))
    except ImportError:
        install = f"{sys.executable} -m pip install 'seqboat-lab[s3]'"
        raise ConfigError("artifacts", f"{where} needs the package boto3; install it with: {install}") from None
    except Exception as error:  # boto3 has many of its own
        raise ConfigError("artifacts", f"{where} cannot be opened: {str(error).splitlines()[0]}") from None


class _Below:
    """A store whose names have a prefix."""

    def __init__(self, store: Any, prefix: str):
        self._store, self._prefix = store, f"{prefix}/" if prefix else ""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        return self._store.open_reader(self._prefix + artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        self._store.write(self._prefix + artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        self._store.remove(self._prefix + artifact_id)


def send_run(study: optuna.Study, number: int, run_dir: Path, where: str | None, checkpoint: bool = False) -> None:
    """Sends a run that has ended, before its trial does, and its best checkpoint if that is wanted.

    A store that refuses costs the trial nothing: its results are in the study.
    """
    try:
        if (store := open_artifacts(where)) is None:
            return
        trial = study._storage.get_trial(
            study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
        )
        files = [path for path in sorted(run_dir.rglob("*")) if path.is_file()]
        small = [path for path in files if CHECKPOINTS not in path.relative_to(run_dir).parts]
        parts = {RUN_FILE: small, CHECKPOINT_FILE: [p for p in files if checkpoint and p.name == BEST]}
        with tempfile.TemporaryDirectory() as directory:
            for name, members in parts.items():
                if members:
                    path = Path(directory) / name
                    _pack(path, run_dir, members)
                    upload_artifact(
                        artifact_store=store, file_path=str(path), study_or_trial=trial, storage=study._storage
                    )
    except Exception as error:  # each store has its own errors
        print(f"{run_dir} could not be left at {where}: {error or type(error).__name__}", file=sys.stderr, flush=True)


def fetch_run(trial: FrozenTrial, run_dir: Path, store: Any, checkpoint: bool = False) -> None:
    """Brings what a trial left to `run_dir`, unless it is there; what was lost on the way stays away."""
    wanted = {} if run_dir.is_dir() else {RUN_FILE: run_dir}
    if checkpoint and not (run_dir / CHECKPOINTS / BEST).exists():
        wanted[CHECKPOINT_FILE] = run_dir
    there = {meta["filename"]: meta["artifact_id"] for meta in _sent(trial)}
    for name in wanted.keys() & there.keys():
        try:
            with tempfile.TemporaryDirectory() as directory:
                archive = Path(directory) / name
                download_artifact(artifact_store=store, file_path=str(archive), artifact_id=there[name])
                _unpack(archive, run_dir)
        except Exception as error:
            reason = str(error) or type(error).__name__
            print(f"{run_dir}: {name} could not be brought here: {reason}", file=sys.stderr, flush=True)


def _sent(trial: FrozenTrial) -> list[dict[str, str]]:
    return [json.loads(v) for key, v in trial.system_attrs.items() if key.startswith(ARTIFACTS_ATTR_PREFIX)]


def _pack(path: Path, run_dir: Path, members: Iterable[Path]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            archive.add(member, str(member.relative_to(run_dir)))


def _unpack(path: Path, run_dir: Path) -> None:
    """Whole, or not at all; nothing in it may lie outside of the run."""
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path) as archive:
        if run_dir.is_dir():
            archive.extractall(run_dir, filter="data")
            return
        with locked(run_dir), landing(run_dir) as new:
            new.mkdir()
            archive.extractall(new, filter="data")
