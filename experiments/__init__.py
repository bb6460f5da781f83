# SPDX-License-Identifier: Apache-2.0
"""Nova clouds of many controllers and sites, measured."""
