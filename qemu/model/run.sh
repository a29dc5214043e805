#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# model/run.sh [NAME...]: runs the models of src/ (those whose name begins with a
# NAME), and the broken variants that each has to find, and reports in KTAP.
#
# TIME= minutes: explores further, without bounds but the time. Without TIME, all
# ends in about two minutes on two cores that have nothing else to do. Exit status:
# 0 if all is as it should be.

. "$(dirname "$0")/../lib.sh"

MODEL=$QEMU_DIR/model
OUT=$BUILD/model
TIME=${TIME:-}
ROOT=$("$QEMU_DIR/buildroot.sh")
CRATES=$CACHE/crates-$(key "$MODEL/Cargo.lock" "$ROOT")

# ca_bundle: the certificates that this machine trusts; the build root has none.
ca_bundle() {
	local file
	for file in "${CARGO_HTTP_CAINFO:-}" "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
		if [ -n "$file" ] && [ -r "$file" ]; then
			printf '%s\n' "$file"
			return
		fi
	done
	return 1
}

# cargo_in HOME TARGET DIR ARG...: runs the cargo of the build root, which has the
# compiler that the modules are built with, with the settings for the network that
# this machine has.
cargo_in() {
	local home=$1 target=$2 dir=$3 name settings=()
	shift 3
	while read -r name; do
		settings+=("$name=${!name}")
	done < <(compgen -e | grep -E '^(CARGO_(HTTP|NET|REGISTRY|REGISTRIES|SOURCE)_.*|(https?|all|no)_proxy|(HTTPS?|ALL|NO)_PROXY)$' || true)
	(cd "$dir" && in_root "$ROOT" env "${settings[@]}" CARGO_HOME="$home" CARGO_HTTP_CAINFO="$home/ca.crt" RUSTC_BOOTSTRAP=1 \
		CARGO_TARGET_DIR="$target" CARGO_BUILD_JOBS="$JOBS" cargo "$@")
}

# compile HOME TARGET DIR: the two programs; the state machines are built without loom.
compile() {
	local package
	for package in quiesce-machines quiesce-loom; do
		cargo_in "$1" "$2" "$3" build --release --locked --offline --package "$package"
	done
}

# make_crates DIR: a home of cargo's with the crates that Cargo.lock names, built.
make_crates() {
	local dir=$1 file
	mkdir -p "$dir"
	cp "$(ca_bundle)" "$dir/ca.crt"
	for file in config.toml credentials.toml; do
		[ ! -r "${CARGO_HOME:-$HOME/.cargo}/$file" ] || cp "${CARGO_HOME:-$HOME/.cargo}/$file" "$dir/"
	done
	cp /etc/resolv.conf "$ROOT/etc/resolv.conf"
	cargo_in "$dir" "$dir/target" "$MODEL" fetch --locked
	compile "$dir" "$dir/target" "$MODEL"
	# What is of the checkout is built in each one.
	rm -rf "$dir"/target/release/.fingerprint/{kernel,quiesce,pin-init,pin_init}*
}

need_crates() {
	[ ! -e "$CRATES/.done" ] || return 0
	need_space "$CACHE" 500 "loom"
	if ! ca_bundle >/dev/null; then
		if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
			die "missing on this machine: ca-certificates, to fetch the crates that qemu/model/Cargo.lock names"
		fi
		step "Installing ca-certificates on this machine" \
			sh -c 'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates' ||
			die "could not install: ca-certificates"
	fi
	once "$CRATES" step "Fetching and building loom" make_crates ||
		die "loom and what it needs (qemu/model/Cargo.lock) could not be had from cargo's registry; $BUILD/logs has what cargo said"
}

# build TREE NAME: the programs of a tree, into $OUT/NAME.
build() {
	[ -e "$OUT/target-$2" ] || { mkdir -p "$OUT" && cp -a --reflink=auto "$CRATES/target" "$OUT/target-$2"; }
	compile "$CRATES" "$OUT/target-$2" "$1/qemu/model"
	mkdir -p "$OUT/$2"
	cp "$OUT/target-$2"/release/quiesce-{machines,loom} "$OUT/$2/"
}

# build_all: the models of src/ itself, and of a copy with the edits.
build_all() {
	build "$TOP" bin
	in_root "$ROOT" python3 -B "$MODEL/broken.py" "$OUT/tree"
	build "$OUT/tree" broken
}

need_crates
step "Building the models" build_all || die "the models do not build"
in_root "$ROOT" env TIME="$TIME" JOBS="$JOBS" python3 -B "$MODEL/models.py" "$OUT" "$@"
