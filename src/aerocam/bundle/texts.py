"""What a bundle says: its start script and its README, filled in for one model and one kind of machine."""

from __future__ import annotations

from dataclasses import dataclass
from string import Template

from aerocam.bundle.targets import Target


@dataclass(frozen=True)
class Facts:
    """What the texts are filled in with.

    Attributes:
        target: The kind of machine.
        model: File name of the model that runs on every frame.
        task: What it does.
        version: aerocam's.
        wheels: Whether wheels are in the bundle.
        pip: File name of pip's wheel.
    """

    target: Target
    model: str
    task: str
    version: str
    wheels: bool
    pip: str


START = Template("""\
#!/bin/sh
# Sets aerocam $version up from this folder, without a network, and runs it on $model.
#   ./start.sh                        set up; on a machine with TensorRT build the engine
#   ./start.sh explain photo.jpg -o out
#   ./start.sh stream 0 overlay.webm
#   ./start.sh check                  compare the engine with ONNX Runtime, measure, write a report to send back
# PYTHON names another interpreter, AEROCAM_VENV another place for the environment (default: venv in this folder).
set -eu
HERE=$$(CDPATH= cd -- "$$(dirname -- "$$0")" && pwd)
VENV=$${AEROCAM_VENV:-$$HERE/venv}
PYTHON=$${PYTHON:-$python_name}
MODEL=$$HERE/model/$model
ENGINE=$${MODEL%.onnx}.engine

if [ ! -e "$$VENV/.ready" ]; then
    (cd "$$HERE" && sha256sum --check --quiet SHA256SUMS)
    "$$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != ($python_tuple))' || {
        echo "start.sh: $$PYTHON is not Python $python, which the wheels are for; name one: PYTHON=..." >&2
        exit 1
    }
    echo "start.sh: making $$VENV"
    "$$PYTHON" -m venv --without-pip $venv_options"$$VENV"
    $install
    touch "$$VENV/.ready"
    "$$VENV/bin/aerocam" doctor
fi

if [ ! -e "$$ENGINE" ] && "$$VENV/bin/python" -c 'import tensorrt' 2>/dev/null; then
    echo "start.sh: building the engine, which takes minutes"
    "$$VENV/bin/aerocam" build "$$MODEL" || echo "start.sh: no engine, see above; the .onnx file is used" >&2
fi
[ ! -e "$$ENGINE" ] || RUNS=$$ENGINE

VERB=$${1:-}
[ $$# -eq 0 ] || shift
case $$VERB in
    explain | stream) exec "$$VENV/bin/aerocam" "$$VERB" "$${RUNS:-$$MODEL}" "$$@" ;;
    check) exec "$$VENV/bin/aerocam" check --device "$$MODEL" $${RUNS:+"$$RUNS"} "$$@" ;;
    "") echo "start.sh: ready. Now: ./start.sh explain photo.jpg -o out    or: ./start.sh stream 0 overlay.webm" ;;
    *) echo "start.sh: '$$VERB' is none of explain, stream and check" >&2; exit 2 ;;
esac
""")

OFFLINE = (
    '"$VENV/bin/python" "$HERE/wheels/PIP/pip" install --quiet --no-compile --no-index --find-links "$HERE/wheels" \\\n'
    '        -r "$HERE/requirements.txt"'
)
ONLINE = (
    '"$VENV/bin/python" -m ensurepip --default-pip >/dev/null\n'
    '    "$VENV/bin/python" -m pip install --quiet --find-links "$HERE/wheels" -r "$HERE/requirements.txt"'
)

BY_HAND = "venv/bin/python wheels/PIP/pip install --no-index --find-links wheels -r requirements.txt"
BY_HAND_ONLINE = (
    "venv/bin/python -m ensurepip --default-pip\n"
    "    venv/bin/python -m pip install --find-links wheels -r requirements.txt"
)

README = Template("""\
$model, explained by aerocam $version
$underline

Made for $name: $machine, Python $python. The model's task is: $task.

On the device, in this folder:

    sha256sum --check SHA256SUMS            all files arrived whole
    ./start.sh                              set up, once: a Python environment in venv/, then `aerocam doctor`
    ./start.sh explain photo.jpg -o out     overlay, raw map and record of a picture into out/
    ./start.sh stream 0 overlay.webm        the first camera; Ctrl-C ends and keeps the video
    ./start.sh check                        a report on this device, aerocam-device-*.json, to send back

$network
$system
What is here

    model/            the model, and model/manifest.json: what is in it, to read
    requirements.txt  what is installed, with versions
    wheels/           the packages themselves
    start.sh          the commands above; it is short, read it
    bundle.json       all this for programs
    SHA256SUMS        checksums of all other files

By hand, without start.sh:

    $python_name -m venv --without-pip ${venv_options}venv
    $by_hand
    venv/bin/aerocam explain model/$model photo.jpg -o out
""")

SYSTEM = """\
What the device must have already, and where it comes from; pip must not put others over it:

{lines}

With TensorRT there, start.sh builds an engine for this very GPU (model/*.engine) and uses it from then on.
"""


def start_script(facts: Facts) -> str:
    """The script that sets up and runs."""
    return START.substitute(_fields(facts), install=OFFLINE.replace("PIP", facts.pip) if facts.wheels else ONLINE)


def readme(facts: Facts) -> str:
    """The text for people."""
    title = f"{facts.model}, explained by aerocam {facts.version}"
    lines = "\n".join(f"    {name}: {where}" for name, where in facts.target.system)
    network = (
        "No network is needed." if facts.wheels else "The packages are fetched from the network: made --no-wheels."
    )
    return README.substitute(
        _fields(facts),
        underline="=" * len(title),
        by_hand=BY_HAND.replace("PIP", facts.pip) if facts.wheels else BY_HAND_ONLINE,
        network=network,
        system=f"\n{SYSTEM.format(lines=lines)}" if facts.target.jetson else "",
    )


def _fields(facts: Facts) -> dict[str, str]:
    """What both texts name."""
    target = facts.target
    return {
        "version": facts.version,
        "model": facts.model,
        "task": facts.task,
        "name": target.name,
        "machine": target.machine,
        "python": target.python_text,
        "python_tuple": ", ".join(map(str, target.python)),
        "python_name": "/usr/bin/python3" if target.jetson else f"python{target.python_text}",
        "venv_options": "--system-site-packages " if target.jetson else "",
    }
