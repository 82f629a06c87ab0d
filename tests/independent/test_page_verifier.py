"""The verifier of the catalogue's pages, a third reader: node runs its own tests on the golden vectors."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1] / "browser" / "verify.test.mjs"
pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


@pytest.mark.parametrize("without_web_crypto", ["", "1"], ids=["WebCrypto", "noble"])
def test_the_page_agrees_with_the_golden_vectors(without_web_crypto):
    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap", TESTS],
        env={**os.environ, "P2PQWEN_NOBLE": without_web_crypto},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# skipped 0" in done.stdout
