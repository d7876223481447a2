# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a package of the distribution has besides the program: manual pages, completion, its Python libraries.

Everything here runs when a package is built, nothing of it on a host that is watched.
"""
