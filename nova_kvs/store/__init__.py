# SPDX-License-Identifier: Apache-2.0
"""The stores: ``base`` is the interface that a driver implements.

``operations`` are what it is asked for. An entry point of the group
``nova_kvs.store`` names a driver, and ``registry`` loads the one of a URL.
"""
