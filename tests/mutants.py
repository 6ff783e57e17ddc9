"""Mutation testing: change one place at a time and list the changes that no test detects.

    python tests/mutants.py [FILES...] [--count N] [--seed S] [--log FILE]

A fault changes an operator, constant or condition, or removes a returned value, a keyword argument
or a statement. It is planted in a copy of the project, so that subprocesses of the tests have it
too, and the tests of the file run there; a long silence counts as detected. Docstrings,
annotations, help texts and error messages are not changed. Some of the surviving faults have no
visible effect.
"""

import argparse
import ast
import collections
import contextlib
import itertools
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gluonlm"
TESTS = {  # tests of each module, quickest first; default: the module's own tests and train's
    "__init__": "architecture main",
    "__main__": "main",
    "evaluate.dynamic": "dynamic evaluate",
    "evaluate.dynamic_flags": "dynamic",
    "train.hints": "hints gutenberg",
    "train.callbacks": "train resume",
    "run.checkpoint": "checkpoint generate trust resume extend_vocab",
    "config.flags": "flags generate presets",
    "run.combine": "combine",
    "compare": "compare flags",
    "config.config": "flags presets trust train",
    "config.groups": "flags presets trust train",
    "config.settings": "flags trust",
    "train.curve": "curve train",
    "corpus.catalogue": "catalogue corpus",
    "corpus.ids": "long_texts corpus",
    "corpus.load": "corpus long_texts",
    "system.device": "runtime trainer",
    "embeddings": "embeddings flags",
    "evaluate.__main__": "evaluate flags",
    "convert.export": "export",
    "convert.check": "export",
    "convert.onnx": "export",
    "convert.page.__init__": "page",
    "convert.network": "export",
    "convert.reference": "export",
    "convert.torch": "export",
    "system.files": "checkpoint corpus resume",
    "generate.__main__": "generate flags",
    "corpus.gutenberg": "gutenberg",
    "config.aliases": "aliases flags",
    "convert.import_": "import",
    "convert.recognise": "import",
    "convert.params": "import",
    "vocab.levels": "words subwords text",
    "models.loss": "loss ensemble trainer",
    "models.packed": "packed machines trainer",
    "models.adaptive_softmax": "adaptive_softmax",
    "models.base": "models stepper trainer",
    "models.build": "models ensemble dropout",
    "models.ensemble": "ensemble trainer embeddings",
    "models.recurrent": "models dropout stepper penalty documents",
    "models.stepper": "stepper sampling ensemble",
    "models.unrolled": "models stepper",
    "models.window": "models stepper",
    "generate.novelty": "novelty",
    "system.plots": "curve compare embeddings",
    "system.preflight": "preflight runtime",
    "config.presets": "presets",
    "train.report": "train presets",
    "run.folder": "checkpoint resume train",
    "generate.sampling": "sampling generate",
    "evaluate.scoring": "scoring evaluate surprise",
    "train.saving": "exact_resume divergence resume machines",
    "train.start": "presets train resume",
    "tune.study": "tune",
    "evaluate.surprise": "surprise evaluate",
    "train.__main__": "train presets signals flags resume",
    "tune.__main__": "tune",
    "vocab.characters": "vocab",
    "vocab.subwords": "subwords",
    "vocab.vocab": "vocab words subwords",
    "vocab.words": "words vocab",
    "train.average": "average exact_resume",
    "train.optimizer": "trainer schedule exact_resume trust",
    "train.progress": "divergence exact_resume trainer train trust",
    "train.replicas": "trainer exact_resume",
    "train.schedule": "schedule",
    "train.trainer": "trainer schedule divergence exact_resume train resume",
}
MEMORY = 8 * 2**30  # memory limit of a process in bytes, because a fault may allocate without bound
SWAPS = {ast.Lt: ast.LtE, ast.Gt: ast.GtE, ast.Eq: ast.NotEq, ast.Is: ast.IsNot, ast.In: ast.NotIn}
SWAPS.update({ast.Add: ast.Sub, ast.Mult: ast.Div, ast.And: ast.Or, ast.BitOr: ast.BitAnd})
SWAPS.update({other: kind for kind, other in SWAPS.items()})
SWAPS.update({ast.FloorDiv: ast.Div, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult})
CONSTANTS = {bool: lambda value: not value, int: lambda value: value + 1}
CONSTANTS.update({float: lambda value: 2 * value or 1.0, str: lambda value: value + "?"})
WORDS = ("help", "metavar", "description")  # keyword arguments that contain only prose
UNUSED = ("annotation", "returns", "format_spec")  # parts of the syntax that do not affect results

