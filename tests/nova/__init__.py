# SPDX-License-Identifier: Apache-2.0
"""Runs Nova's and Placement's own tests, unmodified, on nova-kvs.

The tests come from the source distribution of the installed release.
``python -m tests.nova --help`` tells how to run them.
"""
