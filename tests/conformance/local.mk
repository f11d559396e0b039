# SPDX-License-Identifier: LGPL-2.1-or-later
# Programs:  CONFORMANCE_BINARIES += conformance    conformance_SOURCES = ...
# Run:       CONFORMANCE_TESTS += ./conformance  or  $(srcdir)/tests/conformance/x.sh
# in this order, by tests/run-tests.  Scripts also go to EXTRA_DIST.

CONFORMANCE_TESTS +=
