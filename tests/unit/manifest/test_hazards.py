import pytest

from p2pqwen.manifest.git_object import blob_oid
from p2pqwen.manifest.hazards import likely_pointers, pickle_files
from p2pqwen.manifest.lfs_pointer import pointer_bytes, pointer_oid
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath


@pytest.mark.parametrize(
    ("path", "hazard"),
    [
        ("pytorch_model.bin", True),
        ("pytorch_model-00001-of-00002.bin", True),
        ("training_args.bin", True),
        ("consolidated.00.pth", True),
        ("a/b/model.PT", True),
        ("last.ckpt", True),
        ("tokenizer.pkl", True),
        ("x.pickle", True),
        ("x.joblib", True),
        ("model.pdparams", True),
        ("model.safetensors", False),
        ("model.gguf", False),
        ("model.onnx", False),
        ("data.npy", False),
        ("tokenizer.json", False),
        ("bin", False),
        ("x.bin/readme.txt", False),
        ("x.bin.md", False),
    ],
)
def test_by_suffix(path, hazard):
    paths = [RepoPath("README.md"), RepoPath(path)]
    assert pickle_files(paths) == ((RepoPath(path),) if hazard else ())


POINTER = pointer_bytes(Sha256.of(b"weights"), 7)


@pytest.mark.parametrize(
    ("path", "content", "lfs", "suspect"),
    [
        ("model.safetensors", POINTER, False, True),
        ("a/b/MODEL.GGUF", POINTER, False, True),
        ("model.safetensors", POINTER, True, False),
        ("model.safetensors", b"tiny", False, False),
        ("model.safetensors", b"w" * 1025, False, False),
        ("config.json", POINTER, False, False),  # its name says nothing: the content will
    ],
)
def test_what_may_be_a_pointer_by_its_row(path, content, lfs, suspect):
    sha256 = Sha256.of(content)
    oid = pointer_oid(sha256, len(content)) if lfs else blob_oid(content)
    row = FileRow(RepoPath(path), len(content), sha256, oid, lfs)
    assert likely_pointers([row]) == ((RepoPath(path),) if suspect else ())
