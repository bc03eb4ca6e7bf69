# pipeline_ext: PGXS build, and short names for the commands of test/run.sh and test/demo.
#
#   make, make install, make installcheck      as with any PGXS extension
#   make test                                  everything, in a private copy and server
#   make help                                  the other commands

PG_CONFIG ?= pg_config
TOP := $(patsubst %/,%,$(dir $(abspath $(firstword $(MAKEFILE_LIST)))))

# ---- commands that set up their own copy, build and server --------------------------------

KINDS_ALONE := lint unit regress isolation prove crash fuzz idle bench
COMMANDS := test $(KINDS_ALONE) format demo demo-stop help
.PHONY: $(COMMANDS)

# What may be chosen on make's command line, handed over by the environment.
ifeq ($(origin PG_CONFIG),command line)
export PG_CONFIG
endif
export KINDS REGRESS ISOLATION PROVE_TESTS PROVE_FLAGS KEEP SANITIZE ROUNDS JOBS
export IDLE_SECONDS PIPELINE_DATA BENCH SCALE RUNS MINUTES

# SECONDS is a counter in bash, so it travels under another name.
ifneq ($(filter command line environment,$(origin SECONDS)),)
export FUZZ_SECONDS := $(SECONDS)
unexport SECONDS
endif

ifneq ($(filter $(COMMANDS),$(MAKECMDGOALS)),)
# Relative where possible, so that a checkout may lie in a path with spaces.
HERE := $(if $(wildcard test/run.sh),.,$(TOP))
test:
	@'$(HERE)/test/run.sh'
$(KINDS_ALONE):
	@KINDS=$@ '$(HERE)/test/run.sh'
format:
	@'$(HERE)/test/lint/format.sh' --write '$(HERE)'
demo:
	@'$(HERE)/test/demo/demo.sh' start
demo-stop:
	@'$(HERE)/test/demo/demo.sh' stop
help:
	@sed -n '/^# ---- help/,/^# ---- end/s/^#   //p' '$(HERE)/Makefile'
endif

# ---- help ----------------------------------------------------------------------------------
#   make                      build the module (PG_CONFIG=/path/to/pg_config chooses the server)
#   make install              install it there
#   make installcheck         pg_regress and isolation tests on the running, preloaded server
#   make test                 all kinds of tests, nothing to prepare (Debian: installs packages)
#   make test KINDS="lint unit regress isolation prove"      some of them
#   make regress REGRESS=x    one of sql/*.sql, on a private server
#   make isolation ISOLATION=x
#   make prove PROVE_TESTS=test/tap/x.pl
#   make unit                 C++ unit tests (SANITIZE=1: only the build with ASan and UBSan)
#   make lint, make format
#   make crash ROUNDS=20      kill -9 in a loop
#   make fuzz SECONDS=60      mutated chunks against the decoder
#   make idle                 a server with nothing to do, watched for IDLE_SECONDS=60
#   make bench BENCH=w1,w4 SCALE=0.1 RUNS=3               streaming against storing
#   make demo, make demo-stop
#   KEEP=1 keeps the temporary folder, PG_CONFIG and JOBS=n are honoured everywhere
# ---- end -----------------------------------------------------------------------------------

# ---- PGXS ----------------------------------------------------------------------------------

ifneq ($(filter-out $(COMMANDS),$(or $(MAKECMDGOALS),all)),)

MODULE_big = pipeline_ext
EXTENSION = pipeline_ext
DATA_built = pipeline_ext--1.0.sql

SOURCES := $(sort $(wildcard $(TOP)/src/*.cpp $(TOP)/src/*/*.cpp))
OBJS := $(SOURCES:$(TOP)/%.cpp=%.o)
INSTALL_SQL := $(sort $(wildcard $(TOP)/src/install/*.sql))
EXTRA_CLEAN += $(OBJS:.o=.d)

# -std=gnu++20: the server's copyObject needs typeof. -isystem keeps the server's headers from
# warning in our code; PGXS names the same folder by -I, which the compiler then ignores.
SERVER_INCLUDE := $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)
WARNINGS := -Wall -Wextra -Wshadow -Wold-style-cast -Wnon-virtual-dtor -Woverloaded-virtual \
    -Wsuggest-override -Wimplicit-fallthrough -Wduplicated-cond -Wlogical-op -Wundef -Wno-register
ifneq ($(WERROR),)
WARNINGS += -Werror
endif
PG_CPPFLAGS = -I$(TOP)/src -isystem $(SERVER_INCLUDE)
PG_CXXFLAGS = -std=gnu++20 -fno-semantic-interposition -fno-gnu-unique $(WARNINGS) \
    $(CXXEXTRA)
SHLIB_LINK += $(CXXEXTRA) -lstdc++ -Wl,--version-script=$(TOP)/src/exports.map

# PGXS with LLVM compiles bitcode without PG_CXXFLAGS, which fails for C++20, and inlining C++
# into JIT code gains nothing here.
override with_llvm := no

# ifdef sees a value that expands to nothing, so pg_regress is called with the schedule alone.
NOTHING :=
ifneq ($(wildcard $(TOP)/test/schedule),)
REGRESS_OPTS += --load-extension=pipeline_ext
ifeq ($(strip $(REGRESS)),)
REGRESS = $(NOTHING)
REGRESS_OPTS += --schedule=$(TOP)/test/schedule
endif
REGRESS_PREP = preload-check
endif
ifeq ($(strip $(ISOLATION)),)
ISOLATION := $(sort $(basename $(notdir $(wildcard $(TOP)/test/isolation/specs/*.spec))))
endif
ISOLATION_OPTS += --inputdir=$(TOP)/test/isolation --load-extension=pipeline_ext
ifneq ($(strip $(PROVE_TESTS)),)
TAP_TESTS = 1
endif

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifeq ($(PGXS),)
$(error $(PG_CONFIG) does not work: install the server's development package \
    (Debian: postgresql-server-dev-15) or name another one by PG_CONFIG=)
endif
# A server that was built inside its source tree has a PGXS that does not set this itself.
ifneq ($(CURDIR),$(TOP))
VPATH := $(TOP)
endif
include $(PGXS)

# PGXS names dependency files by basename and only if the server was configured so: ours instead.
$(OBJS): %.o: %.cpp $(TOP)/Makefile
	@$(MKDIR_P) $(@D)
	$(CXX) $(CXXFLAGS) $(PURE_WARNINGS) $(CPPFLAGS) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<
-include $(OBJS:.o=.d)

$(filter src/batch/% src/agg/% src/sketch/% src/spool/chunk.o src/spool/xid_set.o,$(OBJS)): \
    PURE_WARNINGS = -Wconversion -Wsign-conversion

$(shlib): $(TOP)/src/exports.map

pipeline_ext--1.0.sql: $(INSTALL_SQL)
	cat $(INSTALL_SQL) > $@

# The extension works only when the server loads it at start; say so before the first test.
.PHONY: preload-check
preload-check:
ifeq ($(findstring --temp-instance,$(EXTRA_REGRESS_OPTS)),)
	@case ",$$($(bindir)/psql -XAtd postgres -c 'SHOW shared_preload_libraries' | tr -d ' '),," in \
	*pipeline_ext,*) ;; \
	*) echo "installcheck: the running server does not preload pipeline_ext." >&2; \
	   echo "Put it into shared_preload_libraries and restart that server, or use: make test" >&2; \
	   exit 1;; \
	esac
endif

endif
