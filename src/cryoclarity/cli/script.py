"""What all workflow scripts share: arguments of the DAG, exit statuses, one-line errors."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from cryoclarity.cli.threads import limit_threads
from cryoclarity.errors import ConfigError, CryoClarityError


def parser_for(description: str) -> argparse.ArgumentParser:
    """Return a parser that shows defaults and accepts no abbreviated options."""
    from cryoclarity import __version__

    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"cryoclarity {__version__}")
    parser.add_argument("--threads", type=int, default=1, help="threads to use")
    parser.add_argument("--verbose", action="store_true", help="log progress to stderr")
    return parser


def header_argument(parser: argparse.ArgumentParser) -> None:
    """Add --header, the choice of words by which written maps give their position."""
    parser.add_argument(
        "--header",
        choices=("input", "canonical"),
        default="input",
        help="position of written maps: the input's words, or NSTART alone where it can say it",
    )


def batch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options by which the DAG runs a stage on a batch of entries."""
    group = parser.add_argument_group("batch of entries (used by the workflow)")
    group.add_argument("--batch", type=Path, metavar="FILE", help="TSV of the batch's entries")
    group.add_argument(
        "--upstream",
        action="append",
        default=[],
        metavar="STAGE=MANIFEST",
        help="manifest of an earlier stage; an entry that is not ok there is skipped",
    )
    group.add_argument(
        "--optional",
        action="append",
        default=[],
        metavar="STAGE=MANIFEST",
        help="as --upstream, but the stage can do without",
    )
    group.add_argument(
        "--shared",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="file outside the entries that the result depends on, such as weights",
    )
    group.add_argument("--spec", default="{}", metavar="JSON", help="settings of the stage")
    group.add_argument("--code", default="", metavar="HASH", help="hash of the stage's code")


def script_main(
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], int | None],
    argv: list[str] | None = None,
    *,
    stage: str | None = None,
    needed: tuple[str, ...] = (),
) -> int:
    """Parse arguments, run by hand or as a batch, and turn errors into exit statuses.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    run : callable
        Called with the arguments when no batch is given.
    stage : str, optional
        Name of the module in :mod:`cryoclarity.stages` whose ``run_entry`` serves a batch.
    needed : tuple of str
        Options that are compulsory by hand.

    Returns
    -------
    int
        0 done, 1 a bug, 2 usage, 3 bad input, 4 integrity, 5 resource, 85 stopped by a signal.
    """
    arguments = parser.parse_args(argv)
    limit_threads(arguments.threads)
    batch = stage is not None and arguments.batch is not None
    logging.basicConfig(
        level=logging.INFO if batch or arguments.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    if not batch:
        missing = [name for name in needed if getattr(arguments, name) is None]
        if missing:
            options = ", ".join("--" + name.replace("_", "-") for name in missing)
            parser.error(f"the following arguments are required: {options}")
    try:
        status = _run_stage(stage, arguments) if batch else run(arguments)
    except CryoClarityError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return error.exit_status
    except MemoryError as error:
        what = " ".join(str(error).split()) or "no more to be had"
        sys.stderr.write(f"PRED_MEMORY: out of memory: {what} (set --max-memory, or cut the map)\n")
        return 5
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of a pipe (`... | head`) has seen enough; keep the interpreter from flushing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        traceback.print_exc()
        return 1
    return status or 0


def _run_stage(stage: str, arguments: argparse.Namespace) -> int:
    from cryoclarity.io.tables import read_table
    from cryoclarity.stages.batch import Batch, run_batch

    module = importlib.import_module(f"cryoclarity.stages.{stage}")
    if arguments.out is None:
        raise ConfigError("--batch needs --out MANIFEST")
    required = _pairs(arguments.upstream, "--upstream")
    batch = Batch(
        stage=stage,
        manifest=Path(arguments.out),
        rows=read_table(arguments.batch),
        upstream=required | _pairs(arguments.optional, "--optional"),
        required=tuple(required),
        spec=settings_of(arguments.spec),
        code=arguments.code,
        shared=_pairs(arguments.shared, "--shared"),
        threads=arguments.threads,
        workers=getattr(module, "WORKERS", 1),
    )
    run_batch(batch, module.run_entry)
    return 0


def settings_of(text: str) -> dict:
    """Return the settings of a `--spec` option.

    Raises
    ------
    ConfigError
        When the text is no JSON object.
    """
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"--spec is no JSON: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"--spec {text!r} is no JSON object")
    return settings


def _pairs(items: list[str], option: str) -> dict[str, Path]:
    pairs = {}
    for item in items:
        name, separator, path = item.partition("=")
        if not separator:
            raise ConfigError(f"{option} {item!r} is not NAME=FILE")
        pairs[name] = Path(path)
    return pairs
