# SPDX-License-Identifier: Apache-2.0
"""Looks at databases from outside of Nova: check, fsck, stats, show, drop."""
