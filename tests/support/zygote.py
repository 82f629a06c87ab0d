"""Python programs that start warm: forked from a process that has imported what takes them seconds.

What is imported there must be the same for every program that is forked from it.
Each program is a process of its own and `__main__`, with its own environment, working folder, output and exit code.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
# What transformers, sentence-transformers and datasets import that reads no setting of the Hub: three seconds of it.
LIBRARIES = """
import contextlib, importlib
for name in (
    "torch._dynamo", "torch.distributed.tensor", "scipy.sparse", "scipy.stats", "sklearn.cluster", "sklearn.metrics",
    "pandas", "pyarrow.dataset", "pyarrow.parquet", "xxhash", "safetensors.torch", "tokenizers", "regex",
):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
import sys
assert "huggingface_hub" not in sys.modules, "it has read the environment, which is not the program's"
"""


class Zygote:
    """The process that others are forked from, started with the first of them; `within` a namespace.

    `prepare`: a program that is run there first, with `environment` beside this process's own.
    """

    def __init__(
        self, prepare: str, within: Sequence[str] = (), environment: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._command = [*within, sys.executable, "-m", "tests.support.zygote", prepare]
        self._environment = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate()  # no more orders: it ends

    def run(
        self,
        code: str,
        arguments: Sequence[str] = (),
        *,
        environment: Mapping[str, str],
        cwd: Path,
        seconds: float,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, as `python -c` does; raises `subprocess.TimeoutExpired`."""
        process = self._started()
        assert process.stdin is not None
        with tempfile.TemporaryDirectory(prefix="p2pqwen-zygote-") as folder:
            outputs = [str(Path(folder) / name) for name in ("stdout", "stderr")]
            order = {
                "code": code, "arguments": list(arguments), "environment": dict(environment), "cwd": str(cwd),
                "outputs": outputs,
            }  # fmt: skip
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
            deadline = time.monotonic() + seconds
            pid = self._answer(deadline)
            try:
                status = self._answer(deadline)
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                self._answer(time.monotonic() + seconds)
                raise subprocess.TimeoutExpired(code, seconds) from None
            stdout, stderr = (Path(one).read_text(encoding="utf-8", errors="replace") for one in outputs)
        return subprocess.CompletedProcess(["python", "-c", code], os.waitstatus_to_exitcode(status), stdout, stderr)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                cwd=ROOT,
                env=self._environment,
            )
        return self._process

    def _answer(self, deadline: float) -> int:
        """Read a number from it; raises `TimeoutError`."""
        assert self._process is not None
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
            raise TimeoutError
        line = self._process.stdout.readline()
        assert line, "the zygote has ended"
        return int(line)


def serve(prepare: str) -> dict[str, Any] | None:
    """Fork for every order. Returns the order in each process that was forked, None in the first once all is done."""
    orders = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.dup(1)
    os.dup2(2, 1)
    sys.path.remove(str(ROOT))  # `-m` put it there
    exec(compile(prepare, "<prepare>", "exec"), {"__name__": "prepare"})
    while line := orders.readline():
        if (pid := os.fork()) == 0:
            orders.close()
            os.close(answers)
            return _become(json.loads(line))
        os.write(answers, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(answers, b"%d\n" % status)
    return None


def _become(order: dict[str, Any]) -> dict[str, Any]:
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["cwd"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    for number, path in zip((1, 2), order["outputs"], strict=True):
        output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(output, number)
        os.close(output)
    # Anew, for what they were made for was something else.
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1, errors="backslashreplace", closefd=False)
    sys.argv = ["-c", *order["arguments"]]
    sys.path.insert(0, "")
    return order


if __name__ == "__main__":
    if (_order := serve(sys.argv[1])) is not None:
        exec(compile(_order["code"], "<string>", "exec"), {"__name__": "__main__"})
