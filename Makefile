# SPDX-License-Identifier: GPL-2.0
#
# `make help` lists the verbs.

KDIR ?= /lib/modules/$(shell uname -r)/build
PROFILE ?=

.DEFAULT_GOAL := help

# What the kernel in KDIR was built with decides what modules are built with.
kconf = $(shell sed -n 's/^CONFIG_$(1)=//p' $(KDIR)/include/config/auto.conf 2>/dev/null)
kbuild-words = $(if $(call kconf,CC_IS_CLANG),LLVM=1,CC=$(firstword $(subst ", ,$(call kconf,CC_VERSION_TEXT))))

modules: check-kdir ## Build the modules against KDIR=/path/to/a/kernel/build/directory
	+$(MAKE) -C $(KDIR) M=$(CURDIR) $(if $(MO),MO=$(MO)) $(kbuild-words) modules

test: ## Run everything in all profiles; PROFILE= and SUITE= (a prefix) choose
	@PROFILE="$(PROFILE)" SUITE="$(SUITE)" qemu/test.sh

run: ## Boot, load quiesce.ko, run CMD= with FILES=; exits with its status
	@PROFILE="$(PROFILE)" FILES="$(FILES)" CMD='$(CMD)' qemu/run.sh run

shell: ## A shell in a VM with quiesce.ko loaded
	@PROFILE="$(PROFILE)" qemu/run.sh shell

check-kdir:
	@test -e $(KDIR)/include/config/auto.conf || \
		{ echo "KDIR=$(KDIR) is no kernel build directory (it has no include/config/auto.conf)" >&2; exit 2; }
	@grep -q '^CONFIG_RUST=y' $(KDIR)/include/config/auto.conf || \
		{ echo "The kernel in KDIR=$(KDIR) was configured without CONFIG_RUST=y" >&2; exit 2; }
	@test -e $(KDIR)/rust/libkernel.rmeta || \
		{ echo "KDIR=$(KDIR) has no rust/libkernel.rmeta: Debian's headers package does not have it either." >&2; \
		  echo "\`make demo\` shows how to get one without building a kernel." >&2; exit 2; }

.PHONY: modules test run shell check-kdir
