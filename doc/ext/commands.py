# SPDX-License-Identifier: Apache-2.0
"""Sphinx directive ``commands``: every command of nova-kvs and its options.

Read from the parser itself, so that the page and the man page say what the
program does.
"""

import argparse

from docutils import nodes
from docutils.parsers import rst

from nova_kvs.cmd import main


class Commands(rst.Directive):
    """A section for each command."""

    def run(self):
        parser = main.build_parser()
        (choices,) = (action for action in parser._actions
                      if isinstance(action, argparse._SubParsersAction))
        return [self._section(name, command)
                for name, command in sorted(choices.choices.items())]

    def _section(self, name, parser):
        section = nodes.section(ids=["nova-kvs-" + name])
        section += nodes.title(text="nova-kvs " + name)
        usage = " ".join(parser.format_usage().split())
        section += nodes.literal_block(
            text=usage.removeprefix("usage: "), language="none")
        section += nodes.paragraph(text=parser.description)
        options = nodes.definition_list()
        for action in parser._actions:
            if isinstance(action, argparse._HelpAction):
                continue
            item = nodes.definition_list_item()
            item += self._term(action)
            text = (action.help or "") % dict(
                vars(action), prog=parser.prog)
            item += nodes.definition("", nodes.paragraph(
                text=text[:1].upper() + text[1:] + "."))
            options += item
        section += options
        return section

    def _term(self, action):
        value = action.metavar or (
            "{%s}" % ",".join(map(str, action.choices)) if action.choices
            else action.dest.upper())
        if not action.option_strings:
            text = action.metavar or action.dest
        elif action.nargs == 0:
            text = ", ".join(action.option_strings)
        else:
            text = "%s %s" % (", ".join(action.option_strings), value)
        return nodes.term("", "", nodes.literal(text=text))


def setup(app):
    """Register the directive with Sphinx."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
