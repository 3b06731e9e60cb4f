# inferq: how it is built, tested and installed. `make help` lists the targets.
#
# Everything is built out of tree, in build/<variant>/ (BUILD= moves it):
#   release  what is used and measured (the default; its programs lie in build/bin)
#   debug    -Og, failpoints compiled in                  (programs in build/debug/bin)
#   asan     address + undefined sanitizers, failpoints   (programs in build/asan/bin)
#   cov      -O0, failpoints, counters of what ran        (programs in build/cov/bin)
#   dist     release flags, made by `make install` only: installed programs look for their
#            files under PREFIX, the others in this tree
# Variants stand side by side: `make VARIANT=asan all`.
#
# What is built is found by wildcard, so a new file needs no change here:
#   common|worker|producer|admin/*.c   one archive per directory, except
#   DIR/main.c, DIR/NAME_main.c        programs: inferq-DIR (admin's is `inferq`), inferq-NAME
#   tests/modelsim, tests/mockkafka    one program each, named like the directory
#   tests/bench/NAME.c                 one program each, bench-NAME
#   tests/unit/test_NAME.c             one cmocka program each, linked with the archives of
#                                      worker, producer, admin and common (test_modelsim_NAME,
#                                      test_mockkafka_NAME: with that program's archive);
#                                      NAME_world.c is its own, other files are shared by all
#   tests/live/test_NAME.c             the same, for tests that need the stack's servers
#   tests/sim/fake_pg*.c               the simulation's Postgres; linked into live tests too
#
# Macros: a .c file (not a header) that mentions one of these gets it, and is rebuilt when its
# value changes:
#   INFERQ_VERSION    string: git describe, or the version below outside a git checkout
#   INFERQ_DATADIR    string: the directory that holds sql/ and the example files: this tree's
#                     schemas/ in the build tree, PREFIX/share/inferq when installed
# INFERQ_FAILPOINTS is defined everywhere in debug, asan and cov, nowhere else.

VERSION := 0.1.0

.DEFAULT_GOAL := all
comma := ,
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:

VARIANT ?= release
BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
WERROR  ?= 0

VARIANTS := release debug asan cov dist
ifeq ($(filter $(VARIANT),$(VARIANTS)),)
$(error VARIANT is one of: $(VARIANTS))
endif

B   := $(BUILD)/$(VARIANT)
BIN := $(if $(filter release,$(VARIANT)),$(BUILD)/bin,$(B)/bin)

# ---- flags ---------------------------------------------------------------------------------

ifeq ($(origin CC),default)
CC := gcc
endif
AR := ar
PKG_CONFIG ?= pkg-config

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes \
    -Wmissing-prototypes -Wformat=2 -Wnull-dereference -Wcast-qual -Wswitch-enum \
    -Wimplicit-fallthrough=5 -Wundef -Wvla -Wlogical-op -Wduplicated-cond
HARDENING := -fstack-protector-strong -fstack-clash-protection -fPIE
# Control-flow protection exists on x86 only.
ifneq ($(filter x86_64 i%86,$(shell uname -m)),)
HARDENING += -fcf-protection
endif
HARDENING_LD := -pie -Wl,-z,relro,-z,now,-z,noexecstack

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
OPT_release := -O2 -D_FORTIFY_SOURCE=3
OPT_dist    := $(OPT_release)
OPT_debug   := -Og -D_FORTIFY_SOURCE=3 -DINFERQ_FAILPOINTS
# The sanitizers' own instrumentation misleads the two flow-based warnings: they stay warnings.
OPT_asan    := -O1 $(SANITIZE) -DINFERQ_FAILPOINTS -Wno-error=null-dereference \
    -Wno-error=maybe-uninitialized
OPT_cov     := -O0 --coverage -DINFERQ_FAILPOINTS
LD_cov      := --coverage
# As shared libraries, the two runtimes share one setting of log_path, and the second one's reports
# go astray: tests/run could not see them.
LD_asan     := $(SANITIZE) -static-libubsan

