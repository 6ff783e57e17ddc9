"""The gluonlm command and its subcommands."""

import re
import shutil
import subprocess
import sys

import pytest
from conftest import assert_refused, start

import gluonlm
from gluonlm import __main__
from gluonlm.system.console import run_command


@pytest.fixture
def gluonlm_command(capfd):
    def run(*words):
        with pytest.raises(SystemExit) as ended:
            run_command(lambda: __main__.main([str(word) for word in words]))
        return ended.value.code, *capfd.readouterr()

    return run


def test_the_help_lists_every_command_in_order_of_use(gluonlm_command):
    for words in ([], ["--help"], ["-h"]):
        code, out, err = gluonlm_command(*words)
        assert (code, err) == (0, "")
        named = re.findall(r"^  ([a-z]+)  ", out, re.MULTILINE)
        assert named == [*__main__.COMMANDS, "completion"]
    assert re.findall(r"^  python -m gluonlm (\w+)", out, re.MULTILINE) == (
        ["train", "generate", "evaluate"]
    )


def test_each_command_runs_and_prints_its_usage(trained, gluonlm_command):
    for name in __main__.COMMANDS:
        code, out, err = gluonlm_command(name, "--help")
        assert (code, err) == (0, "")
        assert out.startswith(f"usage: python -m gluonlm {name} ")
    flags = ["--prompt", "the", "--length", 2]
    code, out, err = gluonlm_command("generate", trained, *flags)
    assert (code, err) == (0, "")
    assert out.startswith("the")
    assert len(out) == 6
    assert gluonlm_command("generate", trained, "--length", 0)[0] == 2


def test_an_unknown_command_suggests_the_nearest(gluonlm_command):
    result = gluonlm_command("trian")
    assert_refused(result, "'trian'", " train")
    assert "generate" not in result[2]
    assert_refused(gluonlm_command("zzz"), "'zzz'", *__main__.COMMANDS)


def test_the_version_includes_the_main_dependencies(gluonlm_command):
    import mxnet
    import numpy

    lines = gluonlm_command("--version")[1].splitlines()
    found = dict(line.split(" ", 1) for line in lines)
    assert found["gluonlm"] == gluonlm.__version__
    assert found["NumPy"] == numpy.__version__
    assert found["MXNet"].startswith(mxnet.__version__)
    assert found["Python"] == "{}.{}.{}".format(*sys.version_info)
    assert found["threads"] == "1"


def test_the_version_is_printed_without_loading_mxnet(tmp_path):
    code = "import sys; from gluonlm.__main__ import main; main(['--version']); "
    run = start("-c", code + "print('mxnet' in sys.modules)")
    assert run.communicate()[0].splitlines()[-1] == "False"


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_shells_complete_commands_and_flags(shell, gluonlm_command, tmp_path):
    code, out, err = gluonlm_command("completion", shell)
    assert (code, err) == (0, "")
    assert "embeddings" in out
    assert "--hidden-size" in out or shell == "tcsh"  # for which shtab completes only commands
    if shutil.which(shell):
        (tmp_path / "script").write_text(out)
        assert subprocess.run([shell, "-n", tmp_path / "script"]).returncode == 0
    assert gluonlm_command("completion", "dos")[0] == 2


LINES = {  # a line, and the words that complete its last one
    "train --hidden-s": ["--hidden-size"],
    "train --data b": ["bench.txt", "book.txt"],
    "train --data book.txt be": ["bench.txt"],
    "train --data my": ["my notes"],
    "train --data book.txt --hidden-s": ["--hidden-size"],
    "train --data = b": ["bench.txt", "book.txt"],
    "train --data = book.txt --model l": ["lstm"],
    "train --model ''": ["gru", "lstm", "mingru", "minlstm", "rnn", "unrolled", "window"],
    "train --model b": [],
    "train --preset ptb-": ["ptb-ensemble", "ptb-lstm", "ptb-medium", "ptb-small", "ptb-small-200"],
    "compare --preset win": ["window-lstm"],
    "train --config be": ["bench.txt"],
    "train --run r": ["runs"],
    "train --resume b": [],
    "train --lr b": [],
    "train --ctx g": ["gpu"],
    "generate r": ["runs"],
    "generate runs --checkpoint ''": ["best", "last"],
    "generate runs --prompt b": [],
    "evaluate runs --data b": ["bench.txt", "book.txt"],
    "evaluate runs --encoding cp": ["cp1252"],
    "evaluate runs --data-dir r": ["runs"],
    "corpus ni": ["nietzsche"],
    "corpus nietzsche --data-dir r": ["runs"],
    "import b": ["bench.txt", "book.txt"],
    "import book.txt --tokenizer b": ["bpe"],
}


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash here")
def test_bash_completes_flags_choices_presets_and_files(gluonlm_command, tmp_path):
    (tmp_path / "runs").mkdir()
    for name in ("book.txt", "bench.txt", "my notes"):
        (tmp_path / name).write_text("x")
    (tmp_path / "script").write_text(gluonlm_command("completion", "bash")[1])
    ask = ["source ./script; ask=$(complete -p gluonlm); ask=${ask##*-F }; ask=${ask% *}"]
    for line in LINES:
        words = f"COMP_WORDS=(gluonlm {line}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))"
        ask.append(f"{words}; $ask; printf '%s|' \"${{COMPREPLY[@]}}\"; echo")
    out = subprocess.check_output(["bash", "-c", "\n".join(ask)], text=True, cwd=tmp_path)
    found = [sorted(filter(None, line.split("|"))) for line in out.splitlines()]
    assert dict(zip(LINES, found)) == LINES


@pytest.mark.skipif(not shutil.which("zsh"), reason="there is no zsh here")
def test_zsh_completes_flags_choices_presets_and_files(gluonlm_command, tmp_path):
    (tmp_path / "book.txt").write_text("x")
    (tmp_path / "_gluonlm").write_text(gluonlm_command("completion", "zsh")[1])
    lines = {
        "train --data bo": "--data book.txt",
        "train --data=bo": "--data=book.txt",
        "train --preset win": "--preset window-lstm",
        "train --model l": "--model lstm",
        "evaluate runs --data bo": "--data book.txt",
    }
    for line, completed in lines.items():
        # a shell in a pseudo-terminal, whose line is read back after Tab
        ask = """
        zmodload zsh/zpty
        zpty shell zsh -f
        zpty -w shell "cd $1; fpath=($1 \\$fpath); PS1=; autoload -U compinit; compinit -u -D"
        zpty -w shell "widget() { zle complete-word; print -r -- \\"<\\$BUFFER>\\"; }"
        zpty -w shell "zle -N widget; bindkey '^T' widget; print ready''now"
        zpty -r shell out '*readynow*'
        zpty -wn shell "gluonlm $2"$'\\x14'
        zpty -r shell out '*<*>*'
        print -r -- "$out"
        """
        run = ["zsh", "-f", "-c", ask, "zsh", tmp_path, line]
        out = subprocess.run(run, capture_output=True, text=True, timeout=60).stdout
        assert f"{completed} >" in out or f"{completed}>" in out, (line, out)


def test_dir_lists_every_public_name():
    assert set(gluonlm.__all__) <= set(dir(gluonlm))
