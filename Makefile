# SPDX-License-Identifier: GPL-2.0
#
# `make help` lists the targets.

KDIR ?= /lib/modules/$(shell uname -r)/build
PROFILE ?=

.DEFAULT_GOAL := help

# Modules are built with the compiler that built the kernel in KDIR.
kconf = $(shell sed -n 's/^CONFIG_$(1)=//p' $(KDIR)/include/config/auto.conf 2>/dev/null)
kbuild-words = $(if $(call kconf,CC_IS_CLANG),LLVM=1,CC=$(firstword $(subst ", ,$(call kconf,CC_VERSION_TEXT))))

modules: check-kdir ## Build the modules against KDIR=/path/to/a/kernel/build/directory
	+$(MAKE) -C $(KDIR) M=$(CURDIR) $(if $(MO),MO=$(MO)) $(kbuild-words) modules

test: ## Run everything in all profiles; PROFILE= and SUITE= (a prefix) choose
	@PROFILE="$(PROFILE)" SUITE="$(SUITE)" qemu/test.sh

run: ## Boot, load quiesce.ko, run CMD= with FILES=; exits with its status
	@PROFILE="$(PROFILE)" FILES="$(FILES)" qemu/run.sh run
# As it was typed: make expands no $ in it, and no shell sees its quotes.
run external: override export CMD := $(value CMD)

shell: ## A shell in a VM with quiesce.ko loaded
	@PROFILE="$(PROFILE)" qemu/run.sh shell

demo: ## Boot Debian's stock kernel in QEMU, load the module, run the samples
	@qemu/demo.sh

check: ## Format, lints, checkpatch, shellcheck, documentation
	@qemu/check.sh

doc: ## The crate's documentation, in .build/doc
	@qemu/doc.sh

bench: ## quiesce against C and the other baselines, in one VM; BENCH= selects rows
	@BENCH="$(BENCH)" PROFILE="$(PROFILE)" qemu/bench.sh

size: ## Instruction counts and sizes, from the built objects
	@qemu/size.sh

torture: ## Longer runs: TIME= minutes, PART=, PROFILE=
	@TIME="$(TIME)" PART="$(PART)" PROFILE="$(PROFILE)" qemu/torture.sh

mutants: ## Semantic changes of the sources, which the tests must notice: PART=, SAMPLE=
	@PART="$(PART)" SAMPLE="$(SAMPLE)" PROFILE="$(PROFILE)" qemu/mutants.sh

litmus: ## The ordering claims, checked by herd7 against the kernel's memory model
	@qemu/litmus/run.sh

model: ## The crate's own source under loom, and its barriers against models; TIME= minutes goes further
	@TIME="$(TIME)" qemu/model/run.sh

external: ## Build the module tree DIR= against the crate; RUN=1 loads it in a VM
	@DIR="$(DIR)" RUN="$(RUN)" FILES="$(FILES)" PROFILE="$(PROFILE)" qemu/external.sh build

new: ## Write a small module into DIR=
	@DIR="$(DIR)" qemu/external.sh new

in-tree: ## Lay the crate into the kernel source tree KSRC=
	@KSRC="$(KSRC)" qemu/in-tree.sh

deb: ## Build the Debian packages into .build/deb
	@qemu/deb.sh

test-install: deb ## Install the packages in a Debian system with systemd and boot it
	@qemu/install.sh >.build/install.tap

# Root, who may run this, leaves nothing in .build.
install: ## Install libquiesce, its manual pages and the udev rule: PREFIX=, DESTDIR=
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && $(MAKE) -C src/libquiesce O="$$dir" install

rust-analyzer: ## Write rust-project.json for the editor
	@PROFILE="$(PROFILE)" qemu/rust-analyzer.sh

clean: ## Remove what was built in the checkout; the cache stays
	rm -rf .build rust-project.json
	find . -name .git -prune -o \( -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' -o -name '*.rmeta' \
		-o -name '.*.cmd' -o -name '.*.d' -o -name '*_generated.*' \) -exec rm -f {} +
	rm -f modules.order Module.symvers samples/external/modules.order samples/external/Module.symvers

clean-cache: ## Remove the cache: build roots and kernels
	@bash -c '. qemu/lib.sh && remove_tree "$$CACHE"'

help: ## This list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 15

check-kdir:
	@test -z "$(MO)" -o ! -e modules.order || \
		{ echo "A build in this folder is in the way of one in MO=$(MO): run \`make clean\` first" >&2; exit 2; }
	@test -e $(KDIR)/include/config/auto.conf || \
		{ echo "KDIR=$(KDIR) is no kernel build directory (it has no include/config/auto.conf)" >&2; exit 2; }
	@grep -q '^CONFIG_RUST=y' $(KDIR)/include/config/auto.conf || \
		{ echo "The kernel in KDIR=$(KDIR) was configured without CONFIG_RUST=y" >&2; exit 2; }
	@test -e $(KDIR)/rust/libkernel.rmeta || \
		{ echo "KDIR=$(KDIR) has no rust/libkernel.rmeta: Debian's headers package does not have it either." >&2; \
		  echo "\`make demo\` shows how to get one without building a kernel." >&2; exit 2; }

.PHONY: modules external new in-tree deb test-install test run shell demo check doc bench size torture mutants litmus model install rust-analyzer clean clean-cache help check-kdir
