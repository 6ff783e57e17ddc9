"""Train like `python -m gluonlm.train`, then die by SIGKILL.

`killer.py write K ...` in the middle of the K-th write, rename or replacement of a checkpoint;
`killer.py call K ...` before the K-th call that changes a file or folder of the run;
`killer.py step K ...` after the K-th step; `killer.py time S ...` S seconds after the first step.
"""

import os
import signal
import sys
import threading

from gluonlm.run import checkpoint
from gluonlm.system import files
from gluonlm.train import __main__ as train
from gluonlm.train import trainer

how, when, counted, run = "", 0.0, 0, ""


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def dying_write(path, content, real=checkpoint.write_file):
    global counted
    counted += 1
    if counted == when:
        with open(path, "wb") as stream:
            stream.write(content[: len(content) // 2])
        die()
    real(path, content)


def dying_move(*args, real):
    global counted
    counted += 1
    if counted == when:
        die()
    real(*args)
    counted += 1
    if counted == when:
        die()


def dying_step(self, real=trainer.Trainer._step):
    global counted
    counted += 1
    if counted == 1 and how == "time":
        threading.Timer(when, die).start()
    real(self)
    if counted == when and how == "step":
        die()


RUN_FLAGS = ("--run", "--resume")
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"}


def dying_call(event, arguments):
    global counted
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if (writes or event in CHANGES) and os.path.basename(run) in str(arguments[0]):
        counted += 1
        if counted == when:
            die()


if __name__ == "__main__":
    how, when = sys.argv[1], float(sys.argv[2])
    if how == "write":
        checkpoint.write_file = files.write_file = dying_write
        files.os.rename = lambda *args, real=os.rename: dying_move(*args, real=real)
        files.os.replace = lambda *args, real=os.replace: dying_move(*args, real=real)
    elif how == "call":
        run = next(after for flag, after in zip(sys.argv, sys.argv[1:]) if flag in RUN_FLAGS)
        sys.addaudithook(dying_call)
    else:
        trainer.Trainer._step = dying_step
    sys.exit(train.main(sys.argv[3:]))
