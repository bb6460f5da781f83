# SPDX-License-Identifier: Apache-2.0
"""Stores of the Redis family: everything that speaks Redis is in here."""
