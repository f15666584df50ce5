# make          build everything into build/
# make demo     install what is missing, then the main job from end to end on a throwaway S3 server
# make check    install what is missing, then every test, under prove(1)
# make test     the same without the first; TESTS='t/xs t/plugin/prune.t' picks some
# make check-asan, check-tsan      the C tests alone, under a sanitizer
# make fuzz     look for input that parsers do not survive (clang); FUZZ_S seconds for each
# make sim      histories of a virtual disk in which everything goes wrong; SEEDS of them, from FROM
# make bench    speed against rclone, s3cmd, s3fs, nbdkit and s3backer on the same server
# make tidy     format C and Perl
# make lint     clang-tidy, perlcritic
# make install  honours DESTDIR, PREFIX, LIBDIR
# make deb      Debian packages, in the parent folder
#
# V=1 shows commands.

VERSION := $(shell sed -n '1s/.*(\([^)-]*\).*/\1/p' debian/changelog)
PREFIX  ?= /usr
LIBDIR  ?= $(PREFIX)/lib
CFLAGS  ?= -O2 -g
B       ?= build
Q        = $(if $(V),,@echo '  $@';)

# pkg-config may be missing until `make deps` has run, so nothing here is asked before it is needed.
PKGS      := libcurl openssl libxml-2.0 jansson libisal
PKGS_D    := fuse3 jansson libsystemd
cflags_of  = $(shell pkg-config --cflags $(1) 2>/dev/null)
libs_of    = $(shell pkg-config --libs $(1) 2>/dev/null)

ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DFUSE_USE_VERSION=312 \
    -DS3PVE_VERSION='"$(VERSION)"' -fPIC -pthread -fvisibility=hidden \
    -Ilibs3pve/include -Ilibs3pve/src -It/lib \
    -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 \
    -Wno-unused-parameter -MMD -MP $(call cflags_of,$(PKGS) $(PKGS_D)) $(CFLAGS) $(CPPFLAGS)

