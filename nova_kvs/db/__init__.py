# SPDX-License-Identifier: Apache-2.0
"""Nova's hot functions without SQL, and what puts them in front of Nova's.

A native function is in the module of its topic (``services``, ``instances``):
a decorator of ``native`` names what it stands for, and ``dispatch.MODULES``
lists the modules. It reads and writes through a ``session`` and returns
``rows``. Which of them are used with the Nova that is installed,
``selection`` decides. Placement's are in ``placement``.
"""