Fault = collections.namedtuple("Fault", "path line parent field value")


def skipped(node, parent):
    """Return whether a node should not be mutated."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        default = isinstance(parent, ast.arguments) or getattr(parent, "arg", "") == "default"
        return not (default or isinstance(parent, ast.Compare))
    main = isinstance(node, ast.If) and ast.unparse(node.test).startswith("__name__")
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    words = isinstance(node, ast.keyword) and node.arg in WORDS
    return main or docstring or words or isinstance(node, ast.Raise)


def can_go(node):
    """Return whether a node is a statement to remove: a call, or a change of an object."""
    if isinstance(node, ast.Assign):
        parts = itertools.chain(*map(ast.walk, node.targets))
        return not any(isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) for n in parts)
    call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    return call or isinstance(node, ast.AugAssign)


def replacements(node, field):
    """Yield the faulty replacements of a node; None removes it."""
    if type(node) in SWAPS:
        yield SWAPS[type(node)]()
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield node.operand
    if isinstance(node, ast.Constant) and type(node.value) in CONSTANTS:
        yield ast.Constant(CONSTANTS[type(node.value)](node.value))
    if isinstance(node, ast.keyword):
        yield None
    if isinstance(node, ast.Return) and ast.unparse(node) not in ("return", "return None"):
        yield ast.Return(None)
    if can_go(node):
        yield ast.Pass()
    if field in ("test", "ifs"):
        yield from (ast.Constant(True), ast.Constant(False))
        if not isinstance(node, (ast.Compare, ast.UnaryOp)):
            yield ast.UnaryOp(ast.Not(), node)


def faults(path, parent, line=1):
    """Yield every fault that can be planted below a node of a file."""
    for field, value in ast.iter_fields(parent):
        nodes = value if isinstance(value, list) else [value]
        for place, node in enumerate(() if field in UNUSED else nodes):
            if isinstance(node, ast.AST) and not skipped(node, parent):
                here = getattr(node, "lineno", line)
                for other in replacements(node, field):
                    many = nodes[:place] + ([] if other is None else [other]) + nodes[place + 1 :]
                    yield Fault(path, here, parent, field, many if value is nodes else other)
                yield from faults(path, node, here)


def planted(fault, tree):
    """Return the program of a syntax tree with a fault in it."""
    sound = getattr(fault.parent, fault.field)
    setattr(fault.parent, fault.field, fault.value)
    program = ast.unparse(tree)
    setattr(fault.parent, fault.field, sound)
    return program


def difference(before, after):
    """Return the difference between two programs, `before  ->  after`, with some context."""
    lines = zip(before.splitlines(), after.splitlines())
    pair = next(pair for pair in lines if pair[0] != pair[1])
    place = next(i for i, (a, b) in enumerate(itertools.zip_longest(*pair)) if a != b)
    return "  ->  ".join(text[max(0, place - 40) : place + 50].strip() for text in pair)


def run_tests(project, names, patience):
    """Run some tests of a project until one fails or there is no output for too long.

    Parameters
    ----------
    project : Path
        Its folder.
    names : sequence of str
        Names of tests: `trainer` is `tests/test_trainer.py`.
    patience : float
        Seconds without output after which the tests are aborted.

    Returns
    -------
    (bool, float)
        Whether every test passed, and the longest time between two outputs, in seconds.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not full", "--hypothesis-seed=0"]
    # one process, so that every test prints output
    command += ["-p", "no:xdist"]
    command += [f"--basetemp={project}.tmp", *(f"tests/test_{name}.py" for name in names)]
    switches = dict(PYTHONPATH=str(project), PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="1")
    how = dict(cwd=project, env={**os.environ, **switches}, start_new_session=True)
    how.update(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    how.update(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)))
    process, silence, heard = subprocess.Popen(command, **how), 0.0, time.monotonic()
    try:
        while select.select([process.stdout], [], [], patience)[0]:
            silence, heard = max(silence, time.monotonic() - heard), time.monotonic()
            if not os.read(process.stdout.fileno(), 65536):
                return process.wait() == 0, silence
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # including processes that the tests started
        process.wait()
    return False, patience


