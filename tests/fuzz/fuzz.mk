# SPDX-License-Identifier: LGPL-2.1-or-later
# The fuzz targets, by clang, into a folder of their own.  A makefile for GNU make
# beside the one of the build: other compiler, other flags, other objects.  Called
# by tests/fuzz/local.mk with
#   SOURCE   the source folder
#   OUT      where objects and programs go
#   CONFIG   the folder of config.h
#   LIBRARY  sources of the library
#   LIBS     what it needs
FUZZ_CXX ?= clang++
FLAGS = -std=gnu++20 -O2 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -pthread
CPPFLAGS = -I$(SOURCE) -I$(CONFIG) -DPVIOMMU_MODULE_DIR='"/nonexistent"' -DPVIOMMU_BINDIR='"/nonexistent"' $(CFLAGS)
WARNINGS = -Wall -Wextra -Wnon-virtual-dtor -Wno-gnu-variable-sized-type-not-at-end

TARGETS = calls config_space text
PROGRAMS = $(TARGETS:%=$(OUT)/fuzz_%)
calls_PARTS = calls calls_fuzz calls_one program
config_space_PARTS = config_space_fuzz
text_PARTS = text_fuzz

library = $(patsubst %.cc,$(OUT)/%.o,$(filter %.cc,$(LIBRARY)))

all: $(PROGRAMS)

.SECONDARY:
.SECONDEXPANSION:
# Objects, not an archive: backends register themselves in initialisers.
$(PROGRAMS): $(OUT)/fuzz_%: $$(foreach part,$$($$*_PARTS),$(OUT)/tests/fuzz/$$(part).o) $(library)
	$(FUZZ_CXX) $(FLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)

# The model is the tool here, not what is fuzzed: it guides nothing and may be faster.
GUIDE = -fsanitize=fuzzer-no-link
$(OUT)/hypercall/model/%.o: GUIDE =

$(OUT)/%.o: $(SOURCE)/%.cc
	@mkdir -p $(@D)
	$(FUZZ_CXX) $(FLAGS) $(GUIDE) $(WARNINGS) $(CPPFLAGS) -MMD -MP -c -o $@ $<

-include $(library:.o=.d) $(foreach target,$(TARGETS),$(foreach part,$($(target)_PARTS),$(OUT)/tests/fuzz/$(part).d))
