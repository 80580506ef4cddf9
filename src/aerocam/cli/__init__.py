"""The `aerocam` command: one module per subcommand, errors become one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import re
import sys
import threading
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

from aerocam import __version__
from aerocam.cli.arguments import declare, joined
from aerocam.cli.flags import FLAGS, FlagFormatter, with_flags
from aerocam.errors import AerocamError, close_to

COMMANDS = (
    "layers",
    "export",
    "check",
    "build",
    "explain",
    "stream",
    "doctor",
    "bundle",
    "bench",
    "eval",
    "compare",
    "demo",
)
"""Modules of this package, in the order a user meets them. Each has a docstring (its help: the last paragraph is the
epilog with complete commands), `ARGUMENTS`, the table of what it takes, and `run(args) -> int | None`."""


class Parser(argparse.ArgumentParser):
    """Parses as argparse does; an error is one line, without the usage in front of it."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and one line."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} -h)\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="aerocam",
        description="Class activation maps for ONNX models on the edge.",
        epilog=(
            "examples:\n"
            "  aerocam layers model.onnx                         list what can be explained\n"
            "  aerocam export model.onnx -o model.cam.onnx       make the model explainable\n"
            "  aerocam stream model.cam.onnx 0 overlay.webm      explain a camera\n"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"aerocam {__version__}")
    verbs = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"aerocam.cli.{name}")
        summary, _, rest = (module.__doc__ or "").partition("\n")
        verb = verbs.add_parser(
            name,
            help=summary.rstrip("."),
            description=summary,
            epilog=rest.strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.add_argument("-v", "--verbose", action="store_true", help="say more about what is chosen and why")
        verb.add_argument("-q", "--quiet", action="store_true", help="only warnings and errors")
        declare(verb, module.ARGUMENTS)
        flags = frozenset(re.findall(r"(?<!\w)--?[a-zA-Z][a-z0-9-]*", verb.format_usage()))
        verb.set_defaults(run=module.run, refuse=partial(_refuse_unknown, verb), flags=flags)
    return parser


def _refuse_unknown(verb: argparse.ArgumentParser, words: Sequence[str]) -> NoReturn:
    """Exit with the error for words that cannot be parsed, and name the flags that were probably meant."""
    known = dict(re.findall(r"(--[a-z][a-z0-9-]*)((?: [A-Z{][^\s\]]*)?)", verb.format_usage()))
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    named = {flag: FLAGS.get(flag.removeprefix("--").replace("-", "_")) for flag in flags}  # as in Python
    meant = ([name] if (name := named[flag]) in known else close_to(flag, known, 1) for flag in flags)
    near = [name + known[name] for names in meant for name in names]
    hint = f". Did you mean {' and '.join(near)}?" if near else ""
    verb.error(f"unrecognized arguments: {' '.join(words)}{hint}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0, 1 (failed), 2 (the call is wrong), 3 (a source is lost) or 130 (interrupted). As the program, without `argv`, end
    the process at once where a source still hangs: OpenCV aborts one whose interpreter goes away meanwhile.
    """
    code = _main(argv)
    if argv is None and any(thread.name == "aerocam-read" for thread in threading.enumerate()):
        sys.stderr.flush()
        os._exit(code)
    return code


def _main(argv: Sequence[str] | None) -> int:
    """Run the command line and return the exit code."""
    args, unknown = build_parser().parse_known_args(joined(sys.argv[1:] if argv is None else argv))
    if unknown:
        args.refuse(unknown)
    level = logging.DEBUG if args.verbose else logging.WARNING if args.quiet else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FlagFormatter("%(message)s", args.flags))
    logger = logging.getLogger("aerocam")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(level)
    try:
        code = args.run(args) or 0
        sys.stdout.flush()
        return code
    except AerocamError as error:
        print(f"aerocam {args.command}: error: {with_flags(' '.join(str(error).split()), args.flags)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"aerocam {args.command}: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        # Standard output is full, or its reader went away: what is still to be written at exit goes nowhere, silently.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            where = error.filename or "standard output"
            print(f"aerocam {args.command}: error: {where}: {error.strerror or error}", file=sys.stderr)
        return 1
