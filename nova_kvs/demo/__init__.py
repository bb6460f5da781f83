# SPDX-License-Identifier: Apache-2.0
"""A Nova cloud on this machine, without the rest of OpenStack.

Nova itself is unmodified. What it expects around it is replaced by the
smallest things that answer on loopback: an identity filter in place of
Keystone's middleware, one image in place of Glance, and no ports in place of
Neutron.
"""
