# SPDX-License-Identifier: Apache-2.0
"""The driver for etcd v3: ``kvs+etcd://``."""
