import pytest

from p2pqwen.manifest.hazards import pickle_files
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
