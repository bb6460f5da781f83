# SPDX-License-Identifier: Apache-2.0
"""Index kinds: a module each.

A kind derives what is stored for a row, and nobody else does: writers,
housekeeping, fsck and the import ask it. It also knows how its entries are
read, and what a stored entry names.
"""