# A new .c file in one of these folders is built without touching this file.
objs = $(patsubst %.c,$(B)/%.o,$(wildcard $(addprefix libs3pve/src/,$(addsuffix /*.c,$(1)))))
LIB  := $(call objs,base core files volume images)
NBD  := $(call objs,nbd)
DMN  := $(call objs,daemon)
CLI  := $(call objs,cli)
DMN_SRC := $(wildcard libs3pve/src/daemon/*.c)
CLI_SRC := $(wildcard libs3pve/src/cli/*.c)
SIM  := $(patsubst %.c,$(B)/%.o,$(wildcard t/sim/*.c))
UNIT := $(patsubst %.c,$(B)/%.t,$(wildcard t/unit/*.c t/fuzz/*.c t/store/*.c))
MAN  := $(patsubst libs3pve/man/%.pod,$(B)/man/%,$(wildcard libs3pve/man/*.pod))

all: $(B)/libs3pve.so.0 \
    $(if $(CLI_SRC),$(B)/s3pve) $(if $(DMN_SRC),$(B)/s3pved) \
    $(if $(wildcard xs/Makefile.PL),$(B)/xs/blib) $(MAN)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(B)/libs3pve.so.0: $(LIB) libs3pve/libs3pve.map
	$(Q)$(CC) -shared -Wl,-soname,$(@F) -Wl,--version-script=libs3pve/libs3pve.map -Wl,-z,defs \
	    $(LDFLAGS) -pthread -o $@ $(LIB) $(call libs_of,$(PKGS))
	@ln -sf $(@F) $(B)/libs3pve.so

# A program takes from base just what it needs.
$(B)/libbase.a: $(call objs,base)
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/s3pved: $(DMN) $(NBD) $(B)/libbase.a $(B)/libs3pve.so.0
	$(Q)$(CC) $(LDFLAGS) -pthread -o $@ $(DMN) $(NBD) $(B)/libbase.a -L$(B) -ls3pve $(call libs_of,$(PKGS_D))

$(B)/s3pve: $(CLI) $(B)/libbase.a $(B)/libs3pve.so.0
	$(Q)$(CC) $(LDFLAGS) -pthread -o $@ $(CLI) $(B)/libbase.a -L$(B) -ls3pve $(call libs_of,jansson)

# A test takes from the archive just what it needs.
$(B)/libs3pve.a: $(LIB) $(NBD)
	$(Q)rm -f $@ && ar rcs $@ $^

TESTLIB := $(patsubst %.c,$(B)/%.o,$(wildcard t/lib/*.c))
$(B)/libtest.a: $(TESTLIB)
	$(Q)rm -f $@ && ar rcs $@ $^

$(UNIT): %.t: %.o $(B)/libtest.a $(B)/libs3pve.a
	$(Q)$(CC) $(LDFLAGS) -pthread -o $@ $(filter %.o,$^) $(filter %.a,$^) $(call libs_of,$(PKGS))
$(B)/t/fuzz/daemon_config.t: $(B)/libs3pve/src/daemon/config.o $(B)/libs3pve/src/daemon/fail.o
$(B)/t/unit/export.t: $(addprefix $(B)/libs3pve/src/daemon/,export.o export_request.o listen.o fail.o)
$(B)/t/fuzz/control.t: $(addprefix $(B)/libs3pve/src/daemon/,control_cmd.o volume_cmd.o reply.o)

$(B)/t/sim/sim: $(SIM) $(B)/libs3pve.a
	$(Q)$(CC) $(LDFLAGS) -pthread -o $@ $^ $(call libs_of,$(PKGS))

$(B)/t/nbd/memory $(B)/t/nbd/volume: %: %.o $(B)/libs3pve.a
	$(Q)$(CC) $(LDFLAGS) -pthread -o $@ $^ $(call libs_of,$(PKGS))

$(B)/xs/blib: $(wildcard xs/* xs/lib/* xs/lib/*/*) $(B)/libs3pve.so.0
	$(Q)rm -rf $(B)/xs && cp -r xs $(B)/
	@cd $(B)/xs && TOP=$(CURDIR) B=$(B) VERSION=$(VERSION) CFLAGS='$(CFLAGS) $(CPPFLAGS)' LDFLAGS='$(LDFLAGS)' \
	    perl Makefile.PL INSTALLDIRS=vendor NO_PACKLIST=1 $(if $(V),,>/dev/null)
	@$(MAKE) -C $(B)/xs LD_RUN_PATH= $(if $(V),,>/dev/null)
	@touch $@

POD2MAN := pod2man --release=$(VERSION) --center=s3pve
$(B)/man/%: libs3pve/man/%.pod
	@mkdir -p $(@D)
	$(Q)$(POD2MAN) --section=$(patsubst .%,%,$(suffix $@)) $< $@

# --- tests; see t/README.md

THREADED := $(filter $(B)/t/unit/%,$(UNIT))
TESTS ?= $(UNIT) $(sort $(wildcard t/*/*.t))
JOBS  := -j$(shell nproc)

# Instrumented code misleads the warning about cut text; the ordinary build has it.
SAN  := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
TSAN := -fsanitize=thread
ASAN_BUILD := B=build-asan CFLAGS='-O1 -g -Wno-error $(SAN)' LDFLAGS='$(SAN)'
TSAN_BUILD := B=build-tsan CFLAGS='-O1 -g -Wno-error $(TSAN)' LDFLAGS='$(TSAN)'

check: deps
	@$(MAKE) $(JOBS) all units
	@$(MAKE) $(JOBS) $(ASAN_BUILD) units
	@$(MAKE) $(JOBS) $(TSAN_BUILD) threaded
	@$(MAKE) test TESTS='$(TESTS) $(UNIT:$(B)/%=build-asan/%) $(THREADED:$(B)/%=build-tsan/%)'

test: all units
	@B=$(B) t/lib/prove $(TESTS)

units: $(UNIT) $(B)/t/sim/sim $(B)/t/nbd/memory $(B)/t/nbd/volume
threaded: $(THREADED) $(B)/t/nbd/memory

# The C tests with every access, or every lock and thread, watched.
check-asan: deps
	@$(MAKE) $(JOBS) $(ASAN_BUILD) test-units
check-tsan: deps
	@$(MAKE) $(JOBS) $(TSAN_BUILD) test-threaded
test-units: units
	@B=$(B) t/lib/prove $(UNIT)
test-threaded: threaded
	@B=$(B) t/lib/prove $(THREADED)

# Look for bytes that a parser does not survive; FUZZ_S seconds for each target.  New finds stay in
# build-fuzz/corpus; what kills a target belongs into t/data/fuzz.
FUZZ   := $(filter $(B)/t/fuzz/%,$(UNIT))
FUZZ_S ?= 60
fuzz: deps
	$(MAKE) B=build-fuzz CC=clang LDFLAGS='$(SAN) -fsanitize=fuzzer' \
	    CFLAGS='-O1 -g $(SAN) -fsanitize=fuzzer-no-link -Wno-missing-field-initializers' fuzz-run
fuzz-run: $(FUZZ)
	set -e; for t in $(basename $(notdir $(FUZZ))); do mkdir -p $(B)/corpus/$$t; \
	    $(B)/t/fuzz/$$t.t -max_total_time=$(FUZZ_S) -timeout=10 -artifact_prefix=$(B)/ \
	    $(B)/corpus/$$t $$(ls -d t/data/fuzz/$$t t/data/$$t 2>/dev/null); done

# SEEDS histories of a volume, from FROM on; t/sim/mutate shows that it finds what is broken.
SEEDS ?= 100000
FROM  ?= 1
sim: $(B)/t/sim/sim
	$< -s $(FROM) -n $(SEEDS)

demo: deps
	$(MAKE) $(JOBS) all
	B=$(B) t/demo

bench: deps
	$(MAKE) $(JOBS) all
	B=$(B) t/bench/run
	B=$(B) t/bench/disks

deps:
	@t/lib/deps

# --- housekeeping

PERL = $(shell git grep -lE '^\#!/usr/bin/perl' -- t perl xs) $(shell git ls-files '*.p[lm]')

tidy:
	git ls-files '*.[ch]' | xargs clang-format -i
	perltidy -b -bext=/ $(sort $(PERL))

lint: deps
	git ls-files 'libs3pve/*.c' | xargs -n 1 -P 2 -I{} clang-tidy --quiet {} -- $(filter-out -MMD -MP,$(ALL_CFLAGS))
	perlcritic --quiet $(sort $(PERL))

install: all
	install -D -m 0644 -t $(DESTDIR)$(LIBDIR) $(B)/libs3pve.so.0
	ln -sf libs3pve.so.0 $(DESTDIR)$(LIBDIR)/libs3pve.so
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/include libs3pve/include/s3pve.h libs3pve/include/s3pve-volume.h
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig
	printf 'Name: libs3pve\nDescription: S3 storage for Proxmox VE\nVersion: $(VERSION)\nLibs: -ls3pve\n' \
	    >$(DESTDIR)$(LIBDIR)/pkgconfig/libs3pve.pc
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin $(B)/s3pve
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/sbin $(B)/s3pved
	set -e; for m in $(MAN); do \
	    install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man$${m##*.} $$m; done
	$(POD2MAN) --section=3pm perl/PVE/Storage/Custom/S3Plugin.pm \
	    $(DESTDIR)$(PREFIX)/share/man/man3/PVE::Storage::Custom::S3Plugin.3pm
	cd perl && find PVE S3PVE -name '*.pm' -exec \
	    install -D -m 0644 {} $(abspath $(DESTDIR))$(PREFIX)/share/perl5/{} \;
	$(MAKE) -C $(B)/xs pure_install DESTDIR=$(abspath $(DESTDIR))

# Without tests, which take more packages than a node should have.
deb:
	DEB_BUILD_PROFILES=nocheck t/lib/deps
	dpkg-buildpackage -b -us -uc -Pnocheck

clean:
	rm -rf build build-asan build-tsan build-fuzz

.SECONDARY:
.PHONY: all check test units threaded test-units test-threaded check-asan check-tsan fuzz fuzz-run demo bench deps tidy lint install deb clean
-include $(shell find $(B) -name '*.d' 2>/dev/null)
