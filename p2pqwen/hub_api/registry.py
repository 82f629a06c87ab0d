"""The Hub's registry of GGUF files for llama.cpp, node-llama-cpp and Ollama: manifests by tag, blobs by digest.

A tag is a quantisation; `latest`, or no tag, is Q4_K_M if there is one, as on the Hub. llama.cpp reads `ggufFile` and
`mmprojFile` of a manifest and then requests files. Ollama reads the image (Docker's "Image Manifest Version 2,
Schema 2") and requests blobs; the configuration blob is made here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from p2pqwen.hub_api.listing import HubFile
from p2pqwen.values.model_file import ModelFile, quantisation_named
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.strict_json import JsonObject, JsonValue

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_MODEL_TYPE = "application/vnd.ollama.image.model"
_PROJECTOR_TYPE = "application/vnd.ollama.image.projector"
_LATEST = "latest"
_FIRST_CHOICES = ("Q4_K_M", "Q4_K_S", "Q4_0", "Q5_K_M", "Q8_0")


@dataclass(frozen=True, slots=True)
class RegistryModel:
    """A model that a tag names: its file or first shard, and its projector."""

    file: HubFile
    sha256: str
    quantisation: str
    projector: HubFile | None = None

    @property
    def config(self) -> bytes:
        """The image's configuration, the same bytes every time."""
        layers = [self.sha256, *([self.projector.sha256] if self.projector and self.projector.sha256 else [])]
        value = {
            "model_format": "gguf",
            "model_family": "",
            "model_families": [],
            "model_type": "",
            "file_type": self.quantisation,
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{one}" for one in layers]},
        }
        return json.dumps(value, separators=(",", ":")).encode()

    @property
    def manifest(self) -> JsonObject:
        """The answer to `GET /v2/{repo}/manifests/{tag}`."""
        config = self.config
        layers: list[JsonValue] = [_layer(_MODEL_TYPE, self.sha256, self.file.size)]
        answer: JsonObject = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE}
        answer["config"] = _layer(CONFIG_TYPE, hashlib.sha256(config).hexdigest(), len(config))
        answer["ggufFile"] = _named(self.file)
        if self.projector is not None and self.projector.sha256:
            layers.append(_layer(_PROJECTOR_TYPE, self.projector.sha256, self.projector.size))
            answer["mmprojFile"] = _named(self.projector)
        answer["layers"] = layers
        return answer


def model_of(files: Iterable[HubFile], tag: str) -> RegistryModel | None:
    """Return the model that a tag names, None if no GGUF file matches; tags ignore case."""
    files = list(files)
    models = {one.quantisation: one for one in _models(files)}
    if tag.lower() != _LATEST:
        named = quantisation_named(tag)
        by_name = next((one for one in models.values() if one.file.path.rsplit("/", 1)[-1] == tag), None)
        return by_name if named is None else models.get(named)
    first = next((models[one] for one in _FIRST_CHOICES if one in models), None)
    return first or min(models.values(), key=lambda one: one.file.size, default=None)


def path_of(files: Iterable[HubFile], digest: str) -> str | None:
    """Return the path of the LFS file with this SHA-256, or None."""
    return next((one.path for one in files if one.sha256 == digest), None)


def config_of(files: Iterable[HubFile], digest: str) -> bytes | None:
    """Return the configuration with this SHA-256, None if it belongs to none of these files."""
    configs = (one.config for one in _models(list(files)))
    return next((one for one in configs if hashlib.sha256(one).hexdigest() == digest), None)


def _models(files: list[HubFile]) -> Iterator[RegistryModel]:
    projector = next((one for one in files if _said(one).companion and "mmproj" in one.path.lower()), None)
    for file in files:
        said = _said(file)
        whole = said.shard is None or said.shard[0] == 1
        if said.format == "gguf" and not said.companion and whole and file.sha256:
            yield RegistryModel(file, file.sha256, said.quantisation or "unknown", projector)


def _said(file: HubFile) -> ModelFile:
    return ModelFile.of(RepoPath(file.path))


def _layer(kind: str, sha256: str, size: int) -> JsonObject:
    return {"mediaType": kind, "digest": f"sha256:{sha256}", "size": size}


def _named(file: HubFile) -> JsonObject:
    lfs: JsonObject = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return {"rfilename": file.path, "blobId": file.blob_id, "size": file.size, "lfs": lfs}
