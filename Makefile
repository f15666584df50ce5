# make          build everything into build/
# make demo     install what is missing, then the main job from end to end on a throwaway S3 server
# make check    install what is missing, then every test, under prove(1)
# make bench    speed against rclone, s3cmd and s3fs on the same server
# make tidy     format C and Perl
# make lint     clang-tidy, perlcritic
# make install  honours DESTDIR, PREFIX, LIBDIR
# make deb      Debian packages, in the parent folder

VERSION := $(shell sed -n '1s/.*(\([^)-]*\).*/\1/p' debian/changelog)
PREFIX  ?= /usr
LIBDIR  ?= $(PREFIX)/lib
CFLAGS  ?= -O2 -g
B       ?= build

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
LIB  := $(call objs,base core files)
DMN  := $(call objs,daemon) $(call objs,base)
CLI  := $(call objs,cli) $(call objs,base)
UNIT := $(patsubst %.c,$(B)/%.t,$(wildcard t/unit/*.c))
MAN  := $(patsubst libs3pve/man/%.pod,$(B)/man/%,$(wildcard libs3pve/man/*.pod))

all: $(B)/libs3pve.so.0 $(B)/s3pve $(B)/s3pved $(B)/xs/blib $(MAN)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(B)/libs3pve.so.0: $(LIB) libs3pve/libs3pve.map
	$(CC) -shared -Wl,-soname,$(@F) -Wl,--version-script=libs3pve/libs3pve.map -Wl,-z,defs \
	    $(LDFLAGS) -pthread -o $@ $(LIB) $(call libs_of,$(PKGS))
	ln -sf $(@F) $(B)/libs3pve.so

$(B)/s3pved: $(DMN) $(B)/libs3pve.so.0
	$(CC) $(LDFLAGS) -pthread -o $@ $(DMN) -L$(B) -ls3pve $(call libs_of,$(PKGS_D))

$(B)/s3pve: $(CLI) $(B)/libs3pve.so.0
	$(CC) $(LDFLAGS) -pthread -o $@ $(CLI) -L$(B) -ls3pve $(call libs_of,jansson)

# A test takes from the archive just what it needs.
$(B)/libs3pve.a: $(LIB)
	rm -f $@ && ar rcs $@ $^

TESTLIB := $(patsubst %.c,$(B)/%.o,$(wildcard t/lib/*.c))
$(B)/libtest.a: $(TESTLIB)
	rm -f $@ && ar rcs $@ $^

$(B)/t/unit/%.t: $(B)/t/unit/%.o $(B)/libtest.a $(B)/libs3pve.a
	$(CC) $(LDFLAGS) -pthread -o $@ $^ $(call libs_of,$(PKGS))

$(B)/xs/blib: $(wildcard xs/* xs/lib/* xs/lib/*/*) $(B)/libs3pve.so.0
	rm -rf $(B)/xs && cp -r xs $(B)/
	cd $(B)/xs && TOP=$(CURDIR) B=$(B) VERSION=$(VERSION) perl Makefile.PL INSTALLDIRS=vendor NO_PACKLIST=1
	$(MAKE) -C $(B)/xs LD_RUN_PATH=
	touch $@

$(B)/man/%: libs3pve/man/%.pod
	@mkdir -p $(@D)
	pod2man --section=$(patsubst .%,%,$(suffix $@)) --release=$(VERSION) --center=s3pve $< $@

.SECONDARY:
.PHONY: all
-include $(shell find $(B) -name '*.d' 2>/dev/null)
