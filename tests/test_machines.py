"""Several processes started by mpiexec train like a single one."""

import mxnet as mx
import numpy as np
import pytest
from jobs import (
    DROPPING,
    SHORT,
    SMALL,
    assert_as_one,
    assert_same_bytes,
    checkpoint,
    needs_mpi,
    start,
    train,
    untrained,
    weights,
    write_text,
)
from safetensors.numpy import load_file

from gluonlm.batchify.batches import shares
from gluonlm.system.seeds import derive_seed
from gluonlm.train.trainer import Trainer

pytestmark = pytest.mark.long
KINDS = {  # settings that a kind does not use have their defaults
    "gru": "--model gru --optimizer adam --lr 0.002",
    "lstm-by-sgd": "--model lstm --num-layers 2 --optimizer sgd --lr 0.5",
    "ensemble": "--model rnn --members 2 --lr 0.002",
    "averaged": "--model gru --lr 0.002 --average ema --random-seq-len --temporal-reg 1",
    "unrolled": "--model unrolled --lr 0.002 --seq-len 64",
    "window": "--model window --window 5 --lr 0.002 --seq-len 64 --embed-size 64",
}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("machines"))


# one job for several trainings, because startup takes much longer than each of them
ALL = """
import contextlib, sys
from gluonlm.train import __main__ as train
with train.joined() as world:
    train.joined = lambda: contextlib.nullcontext(world)
    for line in sys.argv[1:]:
        assert train.main(line.split()) == 0
"""


@pytest.fixture(scope="module")
def by_two(text):
    """Train every kind in two processes, as KIND-2; return the folder."""
    lines = [f"--data text.txt {SHORT} {KINDS[kind]} --run {kind}-2" for kind in KINDS]
    train(text, 2, "", program=("-c", ALL, *lines))
    return text


@needs_mpi
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_with_uneven_streams_train_like_one(kind, by_two):
    text = by_two
    train(text, 0, f"--data text.txt {SHORT} {KINDS[kind]} --run {kind}-1")
    assert_as_one(text / f"{kind}-1", text / f"{kind}-2")
    kept = load_file(checkpoint(text / f"{kind}-2") / "training.safetensors")
    devices = {key.split(".")[1] for key in kept if key.startswith("state.")}
    assert devices == ({"0", "1"} if kind not in ("unrolled", "window") else set())


@needs_mpi
@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("processes", [3, 4])
def test_more_processes_train_like_one(kind, processes, text):
    arguments, name = f"--data text.txt {SHORT} {KINDS[kind]}", f"{kind}-{processes}"
    train(text, 0, f"{arguments} --run {name}-alone")
    train(text, processes, f"{arguments} --run {name}-together")
    assert_as_one(text / f"{name}-alone", text / f"{name}-together")


@needs_mpi
def test_several_devices_per_process_train_like_one(text):
    arguments = f"--data text.txt {SHORT} {KINDS['lstm-by-sgd']}"
    train(text, 0, f"{arguments} --run device")
    train(text, 2, f"{arguments} --ctx cpu:0,1 --run devices")
    assert_as_one(text / "device", text / "devices")
    kept = load_file(checkpoint(text / "devices") / "training.safetensors")
    assert [kept[f"state.{i}.0"].shape[1] for i in range(4)] == [2, 2, 1, 2]


MAPPED = """
import sys
import numpy as np
from gluonlm.train import start, __main__ as train
from gluonlm.corpus import ids
ids.CACHE_FROM = 1000
def look(world, load, real=start.share_corpus):
    corpus = real(world, load)
    for part in (corpus.train, corpus.valid):
        while not isinstance(part, np.memmap):
            part = part.base
    return corpus
start.share_corpus = look
sys.exit(train.main(sys.argv[1:]))
"""


@needs_mpi
def test_every_process_maps_the_ids_of_a_long_text(text):
    arguments = f"--data text.txt {SHORT} --model rnn"
    train(text, 0, f"{arguments} --run in-memory")
    train(text, 2, f"{arguments} --run mapped", program=("-c", MAPPED))
    assert_as_one(text / "in-memory", text / "mapped")