def results(trees, count, seed, known):
    """Yield (path, description, "killed" or "survived") for some faults in each file."""
    chosen, belonging = [], {}
    for path, tree in trees.items():
        address = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        names = TESTS.get(address, f"{path.stem} train").split()
        belonging[path] = [name for name in names if (ROOT / f"tests/test_{name}.py").exists()]
        found = list(faults(path, tree))
        random.Random(f"{seed} {path.name}").shuffle(found)
        chosen.append(found[: -(-count // len(trees))])
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        project = Path(folder) / "project"
        shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(".*", "runs", "__pycache__"))
        for path, tree in trees.items():  # unparsed like the faulty programs
            (project / path.relative_to(ROOT)).write_text(ast.unparse(tree), encoding="utf-8")
        passed, silence = run_tests(project, sorted(set().union(*belonging.values())), 600)
        if not passed:
            sys.exit("the tests fail without a fault")
        for fault in filter(None, itertools.chain(*itertools.zip_longest(*chosen))):
            file, sound = fault.path.relative_to(ROOT), ast.unparse(trees[fault.path])
            faulty = planted(fault, trees[fault.path])
            what = f"{file}:{fault.line}  {difference(sound, faulty)}"
            if what not in known:
                (project / file).write_text(faulty, encoding="utf-8")
                passed, _ = run_tests(project, belonging[fault.path], 20 + 3 * silence)
                (project / file).write_text(sound, encoding="utf-8")
            yield fault.path, what, known.get(what) or ("survived" if passed else "killed")


def main():
    """Run the command line; exit with code 1 if a fault survived."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="where to plant (default: everywhere)")
    parser.add_argument("--count", type=int, default=100, help="faults over all files (100)")
    parser.add_argument("--seed", type=int, default=1, help="which faults are chosen (1)")
    parser.add_argument("--log", type=Path, help="keep results in this file, and go on with it")
    given = parser.parse_args()
    paths = [path.resolve() for path in given.files] or sorted(PACKAGE.rglob("*.py"))
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    log = given.log.open("a+", encoding="utf-8") if given.log else tempfile.TemporaryFile("w+")
    log.seek(0)
    known = {what: result for result, what in (line.rstrip("\n").split("  ", 1) for line in log)}
    tally = {str(path.relative_to(PACKAGE)): collections.Counter() for path in paths}
    for path, what, result in results(trees, given.count, given.seed, dict(known)):
        tally[str(path.relative_to(PACKAGE))][result] += 1
        if what not in known:
            print(result, what, sep="  ", file=log, flush=True)
        if result == "survived":
            print(what, flush=True)
    tally["in total"] = sum(tally.values(), collections.Counter())
    for name, count in tally.items():
        share = count["survived"] / max(1, sum(count.values()))
        print(f"{name:24}{count['killed']:6} killed{count['survived']:6} survived {share:6.0%}")
    sys.exit(tally["in total"]["survived"] > 0)


if __name__ == "__main__":
    main()
