# SPDX-License-Identifier: LGPL-2.1-or-later
# Benchmark programs are EXTRA_PROGRAMS (built by make bench only); bench-run
# depends on them and runs them.  $(BENCHMARK_LIBS), $(ABSL_CFLAGS)/$(ABSL_LIBS)
# and $(GLIB_CFLAGS)/$(GLIB_LIBS) under if HAVE_BENCHMARK, HAVE_ABSL, HAVE_GLIB.

bench-run:
	@echo "no benchmark yet"