@needs_mpi
def test_dropout_masks_depend_on_the_step_and_the_rank(text):
    train(
        text, 2, f"--data text.txt {SMALL} --batch-size 5 --max-steps 1 --model lstm "
        "--dropout 0.3 --variational --weight-drop 0.2 --optimizer sgd --lr 1 "
        "--schedule constant --clip 0 --run masks"
    )  # fmt: skip
    config, corpus, model = untrained(text / "masks")
    inputs, targets = Trainer(model, config.training, corpus.train).batches(0, 0)  # (8, 5), (40,)
    model.pack()
    model.use_kernels(config.training.kernels)
    moved = {name: -array for name, array in model.arrays().items()}
    for columns, number in zip(shares(5, 2), ((), ("process", 1))):
        model.seed_dropout(derive_seed(config.training.seed, "step", 0, *number))
        read, expected = (
            mx.nd.array(ids[:, columns], dtype="int32") for ids in (inputs, targets.reshape(8, 5))
        )
        state = model.begin_state(columns.stop - columns.start, ctx=mx.cpu())
        model.forward_backward(read, expected.reshape(-1), state)
        for name, parameter in model.parameters().items():
            moved[name] += parameter.grad().asnumpy() / targets.size
    for name, array in weights(text / "masks").items():
        np.testing.assert_allclose(-array, moved[name], atol=1e-6)


@needs_mpi
def test_an_interrupted_run_equals_an_uninterrupted_one_bit_for_bit(text):
    arguments = f"--data text.txt {DROPPING}"
    train(text, 2, f"{arguments} --max-steps 40 --schedule constant --run whole")
    train(text, 2, f"{arguments} --max-steps 17 --schedule constant --run parts")
    train(text, 2, "--resume parts --max-steps 40 --quiet")
    assert_same_bytes(text / "whole", text / "parts")


def goes_on(text, run, numbers, arguments):
    """Train 20 steps in the first number of processes, then ten more in each of the others."""
    train(text, numbers[0], f"{arguments} --max-steps 20 --run {run}")
    for i, processes in enumerate(numbers[1:], 3):
        train(text, processes, f"--resume {run} --max-steps {10 * i} --quiet")


@needs_mpi
def test_a_run_resumes_with_other_numbers_of_processes(text):
    arguments = f"--data text.txt {SHORT} --schedule constant"
    train(text, 0, f"{arguments} --run by-one")
    goes_on(text, "by-many", (3, 2, 0, 2), arguments)
    assert_as_one(text / "by-one", text / "by-many")


@needs_mpi
@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_resumes_with_four_two_one_and_three_processes(kind, text):
    arguments = f"--data text.txt {SHORT} {KINDS[kind]} --schedule constant"
    train(text, 0, f"{arguments} --run {kind}-by-one")
    goes_on(text, f"{kind}-by-many", (4, 2, 0, 3), arguments)
    assert_as_one(text / f"{kind}-by-one", text / f"{kind}-by-many")


@needs_mpi
def test_a_stateless_run_reports_a_changed_number_of_devices(text):
    arguments = f"--data text.txt {SHORT} {KINDS['window']} --max-steps 10"
    train(text, 2, f"{arguments} --run stateless")
    for steps, reported in ((15, True), (20, False)):
        out, _ = start(text, 0, f"--resume stateless --max-steps {steps}").communicate()
        assert ("1 devices" in out) == reported


ALIKE = """
import sys
import numpy as np
from gluonlm.train import __main__ as train
from gluonlm.train import trainer
def fit(self, real=trainer.Trainer.fit):
    reason = real(self)
    held = {**self.model.arrays(), **self.optimizer.arrays()}
    assert self.world.alike(held)
    assert not self.world.alike({"rank": np.array([self.world.rank])})
    return reason
trainer.Trainer.fit = fit
"""
DRIFTING = """
def step(self, real=trainer.Trainer._step):
    real(self)
    if self.progress.step == 5 and self.world.rank == 1:
        for parameter in self.model.parameters().values():
            parameter.set_data(parameter.data() + 1e-3)
        for array in self.optimizer.gluon_trainer._updaters[0].states[0]:
            array += 1e-3
trainer.Trainer._step = step
"""
MAIN = "sys.exit(train.main(sys.argv[1:]))"


@needs_mpi
@pytest.mark.parametrize("end", ["--max-steps 30", "--epochs 1000 --max-minutes 0.03"])
def test_all_processes_have_identical_weights(end, text):
    arguments = f"--data text.txt {DROPPING} {end} --run same --overwrite"
    train(text, 3, arguments, program=("-c", ALIKE + MAIN))


@needs_mpi
def test_a_diverged_process_gets_the_first_ones_weights_at_a_checkpoint(text):
    arguments = f"--data text.txt {DROPPING} --max-steps 30 --run drifted"
    train(text, 2, arguments, program=("-c", ALIKE + DRIFTING + MAIN))
