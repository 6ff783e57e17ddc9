"""Randomly forged checkpoints with valid hashes: loaded, or refused in one line; bounded memory."""

import copy
import json
import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import peak
from safetensors.numpy import load, save
from test_checkpoint import resealed

from gluonlm.run.checkpoint import FILES
from gluonlm.run.folder import Run

LONGEST = 5  # processor seconds of one command
LARGEST = 300  # memory in MB that all commands together may add
DEEP = "a list in a list in a list"
VALUES = [
    None, True, False, 0, 1, -1, 3, 2**31 - 1, 2**31, 2**63, 2**70, -(2**70), 10**400, 0.5, -0.0,
    1e-320, 1e38, 1e308, -1e308, "", "x", "\x1b[2J", "\ud800", "\0", "a" * 5000, "best", "/", "/**",
    "..", [], [[]], {}, {"a": 1}, [1, 2], ["a", "a"], [None], "0" * 5000, "١", "1e5", "inf", "nan",
    ["t"] * 100_000, ["*"] * 100_000, [0.5] * 100_000, [7] * 100_000, "*/../" * 500 + "*", "a\0b",
]  # fmt: skip
KEYS = [
    "self",
    "cls",
    "level",
    "kind",
    "tokens",
    "scores",
    "tokenizer",
    "step",
    "",
    "\x1b",
    "x" * 5000,
]


def places(tree, path=()):
    """Yield the path of each value in a JSON tree; of long lists, only the ends."""
    yield path
    if isinstance(tree, dict):
        for name in tree:
            yield from places(tree[name], (*path, name))
    elif isinstance(tree, list):
        for index in {0, len(tree) - 1} if tree else ():
            yield from places(tree[index], (*path, index))


def forged_json(content, random):
    """Return JSON with one to three values changed, removed or added."""
    tree = json.loads(content)
    for _ in range(random.integers(1, 4)):
        every = list(places(tree))[1:]
        if not every:
            break
        path = every[random.integers(len(every))]
        holder = tree
        for step in path[:-1]:
            holder = holder[step]
        how = random.integers(9)
        if how == 0:
            del holder[path[-1]]
        elif how == 1 and isinstance(holder, dict):
            holder[f"new{how}"] = holder.pop(path[-1])
        elif how == 2:
            holder[path[-1]] = DEEP
        elif how == 8 and isinstance(holder, dict):
            holder[str(random.choice(KEYS))] = copy.deepcopy(VALUES[random.integers(len(VALUES))])
        elif how == 3 and isinstance(holder[path[-1]], list):
            holder[path[-1]] *= 100_000 // max(100, len(holder[path[-1]]))
        else:
            holder[path[-1]] = copy.deepcopy(VALUES[random.integers(len(VALUES))])
    depth = int(random.choice([20, 900, 100_000]))
    return json.dumps(tree).replace(f'"{DEEP}"', "[" * depth + "]" * depth).encode()


def forged_arrays(content, random):
    """Return safetensors with one array changed, removed or added."""
    arrays = load(content)
    names = sorted(arrays)
    name = names[random.integers(len(names))]
    array = arrays.pop(name)
    other = [
        lambda: {},
        lambda: {f"{name}x": array},
        lambda: {name: array, "extra": array},
        lambda: {
            name: array.astype(random.choice(["float64", "float16", "int8", "int64", "bool"]))
        },
        lambda: {name: array.reshape(-1)},
        lambda: {name: array[:0]},
        lambda: {name: np.broadcast_to(array, (40, *array.shape)).copy()},
        lambda: {name: np.where(random.random(array.shape) < 0.1, np.nan, array).astype("float32")},
        lambda: {name: np.full_like(array, random.choice([3e38, -3e38, 1e-45, 0, -1]))},
        lambda: {name: np.array(7, "float32")},
        lambda: {name: array.T.copy()},
        lambda: {name: np.zeros((1 << 20,), "float32")},
    ]
    return save({**arrays, **other[random.integers(len(other))]()})


def broken_arrays(content, random):
    """Return safetensors with a wrong header or changed bytes."""
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size]
    how = random.integers(5)
    if how == 0:
        return random.choice([0, 1, size - 1, size + 1, 2**40, 2**63]).tobytes() + content[8:]
    if how == 1:
        forged = forged_json(header.strip(), random)
        return len(forged).to_bytes(8, "little") + forged + content[8 + size :]
    if how == 2:
        return content[: random.integers(len(content))]
    if how == 3:
        place = int(random.integers(len(content)))
        return content[:place] + random.bytes(4) + content[place + 4 :]
    return random.bytes(random.integers(200))


def forge(run, random):
    """Change one file of a run's checkpoints and update its hash; return its name."""
    name = str(random.choice(FILES))
    for pointer in {run.pointed("best"), run.pointed("last")}:
        content = (pointer / name).read_bytes()
        generator = np.random.default_rng(random.integers(2**31))
        if name.endswith(".json"):
            changed = forged_json(content, generator)
        else:
            changed = (forged_arrays if generator.random() < 0.6 else broken_arrays)(
                content, generator
            )
        resealed(pointer, name, changed)
    return name


def siege(number, seed, trained, tmp_path, command):
    """Forge this many checkpoints and open each with three commands; return the exit codes."""
    random, codes = np.random.default_rng(seed), Counter()
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak memory
    before = peak()
    for _ in range(number):
        run = Run(shutil.copytree(trained, tmp_path / "forged"))
        name = forge(run, random)
        for module, *arguments in (
            ("evaluate", run.path),
            ("generate", run.path, "--length", 2),
            ("train", "--resume", run.path, "--max-steps", 9, "--max-minutes", 0.05, "--quiet"),
        ):
            begin = time.process_time()
            code, _, err = command(module, *arguments)
            assert time.process_time() - begin < LONGEST, (name, err)
            assert code in (0, 2, 3), (name, err)
            assert "Traceback" not in err, (name, err)
            if code == 2:
                assert err.startswith("gluonlm: error: "), (name, err)
                assert err.count("\n") == 1, (name, err)
                assert len(err) < 20_000, (name, err[:500])  # escapes take four characters
                assert "\x1b" not in err, (name, err[:500])
            codes[code] += 1
        shutil.rmtree(run.path)
    grown = peak() - before
    assert grown < LARGEST, f"{grown:.0f} MB"
    return codes


@pytest.mark.long
def test_forged_checkpoints(trained, tmp_path, command):
    codes = siege(60, 1, trained, tmp_path, command)
    assert codes[2] > 40


@pytest.mark.full
def test_two_thousand_forged_checkpoints(trained, tmp_path, command):
    codes = siege(2000, 2, trained, tmp_path, command)
    print(f"6,000 commands on forged checkpoints, by exit code: {dict(codes)}")
    assert codes[2] > 2000
