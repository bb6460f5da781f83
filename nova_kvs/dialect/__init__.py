# SPDX-License-Identifier: Apache-2.0
"""SQL on the store: all that has no native function.

``compiler`` notes the structure of a statement, ``analysis`` what restricts
each of its tables, and ``planner`` makes the plan of what to load, with the
paths that ``nova_kvs.record.planner`` chooses. ``dbapi`` runs the plan, then
the statement in a ``workspace``, from which ``writing`` takes the changes.
"""
