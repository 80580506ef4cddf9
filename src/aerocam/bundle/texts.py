"""What a bundle says: its start script and its README, filled in for one model and one kind of machine."""

from __future__ import annotations

from dataclasses import dataclass
from string import Template
from typing import Any

from aerocam.bundle.targets import Target


@dataclass(frozen=True)
class Facts:
    """Facts that the texts are filled in with.

    Attributes:
        target: The kind of machine.
        model: File name of the model that runs on every frame.
        task: What the model does.
        version: Version of aerocam.
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
#   ./start.sh                        set up; where the environment has TensorRT, build the engine
#   ./start.sh explain photo.jpg -o out
#   ./start.sh stream 0 overlay.webm
#   ./start.sh check                  compare the engine with ONNX Runtime, measure, write a report to send back
#   ./start.sh build                  build the engine (again), with any options of aerocam build
#   ./start.sh doctor                 what this machine has, and what is missing
# PYTHON names another interpreter, AEROCAM_VENV another place for the environment (default: venv in this folder).
set -eu
HERE=$$(CDPATH= cd -- "$$(dirname -- "$$0")" && pwd)
VENV=$${AEROCAM_VENV:-$$HERE/venv}
PYTHON=$${PYTHON:-$python_name}
MODEL=$$HERE/model/$model
ENGINE=$${MODEL%.onnx}.engine
case $$VENV in /*) ;; *) VENV=$$(pwd)/$$VENV ;; esac

VERB=$${1:-}
[ $$# -eq 0 ] || shift
case $$VERB in
    "" | explain | stream | check | build | doctor) ;;
    -h | --help | help) sed -n '2,/^set/{s/^# //p;}' "$$0"; exit 0 ;;
    *) echo "start.sh: '$$VERB' is none of explain, stream, check, build, doctor and --help" >&2; exit 2 ;;
esac

aerocam() {  # by its module: scripts of an environment name the place where they were made
    "$$VENV/bin/python" -m aerocam "$$@"
}

if [ "$$(cat "$$VENV/.ready" 2>/dev/null)" != "$$VENV" ]; then  # not there, not whole, or made elsewhere and moved
    (cd "$$HERE" && sha256sum --check --quiet SHA256SUMS)
    command -v "$$PYTHON" >/dev/null || {
        echo "start.sh: there is no $$PYTHON; install Python $python, or name one: PYTHON=..." >&2
        exit 1
    }
    "$$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != ($python_tuple))' || {
        echo "start.sh: $$PYTHON is not Python $python, which the wheels are for; name one: PYTHON=..." >&2
        exit 1
    }
    CLEAR=
    [ ! -e "$$VENV/.ready" ] || CLEAR=--clear  # only what was made here
    echo "start.sh: making $$VENV"
    "$$PYTHON" -m venv --without-pip $$CLEAR $venv_options"$$VENV"
    $install
    echo "$$VENV" >"$$VENV/.ready"
    [ "$$VERB" = doctor ] || aerocam doctor
fi

case $$VERB in
    doctor | build) ;;
    *)
        HAS_TENSORRT='from aerocam.runtime.trt.bindings import load_tensorrt; load_tensorrt()'
        if [ ! -e "$$ENGINE" ] && "$$VENV/bin/python" -c "$$HAS_TENSORRT" 2>/dev/null; then
            echo "start.sh: building the engine, which takes minutes"
            aerocam build "$$MODEL" || echo "start.sh: no engine, see above; the .onnx file is used" >&2
        fi
        ;;
esac
[ ! -e "$$ENGINE" ] || RUNS=$$ENGINE

case $$VERB in
    explain | stream) exec "$$VENV/bin/python" -m aerocam "$$VERB" "$${RUNS:-$$MODEL}" "$$@" ;;
    check) exec "$$VENV/bin/python" -m aerocam check --device "$$MODEL" "$$@" ;;  # it finds the engine itself
    build) exec "$$VENV/bin/python" -m aerocam build "$$MODEL" "$$@" ;;
    doctor) exec "$$VENV/bin/python" -m aerocam doctor "$$@" ;;
    "") echo "start.sh: ready. Now: ./start.sh explain photo.jpg -o out    or: ./start.sh stream 0 overlay.webm" ;;
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
    ./start.sh build, ./start.sh doctor     the engine again; what this machine has and lacks

Video is written as .webm or .avi; .mp4 needs PyAV, which is not in a bundle. The folder may be moved: the next start
makes venv/ again.

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
    venv/bin/python -m aerocam explain model/$model photo.jpg -o out
""")

SYSTEM = """\
What the device must have already, and where it comes from; pip must not put others over it:

{lines}

With TensorRT there, start.sh builds an engine for this very GPU (model/*.engine) and uses it from then on.
"""


SYSTEM_PC = """\
The model runs in ONNX Runtime on the CPU. TensorRT is not in a bundle; to run engines on an NVIDIA GPU, put it into the
environment, which takes a network (for RTX cards there is tensorrt-rtx-cu12, in place of tensorrt):

    {pip} install tensorrt cuda-python

With TensorRT there, start.sh builds an engine for this very GPU (model/*.engine) and uses it from then on.
"""


def start_script(facts: Facts) -> str:
    """Return the text of start.sh, which sets the bundle up and runs it."""
    return START.substitute(_fields(facts), install=OFFLINE.replace("PIP", facts.pip) if facts.wheels else ONLINE)


def readme(facts: Facts) -> str:
    """Return the text of README.txt."""
    title = f"{facts.model}, explained by aerocam {facts.version}"
    network = (
        "No network is needed." if facts.wheels else "The packages are fetched from the network: made --no-wheels."
    )
    return README.substitute(
        _fields(facts),
        underline="=" * len(title),
        by_hand=BY_HAND.replace("PIP", facts.pip) if facts.wheels else BY_HAND_ONLINE,
        network=network,
        system=f"\n{_system(facts)}",
    )


def _system(facts: Facts) -> str:
    """Describe what is not in the bundle, and where it comes from."""
    if facts.target.jetson:
        return SYSTEM.format(lines="\n".join(f"    {name}: {where}" for name, where in facts.target.system))
    if facts.target.machine != "x86_64":
        return "The model runs in ONNX Runtime on the CPU.\n"
    return SYSTEM_PC.format(pip=f"venv/bin/python {f'wheels/{facts.pip}/pip' if facts.wheels else '-m pip'}")


def _fields(facts: Facts) -> dict[str, Any]:
    """Return the fields that both texts are filled in with."""
    target = facts.target
    python = {
        "python": target.python_text,
        "python_tuple": ", ".join(map(str, target.python)),
        "python_name": "/usr/bin/python3" if target.jetson else f"python{target.python_text}",
        "venv_options": "--system-site-packages " if target.jetson else "",
    }
    return vars(facts) | vars(target) | python
