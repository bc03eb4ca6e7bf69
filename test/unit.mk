# Builds the unit tests and the fuzz target out of the tree:
#   make -f .../test/unit.mk plain | sanitized | fuzz
# The flags beside -std are those that PGXS compiles the same files with.

TOP := $(patsubst %/test/,%,$(dir $(abspath $(firstword $(MAKEFILE_LIST)))))
CXX ?= g++
PURE := $(sort $(wildcard $(TOP)/src/batch/*.cpp $(TOP)/src/agg/*.cpp $(TOP)/src/sketch/*.cpp \
    $(TOP)/src/spool/chunk.cpp $(TOP)/src/spool/xid_set.cpp))
TESTS := $(sort $(wildcard $(TOP)/test/unit/*.cpp))
# Catch2 2 compiles itself into the file that asks for its main: once, and not instrumented.
MAIN := $(shell grep -ls CATCH_CONFIG_MAIN $(TESTS) /dev/null)
FUZZ := $(sort $(wildcard $(TOP)/test/fuzz/*.cpp))

FLAGS := -std=gnu++20 -g -fwrapv -fno-strict-aliasing -Wall -Wextra -Wshadow -Wconversion \
    -Wsign-conversion -Wold-style-cast -I$(TOP)/src -I$(TOP)/test
SANITIZE := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

# Catch2 3 is a library with its own main, Catch2 2 one header.
CATCH3 := $(shell $(CXX) -x c++ -std=gnu++20 -E -include catch2/catch_test_macros.hpp /dev/null \
    >/dev/null 2>&1 && echo yes)
LIBS := $(if $(CATCH3),-lCatch2Main -lCatch2)

objects = $(patsubst $(TOP)/%.cpp,$(1)/%.o,$(2))
.PHONY: plain sanitized fuzz

plain: plain/unit
sanitized: sanitized/unit
fuzz: sanitized/fuzz

plain/unit: $(call objects,plain,$(PURE) $(filter-out $(MAIN),$(TESTS))) $(call objects,main,$(MAIN))
	$(CXX) -o $@ $^ $(LIBS)
sanitized/unit: $(call objects,sanitized,$(PURE) $(filter-out $(MAIN),$(TESTS))) $(call objects,main,$(MAIN))
	$(CXX) $(SANITIZE) -o $@ $^ $(LIBS)
sanitized/fuzz: $(call objects,sanitized,$(PURE) $(FUZZ))
	$(CXX) $(SANITIZE) -o $@ $^

main/%.o: $(TOP)/%.cpp
	@mkdir -p $(@D)
	$(CXX) $(FLAGS) -O0 -MMD -MP -c -o $@ $<
plain/%.o: $(TOP)/%.cpp
	@mkdir -p $(@D)
	$(CXX) $(FLAGS) -O2 -MMD -MP -c -o $@ $<
sanitized/%.o: $(TOP)/%.cpp
	@mkdir -p $(@D)
	$(CXX) $(FLAGS) $(SANITIZE) -MMD -MP -c -o $@ $<

-include $(shell find main plain sanitized -name '*.d' 2>/dev/null)
