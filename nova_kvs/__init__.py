# SPDX-License-Identifier: Apache-2.0
"""Keep the state of OpenStack Nova in Redis Cluster."""
