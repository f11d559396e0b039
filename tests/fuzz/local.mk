# SPDX-License-Identifier: LGPL-2.1-or-later
# make fuzz          fuzzes FUZZ_TARGET (calls, config_space, text) for FUZZ_SECONDS,
#                    0: until it is stopped or finds something
# make fuzz-check    each for a moment, as a test
# make fuzz-corpus   what was found since into tests/fuzz/corpus, as small as can be
#
# By clang, whatever the build's compiler, in the folder fuzz/ of the build.
FUZZ_CXX = clang++
FUZZ_TARGET = calls
FUZZ_SECONDS = 0
FUZZ_FILES = \
	tests/fuzz/calls.cc \
	tests/fuzz/calls.h \
	tests/fuzz/calls_fuzz.cc \
	tests/fuzz/calls_one.cc \
	tests/fuzz/check.h \
	tests/fuzz/config_space_fuzz.cc \
	tests/fuzz/input.h \
	tests/fuzz/program.cc \
	tests/fuzz/program.h \
	tests/fuzz/text_fuzz.cc
EXTRA_DIST += $(FUZZ_FILES) tests/fuzz/corpus tests/fuzz/fuzz.mk tests/fuzz/fuzz.sh

fuzz-build:
	@command -v $(FUZZ_CXX) >/dev/null || { echo "fuzzing needs $(FUZZ_CXX) and libFuzzer, which are not there" \
	  "(Debian: clang libclang-rt-dev; .ci/install-packages fuzz)" >&2; exit 1; }
	$(MAKE) -f $(srcdir)/tests/fuzz/fuzz.mk FUZZ_CXX='$(FUZZ_CXX)' SOURCE='$(abs_srcdir)' OUT='$(abs_builddir)/fuzz' \
	  CONFIG='$(abs_builddir)' LIBRARY='$(LIBRARY_PARTS) $(LIBRARY_ALONE)' CFLAGS='$(LIBURING_CFLAGS)' \
	  LIBS='$(LIBURING_LIBS) $(SYSTEM_LIBS)'

FUZZ = PVIOMMU_BUILD='$(abs_builddir)' PVIOMMU_SOURCE='$(abs_srcdir)' $(srcdir)/tests/fuzz/fuzz.sh
fuzz: fuzz-build
	$(FUZZ) run $(FUZZ_TARGET) $(FUZZ_SECONDS)
fuzz-corpus: fuzz-build
	$(FUZZ) merge $(FUZZ_TARGET)
fuzz-check: fuzz-build
	jobs=-j1; $(RUN_TAP) fuzz-check tests/fuzz/fuzz.sh

.PHONY: fuzz fuzz-build fuzz-check fuzz-corpus
