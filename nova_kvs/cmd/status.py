# SPDX-License-Identifier: Apache-2.0
"""The command ``nova-kvs-status``, as nova-status and its kin are."""

import sys

PROJECT = "nova"
#: The checks could not be made.
FAILED = 2


def main(argv=None):
    """Run the checks.

    :param argv: arguments without the program's name; None for those of
        the process.
    :returns: the exit status: 0 all is well, 1 a warning, 2 a failure, or
        the checks could not be made.
    """
    from nova_kvs.inspection import configured
    from nova_kvs.inspection import upgrade
    from oslo_config import cfg
    from oslo_upgradecheck import upgradecheck
    options = configured.configuration()
    try:
        # oslo.upgradecheck has statuses of its own for what it did not
        # expect (255), which monitoring takes for none.
        return min(FAILED, upgradecheck.main(
            options, PROJECT, upgrade.Commands(options),
            sys.argv[1:] if argv is None else argv))
    except cfg.Error as error:
        print("nova-kvs-status: error: %s" % " ".join(str(error).split()),
              file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