# Debian 13 names msgpack-c's file msgpack-c.pc.
MSGPACK_PC := $(shell $(PKG_CONFIG) --exists msgpack 2>/dev/null && echo msgpack || echo msgpack-c)
PACKAGES := rdkafka libcurl $(MSGPACK_PC) libpq jansson libuv libmicrohttpd libcrypto yaml-0.1
# Only the libraries: what ncurses asks of the compiler is given already.
CURSES_LIBS := $(shell $(PKG_CONFIG) --libs ncursesw 2>/dev/null)
# Empty before `make deps` has run; the compiler then names the header that is missing.
PC_CFLAGS   := $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
PC_LIBS     := $(shell $(PKG_CONFIG) --libs $(PACKAGES) 2>/dev/null) $(CURSES_LIBS) -lm
CMOCKA_LIBS := $(shell $(PKG_CONFIG) --libs cmocka 2>/dev/null)

# _GNU_SOURCE is empty, as a file's own `#define _GNU_SOURCE` is.
BASE_CFLAGS := -std=gnu17 -D_GNU_SOURCE= -g $(WARNINGS) $(HARDENING) $(OPT_$(VARIANT)) -pthread -I. $(PC_CFLAGS)
# WERROR is no part of the flags' stamp: changing it rebuilds nothing that compiled before.
ALL_CFLAGS  := $(BASE_CFLAGS) $(if $(filter 1,$(WERROR)),-Werror) $(CFLAGS)
ALL_LDFLAGS := $(HARDENING_LD) -pthread $(LD_$(VARIANT)) -Wl,--as-needed $(LDFLAGS)

GIT_VERSION := $(shell GIT_OPTIONAL_LOCKS=0 git describe --tags --always --dirty 2>/dev/null)
BUILD_ID := $(VERSION)$(if $(GIT_VERSION),+$(GIT_VERSION))
DATADIR  := $(if $(filter dist,$(VARIANT)),$(PREFIX)/share/inferq,$(CURDIR)/schemas)

# ---- what there is -------------------------------------------------------------------------

