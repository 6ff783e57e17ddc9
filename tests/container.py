"""Follow .devcontainer/Dockerfile in a clean Debian root, where Docker is missing. Run as root.

    python tests/container.py /tmp/root [ARG ...]

Installs Debian into the folder by debootstrap, executes each instruction of the Dockerfile there,
and then its entry point with the arguments (default: --version). A second call continues after the
last instruction that succeeded.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
DOCKERFILE = CHECKOUT / ".devcontainer" / "Dockerfile"
HOST_FILES = ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt")  # for the network


def instructions(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile as pairs of a keyword and its arguments."""
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.M)).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


def run_inside(root: Path, folder: str, variables: dict[str, str], command: str) -> None:
    """Run a shell command in the root, in one of its folders."""
    for name in HOST_FILES:
        if Path("/", name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path("/", name), root / name)
    settings = " ".join(f"{name}={value}" for name, value in variables.items())
    script = f"cd {folder} && {f'export {settings} && ' if settings else ''}{command}"
    subprocess.run(["chroot", str(root), "/bin/sh", "-c", script], check=True)


def main() -> None:
    root, arguments = Path(sys.argv[1]), sys.argv[2:] or ["--version"]
    done = root / "instructions-done"
    if not done.exists():
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", str(root)], check=True)
        done.write_text("0")
    folder, variables = "/", {}
    for number, (word, rest) in enumerate(instructions(DOCKERFILE.read_text()), 1):
        if word == "WORKDIR":
            folder = rest
            (root / rest.strip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "ENV":
            name, _, value = rest.partition("=")
            variables[name] = value
        elif word == "ENTRYPOINT":
            entry = shlex.join([*eval(rest), *arguments])
            run_inside(root, folder, variables, entry)
        elif number > int(done.read_text()):
            print(f"{word} {rest}", flush=True)
            if word == "RUN":
                run_inside(root, folder, variables, rest)
            elif word == "COPY":
                archive = subprocess.run(
                    ["git", "-C", str(CHECKOUT), "archive", "HEAD"], capture_output=True, check=True
                )
                target = root / folder.strip("/")
                subprocess.run(["tar", "x", "-C", str(target)], input=archive.stdout, check=True)
            done.write_text(str(number))


if __name__ == "__main__":
    main()
