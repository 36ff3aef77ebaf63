# Makefile - builds, checks and installs Carry.  GNU make 4.3 or newer.
#
#   make                      programs in build/bin, the library in build/lib
#   make check                install what is missing, then every test
#   make check-vm             the tests that need a virtual machine (tests/vm)
#   make check-vm-nightly     ... and those of them that take minutes
#   make CC=clang             another compiler         (build-clang/)
#   make SANITIZE=address     ASan and UBSan           (build-address/)
#   make DEBUG=1              -O0 -g -DCARRY_DEBUG     (build-debug/)
#   make V=1                  shows whole commands
#
# Nothing is listed by name: a .c file is part of its folder's layer from the
# moment it exists.  What a folder becomes:
#
#   proto/ compress/     archives           daemon/**    archive; main.c: carryd
#   libclient/ + proto/  libcarry.so, .a    tools/*.c    carry-NAME.c, carryctl.c: programs,
#   tests/common/        archive                         the others: archive
#   tests/unit/test_*.c  tests/sim/*.c  tests/sys/*.c  tests/bench/bench_*.c
#   tests/experiments/{run,trainer}.c                  programs
#   tests/fuzz/fuzz_*.c  `make fuzz`: libFuzzer; `make check`: replays the corpus
#
# A test that defines __wrap_NAME() is linked with --wrap=NAME.

VERSION := 0.1.0
SOVERSION := 0

ifeq ($(origin CC),default)
CC := gcc
endif
SANITIZE ?=
DEBUG ?=
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
FUZZ_SECONDS ?= 60

# One object tree per compiler and kind, so that they never mix.
compiler := $(notdir $(firstword $(CC)))
kind := $(if $(filter-out gcc cc,$(compiler)),-$(compiler))$(if $(SANITIZE),-$(SANITIZE))
BUILD ?= build$(kind)$(if $(DEBUG),-debug)
O := $(BUILD)/obj

# --- flags ---------------------------------------------------------------------------------------

packages := liburing libibverbs numa libsystemd inih jansson zlib
package_flags := $(shell pkg-config --cflags $(packages) 2>/dev/null)
package_libs := $(shell pkg-config --libs $(packages) 2>/dev/null)

warnings := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wswitch-enum -Wvla -Wformat=2 -Werror
ifneq ($(SANITIZE),)
warnings := -w # judged in plain builds: instrumented, gcc warns of code that is fine
endif

sanitize_address := -fsanitize=address,undefined
sanitize_undefined := -fsanitize=undefined
sanitize_thread := -fsanitize=thread
sanitize_fuzzer := -fsanitize=fuzzer-no-link,address,undefined
sanitizer := $(if $(SANITIZE),$(or $(sanitize_$(SANITIZE)),$(error SANITIZE=$(SANITIZE): \
	must be address, undefined or thread)) -fno-sanitize-recover=all -fno-omit-frame-pointer)

optimise := $(if $(DEBUG),-O0 -g -DCARRY_DEBUG,-O2 -g)
harden := -fstack-protector-strong $(if $(SANITIZE)$(DEBUG),,-D_FORTIFY_SOURCE=2)

# One set of position-independent objects serves programs and library alike.
CPPFLAGS += -D_GNU_SOURCE -DCARRY_RELEASE='"$(VERSION)"' -I. $(package_flags)
ALL_CFLAGS = -std=c11 $(optimise) $(warnings) -fPIC -fno-semantic-interposition \
	-pthread $(harden) $(sanitizer) $(CFLAGS)
ALL_LDFLAGS = -pthread -Wl,--as-needed -Wl,-z,relro,-z,now $(sanitizer) $(LDFLAGS)
LIBS := $(package_libs) -lm

# --- what there is -------------------------------------------------------------------------------

objects = $(patsubst %.c,$(O)/%.o,$(1))
programs = $(patsubst %.c,$(BUILD)/%,$(1))
with = $(if $(strip $(2)),$(shell grep -l '$(1)' $(2)))