LIB_DIRS  := worker producer admin tests/modelsim tests/mockkafka common
ALL_SRC   := $(wildcard $(addsuffix /*.c,$(LIB_DIRS)) tests/bench/*.c tests/unit/*.c \
    tests/live/*.c tests/tools/*.c tests/sim/*.c)
MAIN_SRC  := $(filter %/main.c %_main.c,$(wildcard $(addsuffix /*.c,$(LIB_DIRS))))
UNIT_SRC  := $(wildcard tests/unit/test_*.c)
UNIT_HELP := $(filter-out $(UNIT_SRC) %_world.c,$(wildcard tests/unit/*.c))
LIVE_SRC  := $(wildcard tests/live/test_*.c)
LIVE_HELP := $(filter-out $(LIVE_SRC),$(wildcard tests/live/*.c)) $(wildcard tests/sim/fake_pg*.c) \
    tests/unit/by_line.c
BENCH_SRC := $(wildcard tests/bench/*.c)
TOOL_SRC  := $(wildcard tests/tools/*_main.c)
HEADERS   := $(wildcard $(addsuffix /*.h,$(LIB_DIRS)) tests/bench/*.h tests/unit/*.h \
    tests/live/*.h tests/sim/*.h)

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
lib_src = $(filter-out $(MAIN_SRC),$(wildcard $(1)/*.c))
lib_name = $(B)/lib$(notdir $(1)).a

# worker/main.c -> inferq-worker, admin/main.c -> inferq, X/NAME_main.c -> inferq-NAME,
# tests/modelsim/main.c -> modelsim
program_name = $(strip $(if $(filter admin/main.c,$(1)),inferq,\
    $(if $(filter tests/%,$(1)),$(notdir $(patsubst %/,%,$(dir $(1)))),\
    $(if $(filter %/main.c,$(1)),inferq-$(notdir $(patsubst %/,%,$(dir $(1)))),\
    inferq-$(patsubst %_main.c,%,$(notdir $(1)))))))

PROGRAMS  := $(foreach s,$(MAIN_SRC),$(BIN)/$(call program_name,$(s)))
INSTALLED := $(foreach s,$(filter-out tests/%,$(MAIN_SRC)),$(call program_name,$(s)))
BENCHES   := $(patsubst tests/bench/%.c,$(BIN)/bench-%,$(BENCH_SRC))
TOOLS     := $(patsubst tests/tools/%_main.c,$(BIN)/%,$(TOOL_SRC))
SIM_SRC   := $(wildcard tests/sim/*.c)
SIM       := $(BIN)/sim
UNITS     := $(patsubst tests/unit/%.c,$(B)/tests/%,$(UNIT_SRC))
LIVES     := $(patsubst tests/live/%.c,$(B)/live/%,$(LIVE_SRC))
LIBS      := $(foreach d,worker producer admin common,$(call lib_name,$(d)))

# ---- building ------------------------------------------------------------------------------

.PHONY: all programs units lives
all: programs
programs: $(PROGRAMS) $(BENCHES) $(TOOLS) $(SIM)
units: $(UNITS)
lives: $(LIVES)

# A stamp holds a value and is touched only when the value changes.
define stamp
$(1): FORCE
	@mkdir -p $$(@D); printf '%s\n' '$(2)' | cmp -s - $$@ || printf '%s\n' '$(2)' >$$@
endef
.PHONY: FORCE
FORCE:
$(eval $(call stamp,$(B)/stamp/flags,$(CC) $(BASE_CFLAGS) $(CFLAGS)))
$(eval $(call stamp,$(B)/stamp/ldflags,$(CC) $(ALL_LDFLAGS) $(PC_LIBS)))
$(eval $(call stamp,$(B)/stamp/version,$(BUILD_ID)))
$(eval $(call stamp,$(B)/stamp/datadir,$(DATADIR)))

mentions = $(if $(ALL_SRC),$(shell grep -l -w $(1) $(ALL_SRC) 2>/dev/null))
VERSION_OBJ := $(call obj,$(call mentions,INFERQ_VERSION))
DATADIR_OBJ := $(call obj,$(call mentions,INFERQ_DATADIR))
$(VERSION_OBJ): DEFS += -DINFERQ_VERSION='"$(BUILD_ID)"'
$(VERSION_OBJ): $(B)/stamp/version
$(DATADIR_OBJ): DEFS += -DINFERQ_DATADIR='"$(DATADIR)"'
$(DATADIR_OBJ): $(B)/stamp/datadir

$(B)/obj/%.o: %.c $(B)/stamp/flags
	@mkdir -p $(@D)
	@echo "  CC    $(VARIANT) $<"
	@$(CC) $(ALL_CFLAGS) $(DEFS) -MMD -MP -c -o $@ $<

# One archive per directory; the list's stamp catches a deleted source.
define archive
$(call stamp,$(B)/stamp/$(notdir $(1)).list,$(call lib_src,$(1)))
$(call lib_name,$(1)): $(call obj,$(call lib_src,$(1))) $(B)/stamp/$(notdir $(1)).list
	@rm -f $$@; $(AR) rcs $$@ $$(filter %.o,$$^)
endef
$(foreach d,$(LIB_DIRS),$(eval $(call archive,$(d))))

LINK = mkdir -p $(@D); echo "  LINK  $(VARIANT) $(@F)"; \
    $(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) \
    -Wl,--start-group $(filter %.a,$^) -Wl,--end-group

define program
$(BIN)/$(call program_name,$(1)): $(call obj,$(1)) $(call lib_name,$(patsubst %/,%,$(dir $(1)))) \
    $(call lib_name,common) $(B)/stamp/ldflags
	@$$(LINK) $(PC_LIBS)
endef
$(foreach s,$(MAIN_SRC),$(eval $(call program,$(s))))

$(BENCHES): $(BIN)/bench-%: $(B)/obj/tests/bench/%.o $(LIBS) $(B)/stamp/ldflags
	@$(LINK) $(PC_LIBS)

# tests/tools/NAME_main.c -> NAME: what the tests need and no user does
$(TOOLS): $(BIN)/%: $(B)/obj/tests/tools/%_main.o $(LIBS) $(B)/stamp/ldflags
	@$(LINK) $(PC_LIBS)

# The simulation plays what is below the worker's path: tests/sim/README.md.
SIM_WRAP := clock_mono_us clock_boot_us clock_wall_ms log_on log_write path_move \
    path_learned_heard \
    pg_new pg_free pg_is_up pg_up_since_us pg_pending pg_txn uv_timer_init uv_timer_start uv_close \
    __assert_fail
$(SIM): $(call obj,$(SIM_SRC)) $(call lib_name,worker) $(call lib_name,common) $(B)/stamp/ldflags
	@$(LINK) $(addprefix -Wl$(comma)--wrap=,$(SIM_WRAP)) $(PC_LIBS)

# Allocations fail when a unit test says so: tests/unit/no_memory.h.
UNIT_WRAP := malloc calloc realloc strdup

# The stand-ins are programs of their own, with names of their own: their archives are linked into
# their own tests only.
define unit
$(B)/tests/$(1): $(B)/obj/tests/unit/$(1).o $(call obj,$(UNIT_HELP)) \
    $(call obj,$(sort $(wildcard tests/unit/$(1:test_%=%)_world.c) \
      $(if $(filter test_path test_path_%,$(1)),\
        tests/unit/path_world.c))) \
    $(if $(filter test_modelsim_%,$(1)),$(call lib_name,tests/modelsim),\
    $(if $(filter test_mockkafka_%,$(1)),$(call lib_name,tests/mockkafka),$(LIBS))) \
    $(B)/stamp/ldflags
	@$$(LINK) $(addprefix -Wl$(comma)--wrap=,$(UNIT_WRAP)) $(CMOCKA_LIBS) $(PC_LIBS)
endef
$(foreach s,$(UNIT_SRC),$(eval $(call unit,$(patsubst tests/unit/%.c,%,$(s)))))

$(LIVES): $(B)/live/%: $(B)/obj/tests/live/%.o $(call obj,$(LIVE_HELP)) $(LIBS) $(B)/stamp/ldflags
	@$(LINK) $(CMOCKA_LIBS) $(PC_LIBS)

-include $(patsubst %.c,$(B)/obj/%.d,$(ALL_SRC))

# ---- every header compiles alone -----------------------------------------------------------

.PHONY: headers
HEADER_OKS := $(patsubst %,$(B)/headers/%.ok,$(HEADERS))
headers: $(HEADER_OKS)
	@echo "headers: $(words $(HEADER_OKS)) compile alone"
$(B)/headers/%.ok: % $(B)/stamp/flags
	@mkdir -p $(@D)
	@echo "  HDR   $<"
	@printf '#include "%s"\nextern int header_alone;\n' '$<' | \
	    $(CC) $(ALL_CFLAGS) -fsyntax-only -MD -MP -MT $@ -MF $@.d -x c -
	@touch $@
-include $(addsuffix .d,$(HEADER_OKS))

# ---- checks and tests ----------------------------------------------------------------------

.PHONY: deps check format unit integration test mutants chaos demo bench
deps:
	@deploy/deps

check:
	@BUILD='$(BUILD)' tests/gates/run

# Only the deployment files, by their own checkers; a part of check.
.PHONY: check-deploy
check-deploy:
	@BUILD='$(BUILD)' tests/gates/run deploy

format:
	@tests/gates/format --fix

# The variants the integration tests run on. `make test` spreads the suite over the two (see
# tests/integration/conftest.py); INFERQ_SPREAD=0 gives each the whole of it.
INTEGRATION_VARIANTS ?= asan release
INFERQ_SPREAD ?= 1

unit: units
	@BUILD='$(BUILD)' tests/run --unit $(VARIANT)
integration: all lives
	@$(MAKE) --no-print-directory VARIANT=release all
	@BUILD='$(BUILD)' tests/run --live $(VARIANT) --integration $(VARIANT)

SEEDS ?= 10000
FROM  ?= 1
sim: $(SIM)
	@BUILD='$(BUILD)' VARIANT='$(VARIANT)' tests/sim/run $(SEEDS) $(FROM)

# Whole fleets under shared limits, in numbers; DRAW=1 draws their curves, SEEDS_EACH=n, NAMES=words
.PHONY: scenarios
scenarios: $(SIM)
	@BUILD='$(BUILD)' tests/sim/scenarios --seeds $(or $(SEEDS_EACH),1) $(if $(DRAW),--draw) $(NAMES)

# As many compilers as there are cores, unless the caller's -j says how many.
JOBS = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
test: deps
	@$(MAKE) --no-print-directory $(JOBS) WERROR=1 VARIANT=release all headers
	@$(MAKE) --no-print-directory $(JOBS) WERROR=1 VARIANT=asan all units lives
	@$(MAKE) --no-print-directory check
	@BUILD='$(BUILD)' INFERQ_SPREAD='$(INFERQ_SPREAD)' \
	    tests/run --unit asan --sim asan release --live asan --integration $(INTEGRATION_VARIANTS)

# Deliberate bugs in the worker, each of which the proofs must catch: NAMES=words for some
mutants: deps
	@$(MAKE) --no-print-directory VARIANT=release all units lives
	@BUILD='$(BUILD)' tests/mutants/run --units $(NAMES)

# Counters of an older build mean nothing, so they go first.
COVERAGE_SEEDS ?= 5000
COVERAGE_TESTS ?= test_flow or test_endings or test_faults or test_records or test_stop or test_span \
    or test_a_partition_is_dropped or test_answers_are_lost or test_the_answer_to_a_takeover \
    or test_the_dead_topic_is_gone or test_a_consumer_that_failed
.PHONY: coverage
coverage: deps
	@$(MAKE) --no-print-directory $(JOBS) VARIANT=release all
	@$(MAKE) --no-print-directory $(JOBS) VARIANT=cov all units lives
	@find '$(BUILD)/cov/obj' -name '*.gcda' -delete
	@BUILD='$(BUILD)' tests/run --unit cov --sim cov --live cov --integration cov \
	    -- -k '$(COVERAGE_TESTS)'
	@'$(BUILD)/cov/bin/sim' --seeds '$(COVERAGE_SEEDS)' >/dev/null
	@BUILD='$(BUILD)' tests/coverage

# The crash tests in their long form, again and again: ROUNDS=n or MINUTES=n, SEED=n, ONLY=words
CHAOS_VARIANTS ?= release asan
chaos: deps
	@for v in $(CHAOS_VARIANTS) release; do $(MAKE) --no-print-directory VARIANT=$$v all; done
	@BUILD='$(BUILD)' tests/chaos/run --variants $(CHAOS_VARIANTS) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	    $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only '$(ONLY)')

demo: deps
	@$(MAKE) --no-print-directory VARIANT=release all
	@BUILD='$(BUILD)' KEEP='$(KEEP)' deploy/demo
bench: deps
	@$(MAKE) --no-print-directory VARIANT=release all
	@BUILD='$(BUILD)' tests/bench/run $(if $(BENCH),--$(BENCH))

# ---- install, clean, help ------------------------------------------------------------------

.PHONY: man install install-dist uninstall clean help
# The pages say what the programs' --help says (deploy/manpages).
man: $(addprefix $(BIN)/,$(INSTALLED))
	@rm -rf '$(B)/man'
	@deploy/manpages '$(BIN)' '$(B)/man'
install:
	@$(MAKE) --no-print-directory VARIANT=dist install-dist
# EXAMPLES: configuration and catalogue examples, installed as they are.
EXAMPLES := $(wildcard schemas/*.example.* schemas/*/*.example.* deploy/*.example.* \
    deploy/*/*.example.*)
SHARE := $(DESTDIR)$(PREFIX)/share
install-dist: man
	@install -d '$(DESTDIR)$(PREFIX)/bin' '$(SHARE)/inferq/sql' '$(SHARE)/man/man1' \
	    '$(SHARE)/bash-completion/completions' '$(SHARE)/zsh/site-functions'
	@$(if $(INSTALLED),install -m 755 $(addprefix $(BIN)/,$(INSTALLED)) '$(DESTDIR)$(PREFIX)/bin/')
	@$(if $(wildcard schemas/sql/*.sql),install -m 644 $(wildcard schemas/sql/*.sql) \
	    '$(SHARE)/inferq/sql/')
	@$(if $(EXAMPLES),install -d '$(SHARE)/inferq/examples'; \
	    install -m 644 $(EXAMPLES) '$(SHARE)/inferq/examples/')
	@install -m 644 '$(B)/man/'*.1 '$(SHARE)/man/man1/'
	@install -m 644 admin/completion/inferq.bash '$(SHARE)/bash-completion/completions/inferq'
	@ln -sf inferq '$(SHARE)/bash-completion/completions/inferq-submit'
	@ln -sf inferq '$(SHARE)/bash-completion/completions/inferq-worker'
	@install -m 644 admin/completion/_inferq '$(SHARE)/zsh/site-functions/'
	@echo 'installed in $(DESTDIR)$(PREFIX): $(INSTALLED)'

# What install-dist puts there, and nothing else.
uninstall:
	@rm -f $(patsubst %,'$(DESTDIR)$(PREFIX)/bin/%',$(INSTALLED)) '$(SHARE)'/man/man1/inferq*.1 \
	    $(patsubst %,'$(SHARE)/bash-completion/completions/%',$(INSTALLED)) \
	    '$(SHARE)/zsh/site-functions/_inferq'
	@rm -rf '$(SHARE)/inferq'
	@echo 'gone from $(DESTDIR)$(PREFIX): $(INSTALLED)'

clean:
	rm -rf '$(BUILD)'

help:
	@echo 'inferq: make TARGET [VARIANT=release|debug|asan] [WERROR=1] [BUILD=DIR]'
	@echo
	@echo '  deps         install the packages that are missing (as root, or with sudo)'
	@echo '  all          build the programs into $(BUILD)/bin (the default)'
	@echo '  demo         install, build, start Kafka and Postgres, and run a few hundred jobs'
	@echo '               (KEEP=1 leaves it running; deploy/demo stop stops it)'
	@echo '  test         deps, build, check, unit tests, integration tests'
	@echo '  chaos        the crash tests, again and again (ROUNDS=n or MINUTES=n, SEED=n)'
	@echo '  unit         unit tests of one variant'
	@echo '  integration  integration tests of one variant, on the local stack'
	@echo '  sim          SEEDS=N seeds (10000) of the simulation, from FROM=N on'
	@echo '  scenarios    fleets under shared limits, in numbers (DRAW=1: curves; NAMES=words)'
	@echo '  mutants      deliberate bugs in the worker: each must be caught (NAMES=words)'
	@echo '  coverage     which lines of the core the tests run, and why not the others'
	@echo '  check        formatting, lint, static analysis, layering, deployment files'
	@echo '  check-deploy the deployment files alone'
	@echo '  format       reformat all sources'
	@echo '  bench        measure, and print tables (BENCH=full: everything at full size)'
	@echo '  man          man pages from what --help says, into $(BUILD)/release/man'
	@echo '  install      build and install under PREFIX (now $(PREFIX)), staged in DESTDIR'
	@echo '  uninstall    remove what install put there'
	@echo '  clean        remove $(BUILD)'
