# SPDX-License-Identifier: Apache-2.0
"""Placement's hot functions without SQL: as ``nova_kvs.db``, by topic."""
