"""What every room tells a user who can mend it."""

import click


class UserError(click.ClickException):
    """One sentence that says what was wrong and what to do; exit code 2."""

    exit_code = 2
