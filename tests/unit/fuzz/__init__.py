# SPDX-License-Identifier: Apache-2.0
"""Values that nobody thought of, in front of what reads them.

``python -m tests.unit.fuzz MINUTES`` makes more of them.
"""