proto_c := $(wildcard proto/*.c)
compress_c := $(wildcard compress/*.c)
client_c := $(wildcard libclient/*.c)
daemon_c := $(filter-out daemon/main.c,$(wildcard daemon/*.c daemon/*/*.c))
tool_main_c := $(wildcard tools/carry-*.c tools/carryctl.c)
tool_c := $(filter-out $(tool_main_c),$(wildcard tools/*.c tools/*/*.c))
tool_scripts := $(filter-out %.c %.h %.sh %.py $(patsubst %/,%,$(wildcard tools/*/)),\
	$(wildcard tools/carry*))
unit_main_c := $(wildcard tests/unit/test_*.c)
sim_main_c := $(call with,^int main\b,$(wildcard tests/sim/*.c))
bench_main_c := $(wildcard tests/bench/bench_*.c)
experiments_c := $(wildcard tests/experiments/run.c tests/experiments/trainer.c)
peer_c := $(wildcard tests/bench/peer_*.c) # other systems: tests/bench/peers builds them
preload_c := $(wildcard tests/sys/preload_*.c)
sys_main_c := $(call with,^int main\b,$(filter-out $(preload_c),$(wildcard tests/sys/*.c)))
fuzz_c := $(wildcard tests/fuzz/fuzz_*.c)
corpus_c := $(wildcard tests/fuzz/make_corpus.c)
test_c := $(filter-out $(unit_main_c) $(sim_main_c) $(bench_main_c) $(experiments_c) \
	$(peer_c) $(preload_c) $(sys_main_c),\
	$(wildcard tests/common/*.c tests/experiments/*.c tests/unit/*.c \
	tests/sim/*.c tests/bench/*.c tests/sys/*.c))

all_c := $(proto_c) $(compress_c) $(client_c) $(daemon_c) $(tool_main_c) $(tool_c) $(test_c) \
	$(unit_main_c) $(sim_main_c) $(bench_main_c) $(experiments_c) $(preload_c) $(sys_main_c) \
	$(fuzz_c) $(corpus_c) $(wildcard daemon/main.c tests/fuzz/replay.c)

# An archive exists only where its folder does.
archive = $(if $($(1)_c),$(O)/$(1).a)
floor := $(call archive,compress) $(call archive,proto)
archives := $(call archive,test) $(call archive,tool) $(call archive,daemon) \
	$(call archive,client) $(floor)

carryd := $(if $(wildcard daemon/main.c),$(BUILD)/bin/carryd)
library := $(if $(client_c),$(BUILD)/lib/libcarry.so $(BUILD)/lib/libcarry.so.$(SOVERSION) \
	$(BUILD)/lib/libcarry.a $(BUILD)/lib/carry.pc)
tools := $(patsubst tools/%.c,$(BUILD)/bin/%,$(tool_main_c))
scripts := $(patsubst tools/%,$(BUILD)/bin/%,$(tool_scripts))
unit := $(call programs,$(unit_main_c))
sim := $(call programs,$(sim_main_c))
bench := $(call programs,$(bench_main_c))
experiments_programs := $(call programs,$(experiments_c))
preloads := $(patsubst %.c,$(BUILD)/%.so,$(preload_c))
sys_programs := $(call programs,$(sys_main_c)) $(preloads)
replays := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/tests/fuzz/replay_%,$(fuzz_c))
corpus := $(call programs,$(corpus_c))
fuzzers := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/fuzz/fuzz_%,$(fuzz_c))
# A script's parts, tools/NAME/*.sh, stand in ../share/carry/NAME/ beside the program.
script_parts := $(patsubst tools/%,$(BUILD)/share/carry/%,$(wildcard tools/*/*.sh))
units := $(patsubst systemd/%.in,$(BUILD)/systemd/%,$(wildcard systemd/*.in))

# Objects are made again when the flags change, archives when a file has left them.  (GNU make 4.3
# leaves the newline at the end of $(file <) now and then: hence the strip.)
define stamp
$(if $(subst x$(strip $(file <$(1))),,x$(2))$(subst x$(2),,x$(strip $(file <$(1)))),\
$(shell mkdir -p $(dir $(1)))$(file >$(1),$(2)))
endef
ifneq ($(filter-out clean help,$(or $(MAKECMDGOALS),all)),)
$(call stamp,$(O)/flags,$(strip $(CC) $(CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(LIBS)))
$(call stamp,$(O)/files,$(sort $(all_c)))
$(call stamp,$(O)/prefix,$(PREFIX) $(SYSCONFDIR))
endif

.PHONY: all programs tests check check-all check-tests check-unit check-sim check-fuzz check-sys \
	check-threads check-vm check-vm-nightly lint analyse format fuzz experiments bench \
	bench-peers bench-vm demo nightly soak install setup clean help
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules

all: programs
programs: $(carryd) $(library) $(tools) $(scripts) $(script_parts) $(units)
tests: $(unit) $(sim) $(experiments_programs) $(replays) $(sys_programs) $(corpus)

# --- compiling and linking -----------------------------------------------------------------------

# Test programs have the real libibverbs, but for those that name what is in fake_verbs.h.
real_verbs := -Wl,--push-state,--no-as-needed -libverbs -Wl,--pop-state

need_packages = $(if $(package_libs),,$(error $(or $(shell pkg-config --print-errors --exists \
	$(packages) 2>&1 | grep -m 1 'No package'),no pkg-config): run tools/setup.sh))
say = $(if $(V),,@echo "$(1) $@" &&)

$(O)/compress/%.o: ALL_CFLAGS += -ffp-contract=off # every CPU variant gives the same bits

$(O)/%.o: %.c $(O)/flags
	@mkdir -p $(@D)
	$(need_packages)$(call say,cc) $(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

-include $(patsubst %.o,%.d,$(call objects,$(all_c)))

.SECONDEXPANSION:
# q, not r: two folders may hold files of the same name.
$(O)/%.a: $$(call objects,$$($$*_c)) $(O)/files
	@rm -f $@
	$(call say,ar) $(AR) qcs $@ $(filter %.o,$^)

link = $(call say,link) mkdir -p $(@D) && $(CC) $(ALL_LDFLAGS) -o $@

$(BUILD)/bin/carryd: $(O)/daemon/main.o $(call archive,daemon) $(floor)
	$(link) $^ $(LIBS)

# Tools use what a user has, libcarry.so, found relative to the program, installed or not.
$(tools): $(BUILD)/bin/%: $(O)/tools/%.o $(call archive,tool) $(call archive,daemon) $(floor) \
		| $(library)
	$(link) $^ -L$(BUILD)/lib $(if $(library),-lcarry) -Wl,-rpath,'$$ORIGIN/../lib' $(LIBS)

$(scripts): $(BUILD)/bin/%: tools/%
	@mkdir -p $(@D)
	@install -m 755 $< $@

$(script_parts): $(BUILD)/share/carry/%: tools/%
	@install -D -m 644 $< $@

comma := ,
wraps = $(patsubst __wrap_%,-Wl$(comma)--wrap=%,\
	$(sort $(shell grep -oE '\b__wrap_[a-z0-9_]+' $(1))))
$(unit) $(sim) $(bench) $(experiments_programs) $(corpus) $(filter-out %.so,$(sys_programs)): \
		$(BUILD)/%: $(O)/%.o $(archives)
	$(link) $(call wraps,$*.c) $< $(real_verbs) $(filter-out $<,$^) -lcmocka $(LIBS)

$(preloads): $(BUILD)/%.so: $(O)/%.o
	$(link) -shared $^ -ldl

$(replays): $(BUILD)/tests/fuzz/replay_%: $(O)/tests/fuzz/fuzz_%.o $(O)/tests/fuzz/replay.o \
		$(archives)
	$(link) $^ $(LIBS)

$(fuzzers): $(BUILD)/fuzz/fuzz_%: $(O)/tests/fuzz/fuzz_%.o $(archives)
	$(link) -fsanitize=fuzzer $^ $(LIBS)

# --- libcarry ------------------------------------------------------------------------------------

so := $(BUILD)/lib/libcarry.so.$(VERSION)
client_o := $(call objects,$(client_c) $(proto_c))
# The sanitizers' run-time is in the program, so only a plain build can refuse undefined symbols.
$(so): $(client_o) libclient/libcarry.map $(O)/files
	$(link) -shared -Wl,-soname,libcarry.so.$(SOVERSION) $(if $(SANITIZE),,-Wl,-z,defs) \
		-Wl,--version-script=libclient/libcarry.map $(client_o) -lm

$(BUILD)/lib/libcarry.so.$(SOVERSION): $(so)
	@ln -sf $(notdir $<) $@
$(BUILD)/lib/libcarry.so: $(BUILD)/lib/libcarry.so.$(SOVERSION)
	@ln -sf $(notdir $<) $@

# One object whose only visible names are carry_*, so that the archive hides as much as the .so.
$(BUILD)/lib/libcarry.a: $(client_o) $(O)/files
	@mkdir -p $(@D) && rm -f $@
	$(call say,ar) $(LD) -r -o $(O)/libcarry.o $(client_o) && \
		objcopy --wildcard --keep-global-symbol='carry_*' $(O)/libcarry.o && \
		$(AR) qcs $@ $(O)/libcarry.o

$(BUILD)/lib/carry.pc: libclient/carry.pc.in $(O)/prefix
	@mkdir -p $(@D)
	@sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@VERSION@|$(VERSION)|g' $< >$@

$(units): $(BUILD)/systemd/%: systemd/%.in $(O)/prefix
	@mkdir -p $(@D)
	@sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@SYSCONFDIR@|$(SYSCONFDIR)|g' $< >$@

# --- checks --------------------------------------------------------------------------------------

run = BUILD=$(BUILD) CC="$(CC)" SANITIZE=$(SANITIZE) DEBUG=$(DEBUG) \
	CARRY_SLOWER=$(if $(SANITIZE),4,1) tests/run $(RUN_FLAGS)
lint_tests := $(filter-out tests/lint/samples,$(wildcard tests/lint/*))
sys_tests := $(foreach f,$(wildcard tests/sys/test_*),$(if $(findstring .,$(notdir $(f))),,$(f))) \
	$(filter $(BUILD)/tests/sys/test_%,$(sys_programs))
replay_runs := $(foreach r,$(replays),"$(r) $(patsubst $(BUILD)/tests/fuzz/replay_%,\
	tests/fuzz/corpus/%,$(r))")
threaded := $(call programs,$(call with,pthread_create,$(unit_main_c) $(sim_main_c)))

setup:
	@tools/setup.sh

# The packages come first: the second make then asks pkg-config about them.
check: setup
	@$(MAKE) --no-print-directory check-all
check-all: all tests
	@$(run) $(lint_tests) $(unit) $(sim) $(replay_runs) $(sys_tests)
check-tests: all tests # without the lints: for the sanitizers
	@$(run) $(unit) $(sim) $(replay_runs) $(sys_tests)
check-unit: $(unit) $(preloads)
	@$(run) $(unit)
check-sim: $(sim)
	@$(run) $(sim)
check-fuzz: $(replays)
	@$(run) $(replay_runs)
check-sys: all $(sys_programs)
	@$(run) $(sys_tests)
check-threads: $(threaded) # those of unit and sim that start threads: what TSan is for
	@$(run) $(threaded)
check-vm: all tests # without a setup.sh that succeeds, tests/vm/guest says what is missing
	@tools/setup.sh --vm || true
	@$(MAKE) --no-print-directory install DESTDIR=$(abspath $(BUILD))/vm/root >/dev/null
	@BUILD=$(BUILD) CC="$(CC)" tests/vm/check $(VM_FLAGS)
check-vm-nightly: # what takes too long there
	@$(MAKE) --no-print-directory check-vm VM_FLAGS=nightly
bench-vm: all
	@tests/vm/bench $(BENCH_FLAGS)
lint: all # two of them read objects and the library
	@$(run) $(lint_tests)
analyse:
	@tests/analyse
format:
	@clang-format -i $(all_c) $(peer_c) $(wildcard */*.h */*/*.h)

fuzz:
	@$(MAKE) --no-print-directory CC=clang SANITIZE=fuzzer BUILD=$(BUILD)/libfuzzer fuzz-run
fuzz-run: $(fuzzers)
	@tests/fuzz/run --seconds $(FUZZ_SECONDS) $(fuzzers)
corpus: $(corpus) # writes the seeds again after a layout has changed
	@$(corpus) tests/fuzz/corpus
.PHONY: fuzz-run corpus

# Problems whose outcome is known; leaves a page to look at.
experiments: all $(experiments_programs)
	@$(BUILD)/tests/experiments/run --html $(BUILD)/experiments.html \
		--json $(BUILD)/experiments.json $(EXPERIMENTS_FLAGS)

bench: all $(bench)
	@tools/setup.sh --bench
	@BUILD=$(BUILD) tests/bench/run $(BENCH_FLAGS)
bench-peers: all
	@tools/setup.sh --bench
	@BUILD=$(BUILD) tests/bench/peers

demo:
	@tools/setup.sh --demo
	@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) tools/demo.sh

nightly: setup
	@tests/nightly
soak: setup
	@tests/nightly --soak

# --- the rest ------------------------------------------------------------------------------------

root := $(DESTDIR)$(PREFIX)
put = $(if $(strip $(2)),install -d $(3) && install -m $(1) $(2) $(3))
install: all
	$(call put,755,$(carryd),$(root)/sbin)
	$(call put,755,$(tools) $(scripts),$(root)/bin)
	cd $(BUILD) && for part in $(script_parts:$(BUILD)/%=%); do \
		install -D -m 644 $$part $(abspath $(root))/$$part || exit 1; done
	$(call put,644,$(so) $(BUILD)/lib/libcarry.a,$(root)/lib)
	ln -sf libcarry.so.$(VERSION) $(root)/lib/libcarry.so.$(SOVERSION)
	ln -sf libcarry.so.$(SOVERSION) $(root)/lib/libcarry.so
	$(call put,644,$(BUILD)/lib/carry.pc,$(root)/lib/pkgconfig)
	$(call put,644,libclient/carry.h,$(root)/include)
	$(call put,644,$(wildcard tests/data/digits.csv.gz),$(root)/share/carry)
	$(call put,644,$(wildcard $(BUILD)/systemd/*.service),$(root)/lib/systemd/system)
	install -D -m 644 systemd/carryd.sysusers $(root)/lib/sysusers.d/carry.conf
	install -D -m 644 systemd/carryd.tmpfiles $(root)/lib/tmpfiles.d/carry.conf
	$(call put,644,$(wildcard *.md proto/*.md LICENSE),$(root)/share/doc/carry)
	$(call put,644,$(wildcard systemd/carryd.conf),$(DESTDIR)$(SYSCONFDIR)/carry)

clean:
	rm -rf build build-*

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile
	@echo "targets: all check check-tests check-unit check-sim check-fuzz check-sys"
	@echo "  check-threads check-vm check-vm-nightly lint analyse format fuzz corpus"
	@echo "  experiments bench bench-peers bench-vm demo nightly soak install clean"
