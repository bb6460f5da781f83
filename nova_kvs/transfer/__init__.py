# SPDX-License-Identifier: Apache-2.0
"""Copies databases between SQL and the store."""
