# SPDX-License-Identifier: LGPL-2.1-or-later
# Models that spin checks, in make check.
TESTS += tests/models/owner.test.sh
EXTRA_DIST += tests/models/owner.pml tests/models/owner.test.sh
