"""``tally FILE`` prints who paid what, or who owes whom."""

import click

from tally.accounts import parse, settle
from tally.table import plain


@click.command()
@click.argument("file", type=click.File())
@click.option("--settle", "settling", is_flag=True, help="Say who owes whom.")
def main(file, settling):
    """Sum up what people paid."""
    try:
        entries = list(parse(file.read()))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if not entries:
        click.echo("nobody paid anything", err=True)
    elif settling:
        for debtor, creditor, cents in settle(entries):
            click.echo(f"{debtor} owes {creditor} {cents / 100:.2f}")
    else:
        click.echo(plain(entries))
