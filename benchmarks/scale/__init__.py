# SPDX-License-Identifier: Apache-2.0
"""The scale matrix: calls outside of the hot ones, at growing sizes."""
