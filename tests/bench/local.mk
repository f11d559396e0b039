# SPDX-License-Identifier: LGPL-2.1-or-later
# make bench: built and run only then.  bench_index prints the figures of
# Google Benchmark first and a table with the goals last.

EXTRA_PROGRAMS += bench_pviommu
bench_pviommu_SOURCES = \
	tests/bench/address_space_bench.cc \
	tests/bench/bench.h \
	tests/bench/index_bench.cc \
	tests/bench/report.cc
bench_pviommu_CPPFLAGS = $(AM_CPPFLAGS) $(BENCHMARK_CFLAGS) $(ABSL_CFLAGS) $(GLIB_CFLAGS)
bench_pviommu_LDADD = libpviommu.la $(BENCHMARK_LIBS) $(ABSL_LIBS) $(GLIB_LIBS) $(SYSTEM_LIBS)

# MAP+UNMAP through the preload front end: an unmodified program.
EXTRA_PROGRAMS += bench_ioctl
bench_ioctl_SOURCES = tests/bench/ioctl_bench.c
bench_ioctl_LDADD =
EXTRA_DIST += tests/bench/bench-programs
CLEANFILES += bench-figures bench_pviommu$(EXEEXT) bench_ioctl$(EXEEXT)

if HAVE_BENCHMARK
bench-run: bench_pviommu$(EXEEXT) bench_ioctl$(EXEEXT)
	BENCH_FIGURES=bench-figures ./bench_pviommu$(EXEEXT) $(BENCH_FLAGS)
	BENCH_FIGURES=bench-figures PVIOMMU_RUN='$(abs_builddir)/run' $(srcdir)/tests/bench/bench-programs ./bench_ioctl$(EXEEXT)
else
bench-run:
	@echo "make bench needs Google Benchmark, which configure did not find (Debian: libbenchmark-dev)" >&2; exit 1
endif
