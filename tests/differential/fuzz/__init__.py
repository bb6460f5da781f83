# SPDX-License-Identifier: Apache-2.0
"""Odd requests to the HTTP APIs of a cloud on KVS and of one on SQLite."""
