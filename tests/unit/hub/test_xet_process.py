"""hf_xet's process reads no code from the folder in which a user happens to stand."""

from __future__ import annotations

import pytest

from p2pqwen.hub.xet_job import XetAccess, XetFailedError, XetFile
from p2pqwen.hub.xet_process import XetProcess


@pytest.mark.parametrize("module", ["hf_xet", "json", "p2pqwen"])
def test_a_module_of_a_downloaded_model_does_not_run(tmp_path, monkeypatch, module):
    model, ran = tmp_path / "model", tmp_path / "ran"
    model.mkdir()
    model.joinpath(f"{module}.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    monkeypatch.chdir(model)
    access = XetAccess("http://127.0.0.1:1", "token", 0)
    file = XetFile("0" * 64, 1, tmp_path / "file")
    with (
        XetProcess(access, file, tmp_path / "xet", lambda: None, windows=False) as process,
        pytest.raises((XetFailedError, OSError)),
    ):
        process.follow(lambda *_: None)
    assert not ran.exists()
