# SPDX-License-Identifier: Apache-2.0
"""A Nova, oslo.db or SQLAlchemy that lacks what nova-kvs uses of them."""
