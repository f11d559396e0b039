# SPDX-License-Identifier: LGPL-2.1-or-later
# make coverage      lines and branches that unit tests and conformance run

EXTRA_DIST += tests/coverage/coverage.sh
coverage:
	PVIOMMU_BUILD='$(abs_builddir)' PVIOMMU_SOURCE='$(abs_srcdir)' $(srcdir)/tests/coverage/coverage.sh
.PHONY: coverage
