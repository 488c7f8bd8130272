"""`export`: a run for those who have no pipeline."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.options import Context, relative, run_options, stages, variants


@click.command()
@click.option(
    "--output", default="", metavar="FILE", help="The archive; default: RUN.tar.gz, here."
)
@click.option(
    "--python", default="", metavar="PATH",
    help="Interpreter that the scripts start, say .venv/bin/python in the bundle's folder; "
    "default: the site's. Containers keep their own.",
)  # fmt: skip
@variants
@stages()
@run_options
def export(
    context: Context, stages: tuple[str, ...], variants: tuple[str, ...], output: str, python: str
) -> None:
    """Pack a run, or some stages of it, into a bundle that runs without pipeline.

    The scripts for the chosen site, their configurations, the programs that they start with all
    that these import of this project, data that ships and is named, requirements with pins, a
    README with the commands in order, submit_all.sh, SHA256SUMS. It runs wherever it is unpacked.
    What is missing (corpora, weights) is named there and here. The same study gives the same bytes;
    a file with a secret stops it. docs/bundle.md tells more.

    \b
    Example:
      pipeline export --profile demo
      pipeline export train --variant patok --site mycluster --output patok.tar.gz
      pipeline export --python .venv/bin/python
    """
    from pipeline import bundle, decisions, study, yamlio
    from pipeline.commands.record import told
    from pipeline.view import bundle as bundle_view

    loaded = study.load(context.study_path, context.profiles, context.sets)
    site = bundle.portable(context.site(), python)
    more = {decisions.NAME: told(context, loaded)}
    made = bundle.make(loaded, site, context.root, stages, variants, more)
    path = Path(output or f"{made.name}.tar.gz")
    packed = made.packed()
    yamlio.write_atomic(path, packed)
    bundle_view.export(made, relative(path), packed)
