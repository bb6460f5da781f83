# SPDX-License-Identifier: Apache-2.0
"""Nova clouds of real processes on loopback, for tests and benchmarks."""
