"""``gridparley app``: what a person says to the energy manager of a home of the run that goes on in this folder."""

import typer

from deploy.commands.app_hand import hand
from deploy.commands.app_plan import confirm, plan, reject
from deploy.commands.app_preferences import prefs, resume, rules, stop
from deploy.commands.app_questions import ask, comfort, prices, why

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Speak to a home of the running street as the person who lives there.

It goes over the home's own bus, as `<site>.app.phone`: an identity with an app's rights and no process of its own.
Exit code 0: done; 1: refused or not done, with the reason; 2: not understood.

Examples:

    gridparley app why h07 evse.1

    gridparley app prefs h07 evse.1 --ready-by 07:00

    gridparley app hand h07 evse.1 off

    gridparley app plan h07
""",
)

for command in (why, prefs, hand, stop, resume, plan, confirm, reject, prices, ask, comfort, rules):
    app.command()(command)
