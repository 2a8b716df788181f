"""Nothing that is read can run: no pickles, no evaluation, no shell, in the whole of both packages.

The source is read, not the intention: an import that is never reached counts too. The one exception
is numba's: compiled loops are kept as pickles, in a private folder (`test_cache_folder.py`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slotcast.training_run import CheckpointForeign, _go_on
from tests.servers import ROOT
from tests.tree import files

SOURCES = [path for root in ("models", "service") for path in files(root) if path.suffix == ".py"]
RUN_WHAT_THEY_READ = {
    *("pickle", "_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve"),
    *("code", "codeop", "runpy", "yaml", "torch"),
}
KEEPS = re.compile(r"numba\..*(jit|vectorize|cfunc)$")
"""They may keep what they compile as pickles."""
EVALUATE = {"eval", "exec", "compile", "__import__"}
UNSAFE_WORDS = {"shell": True, "allow_pickle": True, "safe_mode": False, "verify": False}


def faults(source: str) -> Iterator[str]:
    """What in this source could run something that it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            names += [f"numba.{one.name}" for one in node.names if node.module == "numba"]
        else:
            names = []
        yield from (name for name in names if name.partition(".")[0] in RUN_WHAT_THEY_READ)
        yield from (name for name in names if KEEPS.match(name))
        if isinstance(node, ast.Call):
            yield from _faults_of(node)


def _faults_of(call: ast.Call) -> Iterator[str]:
    words = {word.arg: getattr(word.value, "value", None) for word in call.keywords}
    if isinstance(call.func, ast.Name) and call.func.id in EVALUATE:
        yield call.func.id
    for word, unsafe in UNSAFE_WORDS.items():
        if word in words and words[word] is unsafe:
            yield f"{word}={unsafe}"
    name = ast.unparse(call.func)
    if KEEPS.match(name):
        yield name
    if name in ("np.load", "numpy.load") and words.get("allow_pickle") is not False:
        yield f"{name} without allow_pickle=False"
    if name.endswith("enable_unsafe_deserialization") or name == "os.system":
        yield name


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n  from joblib import load",
        "import numpy as np\nnp.load(f)",
        "np.load(f, allow_pickle=True)",
        "np.load(f, allow_pickle=some)",
        "eval('1')",
        "keras.models.load_model(f, safe_mode=False)",
        "keras.config.enable_unsafe_deserialization()",
        "subprocess.run('ls', shell=True)",
        "numba.njit(cache=True)(f)",
        "from numba import njit",
    ],
)
def test_what_could_run_is_seen(source: str) -> None:
    assert list(faults(source))


@pytest.mark.parametrize(
    "source", ["np.load(f, allow_pickle=False)", "re.compile('x')", "client.eval(SCRIPT, 1, key)"]
)
def test_what_cannot_is_left_alone(source: str) -> None:
    assert not list(faults(source))


def test_nothing_in_the_packages_runs_what_it_reads() -> None:
    found = {
        str(path): seen
        for path in SOURCES
        if (seen := list(faults((ROOT / path).read_text(encoding="utf-8"))))
    }

    assert len(SOURCES) > 100
    assert found == {"models/slotcast_models/compiled.py": ["numba.njit"]}


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_a_pickle_in_a_checkpoint_of_training_is_refused_and_not_run(tmp_path: Path) -> None:
    checkpoint, file = tmp_path / "checkpoint.npz", tmp_path / "ran"
    weights = np.array([Payload(file)], dtype=object)
    np.savez(checkpoint, identity=np.array("ours"), weights=weights)
    untouched: Any = None

    with pytest.raises(CheckpointForeign, match=r"allow_pickle=False: delete it"):
        _go_on(untouched, checkpoint, "ours")

    assert not file.exists()
    assert np.load(checkpoint, allow_pickle=True)["weights"][0] is None
    assert file.exists()  # so it would have run
