# SPDX-License-Identifier: LGPL-2.1-or-later
# Third-party programs, as scripts: CLIENT_TESTS += $(srcdir)/tests/clients/x.sh
# run in this order by tests/run-tests.  Scripts also go to EXTRA_DIST.

CLIENT_TESTS +=
