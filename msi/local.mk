# SPDX-License-Identifier: LGPL-2.1-or-later
# MSI and MSI-X capability semantics, vector routing, INTx.
